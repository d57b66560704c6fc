"""How sure the mean of one value per row is: its 95 % interval."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError

# Rows from which on the spread of values tells how sure their mean is.
FEW = 30
# Resampled values held at once: so few that their memory serves again.
_HELD = 2**18
# Values from which on the bootstrap of a mean is its normal limit.
_MANY = 100_000
# Standard deviations of a normal distribution that 95 % of it lies within.
_Z = 1.959964


def interval(values: Any, shares: bool = False) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the mean of per-row values; None twice where rows are too few to tell, below 30.

    Args:
        values: (m,) one value per row.
        shares: whether they lie from 0 to 1. Then `wilson` tells the interval, of zeros and ones for any number of
            rows; else `bootstrap`.
    """
    v = _checked(values)
    if shares and bool(((v == 0) | (v == 1)).all()):
        return wilson(v)
    if len(v) < FEW:
        return None, None
    return wilson(v) if shares else bootstrap(v)


def wilson(values: Any) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values from 0 to 1, such as the share of rows that are right.

    It is Wilson's for a proportion of n values, of the n whose mean would be as sure: m p (1 - p) / variance, which is
    m for zeros and ones. So 40 right of 40 do not make an accuracy of [1, 1], but of [0.91, 1].

    Args:
        values: (m,) one value per row, from 0 to 1.

    Raises:
        AtlasError: no values, or NaN among them.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    v = _checked(values)
    p, variance = float(v.mean()), float(v.var(correction=0))
    odds = _Z**2 / len(v) * (variance / (p * (1 - p)) if variance > 0 else 1.0)
    half = (odds * (p * (1 - p) + odds / 4)) ** 0.5
    low, high = ((p + odds / 2 + sign * half) / (1 + odds) for sign in (-1, 1))
    # Rounding moves the ends by as much.
    return min(max(low, 0.0), p), max(min(high, 1.0), p)


def bootstrap(values: Any, n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean of per-row values: 2.5 % and 97.5 % quantiles of resampled means.

    From 100,000 values on it is the normal interval, which resampling has converged to.

    Args:
        values: (m,) one value per row, such as `correct` returns.
        n: how often to resample.
        seed: of the resampling.

    Raises:
        AtlasError: no values, or NaN among them.
    """
    v = _checked(values)
    if len(v) >= _MANY:
        half = _Z * float(v.std()) / len(v) ** 0.5
        return float(v.mean()) - half, float(v.mean()) + half
    generator = torch.Generator().manual_seed(seed)
    at_once = min(n, max(1, _HELD // len(v)))
    # Buffers that are used again: new ones each time, with small results between them, kept up to 350 MB of the heap.
    rows = torch.empty(at_once * len(v), dtype=torch.int64)
    drawn, means = torch.empty(len(rows), dtype=torch.float64), torch.empty(n, dtype=torch.float64)
    for start in range(0, n, at_once):
        some = rows[: min(at_once, n - start) * len(v)].random_(len(v), generator=generator)
        values = torch.index_select(v, 0, some, out=drawn[: len(some)])
        means[start : start + at_once] = values.view(-1, len(v)).mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _checked(values: Any) -> Tensor:
    v = torch.as_tensor(values).detach().cpu().double().flatten()
    if not len(v) or not bool(torch.isfinite(v).all()):
        raise AtlasError(f"An interval needs finite values, got {len(v)}, {int((~torch.isfinite(v)).sum())} not finite")
    return v
