"""The aggregator that whitens each space alone, and what it knows of how well its charts cover an item."""

from __future__ import annotations

import pytest
import torch
from planted import centred, close, normal, turn
from torch.nn import functional as F

import atlas
from atlas.components.aggregator import Aggregator
from atlas.errors import AtlasError
from atlas.testing import check_aggregator


def create(**options):
    return atlas.create(Aggregator, "whitened-concat", options)


def rows_of(fitted, *views):
    """Return what the charts say of the same rows in all spaces, as wide as the widest, and that all are present."""
    mapped = [chart.transform(X) for chart, X in zip(fitted.charts.values(), views, strict=True)]
    widest = max(Z.shape[1] for Z in mapped)
    rows = torch.stack([F.pad(Z, (0, widest - Z.shape[1])) for Z in mapped], 1)
    return rows, torch.ones(rows.shape[:2], dtype=torch.bool)


def islands(n=200, d=12, seed=0):
    """Return vectors in two spaces, 'a' and 'b': rows are of items that the first knows, then of what the second does.

    What a space knows lies about a ring of places, everything else about its middle.
    """
    places = 6 * F.normalize(normal(5, d, seed=seed), dim=1)
    known = torch.arange(n) % 5
    views = []
    for own in (0, 1):
        inside, outside = places[known] + normal(n, d, seed=seed + 1 + own), normal(n, d, seed=seed + 3 + own)
        views.append(torch.cat([inside, outside] if own == 0 else [outside, inside]))
    return views


def fitted_apart(**options):
    a, b = islands()
    return create(**options).fit({"a": a[:200], "b": b[200:]}, {"a": torch.arange(200), "b": 200 + torch.arange(200)})


def test_every_chart_is_white_on_its_own_items():
    A, B = normal(300, 5) @ normal(5, 5, seed=1) + 4, normal(200, 3, seed=2) @ normal(3, 3, seed=3)
    apart = {"a": torch.arange(300), "b": 300 + torch.arange(200)}
    fitted = create(shrink=1e-9).fit({"a": A, "b": B}, apart)
    for space, X in (("a", A), ("b", B)):
        Z = fitted.chart(space).transform(X).double()
        close(1 + Z.mean(0), torch.ones(Z.shape[1]), 1e-5)
        close(Z.T @ Z / len(Z), torch.eye(Z.shape[1]), 1e-5)


def test_shrinking_pulls_the_covariance_towards_that_of_a_ball():
    X = normal(400, 6) * torch.tensor([9.0, 4, 2, 1, 0.5, 0.1])
    C = centred(X).T @ centred(X) / len(X)
    values = torch.linalg.eigvalsh(C)
    fitted = create(shrink=0.3).fit({"a": X, "b": X})
    Z = centred(fitted.chart("a").transform(X).double())
    expected = (values / (0.7 * values + 0.3 * values.mean())).sort().values
    close(torch.linalg.eigvalsh(Z.T @ Z / len(Z)), expected, 1e-5)
    ball = create(shrink=1.0).fit({"a": X, "b": X}).chart("a").state_dict()["weight"].double()
    close(ball, ball[0, 0] * torch.eye(6), 1e-5)


def test_turned_and_moved_spaces_keep_their_distances_and_the_covariance_does_not_matter():
    X, Q, b = normal(300, 6), turn(6, 6, seed=1), normal(6, seed=2)
    squeezed = X @ torch.diag(torch.tensor([9.0, 4, 2, 1, 0.5, 0.1]).double()) @ Q + b
    fitted = create(shrink=1e-9).fit({"a": X, "b": squeezed})
    one, other = (fitted.chart(s).transform(V).double() for s, V in (("a", X), ("b", squeezed)))
    close(torch.cdist(other, other), torch.cdist(one, one), 1e-4)


def test_spaces_of_unequal_widths_stand_one_after_another():
    A, B = normal(50, 5), normal(50, 3, seed=1)
    fitted = create().fit({"a": A, "b": B})
    made = fitted.combine(*rows_of(fitted, A, B))
    assert fitted.dim == made.shape[1] == 8
    close(made, torch.cat([fitted.chart("a").transform(A), fitted.chart("b").transform(B)], 1))


def test_where_a_space_does_not_have_an_item_its_mean_stands_in():
    A, B = normal(50, 5) + 3, normal(50, 3, seed=1)
    fitted = create().fit({"a": A, "b": B})
    rows, present = rows_of(fitted, A, B)
    present[7, 0] = False
    made = fitted.combine(rows, present)
    assert not made[7, :5].any() and made[7, 5:].equal(rows[7, 1, :3])
    close(1 + fitted.chart("a").transform(A.mean(0)[None]), torch.ones(1, 5), 1e-6)


@pytest.mark.parametrize("temperature", [None, 1.0, 0.2])
def test_weights_are_a_partition_of_unity(temperature):
    a, b = islands(seed=20)
    fitted = fitted_apart(temperature=temperature)
    rows, present = rows_of(fitted, a, b)
    present[::3, 1] = False
    weights = fitted.weights(rows, present)
    assert not weights[~present].any() and bool((weights >= 0).all())
    close(weights.sum(1), torch.ones(len(weights)))


def test_the_chart_that_covers_an_item_weighs_more():
    a, b = islands(seed=0)
    new = [torch.cat([X[:200] + 0.1 * normal(200, 12, seed=9), X[200:]]) for X in (a, b)]
    weights = fitted_apart(temperature=1.0).weights(*rows_of(fitted_apart(temperature=1.0), *new))
    assert float((weights[:200, 0] > 0.5).double().mean()) > 0.9
    assert float((weights[200:, 1] > 0.5).double().mean()) > 0.9
    alike = fitted_apart().weights(*rows_of(fitted_apart(), *new))
    assert bool((alike == 0.5).all())


def test_a_low_temperature_chooses_and_a_high_one_does_not():
    a, b = islands()
    choose, weigh = fitted_apart(temperature=1e-3), fitted_apart(temperature=1e6)
    assert float(choose.weights(*rows_of(choose, a, b)).amax(1).mean()) > 0.99
    close(weigh.weights(*rows_of(weigh, a, b)), torch.full((400, 2), 0.5), 1e-4)


def test_coverage_is_the_mean_cosine_to_the_nearest_in_deviations_of_their_own():
    a, b = islands(n=40)
    apart = {"a": torch.arange(40), "b": 40 + torch.arange(40)}
    fitted = create(temperature=2.0, neighbours=3).fit({"a": a[:40], "b": b[40:]}, apart)
    rows, present = rows_of(fitted, a, b)
    scores = []
    for k, own in ((0, range(40)), (1, range(40, 80))):
        Z = F.normalize(rows[:, k].double(), dim=1)
        near = [torch.stack([Z[i] @ Z[j] for j in own if j != i]).sort().values[-3:].mean() for i in range(80)]
        near = torch.stack(near)
        scores.append((near - near[own].mean()) / near[own].std())
    close(fitted.weights(rows, present), (torch.stack(scores, 1) / 2).softmax(1), 1e-4)


def test_references_are_few_and_the_order_of_the_rows_does_not_matter():
    a, b = islands()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    straight = create(temperature=1.0, references=30).fit({"a": a[:200], "b": b[:200]})
    mixed = create(temperature=1.0, references=30).fit(
        {"a": a[:200][order], "b": b[:200]}, {"a": order, "b": torch.arange(200)}
    )
    assert straight.extra["references_0"].shape == (30, 12)
    close(mixed.extra["references_0"], straight.extra["references_0"], 1e-5)


def test_the_contract_is_kept_with_weights_too():
    check_aggregator(create(temperature=1.0, references=40))


def test_a_task_that_comes_later_leaves_the_charts_before_it_as_they_are():
    a, b = islands()
    third = normal(100, 7, seed=8)
    views, items = {"a": a[:200], "b": b[200:]}, {"a": torch.arange(200), "b": 200 + torch.arange(200)}
    before = create().fit(views, items)
    after = create().fit({**views, "c": third}, {**items, "c": 400 + torch.arange(100)})
    for space in views:
        assert all(
            torch.equal(before.chart(space).state_dict()[name], after.chart(space).state_dict()[name])
            for name in ("weight", "bias")
        )
    with pytest.raises(AtlasError, match="fit again with all, the charts stay the same"):
        before.add("c", third, 400 + torch.arange(100))


def vectors(name, data, ids):
    return atlas.Vectors.of(data, name, ids=ids)


def test_vectors_that_share_no_item_make_an_atlas_that_is_stored_and_loaded(tmp_path):
    a, b = islands()
    known, unknown = [f"i{i}" for i in range(200)], [f"j{i}" for i in range(200)]
    merged = atlas.aggregate(
        "whitened-concat", vectors("a", a[:200], known), vectors("b", b[200:], unknown), temperature=1.0
    )
    assert len(merged.items) == 400 and merged.space.dim == 24
    both = [vectors("a", a, known + unknown), vectors("b", b, known + unknown)]
    atlas.save(merged, tmp_path / "merged")
    loaded = atlas.load(tmp_path / "merged")
    assert torch.equal(loaded(*both).data, merged(*both).data)
    assert loaded(*both).space == merged.space


def test_charts_fitted_on_other_items_reach_another_space():
    a, b = islands()
    ids = [f"i{i}" for i in range(400)]
    spaces = [
        atlas.aggregate("whitened-concat", vectors("a", a[:n], ids[:n]), vectors("b", b[n:], ids[n:])).space.fingerprint
        for n in (200, 300, 200)
    ]
    assert spaces[0] == spaces[2] != spaces[1]


def test_other_methods_refuse_spaces_that_share_no_item():
    a, b = islands()
    some, others = [f"i{i}" for i in range(200)], [f"j{i}" for i in range(200)]
    with pytest.raises(AtlasError, match="found no item that is in two of the spaces"):
        atlas.aggregate("generalized-procrustes", vectors("a", a[:200], some), vectors("b", b[200:], others))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shrink": 0.0}, "needs to shrink by more than 0 and at most 1, got 0.0"),
        ({"shrink": 1.5}, "needs to shrink by more than 0 and at most 1, got 1.5"),
        ({"temperature": 0.0}, "needs a temperature above 0, got 0.0"),
        ({"neighbours": 0}, "needs at least 1 neighbour, got 0"),
        ({"references": 5}, "needs more than 5 references, as many as neighbours, got 5"),
    ],
)
def test_options_that_mean_nothing_are_told(options, told):
    with pytest.raises(AtlasError, match=told):
        create(**options)


def test_views_that_say_nothing_are_told():
    with pytest.raises(AtlasError, match="needs rows that differ, got the same vector for all of them in 'b'"):
        create().fit({"a": normal(20, 4), "b": torch.ones(20, 4)})
    with pytest.raises(AtlasError, match="needs more than 5 items in 'a', got 4 - use fewer neighbours"):
        create(temperature=1.0).fit({"a": normal(4, 3), "b": normal(4, 3)})
