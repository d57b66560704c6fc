"""Files that appear whole or not at all, and matrices read and written a batch at a time.

Tensors are kept in safetensors. The header written here holds `{"format": "pt"}` and nothing else, and tensors lie in
the order they are given, so that the same inputs make the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import secrets
import shutil
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards import BARE, CARD
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.types import TensorInfo

MODEL = "model.safetensors"
# Endings of what is written as one file.
FILES = (*BARE, ".csv", ".jsonl")
MAX_HEADER = 10_000_000
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
BATCH_BYTES = 32 * 2**20


def check_target(path: str | Path, overwrite: bool) -> Path:
    """Return the path to write to, or raise `AtlasError` if something is there that must not be replaced.

    What becomes of it is told by its ending: a file for those of bare files and of tables, else a folder. A folder is
    replaced only if it is an artefact (it holds a card), whatever was asked for.
    """
    path = Path(path)
    if not path.exists():
        return path
    if path.suffix in FILES:
        if path.is_dir():
            raise AtlasError(f"'{path}' is a folder, not a file - choose another name")
    elif not path.is_dir():
        raise AtlasError(f"'{path}' is a file, not the folder of an artefact - choose another name")
    elif not any(path.iterdir()):
        return path
    elif not (path / CARD).is_file():
        raise AtlasError(f"'{path}' is a folder of something else - choose another name")
    if not overwrite:
        raise AtlasError(f"'{path}' exists - choose another name, or pass --overwrite (overwrite=True) to replace it")
    return path


@contextlib.contextmanager
def explained(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn an `OSError` into an `AtlasError` that names the path and the reason."""
    try:
        yield
    except OSError as error:
        advice = " - free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        # Libraries in C put words of their own before the reason.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AtlasError(f"'{path}' cannot be {doing}: {reason}{advice}") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, and rename it to `path` if all goes well; otherwise leave nothing."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files become those of `path` if all goes well; otherwise leave nothing.

    A new folder appears in one rename. In a folder that exists, its files are replaced one by one, the card last, and
    files of other names stay: until the card is there, its sha256 refuses the tensors beside it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explained(path):
            temporary.mkdir(parents=True)
            yield temporary
            if path.is_dir():
                if not (temporary / MODEL).exists():
                    (path / MODEL).unlink(missing_ok=True)
                for file in sorted(temporary.iterdir(), key=lambda file: file.name == CARD):
                    file.replace(path / file.name)
            else:
                temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    buffer = bytearray(2**20)
    with explained(Path(path), "read"), Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def header_of(tensors: Mapping[str, TensorInfo]) -> bytes:
    """Return the first bytes of a safetensors file that holds tensors of these dtypes and shapes, in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, info in tensors.items():
        start, end = end, end + size_of(info)
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def size_of(info: TensorInfo) -> int:
    """Return the size of a tensor in bytes."""
    count = 1
    for length in info.shape:
        count *= length
    return count * DTYPES[info.dtype].itemsize


def info_of(tensor: Tensor) -> TensorInfo:
    """Return dtype and shape of a tensor, as a card lists them."""
    return TensorInfo(NAMES[tensor.dtype], tuple(tensor.shape))


def read_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, int]]:
    """Return what tensors a safetensors file holds, and at which byte each begins, without reading any.

    Raises:
        NotFoundError: no such file.
        CardError: truncated, or a header whose sizes, offsets or dtypes cannot be right.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise CardError(f"{path}: truncated or not a safetensors file ({size} bytes)")
            header = json.loads(file.read(length), object_pairs_hook=_distinct)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file '{path}'") from None
    except OSError as error:
        raise AtlasError(f"'{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CardError(f"{path}: not a safetensors file: its header is not JSON") from None
    return _checked_header(path, header, 8 + length, size)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _checked_header(path: Path, header: Any, begin: int, size: int) -> tuple[dict[str, TensorInfo], dict[str, int]]:
    if not isinstance(header, dict):
        raise CardError(f"{path}: not a safetensors file: its header is not a mapping")
    header.pop("__metadata__", None)
    infos, starts, end = {}, {}, 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            info = TensorInfo(entry["dtype"], tuple(entry["shape"]))
            if not all(type(n) is int and 0 <= n < 2**48 for n in info.shape) or len(info.shape) > 16:
                raise CardError(f"{path}: tensor {name!r} has the impossible shape {list(info.shape)[:17]}")
            if info.dtype not in DTYPES:
                raise CardError(f"{path}: tensor {name!r} has dtype {info.dtype!r}, which Atlas does not read")
            start, stop = entry["data_offsets"]
            if type(start) is not int or type(stop) is not int:
                raise TypeError("offsets are whole numbers")
            if start != end or stop != start + size_of(info) or begin + stop > size:
                at = f"bytes {start} to {stop} of {size - begin}"
                raise CardError(f"{path}: tensor {name!r} lies at {at}, which cannot be right - truncated or damaged")
            infos[name], starts[name], end = info, begin + start, stop
    except (KeyError, TypeError, ValueError):
        raise CardError(f"{path}: not a safetensors file: its header is malformed") from None
    if begin + end != size:
        raise CardError(f"{path}: has {size - begin} bytes of tensors, its header says {end} - truncated or damaged")
    return infos, starts


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    """Write tensors to a safetensors file, in order of size of dtype and then of name, and return what it holds."""
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    infos = {name: info_of(tensors[name]) for name in names}
    with path.open("wb", buffering=0) as file:
        file.write(header_of(infos))
        for name in names:
            write_all(file, bytes_of(tensors[name]))
    return infos


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy if it is contiguous and on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def write_all(file: Any, data: memoryview | bytes) -> None:
    """Write all of some bytes to an unbuffered file, which may take less than it is given."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file into memory."""
    infos, starts = read_header(path)
    with explained(path, "read"), path.open("rb") as file:
        result = {}
        for name, info in infos.items():
            file.seek(starts[name])
            raw = bytearray(file.read(size_of(info)))
            flat = torch.frombuffer(raw, dtype=DTYPES[info.dtype]) if raw else torch.empty(0, dtype=DTYPES[info.dtype])
            result[name] = flat.reshape(info.shape)
    return result


class Rows:
    """A matrix, in memory or in a file, whose batches leave no trace in memory once they have been used."""

    def __init__(self, tensor: Tensor, mapping: mmap.mmap | None = None, start: int = 0) -> None:
        self.tensor = tensor
        self._mapping = mapping
        self._start = start

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
        count = size_of(info) // DTYPES[info.dtype].itemsize
        if not count:
            return cls(torch.empty(info.shape, dtype=DTYPES[info.dtype]))
        if start % DTYPES[info.dtype].itemsize:
            raw = bytearray(mapping[start : start + size_of(info)])
            return cls(torch.frombuffer(raw, dtype=DTYPES[info.dtype]).reshape(info.shape))
        flat = torch.frombuffer(mapping, dtype=DTYPES[info.dtype], count=count, offset=start)
        return cls(flat.reshape(info.shape), mapping, start)

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


def map_npy(path: Path) -> Rows:
    """Return the matrix of a .npy file, without reading it where its layout allows.

    Raises:
        CardError: truncated, not a .npy file, or of objects (which would need pickle).
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file '{path}'") from None
    except (ValueError, EOFError, OSError) as error:
        raise CardError(f"{path}: truncated or not a .npy file of numbers: {error}") from None
    if array.ndim != 2:
        raise CardError(f"{path}: must hold a matrix (rows, features), has shape {array.shape}")
    name = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}.get(array.dtype.str)
    if name and array.flags.c_contiguous and array.size:
        return Rows.map(path, int(array.offset), TensorInfo(name, array.shape))
    if array.dtype.kind not in "fiu":
        raise CardError(f"{path}: must hold real numbers, has dtype {array.dtype}")
    kept = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float32)
    return Rows(torch.from_numpy(np.array(array, dtype=kept, order="C")))


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
