"""Matrices written to a file a batch at a time."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import AtlasError
from atlas.storage.files import explained, write_all
from atlas.storage.header import header_of
from atlas.storage.rows import Rows
from atlas.storage.tensors import NAMES, bytes_of, info_of


class Matrix:
    """A matrix in a file that is to be written, with other tensors around it (safetensors) or alone (.npy).

    Attributes:
        infos: the tensors of the file, in its order.
        start: at which byte the matrix begins.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        shape: tuple[int, int],
        others: Mapping[str, Tensor] | None,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Plan a file.

        Args:
            dtype: of the rows.
            shape: (n, d).
            others: tensors to store beside the matrix, in a safetensors file; None: a .npy file.
            metadata: texts that a safetensors file carries.
        """
        self.dtype = dtype
        # Eight-byte numbers first and bytes last, so that every tensor begins at a multiple of its own size.
        first = {name: t for name, t in (others or {}).items() if t.dtype.itemsize == 8}
        self._last = {name: t for name, t in (others or {}).items() if t.dtype.itemsize != 8}
        self.infos = {name: info_of(t) for name, t in first.items()}
        self.infos["vectors"] = TensorInfo(NAMES[dtype], shape)
        self.infos.update({name: info_of(t) for name, t in self._last.items()})
        header = npy_header(dtype, shape) if others is None else header_of(self.infos, metadata)
        self._first = [memoryview(header), *map(bytes_of, first.values())]
        self.start = sum(map(len, self._first))

    def write(self, path: Path, batches: Iterable[Tensor], digest: Any = None) -> None:
        """Write the file.

        Hashing and writing run in a thread of their own, one batch behind: beside a matrix product they cost little.

        Args:
            path: the file.
            batches: rows (b, d), which must not change afterwards.
            digest: a hash of hashlib's, which is given all that is written.
        """

        def put(data: memoryview) -> None:
            if digest:
                digest.update(data)
            write_all(file, data)

        pending: Future[None] | None = None
        n, done = self.infos["vectors"].shape[0], 0
        with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as thread:
            for data in self._first:
                put(data)
            for batch in batches:
                done += len(batch)
                data = bytes_of(batch.to(self.dtype))
                if pending:
                    pending.result()
                pending = thread.submit(put, data)
            if pending:
                pending.result()
            if done != n:
                raise AtlasError(f"Expected {n} rows to write, got {done}")
            for tensor in self._last.values():
                put(bytes_of(tensor))

    def rows(self, path: Path) -> Rows:
        """Return the matrix of the file that was written, without reading it."""
        return Rows.map(path, self.start, self.infos["vectors"])


def npy_header(dtype: torch.dtype, shape: tuple[int, int]) -> bytes:
    """Return the first bytes of a .npy file of a float matrix."""
    descr = {torch.float64: "<f8", torch.float32: "<f4", torch.float16: "<f2"}.get(dtype)
    if descr is None:
        raise AtlasError(f"A .npy file cannot hold {dtype} - write .safetensors instead")
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")


def spooled(batches: Iterable[Tensor], dim: int, dtype: torch.dtype) -> Rows:
    """Return rows that come in batches as a matrix in a temporary file without a name."""
    n = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "rows")
        with explained(path), path.open("wb", buffering=0) as file:
            for batch in batches:
                write_all(file, bytes_of(batch))
                n += len(batch)
        rows = Rows.map(path, 0, TensorInfo(NAMES[dtype], (n, dim))) if n else Rows(torch.empty(0, dim, dtype=dtype))
    # No other process can map it again: the rows themselves are pickled.
    rows._source = ()
    return rows
