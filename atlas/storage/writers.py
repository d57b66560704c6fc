"""Matrices written to a file a batch at a time."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import AtlasError
from atlas.storage.files import write_all
from atlas.storage.tensors import NAMES, bytes_of, header_of, info_of


class MatrixWriter:
    """Writes a matrix to a file batch by batch, with other tensors around it (safetensors) or alone (.npy).

    Hashing and writing run in a thread of their own, one batch behind: beside a matrix product they cost little.
    """

    def __init__(
        self,
        path: Path,
        dtype: torch.dtype,
        shape: tuple[int, int],
        others: Mapping[str, Tensor] | None,
        *,
        hashed: bool = True,
    ) -> None:
        """Open a file for n rows of d numbers.

        Args:
            path: the file.
            dtype: of the rows.
            shape: (n, d).
            others: tensors to store beside the matrix, in a safetensors file; None: a .npy file.
            hashed: whether `close` returns the sha256, which takes as long as writing does.
        """
        self.n, self.d = shape
        self.dtype = dtype
        self._written = 0
        self._digest = hashlib.sha256() if hashed else None
        # Eight-byte numbers first and bytes last, so that every tensor begins at a multiple of its own size.
        first = {name: t for name, t in (others or {}).items() if t.dtype.itemsize == 8}
        self._last = {name: t for name, t in (others or {}).items() if t.dtype.itemsize != 8}
        self.infos = {name: info_of(t) for name, t in first.items()}
        self.infos["vectors"] = TensorInfo(NAMES[dtype], shape)
        self.infos.update({name: info_of(t) for name, t in self._last.items()})
        header = npy_header(dtype, shape) if others is None else header_of(self.infos)
        self._file = path.open("wb", buffering=0)
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._put(header)
        for tensor in first.values():
            self._put(bytes_of(tensor))

    def write(self, batch: Tensor) -> None:
        """Append rows (b, d), which must not change afterwards."""
        self._written += len(batch)
        data = bytes_of(batch.to(self.dtype))
        self._wait()
        self._pending = self._thread.submit(self._put, data)

    def close(self) -> str:
        """Write what comes after the matrix, close the file and return its sha256; '' if it was not asked for."""
        self._wait()
        if self._written != self.n:
            raise AtlasError(f"Expected {self.n} rows to write, got {self._written}")
        for tensor in self._last.values():
            self._put(bytes_of(tensor))
        self.abandon()
        return self._digest.hexdigest() if self._digest else ""

    def abandon(self) -> None:
        """Close the file as it is."""
        self._thread.shutdown()
        self._file.close()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _put(self, data: memoryview | bytes) -> None:
        if self._digest:
            self._digest.update(data)
        write_all(self._file, data)


def npy_header(dtype: torch.dtype, shape: tuple[int, int]) -> bytes:
    """Return the first bytes of a .npy file of a float matrix."""
    descr = {torch.float64: "<f8", torch.float32: "<f4", torch.float16: "<f2"}.get(dtype)
    if descr is None:
        raise AtlasError(f"A .npy file cannot hold {dtype} - write .safetensors instead")
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")
