"""Whether vectors lie where pairs were: a map is no better than a guess elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from atlas.numerics.arrays import unit

# A row is outside if it lies farther out than this share of pairs that were left out.
WITHIN = 0.95
# Variances are not told from zero below this share of their mean.
FLOOR = 0.1
ROWS = 2000


def outside(pairs: Tensor, rows: Tensor) -> float:
    """Return the share of rows (m, d) that lie outside of where pairs (n, d) do, at length 1; 0.05 is to be expected.

    Leverage is measured with the covariance of every other pair, and the others say how large it is for rows of the
    same domain.
    """
    some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), ROWS)).long()]
    far = leverage(pairs[::2])
    return float((far(some) > far(pairs[1::2]).quantile(WITHIN)).double().mean())


def leverage(pairs: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that gives (x - mean) C^-1 (x - mean)' (m,) of rows (m, d), C being the covariance of pairs.

    Pairs (n, d) and rows are scaled to length 1.
    """
    known = unit(pairs.double())
    mean = known.mean(0)
    C = (known - mean).T @ (known - mean) / len(known)
    C.diagonal().add_(FLOOR * C.diagonal().mean().clamp_min(1e-12))
    L = torch.linalg.cholesky(C)

    def of(rows: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(L, (unit(rows.double()) - mean).T, upper=False).square().sum(0)

    return of
