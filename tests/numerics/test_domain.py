"""Domains: leverage as it is defined, its scale, and errors that are predicted from it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from atlas.errors import AtlasError
from atlas.numerics.domain import RIDGE, Domain, residual
from atlas.numerics.moments import Moments
from atlas.testing.promises import paired_data

NEEDS = ("xy", "xx")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def data():
    """Rows of unequal variances, far from zero, and a map of them with noise."""
    X = normal(900, 8) * torch.linspace(0.1, 5, 8, dtype=torch.float64) + 3
    return X, X @ normal(8, 5, seed=1) + 0.3 * normal(900, 5, seed=2)


def test_leverage_is_the_diagonal_of_the_hat_matrix(data):
    X, _ = data
    domain = Domain.of(Moments.of(*data, NEEDS))
    Xc = X - X.mean(0)
    ridge = RIDGE * Xc.square().sum(0).mean() * torch.eye(8, dtype=torch.float64)
    hat = (Xc @ torch.linalg.inv(Xc.T @ Xc + ridge) * Xc).sum(1)
    torch.testing.assert_close(domain.leverage(X), hat, rtol=1e-5, atol=0)
    assert float(hat.mean()) == pytest.approx(domain.level, rel=1e-6)


def test_the_level_is_dimensions_per_row_where_no_direction_is_narrow():
    X = normal(2000, 6)
    assert Domain.of(Moments.of(X, X, NEEDS)).level == pytest.approx(6 / 2000, rel=0.02)


def test_leverage_does_not_depend_on_the_unit_of_the_source(data):
    X, Y = data
    a, b = Domain.of(Moments.of(X, Y, NEEDS)), Domain.of(Moments.of(1000 * X, Y, NEEDS))
    torch.testing.assert_close(a.leverage(X), b.leverage(1000 * X), rtol=1e-5, atol=0)


def test_a_direction_that_no_row_has_lies_outside_and_is_finite(data):
    X, Y = data
    X = torch.cat([X, torch.zeros(len(X), 1, dtype=torch.float64)], 1)
    domain = Domain.of(Moments.of(X, Y, NEEDS))
    away = X[:1].clone()
    away[0, -1] = 5
    assert bool(torch.isfinite(domain.leverage(away)).all()) and domain.outside(away).tolist() == [True]
    assert float(domain.outside(X).double().mean()) < 0.05


def test_the_error_is_that_of_the_fit_and_grows_with_the_distance(data):
    X, Y = data
    m = Moments.of(X, Y, NEEDS)
    weight = normal(8, 5, seed=3)
    bias = normal(5, seed=4)
    domain = Domain.of(m, weight, bias)
    true = (X @ weight + bias - Y).square().sum(1).mean().sqrt()
    assert domain.error == pytest.approx(float(true), rel=1e-6)
    assert residual(m, weight, bias) == pytest.approx(float(true), rel=1e-12)
    assert float(domain.errors(X).square().mean().sqrt()) == pytest.approx(domain.error, rel=1e-5)
    far = X.mean(0) + 3 * (X - X.mean(0))
    torch.testing.assert_close(domain.errors(far), 3 * domain.errors(X), rtol=1e-5, atol=0)


def test_an_exact_map_has_no_error(data):
    X, _ = data
    eye = torch.eye(8, dtype=torch.float64)
    assert Domain.of(Moments.of(X, X, NEEDS), eye, eye[0] * 0).error < 1e-6


def test_without_a_map_there_is_no_error_to_predict(data):
    assert math.isnan(Domain.of(Moments.of(*data, NEEDS)).error)


def test_batches_and_half_precision_have_the_leverage_of_all_rows():
    X, Y = paired_data(n=5000)
    domain = Domain.of(Moments.of(X, Y, NEEDS))
    whole = domain.leverage(X)
    parts = torch.cat([domain.leverage(part) for part in X.split(700)])
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)
    torch.testing.assert_close(domain.leverage(X.half()), whole.float(), rtol=2e-2, atol=1e-6)


def test_a_row_is_outside_if_its_error_is_more_than_twice_that_of_the_fit(data):
    X, Y = data
    domain = Domain.of(Moments.of(X, Y, NEEDS))
    away = X[:1] - X.mean(0)
    once = away * (domain.level / domain.leverage(X.mean(0) + away)).sqrt()
    rows = X.mean(0) + once * torch.tensor([[0.0], [1.0], [1.99], [2.01], [-2.01]])
    assert domain.outside(rows).tolist() == [False, False, False, True, True]


def test_a_hundredth_of_the_mean_variance_is_added_to_each(data):
    X, _ = data
    variances = X.var(0, correction=0)
    found = Domain.of(Moments.of(X, X, NEEDS))
    Xc = X - X.mean(0)
    wanted = Xc @ torch.linalg.inv((Xc.T @ Xc) / 900 + 0.01 * variances.mean() * torch.eye(8)) * Xc / 900
    torch.testing.assert_close(found.leverage(X), wanted.sum(1), rtol=1e-4, atol=0)


def test_different_rows_are_counted_unless_it_is_said_how_many_are_new(data):
    m = Moments.of(*(torch.cat([t, t[:9]]) for t in data), (*NEEDS, "rows"))
    assert Domain.of(m).fresh == 900 and Domain.of(m, fresh=7).fresh == 7 and Domain.of(m, fresh=0).fresh == 0


def test_half_a_map_has_no_error(data):
    m = Moments.of(*data, NEEDS)
    assert math.isnan(Domain.of(m, normal(8, 5)).error) and math.isnan(Domain.of(m, bias=normal(5)).error)


def test_a_domain_is_stored_and_read_or_refused(data):
    domain = Domain.of(Moments.of(*data, NEEDS), normal(8, 5, seed=3), normal(5, seed=4))
    stored = domain.tensors()
    read = Domain.from_tensors(stored, 8)
    assert all(torch.equal(t, stored[name]) for name, t in read.tensors().items()) and len(stored) == 3
    scale = stored["scale"]
    for changed, sentence in (
        ({"mean": stored["mean"][1:]}, "mean, root and scale of 8 dimensions in float32, got"),
        ({"root": stored["root"].double()}, "in float32, got"),
        ({"more": scale}, "mean, root and scale of 8 dimensions"),
        ({"scale": scale * torch.tensor([0.0, 1, 1])}, "must have a level above 0 and no negative scale, got"),
        ({"scale": scale * torch.tensor([1.0, 1, -1])}, "no negative scale"),
    ):
        with pytest.raises(AtlasError, match=sentence):
            Domain.from_tensors({**stored, **changed}, 8)
    assert Domain.from_tensors({**stored, "scale": scale * torch.tensor([1.0, 0, 0])}, 8).error == 0


def test_moments_of_no_rows_have_no_domain(data):
    m = Moments.of(*data, NEEDS)
    with pytest.raises(AtlasError, match="are not those of any rows: their variances are not positive"):
        Domain.of(dataclasses.replace(m, xx=m.xx - 2 * torch.diag_embed(m.xx.diagonal() * torch.eye(8)[3])))


def test_rows_that_do_not_differ_have_no_domain():
    X = torch.ones(9, 3)
    with pytest.raises(AtlasError, match="needs rows that differ, got the same vector for all of them"):
        Domain.of(Moments.of(X, X, NEEDS))


def test_rows_of_another_width_are_refused(data):
    domain = Domain.of(Moments.of(*data, NEEDS))
    with pytest.raises(AtlasError, match=r"has 8 dimensions, got X with shape \(2, 3\)"):
        domain.leverage(torch.ones(2, 3))
