"""Least squares, its penalties and its ranks against independent references."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from planted import EPS, centred, close, normal, turn
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError, AtlasWarning
from atlas.testing.promises import paired_data
from atlas_builtin.solvers import best_penalty, polar

PAIRED = ("procrustes", "linear-orthogonal", "linear", "low-rank", "cca")


def create(name, **options):
    return atlas.create(Aligner, name, options)


def unexplained(aligner, X, Y):
    """Return the part of the variance of Y that the map misses."""
    return float((aligner.transform(X) - Y).square().sum() / centred(Y).square().sum())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("d_source", "d_target"), [(6, 10), (10, 6)])
def test_linear_without_ridge_is_least_squares(bias, d_source, d_target):
    X, Y = paired_data(d_source, d_target)
    reference = LinearRegression(fit_intercept=bias).fit(X.numpy(), Y.numpy())
    aligner = create("linear", ridge=0, bias=bias).fit(X, Y)
    close(aligner.state_dict()["weight"], reference.coef_.T)
    close(aligner.transform(X), reference.predict(X.numpy()))
    assert bool(aligner.state_dict()["bias"].any()) == bias


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_ridge_is_a_fraction_of_the_mean_variance(bias, ridge):
    X, Y = paired_data()
    alpha = ridge * float((centred(X) if bias else X).square().sum()) / X.shape[1]
    reference = Ridge(alpha=alpha, fit_intercept=bias).fit(X.numpy(), Y.numpy())
    close(create("linear", ridge=ridge, bias=bias).fit(X, Y).transform(X), reference.predict(X.numpy()))


def test_ridge_goes_to_least_squares_as_it_vanishes():
    X, Y = paired_data()
    exact = create("linear", ridge=0).fit(X, Y).transform(X)
    errors = [float((create("linear", ridge=r).fit(X, Y).transform(X) - exact).norm()) for r in (1e-2, 1e-4)]
    assert errors[0] > 30 * errors[1]
    assert errors[1] < 1e-2 * float(exact.norm())


def test_without_ridge_the_smallest_of_many_solutions_is_taken():
    X, Y = paired_data(20, 4, n=8)
    with pytest.warns(AtlasWarning, match="8 pairs for 20 dimensions"):
        aligner = create("linear", ridge=0).fit(X, Y)
    close(aligner.state_dict()["weight"], np.linalg.lstsq(centred(X).numpy(), centred(Y).numpy(), rcond=1e-10)[0], 1e-5)


def test_without_ridge_repeated_columns_do_no_harm():
    X, Y = (t.float() for t in paired_data(6, 4))
    twice = torch.cat([X, X * 0.3 + 1], 1)
    aligner = create("linear", ridge=0).fit(twice, Y)
    close(aligner.transform(twice), create("linear", ridge=0).fit(X, Y).transform(X), 1e-4)
    assert float(aligner.state_dict()["weight"].norm()) < 10


@pytest.mark.parametrize("n", [48, 64, 95])
def test_about_as_many_pairs_as_dimensions_warn_without_ridge(n):
    X, Y = paired_data(64, 4, n=n)
    with pytest.warns(AtlasWarning, match=rf"'linear' without a ridge fits noise: {n} pairs for 64 dimensions - leave"):
        create("linear", ridge=0).fit(X, Y)
    create("linear").fit(X, Y)
    create("linear", ridge=0).fit(*paired_data(64, 4, n=98))


@pytest.mark.parametrize(("bias", "n"), [(True, 7), (False, 6)])
def test_a_warning_ends_at_one_and_a_half_degrees_of_freedom_for_each_dimension(bias, n):
    X, Y = paired_data(4, 2, n=n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create("linear", ridge=0, bias=bias).fit(X, Y)
        create("linear", ridge=1e-9, bias=bias).fit(X[:-1], Y[:-1])
    with pytest.warns(
        AtlasWarning, match=rf"{n - 1} pairs for 4 dimensions - leave ridge out, or use at least 16 pairs"
    ):
        create("linear", ridge=0, bias=bias).fit(X[:-1], Y[:-1])


def noisy(n, d=40, seed=0, noise=1.0):
    """Return pairs to fit on and many to test on: a linear map of features that fade, noise in every target column."""
    X = normal(n + 1000, d, seed=seed) * torch.logspace(0, -1, d, dtype=torch.float64)
    Y = X @ turn(d, d, seed=99) + noise * 0.1 * normal(n + 1000, d, seed=seed + 1)
    return (X[:n], Y[:n]), (X[n:], Y[n:])


@pytest.mark.parametrize("n", [20, 40, 41, 80, 400])
@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_default_ridge_is_nearly_the_best_there_is(n, noise):
    fit, test = noisy(n, noise=noise)
    best = min(
        unexplained(create("linear", ridge=10.0**e).fit(*fit), *test) for e in torch.arange(-6, 3, 0.25).tolist()
    )
    assert unexplained(create("linear").fit(*fit), *test) < 1.1 * best


def test_as_many_pairs_as_dimensions_blow_up_without_ridge_only():
    fit, test = noisy(41)
    with pytest.warns(AtlasWarning):
        assert unexplained(create("linear", ridge=0).fit(*fit), *test) > 5
    for name in PAIRED:
        aligner = create(name).fit(*fit)
        assert unexplained(aligner, *test) < 1
        assert float(torch.linalg.matrix_norm(aligner.state_dict()["weight"], 2)) < 3


def test_default_ridge_vanishes_as_pairs_become_many():
    X, Y = paired_data(n=900, noise=0.5)
    close(create("linear").fit(X, Y).transform(X), create("linear", ridge=0).fit(X, Y).transform(X), 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_default_ridge_leaves_exact_data_alone(dtype):
    X, Y = paired_data(9, 5)
    Y = X @ normal(9, 5) + 3
    close(create("linear").fit(X.to(dtype), Y.to(dtype)).transform(X), Y, 1e-5)


def test_penalty_has_the_least_cross_validation_error_by_definition():
    (X, Y), _ = noisy(30, d=12)
    X, Y = centred(X), centred(Y)

    def error(penalty):
        hat = X @ torch.linalg.solve(X.T @ X + penalty * torch.eye(12), X.T)
        return float((Y - hat @ Y).square().sum() / (len(X) - 1 - hat.trace()) ** 2)

    values, vectors = torch.linalg.eigh(X.T @ X)
    explained = (vectors.T @ X.T @ Y).square().sum(1) / values
    found = best_penalty(values, explained, float(Y.square().sum() - explained.sum()), 30 - 1 - 12)
    grid = torch.logspace(-8, 6, 400, dtype=torch.float64) * float(values[-1])
    assert error(found) <= min(error(float(p)) for p in grid)
    assert error(found) < 0.95 * min(error(found * 20), error(found / 20))


def repeated(X, Y, how):
    """Return rows with some of them repeated; 'rounded': as float32 has them."""
    n = len(X)
    rows = {"one": [0], "often": [0] * 50, "some": range(n // 10), "all": range(n), "rounded": range(n)}[how]
    copies = X[list(rows)], Y[list(rows)]
    return tuple(
        torch.cat([t, copy.float().double() if how == "rounded" else copy])
        for t, copy in zip((X, Y), copies, strict=True)
    )


@pytest.mark.parametrize("how", ["one", "often", "some", "all", "rounded"])
@pytest.mark.parametrize("n", [30, 38, 44, 80])
# A row that is there fifty times draws the mean and the scale of a rotation to itself, whatever the penalty.
@pytest.mark.parametrize(("name", "most"), [("linear", 1.05), ("low-rank", 1.05), ("linear-orthogonal", 1.15)])
def test_repeated_rows_fit_no_worse_than_dropped_ones(name, most, n, how):
    for seed in (0, 10, 20):
        fit, test = noisy(n, seed=seed)
        once, again = (unexplained(create(name).fit(*rows), *test) for rows in (fit, repeated(*fit, how)))
        assert again < most * once


@pytest.mark.parametrize("n", [30, 44, 80])
def test_repeated_rows_fit_as_well_as_the_leave_one_out_ridge_of_distinct_ones(n):
    for seed in (0, 10, 20):
        (X, Y), test = noisy(n, seed=seed)
        alphas = np.logspace(-6, 3, 60) * float(centred(X).square().sum()) / X.shape[1]
        oracle = torch.as_tensor(RidgeCV(alphas).fit(X.numpy(), Y.numpy()).predict(test[0].numpy()))
        expected = float((oracle - test[1]).square().sum() / centred(test[1]).square().sum())
        assert unexplained(create("linear").fit(*repeated(X, Y, "all")), *test) < 1.05 * expected


@pytest.mark.parametrize("n", [60, 110, 125])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("apart", [1e-3, 0.02, 0.1])
def test_rows_that_are_almost_alike_fit_about_as_well_as_the_leave_one_out_ridge(n, share, apart):
    fit, test = noisy(n, d=128, noise=5.0)
    few = torch.arange(max(1, int(share * n)))
    X, Y = (torch.cat([t, t[few] + apart * (other[few] - t[few])]) for t, other in zip(fit, test, strict=True))
    alphas = torch.logspace(-3, 5, 60).numpy()
    oracle = torch.as_tensor(RidgeCV(alphas).fit(X.numpy(), Y.numpy()).predict(test[0].numpy()))
    expected = float((oracle - test[1]).square().sum() / (test[1] - test[1].mean(0)).square().sum())
    assert unexplained(create("linear").fit(X, Y), *test) < 1.1 * expected


def test_all_rows_repeated_are_the_same_map():
    (X, Y), _ = noisy(44)
    close(create("linear").fit(X.repeat(3, 1), Y.repeat(3, 1)).transform(X), create("linear").fit(X, Y).transform(X))
    (X, Y), _ = noisy(100)
    aligner = create("linear")
    for x, y in zip(X.repeat(3, 1).split(70), Y.repeat(3, 1).split(70), strict=True):
        aligner.partial_fit(x, y)
    close(aligner.transform(X), create("linear").fit(X, Y).transform(X))


@pytest.mark.parametrize("copies", [1, 3])
def test_exact_data_of_lower_rank_are_left_alone(copies):
    X = normal(60, 6) * torch.logspace(0, -2, 6, dtype=torch.float64)
    X = torch.cat([X, X[:, :3]], 1).repeat(copies, 1)
    close(create("linear").fit(X, X[:, 5:6]).transform(X), X[:, 5:6], 1e-5)


def test_rows_too_near_their_mean_to_be_told_apart_are_counted_as_they_are():
    (X, Y), _ = noisy(80, d=12)
    offset = 1e7 * normal(1, 12, seed=5)
    with pytest.warns(AtlasWarning, match=r"Aligner 'linear' loses 4\d% of the spread of these vectors"):
        far = create("linear").fit(X + offset, Y + offset)
    close(far.state_dict()["weight"], create("linear").fit(X, Y).state_dict()["weight"], 1e-5)


def test_repeated_pairs_count_once_for_the_warning():
    X, Y = (t.repeat(4, 1) for t in paired_data(64, 4, n=48))
    with pytest.warns(AtlasWarning, match="'linear' without a ridge fits noise: 48 pairs for 64 dimensions"):
        create("linear", ridge=0).fit(X, Y)


@pytest.mark.parametrize("name", ["linear", "linear-orthogonal", "low-rank", "cca", "mlp", "procrustes", "relative"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_source_whose_rows_are_all_equal_is_refused(name, dtype):
    given = (torch.full((10, 4), 0.1, dtype=dtype),) + (() if name == "relative" else (normal(10, 3).to(dtype),))
    with pytest.raises(AtlasError, match=f"Aligner '{name}' needs (rows|anchors) that differ, got the same vector"):
        create(name).fit(*given)


def test_a_target_whose_rows_are_all_equal_is_mapped_to():
    aligner = create("linear").fit(normal(10, 3), torch.full((10, 4), 0.1))
    close(aligner.transform(normal(5, 3, seed=1)), torch.full((5, 4), 0.1))


# low-rank


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_low_rank_is_the_best_of_its_rank(ridge):
    X, Y = paired_data(10, 8, noise=3)
    aligner = create("low-rank", rank=3, ridge=ridge).fit(X, Y)
    weight = aligner.state_dict()["weight"].double()
    assert int(torch.linalg.matrix_rank(weight, rtol=1e-5)) == 3
    X, Y = centred(X), centred(Y)
    penalty = ridge * float(X.square().sum()) / 10

    def cost(W):
        return float((X @ W - Y).square().sum() + penalty * W.square().sum())

    # Alternating least squares over W = A @ B.T with B orthonormal, from elsewhere, reaches the same cost.
    B = turn(8, 3, seed=7)
    for _ in range(500):
        A = torch.linalg.solve(X.T @ X + penalty * torch.eye(10), X.T @ Y @ B)
        B = polar(Y.T @ X @ A, EPS)
    assert cost(weight) == pytest.approx(cost(A @ B.T), rel=1e-6)
    # Cutting the singular values of the full weight is not the same, and worse.
    U, s, Vt = torch.linalg.svd(torch.linalg.solve(X.T @ X + penalty * torch.eye(10), X.T @ Y))
    assert cost(weight) < 0.99 * cost(U[:, :3] * s[:3] @ Vt[:3])


def test_low_rank_of_full_rank_is_linear():
    X, Y = paired_data()
    assert create("low-rank").config()["rank"] > Y.shape[1]
    close(create("low-rank").fit(X, Y).state_dict()["weight"], create("linear").fit(X, Y).state_dict()["weight"])


@pytest.mark.parametrize("name", ["linear", "low-rank", "linear-orthogonal"])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("apart", [1e-3, 0.1])
def test_rows_that_are_almost_alike_fit_about_as_well_as_without_them(name, share, apart):
    for seed in (0, 10):
        fit, test = noisy(96, d=128, noise=3.0, seed=seed)
        few = int(share * 96)
        copies = (t[:few] + apart * t.std(0) * normal(few, 128, seed=seed + 5) for t in fit)
        again = tuple(torch.cat([t, copy]) for t, copy in zip(fit, copies, strict=True))
        once, twice = (unexplained(create(name).fit(*rows), *test) for rows in (fit, again))
        assert twice < 1.1 * once


@pytest.mark.parametrize("n", [76, 96, 105])
def test_what_wide_directions_do_not_tell_is_learned_from_narrow_ones(n):
    X = normal(n + 800, 96, seed=1) * torch.logspace(0, -1.5, 96, dtype=torch.float64)
    Y = X[:, 32:64]
    best = min(unexplained(create("linear", ridge=10.0**-e).fit(X[:n], Y[:n]), X[n:], Y[n:]) for e in range(2, 9))
    assert unexplained(create("linear").fit(X[:n], Y[:n]), X[n:], Y[n:]) < 1.05 * best + 1e-6
