"""Built-in aligners: affine maps, and from modules of their own the relative projection and a small network.

Each affine one is a function of the moments; all mathematics acts on the right of row vectors, Y ≈ X @ weight + bias.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

import atlas
from atlas.authors import Moments
from atlas_builtin.kernel import Kernel
from atlas_builtin.mlp import MLP
from atlas_builtin.relative import Relative
from atlas_builtin.solvers import ROUNDINGS, or_one, polar, ridge_weight


@dataclass
class Identity(atlas.LinearAligner):
    """Keep the numbers, cutting off dimensions or adding zeros: the baseline every other method must beat."""

    name = "identity"
    needs = ()

    def solve(self, m: Moments) -> Tensor:
        """Return ones on the diagonal."""
        return torch.eye(len(m.mean_x), len(m.mean_y), dtype=torch.float64)

    def offset(self, m: Moments, weight: Tensor) -> Tensor:
        """Return zero."""
        return torch.zeros_like(m.mean_y)


@dataclass
class Procrustes(atlas.LinearAligner):
    """Rotate, reflect and scale the source onto the target: keeps angles, and does with few pairs; the first to try.

    Maximises tr(W.T @ xy) over W with orthonormal rows (columns, if d_source > d_target), which is padding the narrower
    side with zeros and dropping them again. For d_source <= d_target this minimises ||X W - Y||. The scale minimises
    ||s X W - Y|| for that W.

    Source: P. H. Schönemann, A generalized solution of the orthogonal Procrustes problem, Psychometrika 31, 1966.
    """

    name = "procrustes"

    scale: bool = atlas.option(True, help="Fit one factor for all directions, too; without it the norms stay")
    centre: bool = atlas.option(True, help="Move the mean of the source onto the mean of the target")
    standardise: bool = atlas.option(False, help="Divide every column, on both sides, by its standard deviation first")

    def __post_init__(self) -> None:
        if self.standardise and not self.centre:
            raise self.fail("standardises about the mean - leave centre on")

    def needed(self, d_source: int, d_target: int) -> Collection[str]:
        """Return xy, and xx if the scale depends on which directions of the source are dropped."""
        return ("xy", "xx") if self.scale and d_source > d_target else ("xy",)

    def solve(self, m: Moments) -> Tensor:
        """Return a matrix with orthonormal rows or columns, times the scales that were asked for."""
        m = m if self.centre else m.about_zero()
        check_varied(self, *m.deviations())
        if not self.standardise:
            return self.scaled_rotation(m)
        x, y = map(or_one, m.deviations())
        return self.scaled_rotation(m.scaled(1 / x, 1 / y)) * y / x[:, None]

    def scaled_rotation(self, m: Moments) -> Tensor:
        """Return the orthogonal map for such moments, times the scale that was asked for."""
        W = self.rotation(m)
        return W * best_scale(m, W) if self.scale else W

    def rotation(self, m: Moments) -> Tensor:
        """Return the orthogonal map for moments that are centred and scaled as the options say."""
        return polar(m.get("xy"), m.eps, m.ssx.sqrt(), m.ssy.sqrt())

    def offset(self, m: Moments, weight: Tensor) -> Tensor:
        """Return the shift from mean to mean, or zero."""
        return super().offset(m, weight) if self.centre else torch.zeros_like(m.mean_y)


@dataclass
class LinearOrthogonal(Procrustes):
    """Fit a least-squares map and take the nearest rotation: weighs all directions alike, unlike 'procrustes'.

    The rotation is the polar factor of the ridge-regression weight.
    """

    name = "linear-orthogonal"

    ridge: float | None = atlas.option(
        None, help="Penalty, as a fraction of the mean variance of the source; none: by cross-validation"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ridge(self, self.ridge)

    def needed(self, d_source: int, d_target: int) -> Collection[str]:
        """Return the inputs of the regression."""
        return regression_needs(self.ridge)

    def rotation(self, m: Moments) -> Tensor:
        """Return the polar factor of the regression."""
        # Solved in float64: a direction of little variance, whose weight is huge, must not hide all others.
        return polar(regression(self, m, self.ridge, self.centre), torch.finfo(torch.float64).eps)


@dataclass
class Linear(atlas.LinearAligner):
    """Fit any linear map by least squares: the smallest error where there are several pairs for every dimension.

    Minimises ||X W - Y||^2 + lambda ||W||^2. By default lambda is the one of least generalised cross-validation error,
    which needs nothing but the moments, and vanishes as pairs become many.
    """

    name = "linear"
    bias: bool = atlas.option(True, help="Fit a constant, too: the mean of the source goes to the mean of the target")
    ridge: float | None = atlas.option(
        None, help="Penalty, as a fraction of the mean variance of the source; none: by cross-validation; 0: no penalty"
    )

    def __post_init__(self) -> None:
        check_ridge(self, self.ridge)

    def needed(self, d_source: int, d_target: int) -> Collection[str]:
        """Return the inputs of the regression."""
        return regression_needs(self.ridge)

    def solve(self, m: Moments) -> Tensor:
        """Return the regression of the target on the source."""
        return regression(self, m if self.bias else m.about_zero(), self.ridge, self.bias)

    def offset(self, m: Moments, weight: Tensor) -> Tensor:
        """Return the shift from mean to mean, or zero."""
        return super().offset(m, weight) if self.bias else torch.zeros_like(m.mean_y)


@dataclass
class LowRank(atlas.LinearAligner):
    """Fit a linear map through a bottleneck of few dimensions: for pairs that are scarce or noisy.

    Minimises ||X W - Y||^2 + lambda ||W||^2 over W of at most this rank, exactly: the ridge solution, projected onto
    the leading eigenvectors of the covariance of its (augmented) fitted values. The whole weight is stored.

    Source: A. J. Izenman, Reduced-rank regression for the multivariate linear model, Journal of Multivariate Analysis
    5, 1975.
    """

    name = "low-rank"
    rank: int = atlas.option(64, help="Dimensions the map goes through, at most")
    ridge: float | None = atlas.option(
        None, help="Penalty, as a fraction of the mean variance of the source; none: by cross-validation; 0: no penalty"
    )

    def __post_init__(self) -> None:
        check_rank(self, self.rank)
        check_ridge(self, self.ridge)

    def needed(self, d_source: int, d_target: int) -> Collection[str]:
        """Return the inputs of the regression."""
        return regression_needs(self.ridge)

    def solve(self, m: Moments) -> Tensor:
        """Return the regression, reduced to the rank."""
        W = regression(self, m, self.ridge, True)
        # W.T (xx + lambda) W = xy.T W, the second moment of fitted values if the penalty is seen as further rows.
        fitted = m.get("xy").T @ W
        _, vectors = torch.linalg.eigh((fitted + fitted.T) / 2)
        leading = vectors[:, -self.rank :]
        return W @ leading @ leading.T


@dataclass
class CanonicalCorrelation(atlas.LinearAligner):
    """Match the directions that are most correlated, however small their variance: for classes, with a thousand pairs.

    The source is whitened, rotated onto the whitened target (both so that the canonical variates fall on each other),
    and given the covariance of the target. Without a rank limit this is 'procrustes' between whitened spaces; the ridge
    blends from that (0) to plain 'procrustes' (large).

    Source: H. Hotelling, Relations between two sets of variates, Biometrika 28, 1936.
    """

    name = "cca"
    needs = ("xy", "xx", "yy")

    rank: int | None = atlas.option(None, help="Canonical directions to keep; none: all")
    ridge: float = atlas.option(0.3, help="Added to the variances before whitening, as a fraction of their mean")

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_rank(self, self.rank)
        check_ridge(self, self.ridge)

    def solve(self, m: Moments) -> Tensor:
        """Return whitening, rotation and colouring as one matrix."""
        check_varied(self, *m.deviations())
        if self.ridge:
            return self._solved_as_given(m)
        # Without a ridge the units of columns do not count, and the small ones must not be lost beside large ones.
        x, y = map(or_one, m.deviations())
        return self._solved_as_given(m.scaled(1 / x, 1 / y)) * y / x[:, None]

    def _solved_as_given(self, m: Moments) -> Tensor:
        whiten, _ = whitening(*m.eigen("xx"), self.ridge, m.eps)
        whiten_target, colour = whitening(*m.eigen("yy"), self.ridge, m.eps)
        U, _, Vt = torch.linalg.svd(whiten.T @ m.get("xy") @ whiten_target, full_matrices=False)
        return whiten @ U[:, : self.rank] @ Vt[: self.rank] @ colour.T


ALL: list[type[atlas.Aligner]] = [
    Identity,
    Procrustes,
    LinearOrthogonal,
    Linear,
    LowRank,
    CanonicalCorrelation,
    Kernel,
    MLP,
    Relative,
]


def check_ridge(aligner: atlas.Aligner | atlas.Aggregator, ridge: float | None) -> None:
    """Raise unless a penalty is None or a number from 0."""
    if ridge is not None and not 0 <= ridge < float("inf"):
        raise aligner.fail(f"needs a ridge of 0 or more, got {ridge}")


def check_rank(aligner: atlas.Aligner | atlas.Aggregator, rank: int) -> None:
    """Raise unless a rank is at least 1."""
    if rank < 1:
        raise aligner.fail(f"needs a rank of at least 1, got {rank}")


def check_varied(aligner: atlas.Aligner, *deviations: Tensor) -> None:
    """Raise unless the columns of each space have standard deviations that are not all 0."""
    if not all(spread.any() for spread in deviations):
        raise aligner.fail("needs rows that differ, got the same vector for all of them")


def regression_needs(ridge: float | None) -> tuple[str, ...]:
    """Return the moments of a regression: how many pairs are distinct decides on a penalty, and on a warning."""
    return ("xy", "xx") if ridge else ("xy", "xx", "rows")


def regression(aligner: atlas.Aligner, m: Moments, ridge: float | None, intercept: bool) -> Tensor:
    """Return the ridge-regression weight, with a warning where it is known to be mostly noise."""
    d = len(m.mean_x)
    check_varied(aligner, m.deviations()[0])
    if ridge == 0 and m.n_distinct - intercept < 1.5 * d:
        warnings.warn(
            f"{aligner.label().capitalize()} without a ridge fits noise: {m.n_distinct} pairs for {d} dimensions"
            f" - leave ridge out, or use at least {4 * d} pairs",
            atlas.AtlasWarning,
            stacklevel=2,
        )
    return ridge_weight(m, ridge, intercept)


def best_scale(m: Moments, W: Tensor) -> Tensor:
    """Return the factor s that minimises ||s X W - Y||."""
    keeps_norms = W.shape[0] <= W.shape[1]
    norm = m.ssx.sum() if keeps_norms else (m.get("xx") @ W * W).sum()
    return (m.get("xy") * W).sum() / norm


def whitening(values: Tensor, vectors: Tensor, ridge: float, eps: float) -> tuple[Tensor, Tensor]:
    """Return the matrices (d, r) by which centred rows become white, and (transposed) white rows become coloured.

    Args:
        values: (d,) eigenvalues of the rows' covariance, smallest first, of any unit; vectors: (d, d) its eigenvectors.
        ridge: added to them, as a fraction of their mean.
        eps: relative rounding error of the covariance.
    """
    values = values.clamp(min=0) + ridge * values.mean()
    seen = values > ROUNDINGS * eps * values[-1]
    root = values[seen].sqrt()
    return vectors[:, seen] / root, vectors[:, seen] * root
