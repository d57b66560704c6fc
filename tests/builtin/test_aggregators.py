"""The built-in aggregators: planted truths, definitions, spaces that join later, and what all of them refuse."""

from __future__ import annotations

import pytest
import torch
from planted import TURN, close, normal, turn, whole
from torch.nn import functional as F

import atlas
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError


def create(name, **options):
    return atlas.create(Aggregator, name, options)


def combined(aggregator, views, present=None):
    """Return what an aggregator makes of the same items in all spaces, or in those where they are present."""
    rows = torch.stack([aggregator.chart(space).transform(X) for space, X in views.items()], 1)
    return aggregator.combine(rows, torch.ones(rows.shape[:2], dtype=torch.bool) if present is None else present)


# relative-mean


@pytest.mark.parametrize("options", [{}, {"centre": True}, {"similarity": "euclidean"}, {"similarity": "whitened"}])
def test_turned_copies_of_a_space_merge_into_its_relative_representation(options):
    anchors, X = whole(24), whole(40, seed=1)
    copies = {"a": (anchors, X), "b": (anchors @ TURN, X @ TURN), "c": (-2 * anchors.flip(1), -2 * X.flip(1))}
    merged = create("relative-mean", **options).fit({space: A for space, (A, _) in copies.items()})
    present = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    present[:, 0] |= ~present.any(1)
    expected = atlas.create(Aligner, "relative", options).fit(anchors).transform(X)
    close(combined(merged, {space: Z for space, (_, Z) in copies.items()}, present), expected, 1e-12)
    assert {1, 2, 3} == set(present.sum(1).tolist())


@pytest.mark.parametrize("name", ["relative-mean", "mean", "generalized-procrustes"])
def test_an_item_in_some_spaces_is_the_mean_over_those(name):
    aggregator = create(name).fit({"a": normal(9, 5), "b": normal(9, 5, seed=1), "c": normal(9, 5, seed=2)})
    rows = torch.tensor([[[1.0], [2.0], [6.0]]]).expand(4, 3, 5)
    present = torch.tensor([[True, False, False], [False, True, True], [True, True, True], [False, False, True]])
    assert aggregator.combine(rows, present)[:, 0].tolist() == [1.0, 4.0, 3.0, 6.0]


def test_anchors_are_in_the_order_of_their_numbers():
    A, B = whole(6), whole(6, d=5, seed=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    merged = create("relative-mean").fit({"a": A, "b": B[order]}, {"a": torch.arange(6), "b": order})
    close(merged.chart("b").state_dict()["anchors"], B)
    assert merged.dim == 6 and merged.chart("b").d_source == 5


def test_noisy_spaces_merge_into_something_nearer_the_truth_than_either():
    Z, anchors = normal(300, 16), normal(80, 16, seed=1)
    truth = atlas.create(Aligner, "relative").fit(anchors).transform(Z)
    turns = [turn(16, 16, seed=s) for s in range(4)]
    views = {f"s{s}": (Z + 0.5 * normal(300, 16, seed=9 + s)) @ Q for s, Q in enumerate(turns)}
    merged = create("relative-mean").fit({f"s{s}": anchors @ Q for s, Q in enumerate(turns)})
    alone = float((merged.chart("s0").transform(views["s0"]) - truth).norm())
    assert float((combined(merged, views) - truth).norm()) < 0.75 * alone


def test_anchors_out_of_order_in_one_space_spoil_the_merger():
    Z, anchors = normal(100, 16), normal(80, 16, seed=1)
    expected = atlas.create(Aligner, "relative").fit(anchors).transform(Z)
    merged = create("relative-mean").fit({"a": anchors, "b": anchors.roll(1, 0)})
    assert float(F.cosine_similarity(combined(merged, {"a": Z, "b": Z}), expected).mean()) < 0.85


def test_the_shared_space_is_the_one_of_relative():
    merged = create("relative-mean", centre=True).fit({"a": whole(9), "b": whole(9, seed=1)})
    relative = atlas.create(Aligner, "relative", centre=True, ridge=0.3)
    assert merged.identity() == {"encoder": "relative", **relative.coordinates()}


def test_anchors_must_be_in_every_space():
    views = {"a": whole(6), "b": whole(5, seed=1)}
    with pytest.raises(AtlasError, match="'relative-mean' needs every item in every space - give anchors"):
        create("relative-mean").fit(views, {"a": torch.arange(6), "b": torch.arange(5)})


def test_a_space_that_joins_needs_the_anchors():
    anchors = whole(6)
    merged = create("relative-mean").fit({"a": anchors, "b": anchors @ TURN})
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    merged.add("c", (2 * anchors)[order], order)
    close(merged.chart("c").transform(2 * anchors), merged.chart("a").transform(anchors), 1e-12)
    with pytest.raises(AtlasError, match="needs exactly the 6 anchors it was fitted on, got others in 'd'"):
        merged.add("d", whole(6), torch.arange(1, 7))


def test_options_of_relative_charts_are_checked():
    with pytest.raises(AtlasError, match="with similarity 'l1' does not depend on the mean - leave centre off"):
        create("relative-mean", similarity="l1", centre=True)


# concatenation


@pytest.mark.parametrize("name", ["relative-concat", "concat"])
def test_concatenation_puts_charts_in_order_and_the_mean_where_one_is_missing(name):
    views = {"b": whole(6, d=6), "a": whole(6, d=6, seed=1), "c": whole(6, d=6, seed=2)}
    aggregator = create(name).fit(views)
    present = torch.ones(6, 3, dtype=torch.bool)
    present[0, 1] = present[1, 0] = present[1, 2] = False
    b, a, c = (aggregator.chart(space).transform(X) for space, X in views.items())
    expected = torch.cat([b, a, c], 1)
    expected[0, 6:12] = (b[0] + c[0]) / 2
    expected[1] = a[1].repeat(3)
    close(combined(aggregator, views, present), expected, 1e-12)
    assert aggregator.dim == 18
    assert aggregator.identity()["charts"] == ["b", "a", "c"]


@pytest.mark.parametrize("name", ["relative-concat", "concat"])
def test_concatenation_cannot_grow(name):
    aggregator = create(name).fit({"a": whole(6), "b": whole(6, seed=1)})
    with pytest.raises(AtlasError, match="would get more dimensions with another space - fit again with all spaces"):
        aggregator.add("c", whole(6, seed=2))


@pytest.mark.parametrize("name", ["mean", "concat"])
def test_spaces_that_agree_are_not_changed(name):
    views = {"a": whole(6), "b": whole(1, seed=1)}
    aggregator = create(name).fit(views, {"a": torch.arange(6), "b": torch.tensor([9])})
    assert torch.equal(aggregator.chart("b").transform(views["a"]), views["a"])


@pytest.mark.parametrize("name", ["mean", "concat"])
def test_spaces_of_other_dimensions_do_not_agree(name):
    with pytest.raises(AtlasError, match=r"needs spaces that agree, got dimensions \{'a': 8, 'b': 7\} - use 'general"):
        create(name).fit({"a": whole(6), "b": whole(6, d=7)})


def test_a_space_that_joins_a_mean_must_agree():
    aggregator = create("mean").fit({"a": whole(6), "b": whole(6, seed=1)}).add("c", whole(3))
    assert torch.equal(aggregator.chart("c").transform(whole(4)), whole(4))
    with pytest.raises(AtlasError, match="needs spaces that agree, got dimension 7 in 'd', not 8"):
        aggregator.add("d", whole(6, d=7))


# what all aggregators refuse


def test_items_that_do_not_number_the_rows_are_refused():
    views = {"a": normal(9, 3), "b": normal(9, 3)}
    with pytest.raises(AtlasError, match="'mean' needs every item once in 'a', got 9 rows of 1 items"):
        create("mean").fit(views, dict.fromkeys(views, torch.zeros(9)))
    with pytest.raises(AtlasError, match=r"'mean' needs one item for each of the 9 rows of 'a', got shape \(8,\)"):
        create("mean").fit(views, dict.fromkeys(views, torch.arange(8)))


def test_use_before_fitting_is_refused():
    for use in (lambda a: a.dim, lambda a: a.add("c", normal(9, 3)), lambda a: a.combine(torch.ones(1), torch.ones(1))):
        with pytest.raises(AtlasError, match=r"Aggregator 'mean' is not fitted - call fit\(\) first"):
            use(create("mean"))


def test_unknown_and_repeated_spaces_are_refused():
    fitted = create("mean").fit({"a": normal(9, 3), "b": normal(9, 3)})
    with pytest.raises(AtlasError, match="Unknown chart 'c'"):
        fitted.chart("c")
    with pytest.raises(AtlasError, match="'mean' already has a chart for 'b' - choose another id"):
        fitted.add("b", normal(9, 3))


def test_rows_that_cannot_be_combined_are_refused():
    fitted = create("mean").fit({"a": normal(9, 3), "b": normal(9, 3)})
    present = torch.ones(4, 2, dtype=torch.bool)
    given = r"got rows \(4, 3, 3\) and torch.bool \(4, 2\)"
    with pytest.raises(
        AtlasError, match=r"'mean' combines rows \(n, 2, d\) that are present \(n, 2\) or not, " + given
    ):
        fitted.combine(normal(4, 3, 3), present)
    with pytest.raises(AtlasError, match=r"and torch.int64 \(4, 2\)"):
        fitted.combine(normal(4, 2, 3), present.long())
    present[2] = False
    with pytest.raises(AtlasError, match="'mean' cannot combine row 2 - it is in none of the spaces"):
        fitted.combine(normal(4, 2, 3), present)


def test_rows_that_are_not_present_may_be_anything():
    fitted = create("mean").fit({"a": normal(9, 3), "b": normal(9, 3)})
    rows = normal(4, 2, 3)
    rows[:, 1] = torch.nan
    present = torch.tensor([[True, False]]).expand(4, 2)
    assert torch.equal(fitted.combine(rows, present), rows[:, 0])


# as atlases


def stored(space, X, numbers):
    """Return rows of X as vectors of a space, with the numbers of their items as ids."""
    return atlas.Vectors.of(X[numbers], space, ids=[str(i) for i in numbers])


def test_an_atlas_of_relative_charts_reaches_the_space_of_relative():
    X = whole(30)
    here, there = stored("here", X, range(0, 25)), stored("there", X @ TURN, range(5, 30))
    merged = atlas.aggregate("relative-mean", here, there)
    alone = atlas.fit("relative", source=here, anchors=[str(i) for i in range(5, 25)])
    assert merged.space.fingerprint == alone.target.fingerprint
    made = merged(here, there)
    assert list(made.ids) == [str(i) for i in range(30)]
    torch.testing.assert_close(made.data[:25], alone(here).data.float(), rtol=0, atol=1e-6)


def test_an_atlas_of_rotations_uses_items_that_some_spaces_lack():
    X = whole(30)
    here, there = stored("here", X, range(0, 25)), stored("there", X @ TURN, range(5, 30))
    third = stored("third", -X, [*range(0, 5), *range(25, 30)])
    merged = atlas.aggregate("generalized-procrustes", here, there, third)
    assert len(merged.aggregator.extra["items"]) == 30
    back = merged.chart("third").inverse()(merged.chart("here")(here))
    close(back.data, -here.data, 1e-4)


def test_spaces_without_common_items_make_no_atlas():
    X = whole(30)
    vectors = [stored("a", X, range(0, 10)), stored("b", X, range(10, 20)), stored("c", X, range(5, 15))]
    with pytest.raises(AtlasError, match="'relative-mean' found no item that is in all of the spaces - give anchors"):
        atlas.aggregate("relative-mean", *vectors)
    with pytest.raises(AtlasError, match="'generalized-procrustes' found no item that is in two of the spaces"):
        atlas.aggregate("generalized-procrustes", *vectors[:2])
