"""Whether vectors lie where pairs were: a map is no better than a guess elsewhere."""

from __future__ import annotations

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

    Leverage, (x - mean) C^-1 (x - mean)', is measured with the covariance of every other pair, and the others say how
    large it is for rows of the same domain.
    """
    some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), ROWS)).long()]
    known, fresh = unit(pairs[::2].double()), unit(pairs[1::2].double())
    mean = known.mean(0)
    C = (known - mean).T @ (known - mean) / len(known)
    C.diagonal().add_(FLOOR * C.diagonal().mean().clamp_min(1e-12))
    L = torch.linalg.cholesky(C)

    def leverage(X: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(L, (X - mean).T, upper=False).square().sum(0)

    return float((leverage(unit(some.double())) > leverage(fresh).quantile(WITHIN)).double().mean())
