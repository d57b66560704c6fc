"""Moments of paired rows: all a linear aligner may know about the data.

Sums of raw products are not kept: with data offset by 100 their centred form loses all digits in float32. Instead each
chunk of rows is centred on its own mean, and chunks are merged in float64.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.numerics.arrays import as_matrix, check_finite

# Large enough for a matrix product to run at full rate, small enough for a chunk to stay in the processor's cache.
CHUNK = 2048


@dataclass(frozen=True)
class Moments:
    """Count, means and centred second moments of paired rows, in float64 on the CPU.

    xy is the sum over rows of (x - mean_x)(y - mean_y)', shape (d_source, d_target); xx and yy likewise, or None if
    they were not asked for; ssx and ssy are the diagonals of xx and yy, always there. None is divided by n. eps is the
    resolution of the products: 1.2e-7 once float32 rows have been counted, 2.2e-16 if all were float64.
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    ssx: Tensor
    ssy: Tensor
    xy: Tensor | None = None
    xx: Tensor | None = None
    yy: Tensor | None = None
    eps: float = torch.finfo(torch.float64).eps

    @classmethod
    def of(cls, X: Any, Y: Any, needs: Collection[str] = ("xy",), first_row: int = 0) -> Moments:
        """Return the moments of paired rows.

        Products within a chunk of float32 rows run in float32, at twice the rate; float64 rows in float64.

        Args:
            X: (n, d_source).
            Y: (n, d_target), row by row the same items.
            needs: which of "xy", "xx", "yy" to compute: each is one matrix product, the whole cost.
            first_row: the number of the first row, for messages.

        Raises:
            AtlasError: unequal lengths, NaN or infinity.
        """
        X, Y = as_matrix(X, "X"), as_matrix(Y, "Y")
        if len(X) != len(Y):
            raise AtlasError(f"Moments need paired rows, got {len(X)} in X and {len(Y)} in Y")
        total: Moments | None = None
        for start in range(0, len(X), CHUNK):
            rows = slice(start, start + CHUNK)
            part = _of_chunk(X[rows], Y[rows], needs, first_row + start)
            total = part if total is None else total + part
        assert total is not None
        return total

    def __add__(self, other: Moments) -> Moments:
        """Merge the moments of two disjoint sets of rows (Chan, Golub and LeVeque's update)."""
        n = self.n + other.n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.n * other.n / n
        return Moments(
            n=n,
            mean_x=self.mean_x + dx * (other.n / n),
            mean_y=self.mean_y + dy * (other.n / n),
            ssx=self.ssx + other.ssx + weight * dx * dx,
            ssy=self.ssy + other.ssy + weight * dy * dy,
            xy=_merged(self.xy, other.xy, dx, dy, weight),
            xx=_merged(self.xx, other.xx, dx, dx, weight),
            yy=_merged(self.yy, other.yy, dy, dy, weight),
            eps=max(self.eps, other.eps),
        )

    def get(self, name: str) -> Tensor:
        """Return the second moment "xy", "xx" or "yy", or raise `AtlasError` if it was not computed."""
        value = getattr(self, name)
        if value is None:
            raise AtlasError(f"Moment '{name}' was not computed - name it in `needs`")
        return value

    def about_zero(self) -> Moments:
        """Return the moments about zero instead of the means, which become zero."""
        n, x, y = self.n, self.mean_x, self.mean_y
        return replace(
            self,
            mean_x=torch.zeros_like(x),
            mean_y=torch.zeros_like(y),
            ssx=self.ssx + n * x * x,
            ssy=self.ssy + n * y * y,
            xy=None if self.xy is None else torch.addr(self.xy, x, y, alpha=n),
            xx=None if self.xx is None else torch.addr(self.xx, x, x, alpha=n),
            yy=None if self.yy is None else torch.addr(self.yy, y, y, alpha=n),
        )

    def scaled(self, x: Tensor, y: Tensor) -> Moments:
        """Return the moments of rows whose columns are multiplied by x (d_source,) and y (d_target,)."""
        return replace(
            self,
            mean_x=self.mean_x * x,
            mean_y=self.mean_y * y,
            ssx=self.ssx * x * x,
            ssy=self.ssy * y * y,
            xy=None if self.xy is None else self.xy * torch.outer(x, y),
            xx=None if self.xx is None else self.xx * torch.outer(x, x),
            yy=None if self.yy is None else self.yy * torch.outer(y, y),
        )


def _merged(a: Tensor | None, b: Tensor | None, dx: Tensor, dy: Tensor, weight: float) -> Tensor | None:
    if a is None or b is None:
        return None
    # b was made for this merge or an earlier one and may be shared, so only the fresh result is written to.
    return torch.addr(b, dx, dy, alpha=weight).add_(a)


def _of_chunk(X: Tensor, Y: Tensor, needs: Collection[str], first_row: int) -> Moments:
    same = torch.float32 if torch.float64 not in (X.dtype, Y.dtype) else torch.float64
    part = _of_rows(X.to(same), Y.to(same), needs)
    # Squares bound all products, so what is not finite shows here: a bad value, or an overflow of float32.
    if not bool(torch.isfinite(part.ssx.sum() + part.ssy.sum())):
        check_finite(X, "X", first_row)
        check_finite(Y, "Y", first_row)
        part = _of_rows(X.double(), Y.double(), needs)
    return part


def _of_rows(X: Tensor, Y: Tensor, needs: Collection[str]) -> Moments:
    Xc, mean_x, rest_x = _centred(X)
    Yc, mean_y, rest_y = _centred(Y)
    pairs = {"xy": (Xc, rest_x, Yc, rest_y), "xx": (Xc, rest_x, Xc, rest_x), "yy": (Yc, rest_y, Yc, rest_y)}
    products = {name: _product(*pairs[name]) for name in needs}
    ssx = products["xx"].diagonal().clone() if "xx" in products else _squares(Xc, rest_x)
    ssy = products["yy"].diagonal().clone() if "yy" in products else _squares(Yc, rest_y)
    return Moments(len(X), mean_x, mean_y, ssx, ssy, **products, eps=torch.finfo(X.dtype).eps)


def _centred(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows less their mean as X's dtype has it, the true mean, and the mean that the rows are left with.

    The last is as small as the rounding of the first. With it, products are centred exactly without another pass.
    """
    mean = X.mean(0)
    Xc = X - mean
    rest = Xc.mean(0).double()
    return Xc, (mean.double() + rest).cpu(), rest.cpu()


def _product(A: Tensor, rest_a: Tensor, B: Tensor, rest_b: Tensor) -> Tensor:
    return (A.T @ B).cpu().double().addr_(rest_a, rest_b, alpha=-len(A))


def _squares(A: Tensor, rest: Tensor) -> Tensor:
    """Return the diagonal of the product of A with itself; A is overwritten."""
    squares = A.square_().sum(0).cpu().double()
    return (squares - len(A) * rest.square()).clamp_(min=0)
