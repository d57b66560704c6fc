"""Search by cosine, an index being read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.numerics.arrays import check_finite, unit
from atlas.storage.rows import Rows

# Rows of an index at a time.
BATCH = 8192


def nearest(queries: Tensor, batches: Iterable[Tensor], k: int) -> Tensor:
    """Return the numbers of the k nearest rows of an index, nearest first, (q, k); all of them if there are fewer.

    Args:
        queries: (q, d).
        batches: the rows of the index in order, (b, d) each.
        k: how many.
    """
    return merged(numbered(queries, batches), k)[1]


def merged(parts: Iterable[tuple[Tensor, Tensor, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    """Return the cosines (q, k) and numbers (q, k) of the nearest rows of an index that is searched in parts.

    Args:
        parts: of each the queries (q, d) as they are for it, its rows (b, d), and their numbers (b,).
        k: how many; all of them if there are fewer.
    """
    scores, rows = torch.empty(0), torch.empty(0, dtype=torch.int64)
    for queries, part, numbers in parts:
        found = (unit(queries.float()) @ unit(part.float()).T).topk(min(k, len(part)))
        near = numbers[found.indices]
        scores, rows = (torch.cat([a, b], 1) if len(a) else b for a, b in ((scores, found.values), (rows, near)))
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
        scores, rows = scores.gather(1, order), rows.gather(1, order)
    return scores, rows


def numbered(queries: Tensor, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the parts that `merged` takes for an index whose batches are all searched by the same queries."""
    done = 0
    for batch in batches:
        yield queries, batch, torch.arange(done, done + len(batch))
        done += len(batch)


def scores_of(queries: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Return the cosines (q, k) of each query to the rows (q, k) of an index."""
    Q, index = unit(queries.float()), unit(index.float())
    return torch.stack([index[row] @ q for q, row in zip(Q, rows, strict=True)])


def mapped(aligner: Aligner, rows: Rows, what: str) -> Iterator[Tensor]:
    """Yield the rows of an index, mapped, batch by batch."""
    done = 0
    for batch in rows.batches(BATCH):
        check_finite(batch, what, done)
        done += len(batch)
        yield aligner.transform(batch.float())
