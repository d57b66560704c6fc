"""Sketches of the items that something was fitted on, and whether others are among them."""

from __future__ import annotations

import functools
import hashlib
import heapq
import operator

import torch

from atlas.artefacts.vectors import Vectors
from atlas.cards.sketch import BYTES, MOST, Sketch


def sketch_of(*views: Vectors) -> str:
    """Return the sketch of the items of vectors, as a card holds it."""
    return functools.reduce(operator.or_, map(_sketch, views)).text()


def _sketch(view: Vectors) -> Sketch:
    items = item_hashes(view)
    # Items alone are hashed, and the vectors of those few that are kept.
    first = heapq.nsmallest(MOST + 1, range(len(items)), key=items.__getitem__)
    rows = row_hashes(view.take(torch.tensor(first, dtype=torch.int64)))
    return Sketch.of((items[i], row) for i, row in zip(first, rows, strict=True))


def count_fitted(fitted_on: str, *views: Vectors) -> int | None:
    """Return how many of the items of paired vectors something was fitted on; None where its card does not say."""
    if not fitted_on:
        return None
    sketch = Sketch.parse(fitted_on)
    return max(sketch.count(item_hashes(view), row_hashes(view)) for view in views)


def fitted_rows(fitted_on: str, view: Vectors) -> list[bool]:
    """Return for each row whether its item or its vector is in a sketch."""
    sketch = Sketch.parse(fitted_on)
    rows = {row for _, row in sketch.pairs}
    hashed = zip(sketch.has(item_hashes(view)), row_hashes(view), strict=True)
    return [known or row in rows for known, row in hashed]


def item_hashes(view: Vectors) -> list[int]:
    """Return a hash of each item: of its id and the data set.

    Ids of no data set may be row numbers, which others have, too: the first vector tells which rows they are of.
    """
    name = view.dataset or str(row_hashes(view.take(torch.arange(min(1, len(view)))))[:1])
    return [_hash(f"{name}\0{item}".encode(errors="surrogatepass")) for item in view.ids]


def row_hashes(view: Vectors) -> list[int]:
    """Return a hash of each vector, the same whether it is kept in half, single or double precision."""
    return [_hash(row.tobytes()) for batch in view.rows.batches() for row in batch.float().numpy().astype("<f4")]


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:BYTES])
