"""Moments of paired rows: all a linear aligner may know about the data.

Sums of raw products are not kept: with data offset by 100 their centred form loses all digits in float32. Instead a
shift near the means is taken from all rows, and the rest is corrected in float64.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.numerics.arrays import BEYOND, LARGEST, SMALLEST, as_matrix, check_finite, check_unit
from atlas.numerics.near import near_pairs
from atlas.numerics.sums import ROUGH, Sums, full_precision

# Large enough for a matrix product to run at full rate, small enough for a chunk to stay in the processor's cache.
CHUNK = 2048
# Distinct rows are told from repeats up to so many, and so many for each dimension; with more, repeats hardly matter.
MOST_DISTINCT = 4096, 8
# Rows are told apart by so many projections, to so many binary digits.
PROJECTIONS, BITS = 4, 14
# So many rows tell whether float32 will do, and twice as many where they would else be about as many as dimensions:
# whether the variance of a direction is more than the second share of the largest, or less than the first, the
# rounding of float32 rows.
SAMPLE, ROUNDED, COARSE = 64, 1e-12, 1e-5
FINE = torch.finfo(torch.float64).eps
# The sides that each tensor describes.
_SHAPES = {"mean_x": "x", "mean_y": "y", "ssx": "x", "ssy": "y", "xy": "xy", "xx": "xx", "yy": "yy"}


@dataclass(frozen=True)
class Moments:
    """Count, means and centred second moments of paired rows, in float64 on the CPU.

    xy is the sum over rows of (x - mean_x)(y - mean_y)', shape (d_source, d_target); xx and yy likewise, or None if
    they were not asked for; ssx and ssy are the diagonals of xx and yy, always there. None is divided by n. eps is the
    resolution of the products, as a fraction of their size: at most 1.2e-7 if float32 rows have been counted, 2.2e-16
    if all were float64.

    rows are hashes of the distinct pairs of rows, in order, int64, or None if they were not asked for, or are more than
    `most_distinct`: a repeated pair adds to n but tells nothing new, and second moments alone cannot tell it from
    another. apart counts distinct pairs whose hashes were dropped, by `anonymous`. near counts distinct pairs that are
    almost one before them of the same batch (`near_pairs`): they say little about the noise of new rows.
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    ssx: Tensor
    ssy: Tensor
    xy: Tensor | None = None
    xx: Tensor | None = None
    yy: Tensor | None = None
    eps: float = FINE
    rows: Tensor | None = None
    apart: int = 0
    near: int = 0

    @property
    def n_distinct(self) -> int:
        """How many pairs there are without repeats; n where that is not known."""
        sides = ((self.mean_x, self.ssx), (self.mean_y, self.ssy))
        told = self.rows is not None and any(_tells_rows(mean, ss / max(self.n, 1)) for mean, ss in sides)
        return len(self.rows) + self.apart if told and self.rows is not None else self.n

    @classmethod
    def empty(cls, d_source: int, d_target: int, needs: Collection[str] = ("xy",)) -> Self:
        """Return the moments of no rows, which change nothing where they are added."""
        x, y = torch.zeros(d_source, dtype=torch.float64), torch.zeros(d_target, dtype=torch.float64)
        sides = {"x": x, "y": y}
        products: dict[str, Any] = {
            name: torch.outer(sides[name[0]], sides[name[1]]) for name in needs if name != "rows"
        }
        rows = torch.empty(0, dtype=torch.int64) if "rows" in needs else None
        return cls(0, x, y, x.clone(), y.clone(), **products, rows=rows)

    @classmethod
    def of(
        cls, X: Any, Y: Any, needs: Collection[str] = ("xy",), first_row: int = 0, *, exact: bool = False
    ) -> Moments:
        """Return the moments of paired rows; of none, those that change nothing where they are added.

        Products within a chunk of float32 rows run in float32, at twice the rate, unless a look at some of the rows
        shows directions that would be lost beside wide ones; float64 rows in float64.

        Args:
            X: (n, d_source).
            Y: (n, d_target), row by row the same items.
            needs: which of "xy", "xx", "yy" to compute: each is one matrix product, the whole cost; and "rows", which
                is cheap, to tell repeated pairs.
            first_row: the number of the first row, for messages.
            exact: take products in float64 whatever the rows are, for moments that are kept.

        Raises:
            AtlasError: unequal lengths, NaN or infinity.
        """
        shapes = [tuple(getattr(rows, "shape", ())) for rows in (X, Y)]
        if all(len(shape) == 2 and not shape[0] and shape[1] for shape in shapes):
            return cls.empty(shapes[0][1], shapes[1][1], needs)
        X, Y = as_matrix(X, "X"), as_matrix(Y, "Y")
        if len(X) != len(Y):
            raise AtlasError(f"Moments need paired rows, got {len(X)} in X and {len(Y)} in Y")
        products = [name for name in needs if name != "rows"]
        fine, sides = torch.float64 in (X.dtype, Y.dtype), {"x": X, "y": Y}
        wide = not fine and (exact or not all(float32_tells(sides[side]) for side in set("".join(products))))
        kind = torch.float64 if fine or wide else torch.float32
        total = _summed(X, Y, products, kind)
        # Squares bound all products, so values that are not finite show here: a bad value, or an overflow of float32.
        if not math.isfinite(total.ssx.sum() + total.ssy.sum()):
            for start in range(0, len(X), CHUNK):
                check_finite(X[start : start + CHUNK], "X", first_row + start)
                check_finite(Y[start : start + CHUNK], "Y", first_row + start)
            total = _summed(X, Y, products, torch.float64)
            if not math.isfinite(total.ssx.sum() + total.ssy.sum()):
                raise AtlasError(BEYOND)
        for rows, squares in ((X, total.ssx), (Y, total.ssy)):
            if not SMALLEST**2 < squares.sum() < LARGEST**2:
                check_unit(rows)
        # Differences of float32 rows in a direction are good to their own rounding, however fine the sums are.
        coarse = wide or (fine and X.dtype != torch.float64)
        eps = max(total.eps, torch.finfo(torch.float32).eps ** 2) if coarse else total.eps
        total = replace(total, eps=eps, rows=distinct(X, Y) if "rows" in needs else None)
        if total.rows is None:
            return total
        # Repeated pairs are near, too, and counted by their hashes.
        return replace(total, near=max(near_pairs(X, Y, first_row) - (total.n - total.n_distinct), 0))

    def __add__(self, other: Moments) -> Moments:
        """Merge the moments of two disjoint sets of rows (Chan, Golub and LeVeque's update)."""
        if self.shape != other.shape:
            raise AtlasError(f"Moments of {self.shape} and of {other.shape} dimensions cannot be added")
        if not self.n or not other.n:
            return other if not self.n else self
        n = self.n + other.n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.n * other.n / n
        ssx, ssy = self.ssx + other.ssx + weight * dx * dx, self.ssy + other.ssy + weight * dy * dy
        return Moments(
            n=n,
            mean_x=self.mean_x + dx * (other.n / n),
            mean_y=self.mean_y + dy * (other.n / n),
            ssx=ssx,
            ssy=ssy,
            xy=_merged(self.xy, other.xy, dx, dy, weight),
            xx=_merged(self.xx, other.xx, dx, dx, weight),
            yy=_merged(self.yy, other.yy, dy, dy, weight),
            eps=_resolution((self, other), ssx, ssy),
            rows=_united(self.rows, other.rows, most_distinct(len(dx))),
            apart=self.apart + other.apart,
            near=self.near + other.near,
        )

    def __radd__(self, other: int) -> Moments:
        """Return itself, so that `sum` of some moments is their merge."""
        return self if other == 0 else NotImplemented

    @property
    def shape(self) -> tuple[int, int]:
        """The dimensions of source and target."""
        return len(self.mean_x), len(self.mean_y)

    def reversed(self) -> Moments:
        """Return the moments from target to source; hashes are of ordered pairs, so that only their count stays."""
        xy = None if self.xy is None else self.xy.T.contiguous()
        sides: dict[str, Any] = {"mean_x": self.mean_y, "mean_y": self.mean_x, "ssx": self.ssy, "ssy": self.ssx}
        return replace(self.anonymous(), **sides, xy=xy, xx=self.yy, yy=self.xx)

    def anonymous(self) -> Moments:
        """Return the same without hashes of rows, of which the count stays.

        By its hash, a holder of a pair's vectors could find out whether it was among the rows.
        """
        return self if self.rows is None else replace(self, rows=self.rows[:0], apart=self.n_distinct)

    def tensors(self) -> dict[str, Tensor]:
        """Return all there is to store, counts as tensors without dimensions."""
        counts = {name: torch.tensor(getattr(self, name)) for name in ("n", "apart", "near")}
        given = {name: getattr(self, name) for name in (*_SHAPES, "rows")}
        eps = torch.tensor(self.eps, dtype=torch.float64)
        return {**counts, "eps": eps, **{name: t for name, t in given.items() if t is not None}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], d_source: int, d_target: int) -> Self:
        """Return the moments that `tensors` gave, of such dimensions.

        Raises:
            AtlasError: they are not the moments of any rows.
        """
        sizes = {"x": d_source, "y": d_target}
        wanted = {name: (torch.float64, tuple(sizes[side] for side in of)) for name, of in _SHAPES.items()}
        wanted |= {"n": (torch.int64, ()), "apart": (torch.int64, ()), "near": (torch.int64, ())}
        wanted["eps"] = (torch.float64, ())
        wanted["rows"] = (torch.int64, (tensors["rows"].numel() if "rows" in tensors else 0,))
        for name in sorted({*tensors, *wanted} - ({"xy", "xx", "yy", "rows", "near"} - {*tensors})):
            t = tensors.get(name)
            if name not in wanted or t is None or (t.dtype, tuple(t.shape)) != wanted[name]:
                raise AtlasError(f"Tensor '{name}' is not one of moments from {d_source} to {d_target} dimensions")
        fields: dict[str, Any] = {name: t.item() if t.ndim == 0 else t for name, t in tensors.items()}
        found = cls(**fields)
        found.check()
        return found

    def check(self) -> None:
        """Raise `AtlasError` unless these can be the moments of some rows, as far as sums can tell."""
        numbers = [t for name in _SHAPES if (t := getattr(self, name)) is not None]
        sound = all(bool(torch.isfinite(t).all()) for t in numbers) and 0 < self.eps < 1
        sound = sound and min(self.n, self.apart, self.near, float(self.ssx.min()), float(self.ssy.min())) >= 0
        sides = {"x": self.ssx, "y": self.ssy}
        for name in ("xy", "xx", "yy"):
            # The inequality of Cauchy and Schwarz, with room for the rounding of float32.
            a, b, product = sides[name[0]], sides[name[1]], getattr(self, name)
            bound = torch.outer(a.sqrt(), b.sqrt()) * 1.001
            sound = sound and (product is None or bool((product.abs() <= bound + bound.max() * 1e-6).all()))
        if not sound or self.n_distinct > self.n or self.near > self.n:
            raise AtlasError(f"These tensors are not the moments of any {self.n} rows - make them again")

    def get(self, name: str) -> Tensor:
        """Return the second moment "xy", "xx" or "yy", or raise `AtlasError` if it was not computed."""
        value = getattr(self, name)
        if value is None:
            raise AtlasError(f"Moment '{name}' was not computed - name it in `needs`")
        return value

    def eigen(self, name: str) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues (d,) of "xx" or "yy", smallest first, and its eigenvectors (d, d), one a column."""
        values, vectors = torch.linalg.eigh(self.get(name))
        return values, vectors

    def about_zero(self) -> Moments:
        """Return the moments about zero instead of the means, which become zero."""
        n, x, y = self.n, self.mean_x, self.mean_y
        ssx, ssy = self.ssx + n * x * x, self.ssy + n * y * y
        return replace(
            self,
            mean_x=torch.zeros_like(x),
            mean_y=torch.zeros_like(y),
            ssx=ssx,
            ssy=ssy,
            eps=_resolution((self,), ssx, ssy),
            xy=None if self.xy is None else torch.addr(self.xy, x, y, alpha=n),
            xx=None if self.xx is None else torch.addr(self.xx, x, x, alpha=n),
            yy=None if self.yy is None else torch.addr(self.yy, y, y, alpha=n),
        )

    def deviations(self) -> tuple[Tensor, Tensor]:
        """Return the standard deviation (with n - 1) of every column of source and target; 0 if it is but rounding."""
        return self._deviations

    @functools.cached_property
    def _deviations(self) -> tuple[Tensor, Tensor]:
        pairs = ((self.ssx, self.mean_x), (self.ssy, self.mean_y))
        found = (((ss / max(self.n - 1, 1)).sqrt(), mean.abs()) for ss, mean in pairs)
        x, y = (spread.where(spread > 2 * self.eps * mean, 0.0) for spread, mean in found)
        return x, y

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


def distinct(X: Tensor, Y: Tensor) -> Tensor | None:
    """Return the hashes of distinct pairs of rows, in order, or None if they are more than `most_distinct`."""
    most = most_distinct(X.shape[1])
    found: Tensor | None = torch.empty(0, dtype=torch.int64)
    # A few large parts, as each is sorted with all before it; of large data the first are enough.
    for x, y in zip(X.split(most // 2), Y.split(most // 2), strict=True):
        found = None if found is None else _united(found, row_hashes(x, 0) + row_hashes(y, 1), most)
    return found


def most_distinct(d_source: int) -> int:
    """Return how many distinct rows are told from repeats."""
    least, each = MOST_DISTINCT
    return max(least, each * d_source)


def row_hashes(X: Tensor, seed: int) -> Tensor:
    """Return a number for each row of X (n, d), (n,) int64 on the CPU, equal for rows that are equal but for rounding.

    A few random projections and the sum of each row, rounded. An encoder returns the same text's vector with slightly
    other digits in another batch, of which few sums, unlike many values, rarely fall to different sides of a rounding.
    The projections ignore anything added to all columns, which would hide the differences.
    """
    random = torch.Generator().manual_seed(seed)
    R = torch.randn(PROJECTIONS + 1, X.shape[1], generator=random, dtype=torch.float64)
    R = R.sub_(R.mean(1, keepdim=True)).index_fill_(0, torch.tensor([PROJECTIONS]), 1.0)
    factors = torch.randint(-(2**62), 2**62, (PROJECTIONS + 3,), generator=random).mul_(2).add_(1)
    return torch.cat([(_digits(R @ part.cpu().double().T) * factors[:, None]).sum(0) for part in X.split(CHUNK)])


def _digits(P: Tensor) -> Tensor:
    """Return projections and sums (k + 1, n) as whole numbers, and the unit of each: (k + 3, n) int64."""
    size = functools.reduce(torch.hypot, P[:-1])
    large = torch.hypot(size, P[-1]).frexp().exponent
    # If the columns of a row are all but equal, projections are no more than the rounding of float64.
    small = size.frexp().exponent.maximum(large - 26)
    units = torch.stack([small] * PROJECTIONS + [large]) - BITS
    return torch.cat([(P * torch.exp2(-units.double())).round().long(), small[None], large[None]])


def _tells_rows(mean: Tensor, variance: Tensor) -> bool:
    """Whether the digits of `row_hashes` show the differences of rows beside a mean that is alike in no two columns."""
    offset, spread = float((mean - mean.mean()).square().sum()), float(variance.sum())
    return spread == 0 == offset or spread > (offset + spread) * 4.0 ** (3 - BITS)


def _united(a: Tensor | None, b: Tensor | None, most: int) -> Tensor | None:
    rows = None if a is None or b is None else torch.cat([a, b]).unique()
    return rows if rows is not None and len(rows) <= most else None


def _merged(a: Tensor | None, b: Tensor | None, dx: Tensor, dy: Tensor, weight: float) -> Tensor | None:
    if a is None or b is None:
        return None
    # b was made for this merge or an earlier one and may be shared, so only the fresh result is written to.
    return torch.addr(b, dx, dy, alpha=weight).add_(a)


def float32_tells(X: Tensor) -> bool:
    """Whether products of rows in float32 keep every direction in which the rows differ by more than their rounding.

    Columns of unequal size do no harm: the error of a product is a fraction of the size of its two columns.
    """
    sample = SAMPLE if X.shape[1] >= 2 * SAMPLE else 2 * SAMPLE
    rows = X[:: max(len(X) // sample, 1)].cpu().double()
    rows = rows - rows.mean(0)
    sizes = rows.square().mean(0).sqrt()
    least, largest = (float(t) for t in sizes.aminmax())
    if least == 0:
        seen = sizes > 0
        rows, sizes = rows[:, seen], sizes[seen]
        least = float(sizes.min()) if len(sizes) else math.nan
    # No columns that differ, or values that are not finite, which are found later.
    if not math.isfinite(least + largest):
        return True
    if least < 2**-40 or largest > 2**40:
        return False
    rows = rows / sizes
    few = len(rows) <= rows.shape[1]
    product = rows @ rows.T if few else rows.T @ rows
    # Far cheaper than eigenvalues, and enough for most data: if the product less a share of its trace, which is more
    # than the largest, is still positive, none is small. Of few rows, the direction they were centred along is filled.
    trace = float(rows.numel())
    less = product + trace / len(rows) ** 2 if few else product.clone()
    less.diagonal().sub_(COARSE * trace)
    if not torch.linalg.cholesky_ex(less)[1]:
        return True
    values = torch.linalg.eigvalsh(product)
    return bool(values[values > ROUNDED * values[-1]][0] > COARSE * values[-1])


def _resolution(parts: Sequence[Moments], ssx: Tensor, ssy: Tensor) -> float:
    """Return eps of moments that add up parts: sums between them are exact, and make errors smaller."""
    sides = ((ssx, [m.ssx for m in parts]), (ssy, [m.ssy for m in parts]))
    errors = [
        sum(m.eps * float(s.sum()) for m, s in zip(parts, own, strict=True)) / float(ss.sum())
        for ss, own in sides
        if ss.any()
    ]
    return max([FINE, *errors])


def _summed(X: Tensor, Y: Tensor, needs: Collection[str], kind: torch.dtype) -> Moments:
    """Return the moments of rows; chunks whose means are far apart are merged, others added up."""
    if kind == torch.float64 and X.device.type == "mps":
        X, Y = X.cpu(), Y.cpu()
    size = CHUNK if X.device.type == "cpu" else ROUGH
    done: list[Sums] = []
    with full_precision():
        for start in range(0, len(X), size):
            x, y = (t[start : start + size].to(kind) for t in (X, Y))
            if not done or not done[-1].add(x, y):
                done.append(Sums(x, y, needs))
                done[-1].add(x, y)
    eps = torch.finfo(kind).eps
    return functools.reduce(operator.add, (Moments(part.n, **part.centred(), eps=eps) for part in done))
