"""What an artefact is good for, to somebody who has vectors of a space, and what a way over it costs."""

from __future__ import annotations

import pytest
from conftest import space_of

import atlas
from atlas.cards.kinds import AlignmentCard, AnchorsCard, AtlasCard, HeadCard, MomentsCard, SpaceCard, VectorsCard
from atlas.routes.edges import Edge
from atlas.routes.paths import UNKNOWN, Graph, Route
from atlas.routes.uses import use
from atlas.verbs.route import anchors_between

A, B, C, _ = SPACES = [space_of(name, 4) for name in "abcd"]
USES = [
    (SpaceCard("x", space=A), {"a": "makes them"}),
    (AnchorsCard("x", n=2, items="0" * 64, spaces=(A, B)), {"a": "has anchors of them", "b": "has anchors of them"}),
    (VectorsCard("x", space=A, n=2), {"a": "has more of them"}),
    (MomentsCard("x", source=A, target=B, n=2), {"a": "are of them and b", "b": "are of a and them"}),
    (AlignmentCard("x", source=A, target=B, aligner="linear"), {"a": "maps them to b", "b": "maps a to them"}),
    (HeadCard("x", space=A, head="linear"), {"a": "reads them"}),
    (
        AtlasCard("x", space=C, charts=(A, B), aggregator="mean"),
        {"a": "maps them to c", "b": "maps them to c", "c": "makes them"},
    ),
]


def test_each_kind_is_of_use_for_its_own_spaces_alone():
    for card, uses in USES:
        assert {space.id: use(card, space) for space in SPACES} == dict.fromkeys("abcd", "") | uses, card.kind


def test_a_map_on_the_way_adds_a_fifth_of_its_noise_and_the_first_one_a_tenth():
    card = USES[4][0]
    there, on, unknown = Edge(A, B, "x", card, keeps=0.9), Edge(B, C, "y", card, keeps=0.5), Edge(A, C, "z", card)
    graph = Graph([there, on, unknown])
    assert graph.cost(unknown, first=True, last=True) == UNKNOWN
    assert graph.cost(on, first=True, last=True) == pytest.approx(0, abs=1e-6)
    # The noise of R² is the error beside the explained part: 1 of a half, a ninth of 0.9.
    assert graph.cost(on, first=False, last=True) == pytest.approx(0.2, rel=1e-6)
    assert graph.cost(there, first=True, last=False) == pytest.approx(0.1 / 9, rel=1e-6)


@pytest.mark.parametrize(("n", "known"), [(99, False), (100, True)])
def test_a_hundred_anchors_of_both_ends_tell_what_a_way_keeps(tmp_path, pair, n, known):
    anchors = atlas.sample("uniform", pair.source, n, also=[pair.target])
    anchors.save_pretrained(tmp_path / "anchors")
    way = Edge(pair.source.space, pair.target.space, "x", USES[4][0], keeps=0.9)
    found = anchors_between(Route((way,), 0.9), Graph([way], [(anchors.card, tmp_path / "anchors")]))
    assert (found is not None) == known
    assert found is None or (found[0], found[1].ids, found[2].space) == (anchors.id, anchors.ids, pair.target.space)
