"""The nearest rows of an index, which is read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from atlas.numerics.arrays import unit

# Queries at a time, so that a block of scores stays small beside an index.
QUERIES = 1024


def nearest(queries: Tensor, batches: Iterable[Tensor], k: int, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return cosines (n, k) and row numbers (n, k) of the k nearest rows of an index, nearest first.

    Args:
        queries: (n, d).
        batches: the rows of the index in order, (b, d) each.
        k: how many; all of them if the index has fewer.
        skip: (n,) the number of the row that each query leaves out, -1 for none; its cosine is -infinity.
    """
    Q, done = unit(queries.float()), 0
    scores, rows = torch.empty(len(Q), 0), torch.empty(len(Q), 0, dtype=torch.int64)
    for batch in batches:
        index = unit(batch.float())
        parts = []
        for start in range(0, len(Q), QUERIES):
            found = Q[start : start + QUERIES] @ index.T
            if skip is not None:
                at = skip[start : start + QUERIES] - done
                here = ((at >= 0) & (at < len(index))).nonzero()[:, 0]
                found[here, at[here]] = -torch.inf
            parts.append(found.topk(min(k, len(index))))
        # Of equal scores, those of an earlier batch come first.
        scores = torch.cat([scores, torch.cat([part.values for part in parts])], 1)
        rows = torch.cat([rows, torch.cat([part.indices for part in parts]) + done], 1)
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
        scores, rows, done = scores.gather(1, order), rows.gather(1, order), done + len(index)
    return scores, rows
