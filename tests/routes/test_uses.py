"""What an artefact is good for, to somebody who has vectors of a space."""

from __future__ import annotations

from conftest import space_of

from atlas.cards.kinds import AlignmentCard, AnchorsCard, AtlasCard, HeadCard, MomentsCard, SpaceCard, VectorsCard
from atlas.routes.uses import use

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
