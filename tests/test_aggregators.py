"""The built-in aggregators: planted truths, slow references, items in some spaces, and spaces that join later."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch
from torch.nn import functional as F

import atlas
from atlas.base import Aggregator, Aligner
from atlas.errors import AtlasError, AtlasWarning
from atlas_builtin.solvers import polar

D = 8
# Turns and stretches by sqrt(8), and keeps whole numbers whole: float32 anchors are turned without rounding.
TURN = torch.tensor(scipy.linalg.hadamard(D), dtype=torch.float64)
EPS = torch.finfo(torch.float64).eps


def create(name, **options):
    return atlas.create(Aggregator, name, options)


def whole(n, d=D, seed=0):
    return torch.randint(-50, 51, (n, d), generator=torch.Generator().manual_seed(seed)).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turn(a, b, seed=0):
    """Return a random (a, b) matrix with orthonormal rows, or columns if there are fewer."""
    return polar(normal(a, b, seed=seed), EPS)


def close(a, b, tolerance=1e-6):
    size = float(torch.as_tensor(b).abs().max())
    torch.testing.assert_close(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=0, atol=tolerance * size)


def combined(aggregator, views, present=None):
    """Return what an aggregator makes of the same items in all spaces, or in those where they are present."""
    rows = torch.stack([aggregator.chart(space).transform(X) for space, X in views.items()], 1)
    return aggregator.combine(rows, torch.ones(rows.shape[:2], dtype=torch.bool) if present is None else present)


def translated(aggregator, X, source, target):
    return aggregator.chart(target).inverse_transform(aggregator.chart(source).transform(X))


# relative-mean


@pytest.mark.parametrize("options", [{}, {"centre": True}, {"similarity": "euclidean"}])
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


# generalized-procrustes


def spaces(n=120, dims=(10, 10, 10), noise=0.0, drift=0.0, size=(1.0, 3.0, 0.2)):
    """Return the same items in spaces that are turned, stretched and moved copies of one, each with noise and drift."""
    Z = normal(n, min(dims)) * torch.linspace(2, 0.5, min(dims))
    t = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    return {
        f"s{s}": size[s] * (Z @ turn(min(dims), d, seed=s) + noise * normal(n, d, seed=10 + s))
        + size[s] * (drift * t * normal(d, seed=20 + s) + normal(d, seed=30 + s))
        for s, d in enumerate(dims)
    }


def cost(maps, views, items, n):
    """Return the sum of squares about the mean of all spaces that have an item, by definition."""
    total, count = torch.zeros(n, next(iter(maps.values()))[0].shape[1]).double(), torch.zeros(n, 1).double()
    for space, (turned, t) in maps.items():
        total.index_add_(0, items[space], views[space] @ turned + t)
        count[items[space]] += 1
    mean = total / count
    return sum(float((views[s] @ turned + t - mean[items[s]]).square().sum()) for s, (turned, t) in maps.items()), mean


def slow_generalized_procrustes(views, items, n, wide, rounds=1500):
    """Return the maps after many rounds of: take the mean, fit every space to it by itself."""
    maps = {s: (torch.eye(X.shape[1], wide).double(), torch.zeros(wide).double()) for s, X in views.items()}
    for _ in range(rounds):
        _, mean = cost(maps, views, items, n)
        for space, X in views.items():
            C = mean[items[space]]
            U, _, Vt = torch.linalg.svd((X - X.mean(0)).T @ (C - C.mean(0)), full_matrices=False)
            maps[space] = (U @ Vt, C.mean(0) - X.mean(0) @ U @ Vt)
    return maps


def maps_of(aggregator):
    return {
        s: (c.state_dict()["weight"].double(), c.state_dict()["bias"].double()) for s, c in aggregator.charts.items()
    }


@pytest.mark.parametrize("dims", [(10, 10, 10), (6, 10, 8)])
def test_copies_of_one_space_translate_into_each_other_exactly(dims):
    views = spaces(dims=dims)
    fitted = create("generalized-procrustes").fit(views)
    assert fitted.dim == 10
    for source, X in views.items():
        for target, Y in views.items():
            close(translated(fitted, X, source, target), Y, 1e-5)


@pytest.mark.parametrize("dims", [(10, 10), (6, 10), (10, 6)])
def test_two_spaces_compose_to_procrustes_between_them(dims):
    views = spaces(dims=dims, noise=0.7, drift=1)
    narrow, other = sorted(views, key=lambda space: views[space].shape[1])
    fitted = create("generalized-procrustes", scale=False).fit(views)
    expected = atlas.create(Aligner, "procrustes", scale=False).fit(views[narrow], views[other])
    close(translated(fitted, views[narrow], narrow, other), expected.transform(views[narrow]), 1e-5)


def test_translations_around_a_circle_undo_each_other():
    views = spaces(noise=0.7, drift=1)
    fitted = create("generalized-procrustes").fit(views)
    X = views["s0"]
    around = translated(fitted, X, "s0", "s1")
    for source, target in (("s1", "s2"), ("s2", "s0")):
        around = translated(fitted, around, source, target)
    assert float((around - X).abs().max()) < 1e-12 * float(X.abs().max()) * 10
    direct = translated(fitted, X, "s0", "s2")
    close(translated(fitted, translated(fitted, X, "s0", "s1"), "s1", "s2"), direct, 1e-12)


def partial_items(n=120):
    """Return items of three spaces: all, the first 80, and those from 40."""
    return {"s0": torch.arange(n), "s1": torch.arange(80), "s2": torch.arange(40, n)}


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("dims", [(10, 10, 10), (6, 10, 8)])
def test_the_cost_is_that_of_many_plain_rounds(dims, partial):
    views = spaces(dims=dims, noise=1.5, drift=1.5, size=(1.0, 1.3, 0.8))
    items = partial_items() if partial else {space: torch.arange(120) for space in views}
    views = {space: X[items[space]] for space, X in views.items()}
    fitted = create("generalized-procrustes", scale=False).fit(views, items)
    found, mean = cost(maps_of(fitted), views, items, 120)
    expected, _ = cost(slow_generalized_procrustes(views, items, 120, 10), views, items, 120)
    assert found <= expected * (1 + 1e-7)
    close(fitted.extra["consensus"], mean, 1e-5)
    assert torch.equal(fitted.extra["items"], torch.arange(120))


def test_stopping_after_one_round_is_noticed():
    views = spaces(dims=(6, 10, 8), noise=1.5, drift=1.5, size=(1.0, 1.3, 0.8))
    items = {space: torch.arange(120) for space in views}
    with pytest.warns(
        AtlasWarning, match="'generalized-procrustes' still changed its maps by .* in round 1 - allow more"
    ):
        one = create("generalized-procrustes", iterations=1, scale=False).fit(views)
    many = create("generalized-procrustes", scale=False).fit(views)
    one, many = (cost(maps_of(fitted), views, items, 120)[0] for fitted in (one, many))
    assert one > many * (1 + 1e-6)


def test_every_chart_is_the_best_onto_the_consensus():
    views = spaces(dims=(6, 10, 8), noise=0.8, drift=1.5)
    fitted = create("generalized-procrustes").fit(views)
    mean = fitted.extra["consensus"]
    for space, X in views.items():
        best = atlas.create(Aligner, "procrustes", scale=False).fit(X, mean).state_dict()["weight"].double()
        weight = fitted.chart(space).state_dict()["weight"].double()
        close(weight / torch.linalg.matrix_norm(weight, 2), best, 1e-4)


def test_a_chain_of_overlaps_connects_spaces_without_items_in_common():
    views = spaces()
    items = {"s0": torch.arange(60), "s1": torch.arange(45, 95), "s2": torch.arange(80, 120)}
    fitted = create("generalized-procrustes").fit({s: X[items[s]] for s, X in views.items()}, items)
    close(translated(fitted, views["s0"], "s0", "s2"), views["s2"], 1e-5)


def test_spaces_that_nothing_connects_are_refused():
    items = {"s0": torch.arange(50), "s1": torch.arange(30, 90), "s2": torch.arange(89, 120)}
    views = {space: X[items[space]] for space, X in spaces().items()}
    with pytest.raises(AtlasError, match="needs 2 items of 's2' in other spaces, too - give anchors that connect"):
        create("generalized-procrustes").fit(views, items)


def test_long_vectors_do_not_rule_unless_asked_to():
    views = spaces(dims=(10, 10, 10), noise=0.8)
    longer = {**views, "s1": 1000 * views["s1"]}
    here, there = (create("generalized-procrustes").fit(v) for v in (views, longer))
    close(there.extra["consensus"], here.extra["consensus"], 1e-5)
    close(translated(there, views["s0"], "s0", "s1"), 1000 * translated(here, views["s0"], "s0", "s1"), 1e-5)
    plain = create("generalized-procrustes", scale=False).fit(longer).extra["consensus"]
    assert float(plain.norm()) > 100 * float(here.extra["consensus"].norm())


def test_charts_have_the_size_of_their_dimension():
    views = spaces(dims=(6, 10, 8), noise=0.1)
    fitted = create("generalized-procrustes").fit(views)
    for space, X in views.items():
        Z = fitted.chart(space).transform(X)
        assert float((Z - Z.mean(0)).square().sum(1).mean()) == pytest.approx(10, rel=1e-4)


def test_sizes_are_compared_on_the_items_all_spaces_have():
    views = spaces(size=(1.0, 3.0, 0.2))
    views["s0"][80:] *= 50
    items = {"s0": torch.arange(120), "s1": torch.arange(80), "s2": torch.arange(80)}
    fitted = create("generalized-procrustes").fit({s: X[items[s]] for s, X in views.items()}, items)
    close(translated(fitted, views["s0"][:80], "s0", "s1"), views["s1"][:80], 1e-4)


def test_standardising_makes_units_of_columns_irrelevant():
    views = spaces(noise=0.5)
    units = torch.logspace(-2, 2, 10, dtype=torch.float64)
    changed = {**views, "s1": views["s1"] * units}
    here, there = (create("generalized-procrustes", standardise=True).fit(v) for v in (views, changed))
    close(there.extra["consensus"], here.extra["consensus"], 1e-5)
    close(translated(there, views["s0"], "s0", "s1") / units, translated(here, views["s0"], "s0", "s1"), 1e-4)


def test_wrong_items_spoil_the_space_they_are_wrong_in():
    views = spaces(n=400, noise=0.1)
    shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    fitted = create("generalized-procrustes").fit(views, {**{s: torch.arange(400) for s in views}, "s2": shuffled})

    def similarity(source, target):
        made, own = translated(fitted, views[source], source, target), views[target]
        return float(F.cosine_similarity(made - made.mean(0), own - own.mean(0)).mean())

    assert similarity("s0", "s1") > 0.9
    assert abs(similarity("s0", "s2")) < 0.2


# generalized-procrustes: spaces that join later


def test_a_space_that_joins_gets_nearly_the_chart_it_would_have_had():
    views = spaces(n=400, noise=0.3, drift=0.5, size=(1.0, 3.0, 0.2))
    together = create("generalized-procrustes").fit(views)
    last = views.pop("s2")
    later = create("generalized-procrustes").fit(views)
    before, identity = later.extra["consensus"].clone(), later.identity()
    later.add("s2", last)
    a, b = (translated(fitted, last, "s2", "s0") for fitted in (together, later))
    assert float((a - b).norm()) < 0.1 * float((a - a.mean(0)).norm())
    assert torch.equal(later.extra["consensus"], before) and later.identity() == identity


def test_a_space_may_join_with_some_of_the_items():
    views = spaces(dims=(10, 10, 7))
    last = views.pop("s2")
    fitted = create("generalized-procrustes").fit(views)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))[:40]
    strangers = torch.cat([last[order], normal(30, 7, seed=5)])
    fitted.add("s2", strangers, torch.cat([order, torch.arange(500, 530)]))
    close(translated(fitted, last, "s2", "s0"), views["s0"], 0.02)
    Z = fitted.chart("s2").transform(last)
    assert float((Z - Z.mean(0)).square().sum(1).mean()) == pytest.approx(10, rel=0.05)


def test_a_space_that_cannot_join_is_told_why():
    fitted = create("generalized-procrustes").fit(spaces())
    with pytest.raises(AtlasError, match="needs 2 items of 'new' that it was fitted on, got 1"):
        fitted.add("new", normal(5, 10), torch.tensor([119, 120, 121, 122, 123]))


def test_a_wider_space_joins_with_what_the_others_have_of_it():
    views = spaces(dims=(6, 6, 10), noise=0.1)
    wide = views.pop("s2")
    fitted = create("generalized-procrustes").fit(views).add("s2", wide)
    assert fitted.chart("s2").d_target == 6
    close(translated(fitted, wide, "s2", "s0"), views["s0"], 0.1)
    # The mean in the directions that are lost does not come back, all else does.
    back = translated(fitted, views["s0"], "s0", "s2")
    back, wide = back - back.mean(0), wide - wide.mean(0)
    assert float((back - wide).norm()) < 0.15 * float(wide.norm())
    Z = fitted.chart("s2").transform(wide)
    assert float((Z - Z.mean(0)).square().sum(1).mean()) == pytest.approx(6, rel=1e-4)


def test_the_identity_is_the_consensus():
    views = spaces(noise=0.5)
    first, again = (create("generalized-procrustes").fit(views).identity() for _ in range(2))
    assert first == again
    assert first != create("generalized-procrustes").fit(spaces(noise=0.4)).identity()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"iterations": 0}, "at least 1 iteration, got 0"), ({"tolerance": -1.0}, "a tolerance from 0 to 1, got -1.0")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(AtlasError, match=f"Aggregator 'generalized-procrustes' needs {message}"):
        create("generalized-procrustes", **options)


def test_a_space_of_one_vector_is_refused():
    with pytest.raises(AtlasError, match="needs rows that differ, got the same vector for all of them in 'b'"):
        create("generalized-procrustes").fit({"a": normal(9, 3), "b": torch.full((9, 3), 0.1)})


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
