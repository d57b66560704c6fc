"""The affine aligners against independent references, planted truths and pairs that are none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import LinearRegression, Ridge

import atlas
from atlas.base import Aligner
from atlas.errors import AtlasError, AtlasWarning
from atlas.testing.promises import paired_data
from atlas_builtin.solvers import best_penalty, polar

PAIRED = ("procrustes", "linear-orthogonal", "linear", "low-rank", "cca")
EPS = torch.finfo(torch.float64).eps


def create(name, **options):
    return atlas.create(Aligner, name, options)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(a, b, seed=0):
    """Return a random (a, b) matrix with orthonormal rows, or columns if there are fewer."""
    U, _, Vt = torch.linalg.svd(normal(a, b, seed=seed), full_matrices=False)
    return U @ Vt


def centred(t):
    return t - t.mean(0)


def close(a, b, tolerance=1e-6):
    size = float(torch.as_tensor(b).abs().max())
    torch.testing.assert_close(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=0, atol=tolerance * size)


def unexplained(aligner, X, Y):
    """Return the part of the variance of Y that the map misses."""
    return float((aligner.transform(X) - Y).square().sum() / centred(Y).square().sum())


# identity


def test_identity_cuts_off_or_pads_with_zeros():
    X, Y = paired_data(5, 7)
    assert torch.equal(create("identity").fit(X, Y).transform(X), torch.cat([X, torch.zeros(len(X), 2)], 1))
    assert torch.equal(create("identity").fit(Y, X).transform(Y), Y[:, :5])


# procrustes


def test_procrustes_without_centre_and_scale_is_the_one_of_scipy():
    X, Y = paired_data(8, 8)
    Q, _ = scipy.linalg.orthogonal_procrustes(X.numpy(), Y.numpy())
    state = create("procrustes", centre=False, scale=False).fit(X, Y).state_dict()
    close(state["weight"], Q)
    assert not state["bias"].any()


def test_procrustes_with_centre_is_the_one_of_scipy_on_centred_rows():
    X, Y = paired_data(8, 8)
    Q, trace = scipy.linalg.orthogonal_procrustes(centred(X).numpy(), centred(Y).numpy())
    close(create("procrustes", scale=False).fit(X, Y).state_dict()["weight"], Q)
    scale = trace / float(centred(X).square().sum())
    close(create("procrustes").fit(X, Y).state_dict()["weight"], Q * scale)


@pytest.mark.parametrize("d_target", [6, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_procrustes_recovers_rotation_scale_and_shift(d_target, dtype):
    X, Q = normal(40, 6) + 5, orthogonal(6, d_target)
    Y = 3 * X @ Q + normal(d_target)
    aligner = create("procrustes").fit(X.to(dtype), Y.to(dtype))
    close(aligner.state_dict()["weight"], 3 * Q, 1e-5 if dtype == torch.float32 else 1e-6)
    close(aligner.transform(X), Y, 1e-5)
    close(aligner.inverse_transform(Y), X, 1e-5)


@pytest.mark.parametrize(("d_source", "d_target"), [(6, 10), (10, 6)])
def test_unequal_dimensions_are_padding_then_dropping(d_source, d_target):
    X, Y = paired_data(d_source, d_target)
    d = max(d_source, d_target)
    padded = [np.pad(centred(t).numpy(), ((0, 0), (0, d - t.shape[1]))) for t in (X, Y)]
    Q, _ = scipy.linalg.orthogonal_procrustes(*padded)
    close(create("procrustes", scale=False).fit(X, Y).state_dict()["weight"], Q[:d_source, :d_target])


@pytest.mark.parametrize(("d_source", "d_target"), [(6, 10), (10, 6), (7, 7)])
@pytest.mark.parametrize("name", ["procrustes", "linear-orthogonal"])
def test_scale_is_the_least_squares_one(name, d_source, d_target):
    X, Y = paired_data(d_source, d_target)
    turned = centred(X) @ create(name, scale=False).fit(X, Y).state_dict()["weight"].double()
    scale = (turned * centred(Y)).sum() / turned.square().sum()
    scaled = create(name).fit(X, Y)
    close(scaled.transform(X) - Y.mean(0), turned * scale, 1e-5)
    assert unexplained(scaled, X, Y) < unexplained(create(name, scale=False).fit(X, Y), X, Y)


@pytest.mark.parametrize("scale", [True, False])
def test_standardising_is_fitting_on_standard_scores(scale):
    X, Y = paired_data(6, 8)
    scores = [centred(t) / t.std(0) for t in (X, Y)]
    inner = create("procrustes", scale=scale).fit(*scores)
    expected = inner.transform(scores[0]) * Y.std(0) + Y.mean(0)
    close(create("procrustes", standardise=True, scale=scale).fit(X, Y).transform(X), expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardising_leaves_constant_columns_alone(dtype):
    X, Y = (t.to(dtype) for t in paired_data(6, 6))
    # The last bit of one of them is noise, as it is in features that were computed.
    X[:, 2], Y[:, 4] = 100.1, -0.3
    X[::3, 2] = torch.nextafter(X[0, 2], torch.tensor(1e3, dtype=dtype))
    aligner = create("procrustes", standardise=True).fit(X, Y)
    assert float(aligner.state_dict()["weight"].abs().max()) < 100
    close(aligner.transform(X)[:, 4], Y[:, 4], 1e-4)


@pytest.mark.parametrize("name", ["procrustes", "linear-orthogonal"])
@pytest.mark.parametrize(("d_source", "d_target"), [(20, 30), (30, 20), (20, 20)])
def test_few_pairs_still_give_an_orthogonal_map_whatever_the_batches(name, d_source, d_target):
    X, Y = (t.float() for t in paired_data(d_source, d_target, n=9))
    W = create(name, scale=False).fit(X, Y).state_dict()["weight"].double()
    small = W @ W.T if d_source <= d_target else W.T @ W
    close(small, torch.eye(min(d_source, d_target)))
    in_batches = create(name, scale=False).partial_fit(X[:4], Y[:4]).partial_fit(X[4:], Y[4:])
    close(in_batches.state_dict()["weight"], W, 1e-3)


def test_polar_factor_of_what_is_not_of_full_rank_maps_the_rest_by_the_identity():
    M = torch.zeros(4, 4, dtype=torch.float64)
    M[0, 1] = 2.0
    P = polar(M, EPS)
    close(P @ P.T, torch.eye(4))
    close(P.abs(), torch.eye(4)[[1, 0, 2, 3]])
    close(P.diagonal()[2:], torch.ones(2))


def test_rows_that_are_all_the_same_are_refused():
    with pytest.raises(AtlasError, match="Aligner 'procrustes' needs rows that differ, got the same vector for all"):
        create("procrustes").fit(torch.ones(5, 3), normal(5, 3))
    with pytest.raises(AtlasError, match="needs rows that differ"):
        create("linear-orthogonal").fit(normal(5, 3), torch.full((5, 3), 0.1))


def test_standardising_without_centre_is_refused():
    with pytest.raises(AtlasError, match="Aligner 'procrustes' standardises about the mean - leave centre on"):
        create("procrustes", centre=False, standardise=True)


# linear


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


def noisy(n, d=40, seed=0, noise=1.0):
    """Return pairs to fit on and many to test on: a linear map of features that fade, noise in every target column."""
    X = normal(n + 1000, d, seed=seed) * torch.logspace(0, -1, d, dtype=torch.float64)
    Y = X @ orthogonal(d, d, seed=99) + noise * 0.1 * normal(n + 1000, d, seed=seed + 1)
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


def test_a_source_that_is_constant_maps_to_the_mean():
    Y = normal(10, 3)
    for name in ("linear", "low-rank", "cca"):
        aligner = create(name).fit(torch.full((10, 4), 0.1), Y)
        close(aligner.transform(torch.ones(1, 4))[0], Y.mean(0), 1e-6)


# linear-orthogonal


def test_linear_orthogonal_is_the_polar_factor_of_least_squares():
    X, Y = paired_data(6, 6)
    weight = np.linalg.lstsq(centred(X).numpy(), centred(Y).numpy(), rcond=None)[0]
    aligner = create("linear-orthogonal", ridge=0, scale=False).fit(X, Y)
    close(aligner.state_dict()["weight"], scipy.linalg.polar(weight)[0])


def test_linear_orthogonal_recovers_a_rotation_that_large_directions_hide_from_procrustes():
    X = normal(500, 6) * torch.tensor([100.0, 1, 1, 1, 1, 1])
    Q = orthogonal(6, 6)
    Y = X @ Q + 0.3 * normal(500, 6, seed=5)
    close(create("linear-orthogonal", scale=False).fit(X, Y).state_dict()["weight"], Q, 0.1)


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
    B = orthogonal(8, 3, seed=7)
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


# cca


def canonical(X, Y):
    """Return canonical directions of both sides, by QR, and the correlations."""
    (Qx, Rx), (Qy, Ry) = torch.linalg.qr(centred(X)), torch.linalg.qr(centred(Y))
    U, s, Vt = torch.linalg.svd(Qx.T @ Qy)
    return torch.linalg.solve(Rx, U), torch.linalg.solve(Ry, Vt.T), s


@pytest.mark.parametrize("rank", [None, 1, 3])
def test_cca_goes_through_the_canonical_directions(rank):
    X, Y = paired_data(6, 6, noise=2)
    A, B, _ = canonical(X, Y)
    aligner = create("cca", ridge=0, rank=rank).fit(X, Y)
    close(aligner.state_dict()["weight"], A[:, :rank] @ torch.linalg.inv(B)[:rank], 1e-5)


def test_cca_variates_have_the_canonical_correlations():
    X, Y = paired_data(6, 6, noise=2)
    _, B, s = canonical(X, Y)
    angles = scipy.linalg.subspace_angles(centred(X).numpy(), centred(Y).numpy())
    mapped = centred(create("cca", ridge=0).fit(X, Y).transform(X)) @ B
    own = centred(Y) @ B
    found = [float(torch.corrcoef(torch.stack([mapped[:, i], own[:, i]]))[0, 1]) for i in range(6)]
    np.testing.assert_allclose(found, np.sort(np.cos(angles))[::-1], atol=1e-5)
    np.testing.assert_allclose(found, s, atol=1e-5)


def test_cca_without_ridge_does_not_see_a_change_of_basis():
    X, Y = paired_data(6, 6, noise=2)
    changed = X @ normal(6, 6, seed=3)
    Z = create("cca", ridge=0).fit(X, Y).transform(X)
    close(create("cca", ridge=0).fit(changed, Y).transform(changed), Z, 1e-5)
    close(torch.cov(Z.T), torch.cov(Y.T), 1e-5)


def test_cca_with_a_large_ridge_is_a_rotation():
    X, Y = paired_data(6, 6)
    W = create("cca", ridge=1e6).fit(X, Y).state_dict()["weight"].double()
    Q = create("procrustes", scale=False).fit(X, Y).state_dict()["weight"].double()
    close(W / torch.linalg.matrix_norm(W, 2), Q, 1e-4)


def test_cca_of_repeated_columns_does_not_blow_up():
    X, Y = (t.float() for t in paired_data(6, 6, noise=2))
    Z = create("cca", ridge=0).fit(X, Y).transform(X)
    twice = torch.cat([X, X], 1)
    close(create("cca", ridge=0).fit(twice, Y).transform(twice), Z, 1e-3)


# all of them


@pytest.mark.parametrize("name", PAIRED)
def test_wrong_pairs_destroy_every_method(name):
    X, Y = paired_data(12, 12, n=600, noise=0.5)
    (x, y), test = (X[::2], Y[::2]), (X[1::2], Y[1::2])
    assert unexplained(create(name).fit(x, y), *test) < 0.6
    shuffled = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    assert unexplained(create(name).fit(x, y[shuffled]), *test) > 0.95
    assert unexplained(create(name).fit(x, y.roll(150, 0)), *test) > 0.8
    unrelated = normal(*y.shape) * y.std(0) + y.mean(0)
    assert unexplained(create(name).fit(x, unrelated), *test) > 0.95


@pytest.mark.parametrize("name", ["linear", "low-rank", "linear-orthogonal", "cca"])
@pytest.mark.parametrize("ridge", [-0.1, float("inf"), float("nan")])
def test_a_penalty_that_is_none_is_refused(name, ridge):
    with pytest.raises(AtlasError, match=f"Aligner '{name}' needs a ridge of 0 or more, got {ridge}"):
        create(name, ridge=ridge)


@pytest.mark.parametrize("name", ["low-rank", "cca"])
def test_a_rank_below_one_is_refused(name):
    with pytest.raises(AtlasError, match=f"Aligner '{name}' needs a rank of at least 1, got 0"):
        create(name, rank=0)
