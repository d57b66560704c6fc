"""Matrices in memory or in a file, read a batch at a time."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import CardError, NotFoundError, first_line
from atlas.numerics.arrays import tensor_of
from atlas.storage.files import explained
from atlas.storage.header import size_of
from atlas.storage.tensors import DTYPES

BATCH_BYTES = 32 * 2**20


class Rows:
    """A matrix, in memory or in a file, whose batches leave no trace in memory once they have been used."""

    def __init__(
        self, tensor: Tensor, mapping: mmap.mmap | None = None, start: int = 0, source: tuple[Any, ...] = ()
    ) -> None:
        self.tensor = tensor
        self._mapping = mapping
        self._start = start
        # From what `mapped_again` maps it in another process.
        self._source = source

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a matrix in a file by its place there: the rows are not copied."""
        return (mapped_again, self._source) if self._source else (Rows, (self.tensor,))

    @classmethod
    def map(cls, path: Path, start: int, info: TensorInfo) -> Rows:
        """Return a matrix that lies in a file, without reading it.

        Args:
            path: the file.
            start: at which byte the matrix begins.
            info: its dtype and shape (n, d), row by row.
        """
        with explained(path, "read"), path.open("rb") as file:
            # A private mapping, so that nothing written to the tensor could reach the file.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            state = os.fstat(file.fileno())
        count = size_of(info) // DTYPES[info.dtype].itemsize
        if not count:
            return cls(torch.empty(info.shape, dtype=DTYPES[info.dtype]))
        if start % DTYPES[info.dtype].itemsize:
            raw = bytearray(mapping[start : start + size_of(info)])
            return cls(torch.frombuffer(raw, dtype=DTYPES[info.dtype]).reshape(info.shape))
        flat = torch.frombuffer(mapping, dtype=DTYPES[info.dtype], count=count, offset=start)
        source = (path.absolute(), start, info, (state.st_size, state.st_mtime_ns))
        return cls(flat.reshape(info.shape), mapping, start, source)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.tensor)

    def batch_rows(self) -> int:
        """Return how many rows make a batch of some tens of MB."""
        return max(256, BATCH_BYTES // max(1, self.tensor.shape[1] * 4))

    def take(self, index: Tensor | slice) -> Tensor:
        """Return some rows; a slice is not copied."""
        return self.tensor[index]

    def batches(self, size: int | None = None, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of rows, all in order or those of an index."""
        size = size or self.batch_rows()
        n = len(self) if index is None else len(index)
        for start in range(0, n, size):
            stop = min(start + size, n)
            if index is None:
                yield self.tensor[start:stop]
                self.release(start, stop)
            else:
                yield self.tensor[index[start:stop]]
                self.release(0, len(self))

    def release(self, start: int, stop: int) -> None:
        """Tell the system that the pages of these rows are not needed in memory any more."""
        if self._mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        width = self.tensor.shape[1] * self.tensor.dtype.itemsize
        first = (self._start + start * width) // mmap.PAGESIZE * mmap.PAGESIZE
        self._mapping.madvise(mmap.MADV_DONTNEED, first, self._start + stop * width - first)


def mapped_again(path: Path, start: int, info: TensorInfo, state: tuple[int, int]) -> Rows:
    """Return a matrix that was pickled, from the file it lies in."""
    with explained(path, "read"):
        now = path.stat()
    if (now.st_size, now.st_mtime_ns) != state:
        raise CardError(f"{path}: the file has changed since these vectors were pickled - read it again")
    return Rows.map(path, start, info)


def open_npy(path: Path) -> np.memmap:
    """Return the array of numbers of a .npy file, which is read as it is used.

    Raises:
        CardError: truncated, not a .npy file, or of objects (which would need pickle).
    """
    if not path.exists():
        raise NotFoundError(f"There is no file '{path}'")
    try:
        with path.open("rb") as file:
            if file.read(6) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("It does not begin as one")
        return np.lib.format.open_memmap(path, mode="r")
    # The header is Python's, and reading a damaged one raises almost anything.
    except Exception as error:
        raise CardError(f"{path}: truncated or not a .npy file of numbers: {first_line(error)}") from None


def map_npy(path: Path) -> Rows:
    """Return the matrix of a .npy file, without reading it where its layout allows.

    Raises:
        CardError: truncated, not a .npy file, or no matrix of real numbers.
    """
    array = open_npy(path)
    if array.ndim != 2:
        raise CardError(f"{path}: must hold a matrix (rows, features), has shape {array.shape}")
    name = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}.get(array.dtype.str)
    if name and array.flags.c_contiguous and array.size:
        return Rows.map(path, int(array.offset), TensorInfo(name, array.shape))
    if array.dtype.kind not in "fiu":
        raise CardError(f"{path}: must hold real numbers, has dtype {array.dtype}")
    whole = np.dtype(np.float32 if array.itemsize <= 2 else np.float64)
    kept = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else whole
    return Rows(tensor_of(np.array(array, dtype=kept, order="C")))
