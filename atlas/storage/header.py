"""The header of a safetensors file: its tensors and their places. Nothing here needs torch.

The header written here holds `{"format": "pt"}`, that of a bare file of vectors their space, too, and nothing else;
tensors lie in the order they are given, so that the same inputs make the same bytes.
"""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from atlas.cards.kinds import TensorInfo
from atlas.errors import CardError, NotFoundError
from atlas.storage.files import explained

MAX_HEADER = 10_000_000

# Bytes of one number of each dtype that Atlas reads.
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class TensorFile:
    """A safetensors file, whose header is read once, when it is first asked for.

    Attributes:
        path: the file.

    Raises:
        NotFoundError: no such file.
        CardError: truncated, or a header whose sizes, offsets or dtypes cannot be right.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @functools.cached_property
    def _header(self) -> tuple[dict[str, TensorInfo], dict[str, int], Any]:
        if not self.path.exists():
            raise NotFoundError(f"There is no file '{self.path}'")
        with explained(self.path, "read"), self.path.open("rb") as file:
            return parsed(self.path, file, self.path.stat().st_size)

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """The tensors it holds."""
        return self._header[0]

    @property
    def starts(self) -> dict[str, int]:
        """At which byte each of them begins."""
        return self._header[1]

    def metadata(self, key: str) -> str:
        """Return a text that the file carries beside its tensors; '' if it does not."""
        found = self._header[2]
        return str(found.get(key, "")) if isinstance(found, dict) else ""


def header_of(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return the first bytes of a safetensors file that holds tensors of these dtypes and shapes, in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for name, info in tensors.items():
        start, end = end, end + size_of(info)
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def size_of(info: TensorInfo) -> int:
    """Return the size of a tensor in bytes."""
    return math.prod(info.shape) * SIZES[info.dtype]


def parsed(path: str | Path, file: Any, size: int) -> tuple[dict[str, TensorInfo], dict[str, int], Any]:
    """Return the tensors in an open file of so many bytes, at which byte each begins, and the metadata: anything.

    Its path or URL is for messages.
    """
    try:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise CardError(f"{path}: truncated or not a safetensors file ({size} bytes)")
        header = json.loads(file.read(length), object_pairs_hook=_distinct)
    except CardError:
        raise
    except (ValueError, RecursionError):
        raise CardError(f"{path}: not a safetensors file: its header is not JSON") from None
    if not isinstance(header, dict):
        raise CardError(f"{path}: not a safetensors file: its header is not a mapping")
    metadata = header.pop("__metadata__", None)
    return *_checked_header(path, header, 8 + length, size), metadata


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _checked_header(
    path: str | Path, header: Any, begin: int, size: int
) -> tuple[dict[str, TensorInfo], dict[str, int]]:
    infos, starts, end = {}, {}, 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            info = TensorInfo(entry["dtype"], tuple(entry["shape"]))
            if not all(type(n) is int and 0 <= n < 2**48 for n in info.shape) or len(info.shape) > 16:
                raise CardError(f"{path}: tensor {name!r} has the impossible shape {list(info.shape)[:17]}")
            if info.dtype not in SIZES:
                raise CardError(f"{path}: tensor {name!r} has dtype {info.dtype!r}, which Atlas does not read")
            start, stop = entry["data_offsets"]
            if type(start) is not int or type(stop) is not int:
                raise TypeError("offsets are whole numbers")
            if start != end or stop != start + size_of(info) or begin + stop > size:
                at = f"bytes {start} to {stop} of {size - begin}"
                raise CardError(f"{path}: tensor {name!r} lies at {at}, which cannot be right - truncated or damaged")
            infos[name], starts[name], end = info, begin + start, stop
    except CardError:
        raise
    except (KeyError, TypeError, ValueError):
        raise CardError(f"{path}: not a safetensors file: its header is malformed") from None
    if begin + end != size:
        raise CardError(f"{path}: has {size - begin} bytes of tensors, its header says {end} - truncated or damaged")
    return infos, starts
