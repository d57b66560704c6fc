"""Where the rows of a fit lay, and so how far a map can be trusted for another row: leverage, from moments alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.numerics.arrays import as_matrix
from atlas.numerics.moments import CHUNK, Moments

# Added to every variance, as a fraction of their mean: a direction in which no row of the fit differs is far away, and
# not infinitely far.
RIDGE = 0.01
# A row is outside if its predicted error is more than so many times that of the fit. On the encoders of
# docs/confidence.md this is said of at most 2 % of the rows of the same kind, and, from all encoders but one, of 99 %
# of those of another.
OUTSIDE = 2.0
KIND = torch.float32


@dataclass(frozen=True)
class Domain:
    """Where the rows of a fit lay.

    The leverage of a row x is h(x) = (x - mean)' (xx + ridge)^-1 (x - mean), xx a sum over the n rows and not their
    mean: the diagonal of the regression's hat matrix, without the constant. Over the rows of the fit its mean is
    `level`, which is d / n less the ridge's share; of a row beside them, h / level says how many times as far out it
    lies, as a square.

    All tensors are float32, and stored as they are.

    Attributes:
        mean: (d,) of the rows.
        root: (d, d), such that h(x) is the squared length of (x - mean) @ root: never negative, whatever is rounded.
        scale: (3,), `level`, `error` and `fresh`.
        level: the mean leverage of the rows of the fit.
        error: the root of the mean squared distance from mapped to true vectors of the fit; NaN where there is no map.
        fresh: how many different rows are in no moments that have been published: too few could be told from these.
    """

    mean: Tensor
    root: Tensor
    scale: Tensor

    @property
    def level(self) -> float:
        """The mean leverage of the rows of the fit."""
        return float(self.scale[0])

    @property
    def error(self) -> float:
        """The root of the mean squared distance from mapped to true vectors of the fit."""
        return float(self.scale[1])

    @property
    def fresh(self) -> int:
        """How many different rows are in no moments that have been published."""
        return int(self.scale[2])

    @classmethod
    def of(
        cls, m: Moments, weight: Tensor | None = None, bias: Tensor | None = None, fresh: int | None = None
    ) -> Domain:
        """Return the domain of a fit.

        Args:
            m: moments of its rows, with xx; and xy, if there is a map.
            weight: of the map that was fitted, (d_source, d_target).
            bias: of the map, (d_target,).
            fresh: how many different rows are in no moments that have been published; None: all.

        Raises:
            AtlasError: rows that are all the same.
        """
        xx = m.get("xx")
        ridge = RIDGE * float(xx.diagonal().mean())
        if not ridge > 0:
            raise AtlasError("The domain of a fit needs rows that differ, got the same vector for all of them")
        L, bad = torch.linalg.cholesky_ex(xx + ridge * torch.eye(len(xx)).to(xx))
        if bad:
            raise AtlasError("These moments are not those of any rows: their variances are not positive")
        root = torch.linalg.solve_triangular(L, torch.eye(len(xx)).to(xx), upper=False).T
        # xx = L L' - ridge, so that the trace of root' xx root is d less that of the ridge.
        level = (len(xx) - ridge * float(root.square().sum())) / m.n
        fresh = m.n_distinct if fresh is None else fresh
        error = math.nan if weight is None or bias is None else residual(m, weight.double(), bias.double())
        return cls(m.mean_x.float(), root.float().contiguous(), torch.tensor([level, error, fresh]))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names."""
        return {"mean": self.mean, "root": self.root, "scale": self.scale}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], d: int) -> Domain:
        """Return the domain of a map from d dimensions that `tensors` gave.

        Raises:
            AtlasError: they are no such domain.
        """
        shapes = {name: tuple(t.shape) for name, t in tensors.items()}
        if shapes != {"mean": (d,), "root": (d, d), "scale": (3,)} or {t.dtype for t in tensors.values()} != {KIND}:
            raise AtlasError(f"The domain must be mean, root and scale of {d} dimensions in float32, got {shapes}")
        if not (tensors["scale"][0] > 0 and tensors["scale"].min() >= 0):
            raise AtlasError(
                f"The domain must have a level above 0 and no negative scale, got {tensors['scale'].tolist()}"
            )
        return cls(**tensors)

    def leverage(self, X: Any) -> Tensor:
        """Return h of each row of X (n, d), as (n,) of its own dtype or float32, on its device."""
        X = as_matrix(X, "X")
        if X.shape[1] != len(self.mean):
            raise AtlasError(f"The domain of a fit has {len(self.mean)} dimensions, got X with shape {tuple(X.shape)}")
        kind = torch.float64 if X.dtype == torch.float64 else KIND
        mean, root = self.mean.to(X.device, kind), self.root.to(X.device, kind)
        return torch.cat([((rows.to(kind) - mean) @ root).square().sum(1) for rows in X.split(CHUNK)])

    def errors(self, X: Any) -> Tensor:
        """Return the predicted distance from mapped to true vector of each row, (n,), in the target's unit.

        The error of the fit times the root of h / level: a map is as wrong in proportion as a row lies far out.
        """
        return self.error * (self.leverage(X) / self.level).sqrt()

    def outside(self, X: Any) -> Tensor:
        """Return which rows lie outside the domain of the fit, (n,) of truth values."""
        return self.leverage(X) > OUTSIDE**2 * self.level


def residual(m: Moments, weight: Tensor, bias: Tensor) -> float:
    """Return the root of the mean squared distance from mapped to true vectors, from the moments xy and xx."""
    spread = m.ssy.sum() - 2 * (weight * m.get("xy")).sum() + (weight * (m.get("xx") @ weight)).sum()
    shift = (m.mean_x @ weight + bias - m.mean_y).square().sum()
    return math.sqrt(max(float(spread) / m.n, 0.0) + float(shift))
