"""Sketches of the items that something was fitted on, and whether others are among them."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from atlas.artefacts.vectors import Vectors
from atlas.cards.sketch import BYTES, MOST, Sketch
from atlas.storage.item_ids import packed
from atlas.storage.rows import Lazy, Noted

# Rows that are hashed at a time: so few that the memory of some serves for the next.
FEW = 1024


def sketch_of(*views: Vectors) -> str:
    """Return the sketch of the items of vectors, as a card holds it."""
    return functools.reduce(operator.or_, (Sketching(view).sketch() for view in views)).text()


class Sketching:
    """A sketch that is made while vectors are read for something else.

    Attributes:
        view: the vectors, to be read in place of those given.
    """

    def __init__(self, view: Vectors) -> None:
        # Items alone are hashed, and the vectors of those few that are kept.
        items, rows, done = np.empty(0, np.int64), np.empty(0, np.int64), 0
        for hashes in _item_lists(view):
            items = np.concatenate([items, np.array(hashes, np.int64)])
            rows = np.concatenate([rows, np.arange(done, done + len(hashes))])
            least = np.sort(np.argsort(items, kind="stable")[: MOST + 1])
            items, rows, done = items[least], rows[least], done + len(hashes)
        self._items = items.tolist()
        self._rows = Noted(view.rows, torch.from_numpy(rows))
        # Those that are in memory, or mapped to it, are read where they are.
        self.view = replace(view, rows=self._rows) if isinstance(view.rows, Lazy) else view

    def sketch(self) -> Sketch:
        """Return the sketch."""
        return Sketch.of(zip(self._items, _hashes(self._rows.noted), strict=True))


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


def item_hashes(view: Vectors) -> Iterator[int]:
    """Yield a hash of each item: of its id and the data set.

    Ids of no data set may be row numbers, which others have, too: the first vector tells which rows they are of.
    """
    return itertools.chain.from_iterable(_item_lists(view))


def _item_lists(view: Vectors) -> Iterator[list[int]]:
    name = view.dataset or str(_hashes(view.rows.some(1)))
    begin = f"{name}\0".encode(errors="surrogatepass")
    return (_hashed([begin + raw for raw in texts.raw()]) for texts in packed(view.ids))


def row_hashes(view: Vectors) -> Iterator[int]:
    """Yield a hash of each vector, the same whether it is kept in half, single or double precision."""
    return itertools.chain.from_iterable(map(_hashes, view.rows.batches(FEW)))


def _hashes(rows: Tensor) -> list[int]:
    return _hashed(np.ascontiguousarray(rows.float().numpy(), "<f4"))


def _hashed(data: Sequence[bytes] | np.ndarray) -> list[int]:
    """Return the first bytes of the sha256 of each, as numbers."""
    digests = np.frombuffer(b"".join([sha256(one).digest() for one in data]), ">u8")[::4]
    return (digests >> np.uint64(64 - 8 * BYTES)).tolist()
