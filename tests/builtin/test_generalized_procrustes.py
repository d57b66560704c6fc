"""Rotations fitted together: planted copies, a slow reference, items in some spaces, and spaces that join later."""

from __future__ import annotations

import pytest
import torch
from planted import close, normal, turn
from torch.nn import functional as F

import atlas
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError, AtlasWarning


def create(**options):
    return atlas.create(Aggregator, "generalized-procrustes", options)


def translated(aggregator, X, source, target):
    return aggregator.chart(target).inverse_transform(aggregator.chart(source).transform(X))


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
    fitted = create().fit(views)
    assert fitted.dim == 10
    for source, X in views.items():
        for target, Y in views.items():
            close(translated(fitted, X, source, target), Y, 1e-5)


@pytest.mark.parametrize("dims", [(10, 10), (6, 10), (10, 6)])
def test_two_spaces_compose_to_procrustes_between_them(dims):
    views = spaces(dims=dims, noise=0.7, drift=1)
    narrow, other = sorted(views, key=lambda space: views[space].shape[1])
    fitted = create(scale=False).fit(views)
    expected = atlas.create(Aligner, "procrustes", scale=False).fit(views[narrow], views[other])
    close(translated(fitted, views[narrow], narrow, other), expected.transform(views[narrow]), 1e-5)


def test_translations_around_a_circle_undo_each_other():
    views = spaces(noise=0.7, drift=1)
    fitted = create().fit(views)
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
    fitted = create(scale=False).fit(views, items)
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
        one = create(iterations=1, scale=False).fit(views)
    many = create(scale=False).fit(views)
    one, many = (cost(maps_of(fitted), views, items, 120)[0] for fitted in (one, many))
    assert one > many * (1 + 1e-6)


def test_every_chart_is_the_best_onto_the_consensus():
    views = spaces(dims=(6, 10, 8), noise=0.8, drift=1.5)
    fitted = create().fit(views)
    mean = fitted.extra["consensus"]
    for space, X in views.items():
        best = atlas.create(Aligner, "procrustes", scale=False).fit(X, mean).state_dict()["weight"].double()
        weight = fitted.chart(space).state_dict()["weight"].double()
        close(weight / torch.linalg.matrix_norm(weight, 2), best, 1e-4)


def test_a_chain_of_overlaps_connects_spaces_without_items_in_common():
    views = spaces()
    items = {"s0": torch.arange(60), "s1": torch.arange(45, 95), "s2": torch.arange(80, 120)}
    fitted = create().fit({s: X[items[s]] for s, X in views.items()}, items)
    close(translated(fitted, views["s0"], "s0", "s2"), views["s2"], 1e-5)


def test_spaces_that_nothing_connects_are_refused():
    items = {"s0": torch.arange(50), "s1": torch.arange(30, 90), "s2": torch.arange(89, 120)}
    views = {space: X[items[space]] for space, X in spaces().items()}
    with pytest.raises(AtlasError, match="needs 2 items of 's2' in other spaces, too - give anchors that connect"):
        create().fit(views, items)


def test_long_vectors_do_not_rule_unless_asked_to():
    views = spaces(dims=(10, 10, 10), noise=0.8)
    longer = {**views, "s1": 1000 * views["s1"]}
    here, there = (create().fit(v) for v in (views, longer))
    close(there.extra["consensus"], here.extra["consensus"], 1e-5)
    close(translated(there, views["s0"], "s0", "s1"), 1000 * translated(here, views["s0"], "s0", "s1"), 1e-5)
    plain = create(scale=False).fit(longer).extra["consensus"]
    assert float(plain.norm()) > 100 * float(here.extra["consensus"].norm())


def test_charts_have_the_size_of_their_dimension():
    views = spaces(dims=(6, 10, 8), noise=0.1)
    fitted = create().fit(views)
    for space, X in views.items():
        Z = fitted.chart(space).transform(X)
        assert float((Z - Z.mean(0)).square().sum(1).mean()) == pytest.approx(10, rel=1e-4)


def test_sizes_are_compared_on_the_items_all_spaces_have():
    views = spaces(size=(1.0, 3.0, 0.2))
    views["s0"][80:] *= 50
    items = {"s0": torch.arange(120), "s1": torch.arange(80), "s2": torch.arange(80)}
    fitted = create().fit({s: X[items[s]] for s, X in views.items()}, items)
    close(translated(fitted, views["s0"][:80], "s0", "s1"), views["s1"][:80], 1e-4)


def test_standardising_makes_units_of_columns_irrelevant():
    views = spaces(noise=0.5)
    units = torch.logspace(-2, 2, 10, dtype=torch.float64)
    changed = {**views, "s1": views["s1"] * units}
    here, there = (create(standardise=True).fit(v) for v in (views, changed))
    close(there.extra["consensus"], here.extra["consensus"], 1e-5)
    close(translated(there, views["s0"], "s0", "s1") / units, translated(here, views["s0"], "s0", "s1"), 1e-4)


def test_wrong_items_spoil_the_space_they_are_wrong_in():
    views = spaces(n=400, noise=0.1)
    shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    fitted = create().fit(views, {**{s: torch.arange(400) for s in views}, "s2": shuffled})

    def similarity(source, target):
        made, own = translated(fitted, views[source], source, target), views[target]
        return float(F.cosine_similarity(made - made.mean(0), own - own.mean(0)).mean())

    assert similarity("s0", "s1") > 0.9
    assert abs(similarity("s0", "s2")) < 0.2


# spaces that join later


def test_a_space_that_joins_gets_nearly_the_chart_it_would_have_had():
    views = spaces(n=400, noise=0.3, drift=0.5, size=(1.0, 3.0, 0.2))
    together = create().fit(views)
    last = views.pop("s2")
    later = create().fit(views)
    before, identity = later.extra["consensus"].clone(), later.identity()
    later.add("s2", last)
    a, b = (translated(fitted, last, "s2", "s0") for fitted in (together, later))
    assert float((a - b).norm()) < 0.1 * float((a - a.mean(0)).norm())
    assert torch.equal(later.extra["consensus"], before) and later.identity() == identity


def test_a_space_may_join_with_some_of_the_items():
    views = spaces(dims=(10, 10, 7))
    last = views.pop("s2")
    fitted = create().fit(views)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))[:40]
    strangers = torch.cat([last[order], normal(30, 7, seed=5)])
    fitted.add("s2", strangers, torch.cat([order, torch.arange(500, 530)]))
    close(translated(fitted, last, "s2", "s0"), views["s0"], 0.02)
    Z = fitted.chart("s2").transform(last)
    assert float((Z - Z.mean(0)).square().sum(1).mean()) == pytest.approx(10, rel=0.05)


def test_a_space_that_cannot_join_is_told_why():
    fitted = create().fit(spaces())
    with pytest.raises(AtlasError, match="needs 2 items of 'new' that it was fitted on, got 1"):
        fitted.add("new", normal(5, 10), torch.tensor([119, 120, 121, 122, 123]))


def test_a_wider_space_joins_with_what_the_others_have_of_it():
    views = spaces(dims=(6, 6, 10), noise=0.1)
    wide = views.pop("s2")
    fitted = create().fit(views).add("s2", wide)
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
    first, again = (create().fit(views).identity() for _ in range(2))
    assert first == again
    assert first != create().fit(spaces(noise=0.4)).identity()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"iterations": 0}, "at least 1 iteration, got 0"), ({"tolerance": -1.0}, "a tolerance from 0 to 1, got -1.0")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(AtlasError, match=f"Aggregator 'generalized-procrustes' needs {message}"):
        create(**options)


def test_a_space_of_one_vector_is_refused():
    with pytest.raises(AtlasError, match="needs rows that differ, got the same vector for all of them in 'b'"):
        create().fit({"a": normal(9, 3), "b": torch.full((9, 3), 0.1)})
