"""Tensors in safetensors files.

The header written here holds `{"format": "pt"}` and nothing else, and tensors lie in the order they are given, so that
the same inputs make the same bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.storage.files import explained, write_all

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
