"""Matrices in memory, in a file or in many, read a batch at a time."""

from __future__ import annotations

import copyreg
import functools
import itertools
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import AtlasError, CardError
from atlas.numerics.arrays import tensor_of
from atlas.storage.files import explained
from atlas.storage.header import size_of
from atlas.storage.tensors import DTYPES, open_npy

BATCH_BYTES = 32 * 2**20
# Rows of a batch that is read when it is used: as many as moments are computed of at once.
LAZY = 2048


class Rows:
    """A matrix, in memory or in a file, whose batches leave no trace in memory once they have been used.

    Attributes:
        dim: the number of its columns.
        dtype: of its numbers.
        tensor: all of it; those that lie in files of another layout are read into memory for that.
        file: where it lies, if it is all that a file of vectors holds: a path, or the URL of an object.
    """

    file: str | Path | None = None
    _mapping: mmap.mmap | None = None

    def __init__(
        self, tensor: Tensor, mapping: mmap.mmap | None = None, start: int = 0, source: tuple[Any, ...] = ()
    ) -> None:
        self.tensor = tensor
        self.dim, self.dtype = tensor.shape[-1], tensor.dtype
        self._mapping = mapping
        self._start = start
        # The source from which `mapped_again` maps it in another process.
        self._source = source

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a matrix in a file by its place there: the rows are not copied."""
        made = (mapped_again, self._source) if self._source else (Rows, (self.tensor,))
        return (*made, {"file": self.file}) if self.file else made

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
        return max(256, BATCH_BYTES // max(1, self.dim * 4))

    def take(self, index: Tensor | slice) -> Tensor:
        """Return some rows; a slice is not copied."""
        return self.tensor[index]

    def some(self, n: int) -> Tensor:
        """Return at most n rows from all over the matrix, as a sample for which little else is read."""
        return self.take(_spread(len(self), n))

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

    def pick(self, index: Tensor) -> Rows:
        """Return the rows of an index, in its order; those of a file are read when they are used."""
        return Rows(self.tensor[index]) if self._mapping is None else Picked(self, index)

    def at_random(self) -> Rows:
        """Return the same rows where any can be read at any time."""
        return self

    def place(self, row: int) -> str:
        """Return how a person finds a row."""
        return f"row {row}"

    def release(self, start: int, stop: int) -> None:
        """Tell the system that the pages of these rows are not needed in memory any more."""
        if self._mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        width = self.tensor.shape[1] * self.tensor.dtype.itemsize
        first = (self._start + start * width) // mmap.PAGESIZE * mmap.PAGESIZE
        self._mapping.madvise(mmap.MADV_DONTNEED, first, self._start + stop * width - first)


class Lazy(Rows):
    """Rows that are read when they are used; a subclass says how many there are, and `batches`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle rows by where they lie, without those that have been read."""
        kept = {name: value for name, value in vars(self).items() if name not in ("tensor", "spooled")}
        return copyreg.__newobj__, (type(self),), kept  # type: ignore[attr-defined]

    def batch_rows(self) -> int:
        """Return how many rows make a batch of some MB: few enough for the memory of one to serve for the next."""
        return max(256, min(LAZY, super().batch_rows() // 4))

    @functools.cached_property
    def tensor(self) -> Tensor:  # type: ignore[override]
        """All rows, in memory."""
        whole = torch.empty(len(self), self.dim, dtype=self.dtype)
        done = 0
        for batch in self.batches():
            whole[done : done + len(batch)] = batch
            done += len(batch)
        return whole

    def take(self, index: Tensor | slice) -> Tensor:
        """Return some rows."""
        index = torch.arange(len(self))[index] if isinstance(index, slice) else index
        order = index.argsort()
        found = torch.empty(len(index), self.dim, dtype=self.dtype)
        done = 0
        for batch in self.batches(index=index[order]):
            found[order[done : done + len(batch)]] = batch
            done += len(batch)
        return found

    def pick(self, index: Tensor) -> Rows:
        """Return the rows of an index, in its order, which are read when they are used."""
        return Picked(self, index)


class Picked(Lazy):
    """The rows of an index into others."""

    def __init__(self, rows: Rows, index: Tensor) -> None:
        self.rows, self.index = rows, index
        self.dim, self.dtype = rows.dim, rows.dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index)

    def batches(self, size: int | None = None, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of rows, all in order or those of an index."""
        return self.rows.batches(size, self.index if index is None else self.index[index])

    def some(self, n: int) -> Tensor:
        """Return at most n rows from all over the matrix."""
        return self.rows.take(self.index[_spread(len(self), n)].sort().values)

    def place(self, row: int) -> str:
        """Return how a person finds a row."""
        return self.rows.place(int(self.index[row]))


class Noted(Lazy):
    """Other rows, some of which are noted when all are read, so that nobody reads them again for these.

    Attributes:
        noted: the rows of an index that rises, once all have been read.
    """

    def __init__(self, rows: Rows, index: Tensor) -> None:
        self.rows, self.index, self.file = rows, index, rows.file
        self.dim, self.dtype = rows.dim, rows.dtype
        self._noted: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def batches(self, size: int | None = None, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of rows, all in order or those of an index."""
        if index is not None:
            yield from self.rows.batches(size, index)
            return
        # One piece of memory: small ones, between batches, would keep the system from getting those back.
        noted, done = torch.empty(len(self.index), self.dim, dtype=self.dtype), 0
        for batch in self.rows.batches(size):
            first, last = np.searchsorted(self.index.numpy(), [done, done + len(batch)])
            noted[first:last] = batch[self.index[first:last] - done]
            done += len(batch)
            yield batch
        self._noted = noted

    def some(self, n: int) -> Tensor:
        """Return at most n rows from all over the matrix."""
        return self.rows.some(n)

    @property
    def noted(self) -> Tensor:
        """The rows of the index, read now if not all have been read."""
        # Few at once: around a row that is mapped, the system may map a megabyte.
        return torch.cat([*self.rows.batches(16, self.index)]) if self._noted is None else self._noted

    def place(self, row: int) -> str:
        """Return how a person finds a row."""
        return self.rows.place(row)


class Pieces(Lazy):
    """Rows that lie in pieces, one after another, each read from its beginning; a subclass says how.

    Attributes:
        ends: for each piece, how many rows it and those before it have.
    """

    def __init__(self, lengths: Sequence[int], dim: int, dtype: torch.dtype) -> None:
        self.ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
        self.dim, self.dtype = dim, dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.ends[-1])

    def read(self, piece: int, size: int, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the rows of a piece in order, at most `size` at a time, all or those of an index that rises."""
        raise NotImplementedError

    def chunks(self, size: int, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield rows as they are read, at most `size` at a time, all in order or those of an index that rises."""
        if index is None:
            return (chunk for i in range(len(self.ends)) for chunk in self.read(i, size))
        return self._picked(index, size)

    def batches(self, size: int | None = None, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of rows, all in order or those of an index; only one that rises is read without detours."""
        size = size or self.batch_rows()
        if index is None or bool((index[1:] >= index[:-1]).all()):
            return regrouped(self.chunks(size, index), size)
        anywhere = self.at_random()
        return (anywhere.take(index[start : start + size]) for start in range(0, len(index), size))

    def _picked(self, index: Tensor, size: int) -> Iterator[Tensor]:
        begins = np.concatenate([[0], self.ends[:-1]])
        bounds = np.searchsorted(index.numpy(), [*begins, len(self)])
        for i, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
            if first < last:
                yield from self.read(i, size, index[first:last] - int(begins[i]))

    def some(self, n: int) -> Tensor:
        """Return at most n rows: the first of some pieces, from all over them."""
        full = np.flatnonzero(np.diff(self.ends, prepend=0))
        pieces = full[_spread(len(full), min(n, 8)).numpy()].tolist()
        return torch.cat([next(self.read(i, -(-n // len(pieces)))) for i in pieces])[:n]


class Parts(Pieces):
    """Matrices one after another, such as the shards of a set; `kept`: how many an earlier run had written."""

    kept = 0

    def __init__(self, parts: Sequence[Rows]) -> None:
        """Join matrices.

        Raises:
            AtlasError: one has another dimension than the first; the message names it.
        """
        self.parts = list(parts)
        dim, dtype = parts[0].dim, parts[0].dtype
        for part in parts:
            if part.dim != dim:
                raise AtlasError(
                    f"'{part.file}' has {part.dim} dimensions, and '{parts[0].file}', of the same set, {dim} - "
                    f"leave one of them out"
                )
            dtype = torch.promote_types(dtype, part.dtype)
        super().__init__([len(part) for part in parts], dim, dtype)

    def read(self, piece: int, size: int, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the rows of a part in order, at most `size` at a time, all or those of an index that rises."""
        part = self.parts[piece]
        chunks = part.chunks(size, index) if isinstance(part, Pieces) else part.batches(size, index)
        return (chunk.to(self.dtype) for chunk in chunks)

    def between(self, start: int, stop: int) -> Rows:
        """Return the rows from `start` to before `stop`: a part where that is one, and nothing of the other parts."""
        first, last = np.searchsorted(self.ends, [start, stop - 1], side="right").tolist()
        begin = int(self.ends[first]) - len(self.parts[first])
        whole = Parts(self.parts[first : last + 1])
        if len(whole) == stop - start:
            return whole.parts[0] if first == last else whole
        return Picked(whole, torch.arange(start - begin, stop - begin))

    def at_random(self) -> Rows:
        """Return the same rows where any can be read at any time."""
        return Scattered([part.at_random() for part in self.parts])

    def place(self, row: int) -> str:
        """Return how a person finds a row: its shard, and its number there."""
        i = int(np.searchsorted(self.ends, row, side="right"))
        return f"{self.parts[i].place(row - int(self.ends[i]) + len(self.parts[i]))} of '{self.parts[i].file}'"


class Scattered(Parts):
    """Matrices one after another, any row of which can be read at any time."""

    def take(self, index: Tensor | slice) -> Tensor:
        """Return some rows."""
        index = torch.arange(len(self))[index] if isinstance(index, slice) else index
        found = torch.empty(len(index), self.dim, dtype=self.dtype)
        of = np.searchsorted(self.ends, index.numpy(), side="right")
        for i in np.unique(of).tolist():
            mine = torch.from_numpy(of == i)
            found[mine] = self.parts[i].take(index[mine] - int(self.ends[i]) + len(self.parts[i])).to(self.dtype)
            self.parts[i].release(0, len(self.parts[i]))
        return found


def _spread(length: int, n: int) -> Tensor:
    """Return at most n numbers from 0 to below a length, as far apart as can be."""
    return torch.linspace(0, length - 1, min(length, n), dtype=torch.float64).long()


def regrouped(chunks: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield rows that come in chunks of any length in batches of `size`, the last one shorter."""
    held, n = torch.empty(0), 0
    for chunk in chunks:
        while len(chunk):
            some = chunk[: size - n]
            chunk = chunk[size - n :]
            if not n and len(some) == size:
                yield some
                continue
            # Copied at once, so that the memory of a chunk serves for the next.
            held = held if n else some.new_empty(size, some.shape[1])
            held[n : n + len(some)] = some
            n += len(some)
            if n == size:
                yield held
                n = 0
    if n:
        yield held[:n]


def mapped_again(path: Path, start: int, info: TensorInfo, state: tuple[int, int]) -> Rows:
    """Return a matrix that was pickled, from the file it lies in."""
    with explained(path, "read"):
        now = path.stat()
    if (now.st_size, now.st_mtime_ns) != state:
        raise CardError(f"{path}: the file has changed since these vectors were pickled - read it again")
    return Rows.map(path, start, info)


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
