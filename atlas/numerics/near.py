"""Pairs of rows that are almost a pair before them, such as a text with another date in it."""

from __future__ import annotations

import torch
from torch import Tensor

# Almost: within this share of the distance that two rows usually have, on both sides.
ALMOST = 0.2
# Rows are compared by so many random projections, each with the others of its batch, where there are at most so many
# for each dimension of the source: with more, a few pairs that say little do no harm.
PROJECTED, MOST, CHUNK = 16, 3, 512


def near_pairs(X: Tensor, Y: Tensor, rows_before: int = 0) -> int:
    """Return how many of the pairs of rows of X (n, d_source) and Y (n, d_target) are almost one before them, or one.

    0 where there are too many rows to compare, with those before them.
    """
    if len(X) < 3 or rows_before + len(X) > MOST * X.shape[1]:
        return 0
    x, y = _projected(X, 0), _projected(Y, 1)
    half, one = x.square().sum(1, keepdim=True) / 2, torch.ones(len(x), 1)
    # Their products are the squared distances, halved and negative: one pass over all pairs of rows.
    rows, others = torch.cat([x, -half, -one], 1), torch.cat([x, one, half], 1).T
    found = 0
    for start in range(0, len(x), CHUNK):
        near = rows[start : start + CHUNK] @ others[:, : start + CHUNK] > -(ALMOST**2) / 2
        i, j = near.tril_(start - 1).nonzero(as_tuple=True)
        both = (y[i + start] - y[j]).square().sum(1) < ALMOST**2
        found += len(i[both].unique())
    return found


def _projected(X: Tensor, seed: int) -> Tensor:
    """Return rows of few dimensions, float32 on the CPU, whose mean squared distance is 1."""
    rows = X
    if X.shape[1] > PROJECTED:
        random = torch.Generator().manual_seed(seed)
        rows = rows @ torch.randn(X.shape[1], PROJECTED, generator=random).to(rows)
    rows = rows.cpu().double()
    rows = rows - rows.mean(0)
    largest = rows.abs().max()
    # Rows that are all equal are at no distance.
    if not largest:
        return rows.float()
    rows = rows / largest
    return (rows / rows.square().sum(1).mean().mul(2).sqrt()).float()
