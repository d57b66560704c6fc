"""A few numbers that tell one set of rows from another."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from atlas.components.store import Batch


@dataclass(frozen=True)
class Tally:
    """A fingerprint of a set of rows, whatever their order and rounding.

    Attributes:
        rows: how many there are.
        ids: the sum of the hashes of their ids, modulo 2**64.
        native: how many are native.
        total: the sum over rows of h(id) * (vector @ r), where h and r are fixed and between -1 and 1.
        size: the same sum of absolute values, which `total` is measured against.
    """

    rows: int = 0
    ids: int = 0
    native: int = 0
    total: float = 0.0
    size: float = 0.0

    def add(self, batch: Batch) -> Tally:
        """Return the tally with more rows."""
        hashes = _hashes(tuple(batch.ids))
        fixed = np.cos(np.arange(batch.vectors.shape[1], dtype=np.float64))
        # In float64, without a copy of all vectors in it.
        terms = (hashes / 2.0**63 - 1) * np.einsum("ij,j->i", batch.vectors, fixed)
        ids = (self.ids + int(hashes.sum(dtype=np.uint64))) % 2**64
        size = self.size + float(np.abs(terms).sum())
        native = self.native + sum(not mark for mark in batch.marks or [""] * len(batch))
        return Tally(self.rows + len(batch), ids, native, self.total + float(terms.sum()), size)

    def agrees(self, other: Tally) -> bool:
        """Whether both are of the same rows, but for rounding of vectors to half precision."""
        near = math.isclose(self.total, other.total, abs_tol=1e-4 * max(self.size, other.size))
        return near and (self.rows, self.ids, self.native) == (other.rows, other.ids, other.native)

    def less(self, batch: Batch) -> Tally:
        """Return the tally without some of its rows."""
        gone = Tally().add(batch)
        ids, total, size = (self.ids - gone.ids) % 2**64, self.total - gone.total, max(self.size - gone.size, 0.0)
        return Tally(self.rows - gone.rows, ids, self.native - gone.native, total, size)

    def same(self, other: Tally) -> bool:
        """Whether both are of the same rows, and these of the same vectors but for the last bit of float32."""
        # Errors of rounding have no common sign, so that their sum grows as the root of their number.
        bound = 1e-6 * max(self.size, other.size) / max(self.rows, 1) ** 0.5
        near = math.isclose(self.total, other.total, rel_tol=0, abs_tol=bound)
        return near and (self.rows, self.ids) == (other.rows, other.ids)

    @property
    def digest(self) -> str:
        """The ids in 16 letters."""
        return f"{self.ids:016x}"


@functools.lru_cache(maxsize=1)
def _hashes(ids: tuple[str, ...]) -> np.ndarray:
    """Return numbers of 64 bits, kept since the rows that are read and those that are written have the same ids."""
    digests = b"".join(hashlib.blake2b(i.encode("utf-8", "replace"), digest_size=8).digest() for i in ids)
    return np.frombuffer(digests, dtype="<u8")
