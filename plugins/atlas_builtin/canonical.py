"""Several spaces onto their common signal: multiway canonical correlations, with one map there and another back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import atlas
from atlas.authors import all_equal
from atlas_builtin.aggregators import Averaged
from atlas_builtin.aligners import Linear, check_rank, check_ridge, whitening
from atlas_builtin.consensus import placed

# The penalty of maps back from a shared space, whose directions are all of variance 1: no more than rounding needs.
BACK = 1e-3
# The part of the variance of an item's places that a direction must explain, or it is rounding.
LEAST = 1e-9


@dataclass
class TwoWay(atlas.Aligner):
    """Fit one linear map there and another one back: running the first backwards would magnify its noise.

    Both are ridge regressions, Y on X and X on Y: of all affine maps those of least error in their own direction. There
    and back is no round trip: directions that the other space does not see come back as their mean.
    """

    name = "two-way"
    invertible = True

    ridge: float | None = atlas.option(
        None, help="Penalty there, as a fraction of the mean variance of the source; none: by cross-validation"
    )
    ridge_back: float | None = atlas.option(
        None, help="Penalty back, as a fraction of the mean variance of the target; none: by cross-validation"
    )

    def __post_init__(self) -> None:
        check_ridge(self, self.ridge)
        check_ridge(self, self.ridge_back)

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        assert Y is not None
        there, back = Linear(ridge=self.ridge).fit(X, Y), Linear(ridge=self.ridge_back).fit(Y, X)
        return {**there.state, **{f"{name}_back": t for name, t in back.state.items()}}

    def _transform(self, X: Tensor) -> Tensor:
        return torch.addmm(self.state["bias"].to(X), X, self.state["weight"].to(X))

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        return torch.addmm(self.state["bias_back"].to(Y), Y, self.state["weight_back"].to(Y))


@dataclass
class GeneralizedCCA(Averaged):
    """Find the signal common to all spaces, and map each onto it: an item is near itself from whichever encoder.

    Minimises the sum over spaces of ||X_s W_s + t_s - G||^2 and a penalty on W_s, over all maps and all G with
    uncorrelated columns of variance 1 (MAX-VAR). An item that some spaces lack counts in those that have it. Charts
    are those regressions; backwards, the regressions of X_s on G. It is best at finding the same item in another space;
    to rank items that are merely alike, 'generalized-procrustes' bends vectors less.

    Source: J. R. Kettenring, Canonical analysis of several sets of variables, Biometrika 58, 1971; with items missing,
    M. van de Velden and Y. Takane, Generalized canonical correlation analysis with missing values, Computational
    Statistics 27, 2012.
    """

    name = "generalized-cca"
    partial = True

    rank: int | None = atlas.option(
        None, help="Dimensions of the shared space; none: as many as the narrowest space has, and items tell apart"
    )
    ridge: float = atlas.option(0.3, help="Added to the variances of each space, as a fraction of their mean")

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_rank(self, self.rank)
        check_ridge(self, self.ridge)

    def chart_aligner(self) -> TwoWay:
        """Return an unfitted pair of regressions, which the charts are."""
        return TwoWay(ridge=self.ridge, ridge_back=BACK)

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, atlas.Aligner]:
        for space, X in views.items():
            if all_equal(X):
                raise self.fail(f"needs rows that differ, got the same vector for all of them in '{space}'")
        numbers = torch.cat(list(items.values())).unique()
        rows = {space: torch.searchsorted(numbers, found) for space, found in items.items()}
        G = self._common(views, rows, len(numbers))
        self.extra = {"items": numbers, "consensus": G}
        return {space: self.chart_aligner().fit(X, G[rows[space]]) for space, X in views.items()}

    def _common(self, views: Mapping[str, Tensor], rows: Mapping[str, Tensor], n: int) -> Tensor:
        """Return G (n, r): for every item, where the spaces agree best that it is."""
        columns, count = [], torch.zeros(n).double()
        for space, X in views.items():
            C = X - X.mean(0)
            values, vectors = torch.linalg.eigh(C.T @ C / len(X))
            root, _ = whitening(values, vectors, self.ridge, torch.finfo(torch.float64).eps)
            # The last column lets the space be moved, as if its mean had variance 1.
            columns.append(placed(C @ root, rows[space], n) / len(X) ** 0.5)
            count += columns[-1][:, -1] > 0
        K = torch.cat(columns, 1) / count.sqrt()[:, None]
        # All spaces agree perfectly on a constant, which tells nothing.
        constant = (count / count.sum()).sqrt()
        K -= torch.outer(constant, constant @ K)
        values, directions = torch.linalg.eigh(K.T @ K)
        most = min(self.rank or n, min(X.shape[1] for X in views.values()), n - 1)
        seen = values > LEAST * values[-1]
        values, directions = (t[..., seen].flip(-1)[..., :most] for t in (values, directions))
        # Of a direction and its opposite, the one whose largest part is positive.
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        return K @ (directions * largest.sign() / values.sqrt()) * (count.sum() / count).sqrt()[:, None]

    def _add(self, space: str, X: Tensor, items: Tensor) -> atlas.Aligner:
        known = torch.isin(items, self.extra["items"])
        if int(known.sum()) < 2:
            raise self.fail(f"needs 2 items of '{space}' that it was fitted on, got {int(known.sum())}")
        G = self.extra["consensus"].double()[torch.searchsorted(self.extra["items"], items[known])]
        return self.chart_aligner().fit(X[known], G)
