"""The pairs that a map finds, as rows and as anchors."""

from __future__ import annotations

import pytest
import torch
from planted import world

import atlas
from atlas import AtlasError
from atlas_bootstrap import Bootstrap, matched, parallel_anchors

SEEDS = [f"seed-{i}" for i in range(8)]


@pytest.fixture(scope="module")
def sides():
    """Vectors of 300 items in both spaces: eight are known as seeds, the others come in another order."""
    planted = world(8, n=300, m=300)
    order = torch.cat([torch.arange(8), 8 + torch.randperm(292, generator=torch.Generator().manual_seed(0))])
    Y = 3 * (planted.X @ planted.rotation)[order] - 7
    source = atlas.Vectors.of(planted.X, "a", ids=SEEDS + [f"a-{i}" for i in range(8, 300)])
    target = atlas.Vectors.of(Y, "b", ids=SEEDS + [f"b-{i}" for i in order[8:].tolist()])
    return source, target


@pytest.fixture(scope="module")
def alignment(sides):
    return atlas.fit(Bootstrap(folds=0), source=sides[0], target=sides[1], anchors=SEEDS)


def names(sides, rows):
    return [(sides[0].ids[i], sides[1].ids[j]) for i, j in rows.tolist()]


def test_pairs_are_the_seeds_and_those_of_one_item(alignment, sides):
    found = names(sides, matched(alignment, *sides, 200, SEEDS))
    assert found[:8] == [(seed, seed) for seed in SEEDS] and len(found) == 200
    assert sum(a.removeprefix("a-") == b.removeprefix("b-") for a, b in found[8:]) > 185
    assert len({a for a, _ in found}) == len({b for _, b in found}) == 200


def test_there_are_no_more_pairs_than_are_found(alignment, sides):
    assert 200 < len(matched(alignment, *sides, 10_000)) <= 300


def test_seeds_may_be_anchors(alignment, sides):
    listed = matched(alignment, *sides, 50, SEEDS)
    assert torch.equal(listed, matched(alignment, *sides, 50, atlas.Anchors.of("few", SEEDS)))


def test_both_sides_reach_one_space_by_the_anchors(alignment, sides):
    anchors = parallel_anchors(matched(alignment, *sides, 60, SEEDS), *sides)
    assert len(anchors) == 60 and [space.id for space in anchors.spaces] == ["a", "b"] and anchors.ids[:8] == SEEDS
    halves = [atlas.fit("relative", source=anchors.vectors(space), centre=True) for space in ("a", "b")]
    assert halves[0].target.matches(halves[1].target)
    there, here = (half(side.of_items(SEEDS).data) for half, side in zip(halves, sides, strict=True))
    torch.testing.assert_close(there, here, rtol=0, atol=0.1)


def test_one_row_of_the_target_may_be_what_was_found_for_several(sides):
    anchors = parallel_anchors(torch.tensor([[0, 0], [9, 4], [7, 4]]), *sides)
    assert anchors.ids == [sides[0].ids[i] for i in (0, 9, 7)]
    torch.testing.assert_close(anchors.views["b"], sides[1].data[[0, 4, 4]])


def test_anchors_are_kept(alignment, sides, tmp_path):
    atlas.save(parallel_anchors(matched(alignment, *sides, 60), *sides, id="many"), tmp_path / "many")
    loaded = atlas.load(tmp_path / "many")
    assert loaded.id == "many" and len(loaded) == 60 and set(loaded.views) == {"a", "b"}


def test_what_cannot_be_is_told(alignment, sides):
    with pytest.raises(AtlasError, match="Cannot match 5 pairs, of which 8 are seeds - ask for more"):
        matched(alignment, *sides, 5, SEEDS)
    with pytest.raises(AtlasError, match="hold 0 of the 1 items of the seeds"):
        matched(alignment, *sides, 50, ["nobody"])
    wrong = atlas.Vectors.of(torch.rand(9, 5), "c")
    with pytest.raises(AtlasError, match="maps to 'b', but the vectors to match are of 'c'"):
        matched(alignment, sides[0], wrong, 5)
    twin = atlas.Vectors.of(sides[1].data, "a", ids=sides[1].ids)
    with pytest.raises(AtlasError, match="Anchors need spaces of two ids, got 'a' twice - rename one of them"):
        parallel_anchors(torch.tensor([[0, 0], [1, 1]]), sides[0], twin)
