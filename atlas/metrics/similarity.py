"""How alike two spaces of the same items are, whatever their coordinates: functions of the moments of paired rows.

Each takes two matrices, and has a twin that takes `Moments`, for rows that come in batches or were counted before.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.metrics.pairs import matched, mean_of, paired
from atlas.numerics.arrays import BEYOND, all_equal, check_unit
from atlas.numerics.moments import Moments

ALL = ("xy", "xx", "yy")
# Directions below this share of the largest variance are rounding of float32, and whitening would blow them up.
_ROUNDED = 1e-12


def linear_cka(X: Any, Y: Any) -> float:
    """Return linear centred kernel alignment, 0 to 1: ||Xc'Yc||^2 / (||Xc'Xc|| ||Yc'Yc||), Frobenius norms.

    Equal spaces up to rotation, reflection, one scale and a shift give 1. It is biased: for unrelated spaces it is near
    d / n, and near 1 for few rows (512 dimensions: 0.96 at n = 20, 0.34 at n = 1000), so it means nothing unless there
    are many more rows than dimensions. `unbiased_cka` has no such bias, at the same cost.

    Args:
        X: (n, d_x).
        Y: (n, d_y), the same items.

    Raises:
        AtlasError: NaN, unequal lengths, one row, or rows that are all equal.
    """
    X, Y = matched(X, Y)
    if not by_grams(X, Y):
        return linear_cka_from_moments(Moments.of(X, Y, ALL))
    K, L = grams(X, Y)
    return _share(float((K * L).sum()), float(K.square().sum()), float(L.square().sum()))


def linear_cka_from_moments(m: Moments) -> float:
    """Return linear CKA from the moments xy, xx and yy."""
    return _share(*squared_norms(m))


def cca_correlations(m: Moments, variance: float = 1.0) -> Tensor:
    """Return the canonical correlations, largest first, from the moments xy, xx and yy.

    Args:
        m: centred moments.
        variance: the share of each space's variance that its principal directions are to hold; the others are left out,
            and so are those whose standard deviation is below a millionth of the largest, which is rounding. With 1 all
            count: columns are brought to size 1 before.

    Raises:
        AtlasError: no more distinct rows than directions (every correlation would be 1; repeats are told by the
            moment rows), or rows that are all equal.
    """
    Wx, Wy = _whitenings(m, variance)
    return torch.linalg.svdvals(Wx.T @ m.get("xy") @ Wy).clamp(max=1)


def cca(X: Any, Y: Any) -> float:
    """Return the mean canonical correlation, 0 to 1; invariant to any invertible linear map of either space.

    Like all that whitens, it is biased upwards for few rows: with n <= d every correlation is 1.

    Raises:
        AtlasError: as `linear_cka`, or not more rows than dimensions.
    """
    return cca_from_moments(_moments(X, Y))


def cca_from_moments(m: Moments) -> float:
    """Return the mean canonical correlation from the moments xy, xx and yy."""
    return float(cca_correlations(m).mean())


def squared_cca(X: Any, Y: Any) -> float:
    """Return the mean squared canonical correlation, 0 to 1."""
    return squared_cca_from_moments(_moments(X, Y))


def squared_cca_from_moments(m: Moments) -> float:
    """Return the mean squared canonical correlation from the moments xy, xx and yy."""
    return float(cca_correlations(m).square().mean())


def svcca(X: Any, Y: Any, variance: float = 0.99) -> float:
    """Return the mean canonical correlation between the leading principal directions of each space, 0 to 1.

    Args:
        X: (n, d_x).
        Y: (n, d_y), the same items.
        variance: the share of each space's variance that its directions are to hold.
    """
    return svcca_from_moments(_moments(X, Y), variance)


def svcca_from_moments(m: Moments, variance: float = 0.99) -> float:
    """Return SVCCA from the moments xy, xx and yy."""
    if not 0 < variance <= 1:
        raise AtlasError(f"variance must be above 0 and at most 1, got {variance}")
    return float(cca_correlations(m, variance).mean())


def pwcca(X: Any, Y: Any) -> float:
    """Return the canonical correlations' mean weighted by how much of X each of X's variates carries, 0 to 1.

    The weight of variate h is sum_j |<h, x_j>| over X's columns x_j. Not symmetric in X and Y, and it depends on the
    coordinates of X.
    """
    return pwcca_from_moments(_moments(X, Y))


def pwcca_from_moments(m: Moments) -> float:
    """Return projection-weighted CCA from the moments xy, xx and yy."""
    Wx, Wy = _whitenings(m)
    U, rho, _ = torch.linalg.svd(Wx.T @ m.get("xy") @ Wy, full_matrices=False)
    carried = U.T @ (Wx.T @ m.get("xx"))
    # Variates of equal correlations may be turned among themselves: those along the principal axes of X are taken.
    ends = (rho[:-1] - rho[1:] > _ROUNDED**0.5).nonzero()[:, 0] + 1
    for group in carried.tensor_split(ends.cpu()):
        if len(group) > 1:
            _, s, Vt = torch.linalg.svd(group, full_matrices=False)
            group.copy_(s[:, None] * Vt)
    weight = carried.abs().sum(1)
    return float((weight * rho.clamp(max=1)).sum() / weight.sum())


def procrustes_distance(X: Any, Y: Any) -> float:
    """Return the distance after the best rotation of two spaces brought to size 1: sqrt(2 - 2 s), 0 to sqrt 2.

    s = ||Xc'Yc||_* / (||Xc|| ||Yc||), the nuclear norm over the Frobenius norms. A metric: symmetric, and it keeps the
    triangle inequality. Spaces of unequal dimension are as if padded with zeros.
    """
    return procrustes_distance_from_moments(_moments(X, Y, ("xy",)))


def procrustes_distance_from_moments(m: Moments) -> float:
    """Return the Procrustes distance from the moment xy."""
    return math.sqrt(2 - 2 * _overlap(m))


def angular_distance(X: Any, Y: Any) -> float:
    """Return the angle arccos(||Xc'Yc||_* / (||Xc|| ||Yc||)) between two spaces after the best rotation, in radians.

    0 for equal spaces up to rotation, scale and shift, pi / 2 at most. A metric.

    Source: A. H. Williams et al., Generalized shape metrics on neural representations, 2021 (the authors' code).
    """
    return angular_distance_from_moments(_moments(X, Y, ("xy",)))


def angular_distance_from_moments(m: Moments) -> float:
    """Return the angular distance from the moment xy."""
    return math.acos(_overlap(m))


def by_grams(X: Tensor, Y: Tensor) -> bool:
    """Whether Gram matrices (n, n) take fewer steps than moments (d, d)."""
    n, d_x, d_y = len(X), X.shape[1], Y.shape[1]
    return n * (d_x + d_y) < d_x * d_x + d_y * d_y + d_x * d_y


def grams(X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Gram matrices (n, n) of centred rows, float64."""
    X, Y = paired(X, Y)
    return _gram(X, "X"), _gram(Y, "Y")


def squared_norms(m: Moments) -> tuple[float, float, float]:
    """Return ||Xc'Yc||^2, ||Xc'Xc||^2 and ||Yc'Yc||^2."""
    _check_varied(m)
    return float(m.get("xy").square().sum()), float(m.get("xx").square().sum()), float(m.get("yy").square().sum())


def _gram(X: Tensor, what: str) -> Tensor:
    if all_equal(X):
        raise _constant(what)
    check_unit(X)
    Xc = X.double() - mean_of(X)
    return Xc @ Xc.T


def _share(xy: float, xx: float, yy: float) -> float:
    whole = math.sqrt(xx) * math.sqrt(yy)
    if not 0 < whole < math.inf:
        raise AtlasError(BEYOND)
    return min(1.0, xy / whole)


def _moments(X: Any, Y: Any, needs: tuple[str, ...] = (*ALL, "rows")) -> Moments:
    X, Y = matched(X, Y)
    return Moments.of(X, Y, needs)


def _check_varied(m: Moments) -> None:
    for spread, what in zip(m.deviations(), "XY", strict=True):
        if not spread.any():
            raise _constant(what)
        if not spread.isfinite().all():
            raise AtlasError(BEYOND)


def _constant(what: str) -> AtlasError:
    return AtlasError(f"The similarity of spaces is undefined: the rows of {what} are all equal")


def _whitenings(m: Moments, variance: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return maps (d, r) of each space to its r leading principal directions, each at variance 1 / n."""
    _check_varied(m)
    pairs = zip((m.get("xx"), m.get("yy")), m.deviations(), strict=True)
    Wx, Wy = (_whitening(C, spread, variance, m.eps) for C, spread in pairs)
    r = max(Wx.shape[1], Wy.shape[1])
    if m.n_distinct <= r + 1:
        raise AtlasError(
            f"Canonical correlations of {m.n_distinct} rows in {r} directions are all 1 - give many more rows, or use "
            f"metric 'unbiased-cka'"
        )
    return Wx, Wy


def _whitening(C: Tensor, spread: Tensor, variance: float, eps: float) -> Tensor:
    # Where every direction counts, the units of columns do not; those that do not vary are left out.
    unit = torch.where(spread > 0, 1 / spread, 0.0) if variance == 1 else torch.ones_like(spread)
    values, vectors = torch.linalg.eigh(C * torch.outer(unit, unit))
    values, vectors = values.flip(0), vectors.flip(1)
    share = values.clamp(min=0).cumsum(0) / values.clamp(min=0).sum()
    # The first direction is kept, and each that the share is not reached without.
    short = torch.cat([share.new_zeros(1), share[:-1]]) < variance
    keep = short & (values > max(_ROUNDED, 16 * eps) * values[0])
    return unit[:, None] * vectors[:, keep] / values[keep].sqrt()


def _overlap(m: Moments) -> float:
    _check_varied(m)
    return _share(float(torch.linalg.svdvals(m.get("xy")).sum()), float(m.ssx.sum()), float(m.ssy.sum()))


# The figures that need moments alone, by the names of their metrics.
FROM_MOMENTS = {
    "cka": linear_cka_from_moments,
    "cca": cca_from_moments,
    "squared-cca": squared_cca_from_moments,
    "svcca": svcca_from_moments,
    "pwcca": pwcca_from_moments,
    "procrustes-distance": procrustes_distance_from_moments,
    "angular-distance": angular_distance_from_moments,
}
