from __future__ import annotations

import functools
import math

import pytest
import torch

from atlas import AtlasError, metrics
from atlas.authors import Moments
from atlas.metrics.similarity import cca_correlations

ALL = ("xy", "xx", "yy")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spaces(n=300, d_x=9, d_y=6, seed=0, shared=3):
    """Two spaces with a few shared directions, their own noise and means far from zero."""
    common = normal(n, shared, seed=seed)
    X, Y = (
        common @ normal(shared, d, seed=seed + s) + 0.7 * normal(n, d, seed=seed + s + 1) + 4
        for s, d in ((1, d_x), (3, d_y))
    )
    return X, Y


def rotation(d, seed=0):
    return torch.linalg.qr(normal(d, d, seed=seed)).Q


def explicit_hsic(K, L):
    H = torch.eye(len(K), dtype=torch.float64) - 1 / len(K)
    return torch.trace(K @ H @ L @ H)


def explicit_unbiased_hsic(K, L):
    """The estimator as it is written, from Gram matrices without their diagonals."""
    n = len(K)
    K, L = (G - torch.diag(G.diagonal()) for G in (K, L))
    one = torch.ones(n, dtype=torch.float64)
    whole = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (torch.trace(K @ L) + whole - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def explicit_cka(K, L, hsic):
    return float(hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt())


def rbf(X, width):
    distance = torch.cdist(X, X).square()
    upper = distance[torch.triu(torch.ones_like(distance), 1) > 0]
    return (-distance / (2 * width**2 * upper.median())).exp()


# Few rows take the way over Gram matrices, many the way over moments.
@pytest.mark.parametrize("shape", [(300, 9, 6), (40, 60, 30), (40, 3, 200)])
def test_linear_cka_is_that_of_gram_matrices(shape):
    X, Y = spaces(*shape)
    expected = explicit_cka(X @ X.T, Y @ Y.T, explicit_hsic)
    assert metrics.linear_cka(X, Y) == pytest.approx(expected, abs=1e-10)
    assert metrics.linear_cka(X.float(), Y.float()) == pytest.approx(expected, abs=2e-6)
    assert 0.1 < expected < 0.95


@pytest.mark.parametrize("shape", [(300, 9, 6), (40, 60, 30), (4, 3, 5)])
def test_unbiased_cka_is_that_of_gram_matrices(shape):
    X, Y = spaces(*shape)
    expected = explicit_cka(X @ X.T, Y @ Y.T, explicit_unbiased_hsic)
    assert metrics.unbiased_cka(X, Y) == pytest.approx(expected, abs=1e-9)
    assert metrics.unbiased_cka(X.float(), Y.float()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("width", [0.4, 1.0])
def test_rbf_cka_is_that_of_gram_matrices(width, monkeypatch):
    X, Y = spaces(201)
    expected = explicit_cka(rbf(X, width), rbf(Y, width), explicit_hsic)
    assert metrics.rbf_cka(X, Y, width) == pytest.approx(expected, abs=1e-10)
    monkeypatch.setattr("atlas.metrics.kernels._HELD", 2000)
    assert metrics.rbf_cka(X, Y, width) == pytest.approx(expected, abs=1e-10)


def test_a_wide_rbf_kernel_is_the_linear_one():
    X, Y = spaces()
    assert metrics.rbf_cka(X, Y, width=100) == pytest.approx(metrics.linear_cka(X, Y), abs=1e-3)


@pytest.mark.parametrize(("n", "biased"), [(20, 0.956), (64, 0.893), (256, 0.664), (1000, 0.338)])
def test_only_unbiased_cka_is_zero_for_unrelated_spaces(n, biased):
    draws = [(normal(n, 512, seed=s), normal(n, 512, seed=s + 50)) for s in range(max(1, 200 // n))]
    assert sum(metrics.linear_cka(*draw) for draw in draws) / len(draws) == pytest.approx(biased, abs=0.01)
    assert sum(metrics.unbiased_cka(*draw) for draw in draws) / len(draws) == pytest.approx(0, abs=0.06)


def test_minibatch_cka_is_the_ratio_of_means_over_batches():
    X, Y = spaces(n=100)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(7))
    hsics = []
    for rows in order[:96].split(32):
        K, L = X[rows] @ X[rows].T, Y[rows] @ Y[rows].T
        hsics.append([explicit_unbiased_hsic(A, B) for A, B in ((K, L), (K, K), (L, L))])
    xy, xx, yy = torch.tensor(hsics).mean(0)
    expected = float(xy / (xx * yy).sqrt())
    assert metrics.minibatch_cka(X, Y, batch=32, seed=7) == pytest.approx(expected, abs=1e-6)
    assert metrics.minibatch_cka(X, Y, batch=1000) == pytest.approx(metrics.unbiased_cka(X, Y), abs=1e-9)


def test_minibatch_cka_does_not_mind_rows_sorted_by_class():
    X, Y = spaces(n=2000)
    order = X[:, 0].argsort()
    full = metrics.unbiased_cka(X, Y)
    assert metrics.minibatch_cka(X[order], Y[order], batch=50) == pytest.approx(full, abs=0.02)


SAME = {
    "cka": 1,
    "unbiased-cka": 1,
    "minibatch-cka": 1,
    "rbf-cka": 1,
    "cca": 1,
    "squared-cca": 1,
    "svcca": 1,
    "pwcca": 1,
    "procrustes-distance": 0,
    "angular-distance": 0,
}


@pytest.mark.parametrize("name", SAME)
def test_a_rotated_scaled_and_shifted_space_is_the_same(name):
    X, _ = spaces()
    Y = 3 * X @ rotation(9) + 100
    assert metrics.find(name)(X, Y) == pytest.approx(SAME[name], abs=1e-6)


@pytest.mark.parametrize("name", SAME)
def test_similarity_does_not_depend_on_rotation_scale_and_shift(name):
    X, Y = spaces()
    measure = metrics.find(name)
    # The weights of PWCCA are projections on the coordinates of X.
    turned = X if name == "pwcca" else X @ rotation(9)
    moved = measure(0.01 * turned - 7, 50 * Y @ rotation(6, seed=1) + 3)
    assert moved == pytest.approx(measure(X, Y), abs=1e-9)
    assert abs(measure(X, Y) - SAME[name]) > 0.02


@pytest.mark.parametrize("name", [name for name in SAME if name != "pwcca"])
def test_similarity_is_symmetric(name):
    X, Y = spaces()
    assert metrics.find(name)(X, Y) == pytest.approx(metrics.find(name)(Y, X), abs=1e-12)


def test_cca_recovers_planted_correlations():
    planted = torch.tensor([0.95, 0.8, 0.5, 0.1], dtype=torch.float64)
    # Orthonormal columns of mean zero, so that the sample correlations are exact.
    Q = torch.linalg.qr(torch.cat([torch.ones(400, 1), normal(400, 8)], 1)).Q[:, 1:]
    X, Y = Q[:, :4], Q[:, :4] * planted + Q[:, 4:] * (1 - planted.square()).sqrt()
    X, Y = X @ normal(4, 4, seed=1) + 3, torch.cat([Y, Y[:, :1]], 1) @ normal(5, 5, seed=2) - 1
    m = Moments.of(X, Y, ALL)
    torch.testing.assert_close(metrics.cca_correlations(m), planted, atol=1e-7, rtol=0)
    assert metrics.cca(X, Y) == pytest.approx(float(planted.mean()), abs=1e-7)
    assert metrics.squared_cca(X, Y) == pytest.approx(float(planted.square().mean()), abs=1e-7)


def test_svcca_looks_at_the_leading_directions_alone():
    common = normal(500, 2)
    # Two directions are shared; the others, 20 small ones in each space, are not.
    X = torch.cat([10 * common, 0.1 * normal(500, 20, seed=1)], 1)
    Y = torch.cat([10 * common, 0.1 * normal(500, 20, seed=2)], 1)
    assert metrics.svcca(X, Y) == pytest.approx(1, abs=1e-3)
    assert metrics.cca(X, Y) < 0.5
    assert metrics.svcca(X, Y, variance=1.0) == pytest.approx(metrics.cca(X, Y))


def test_svcca_keeps_the_fewest_directions_that_reach_the_variance():
    Q = torch.linalg.qr(torch.cat([torch.ones(100, 1), normal(100, 3)], 1)).Q[:, 1:]
    X = Q * torch.tensor([8.0, 1.0, 1.0]).sqrt()
    Y = Q * torch.tensor([1.0, 0.0, 0.0]) + 0.01 * Q.flip(1)
    counts = {v: len(metrics.cca_correlations(Moments.of(X, X, ALL), v)) for v in (0.5, 0.79, 0.81, 0.95, 1.0)}
    assert counts == {0.5: 1, 0.79: 1, 0.81: 2, 0.95: 3, 1.0: 3}
    assert metrics.svcca(X, Y, variance=0.5) > 0.99


def test_pwcca_weighs_variates_by_their_projections():
    X, Y = spaces()
    Xc, Yc = X - X.mean(0), Y - Y.mean(0)
    Qx, Qy = torch.linalg.qr(Xc).Q, torch.linalg.qr(Yc).Q
    U, rho, _ = torch.linalg.svd(Qx.T @ Qy, full_matrices=False)
    alpha = (Xc.T @ (Qx @ U)).abs().sum(0)
    expected = float((alpha * rho).sum() / alpha.sum())
    assert metrics.pwcca(X, Y) == pytest.approx(expected, abs=1e-9)
    assert abs(metrics.pwcca(Y, X) - expected) > 1e-3


def test_pwcca_of_repeated_rows_depends_on_no_order_of_them():
    """Where spaces share directions to the full, equal correlations leave open which variates carry them."""
    X, Y = normal(8, 6).repeat_interleave(10, 0), normal(8, 6, seed=1).repeat_interleave(10, 0)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(2))
    assert metrics.pwcca(X[order], Y[order]) == pytest.approx(metrics.pwcca(X, Y), abs=1e-9)
    assert metrics.pwcca(X, Y @ rotation(6)) == pytest.approx(metrics.pwcca(X, Y), abs=1e-9)


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("n", [50, 6])
@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_a_unit_whose_squares_are_no_numbers_is_refused(name, n, size):
    with pytest.raises(AtlasError, match=r"cannot hold the squares"):
        metrics.find(name)(normal(n, 3) * size, normal(n, 3))


def test_directions_that_are_rounding_are_left_out_of_cca():
    X, Y = spaces()
    more = torch.cat([X, X @ normal(9, 3, seed=4) + 1e-8 * normal(300, 3, seed=5)], 1)
    assert metrics.cca(more, Y) == pytest.approx(metrics.cca(X, Y), abs=1e-6)
    assert metrics.cca(more.float(), Y.float()) == pytest.approx(metrics.cca(X, Y), abs=1e-4)


def test_the_procrustes_distance_is_what_the_best_rotation_leaves():
    X, Y = spaces(d_x=6)
    A, B = ((t - t.mean(0)) / (t - t.mean(0)).norm() for t in (X, Y))
    U, _, Vt = torch.linalg.svd(A.T @ B)
    left = float((A @ (U @ Vt) - B).norm())
    assert metrics.procrustes_distance(X, Y) == pytest.approx(left, abs=1e-9)
    assert metrics.angular_distance(X, Y) == pytest.approx(math.acos(1 - left**2 / 2), abs=1e-9)


def test_padding_with_zeros_changes_no_distance():
    X, Y = spaces()
    padded = torch.cat([Y, torch.zeros(300, 3)], 1)
    assert metrics.procrustes_distance(X, padded) == pytest.approx(metrics.procrustes_distance(X, Y))


@pytest.mark.parametrize("name", ["procrustes-distance", "angular-distance"])
def test_distances_keep_the_triangle_inequality(name):
    distance = metrics.find(name)
    for seed in range(20):
        X = normal(30, 4, seed=seed)
        Z = X @ rotation(4) + 0.8 * normal(30, 4, seed=seed + 100)
        # Between X and Z, where the inequality is tightest.
        Y = (X @ rotation(4) + Z) / 2
        assert distance(X, Z) <= distance(X, Y) + distance(Y, Z) + 1e-9


TWINS = {
    "linear_cka": ALL,
    "cca": ALL,
    "squared_cca": ALL,
    "svcca": ALL,
    "pwcca": ALL,
    "procrustes_distance": ("xy",),
    "angular_distance": ("xy",),
}


@pytest.mark.parametrize("name", TWINS)
def test_merged_moments_of_drifting_batches_give_the_figure_of_all_rows(name):
    X, Y = spaces(n=900)
    X += torch.linspace(0, 30, 900)[:, None]
    parts = [Moments.of(a, b, TWINS[name]) for a, b in zip(X.split(113), Y.split(113), strict=True)]
    merged = functools.reduce(lambda a, b: a + b, parts)
    expected = getattr(metrics, name)(X, Y)
    assert getattr(metrics, f"{name}_from_moments")(merged) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", SAME)
def test_float32_far_from_zero_costs_no_more_than_its_rounding(name):
    X, Y = (t + 100 for t in spaces(n=2000))
    X, Y = X.float(), Y.float()
    expected = metrics.find(name)(X.double(), Y.double())
    assert metrics.find(name)(X, Y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in SAME if name != "minibatch-cka"])
@pytest.mark.parametrize("n", [50, 6])
def test_rows_that_are_all_equal_are_refused(name, n):
    constant = torch.full((n, 8), 0.1)
    with pytest.raises(AtlasError, match="The similarity of spaces is undefined: the rows of Y are all equal"):
        metrics.find(name)(normal(n, 3).float() + 5, constant)


@pytest.mark.parametrize("name", ["cka", "unbiased-cka", "cca", "procrustes-distance"])
def test_rows_that_differ_by_rounding_alone_are_refused(name):
    jitter = torch.randint(2, (50, 8), generator=torch.Generator().manual_seed(0)) * 1e-7
    with pytest.raises(AtlasError, match="The similarity of spaces is undefined: the rows of X are all equal"):
        metrics.find(name)((1 + jitter).float(), normal(50, 3).float())


@pytest.mark.parametrize("name", ["cca", "squared-cca", "pwcca"])
def test_cca_refuses_rows_that_cannot_tell(name):
    X, Y = normal(30, 40), normal(30, 5, seed=1)
    with pytest.raises(
        AtlasError, match=r"Canonical correlations of 30 rows in 2\d directions are all 1 - give many more"
    ):
        metrics.find(name)(X, Y)
    with pytest.raises(AtlasError, match=r"Canonical correlations of 30 rows in 2\d directions are all 1"):
        metrics.find(name)(X.repeat(3, 1), Y.repeat(3, 1))


def test_cca_of_few_directions_in_many_dimensions_is_allowed():
    common = normal(60, 3)
    X, Y = common @ normal(3, 100, seed=1), common @ normal(3, 80, seed=2) + 3
    assert metrics.cca(X, Y) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: metrics.minibatch_cka(X, X, batch=3), "batch must be at least 4, got 3"),
        (lambda X: metrics.rbf_cka(X, X, width=0), "width must be above 0, got 0"),
        (lambda X: metrics.svcca(X, X, variance=1.5), "variance must be above 0 and at most 1, got 1.5"),
        (lambda X: metrics.unbiased_cka(X[:3], X[:3]), "The metric needs at least 4 rows, got 3"),
        (
            lambda X: metrics.unbiased_cka(torch.eye(6), X[:6]),
            "CKA is undefined: the rows of X are no more alike than chance - give more rows",
        ),
    ],
)
def test_options_and_rows_that_make_no_sense_are_refused(call, message):
    with pytest.raises(AtlasError, match=message):
        call(normal(30, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["cca", "squared-cca", "pwcca"])
def test_canonical_correlations_are_the_same_up_to_any_invertible_map(name, dtype):
    X, Y = spaces()
    measure = metrics.find(name)
    expected = measure(X, Y)
    narrow = torch.logspace(0, -4, 6, dtype=torch.float64)
    units = torch.logspace(0, -20, 6, dtype=torch.float64)
    for other in (Y * narrow @ rotation(6), Y * units, Y @ normal(6, 6, seed=7)):
        assert measure(X.to(dtype), other.to(dtype) + 2 * other.std(0)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_narrow_direction_counts_as_much_as_a_wide_one(dtype):
    Z = normal(60, 2)
    assert metrics.cca((Z * torch.tensor([1.0, 1e-4])).to(dtype), Z.to(dtype)) == pytest.approx(1, abs=1e-5)


def test_no_canonical_correlation_is_above_1_by_rounding():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        X = torch.randn(60, 7, generator=generator, dtype=torch.float64)
        Y = X @ torch.randn(7, 7, generator=generator, dtype=torch.float64)
        assert float(cca_correlations(Moments.of(X, Y, ("xy", "xx", "yy"))).max()) <= 1
