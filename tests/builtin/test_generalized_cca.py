"""Multiway canonical correlations: planted signal, the definition by a slow route, items missing, maps both ways."""

from __future__ import annotations

import pytest
import torch
from planted import close, normal

import atlas
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError


def create(**options):
    return atlas.create(Aggregator, "generalized-cca", options)


def views(n=400, common=4, own=6, dims=(12, 15, 20), loud=5.0):
    """Return a common signal (n, common) and spaces that mix it with loud directions of their own."""
    Z = normal(n, common, seed=0)
    found = {}
    for s, d in enumerate(dims):
        parts = torch.cat([Z, loud * normal(n, own, seed=1 + s)], 1)
        found[f"s{s}"] = parts @ normal(common + own, d, seed=10 + s) + 0.01 * normal(n, d, seed=20 + s) + 3
    return Z, found


def explained(Z, G):
    """Return the share of the variance of each column of Z (n, k) that a regression on G (n, r) explains."""
    A = torch.cat([G, torch.ones(len(G), 1)], 1).double()
    left = Z - A @ torch.linalg.lstsq(A, Z).solution
    return 1 - left.square().sum(0) / (Z - Z.mean(0)).square().sum(0)


def test_a_quiet_signal_that_is_common_is_found_among_loud_ones_that_are_not():
    Z, given = views()
    fitted = create(rank=4, ridge=1e-6).fit(given)
    for space, X in given.items():
        assert float(explained(Z, fitted.chart(space).transform(X)).min()) > 0.95
    rotated = atlas.create(Aggregator, "generalized-procrustes").fit(given)
    assert float(explained(Z, rotated.extra["consensus"].double()[:, :4]).min()) < 0.5


@pytest.mark.parametrize("ridge", [0.01, 0.5])
def test_the_consensus_is_the_leading_eigenvectors_of_the_sum_of_hat_matrices(ridge):
    _, given = views(n=60)
    fitted = create(rank=3, ridge=ridge).fit(given)
    hats = torch.zeros(60, 60).double()
    for X in given.values():
        C = X - X.mean(0)
        penalty = ridge * C.square().sum(0).mean()
        hats += C @ torch.linalg.inv(C.T @ C + penalty * torch.eye(C.shape[1]).double()) @ C.T
    expected = torch.linalg.eigh(hats).eigenvectors[:, -3:]
    G = fitted.extra["consensus"].double()
    close(G @ G.T / 60, expected @ expected.T, 1e-5)
    close(G.T @ G / 60, torch.eye(3).double(), 1e-5)
    for space, X in given.items():
        best = atlas.create(Aligner, "linear", ridge=ridge).fit(X, G)
        close(fitted.chart(space).transform(X), best.transform(X), 1e-5)


def test_no_other_directions_have_less_error_where_items_are_missing():
    """The cost by its definition, with each map and shift solved for anew, at what was found and beside it."""
    _, given = views(n=90, dims=(6, 7, 8), own=2)
    items = {"s0": torch.arange(90), "s1": torch.arange(60), "s2": torch.arange(25, 90)}
    given = {space: X[items[space]] for space, X in given.items()}
    count = torch.zeros(90).double()
    for rows in items.values():
        count[rows] += 1

    def cost(G):
        total = 0.0
        for space, X in given.items():
            C, H = X - X.mean(0), G[items[space]] - G[items[space]].mean(0)
            penalty = 0.2 * C.square().sum(0).mean() * torch.eye(C.shape[1]).double()
            W = torch.linalg.solve(C.T @ C + penalty, C.T @ H)
            total += float((C @ W - H).square().sum() + (W * (penalty @ W)).sum())
        return total

    def allowed(G):
        """Return G moved and mixed so that, over all places of all items, it has mean 0 and the unit covariance."""
        G = G - (count @ G) / count.sum()
        return G @ torch.linalg.inv(torch.linalg.cholesky((G.T * count) @ G / count.sum())).T

    G = create(rank=2, ridge=0.2).fit(given, items).extra["consensus"].double()
    close(allowed(G), G, 1e-5)
    least = cost(G)
    for seed in range(20):
        assert cost(allowed(G + 0.05 * normal(90, 2, seed=seed))) > least * (1 - 1e-6)


def test_spaces_translate_about_as_well_as_regression_on_the_pair():
    _, given = views(own=1, loud=1.0)
    fitted = create(ridge=0.01).fit(given)
    for source, target in (("s0", "s2"), ("s2", "s1")):
        X, Y = given[source], given[target]
        made = fitted.chart(target).inverse_transform(fitted.chart(source).transform(X))
        best = atlas.create(Aligner, "linear", ridge=0.01).fit(X, Y).transform(X)
        assert float((made - Y).square().sum()) < 1.3 * float((best - Y).square().sum())


def test_a_space_joins_later_as_if_it_had_been_there():
    Z, given = views()
    late = given.pop("s2")
    fitted = create(rank=4, ridge=1e-3).fit(given)
    before = fitted.chart("s0").state_dict()
    fitted.add("s2", late[100:], torch.arange(100, 400))
    assert float(explained(Z, fitted.chart("s2").transform(late)).min()) > 0.9
    assert all(torch.equal(fitted.chart("s0").state_dict()[name], t) for name, t in before.items())


def test_constant_spaces_and_options_that_cannot_be_are_refused():
    _, given = views()
    with pytest.raises(AtlasError, match="needs rows that differ, got the same vector for all of them in 's1'"):
        create().fit({**given, "s1": torch.ones(400, 5)})
    with pytest.raises(AtlasError, match="rank of at least 1, got 0"):
        create(rank=0)
    with pytest.raises(AtlasError, match="needs 2 items of 'new' that it was fitted on, got 1"):
        create().fit(given).add("new", normal(3, 5), [399, 400, 401])


def test_two_way_is_the_regression_in_each_direction():
    _, given = views()
    X, Y = given["s0"], given["s1"]
    both = atlas.create(Aligner, "two-way").fit(X, Y)
    close(both.transform(X), atlas.create(Aligner, "linear").fit(X, Y).transform(X), 1e-6)
    close(both.inverse_transform(Y), atlas.create(Aligner, "linear").fit(Y, X).transform(Y), 1e-6)


def test_two_way_comes_back_with_less_error_than_the_inverse():
    _, given = views(n=1000, common=5, own=5, loud=1.0)
    X, Y = given["s0"], given["s1"]
    both, one = (atlas.create(Aligner, name).fit(X[:500], Y[:500]) for name in ("two-way", "linear"))
    errors = [float((made.inverse_transform(Y[500:]) - X[500:]).square().mean()) for made in (both, one)]
    assert errors[0] < 0.5 * errors[1]
