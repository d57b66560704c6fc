"""Tensors in safetensors files, and arrays in .npy files."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import CardError, NotFoundError, reported
from atlas.storage.files import explained, write_all
from atlas.storage.header import TensorFile, header_of, size_of

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


def info_of(tensor: Tensor) -> TensorInfo:
    """Return dtype and shape of a tensor, as a card lists them."""
    return TensorInfo(NAMES[tensor.dtype], tuple(tensor.shape))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], digest: Any = None) -> dict[str, TensorInfo]:
    """Write tensors to a safetensors file, in order of size of dtype and then of name, and return its contents.

    Args:
        path: the file.
        tensors: by their names.
        digest: a hash of hashlib's, which is given all that is written.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    infos = {name: info_of(tensors[name]) for name in names}
    with path.open("wb", buffering=0) as file:
        for data in chain([memoryview(header_of(infos))], (bytes_of(tensors[name]) for name in names)):
            write_all(file, data)
            if digest:
                digest.update(data)
    return infos


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy if it is contiguous and on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def load_tensors(file: Path | TensorFile) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file into memory."""
    file = file if isinstance(file, TensorFile) else TensorFile(file)
    infos, result = file.infos, {}
    with explained(file.path, "read"), file.path.open("rb") as opened:
        for name, info in infos.items():
            opened.seek(file.starts[name])
            raw = bytearray(opened.read(size_of(info)))
            flat = torch.frombuffer(raw, dtype=DTYPES[info.dtype]) if raw else torch.empty(0, dtype=DTYPES[info.dtype])
            result[name] = flat.reshape(info.shape)
    return result


def open_npy(path: Path) -> np.memmap:
    """Return the array of numbers of a .npy file, which is read as it is used.

    Raises:
        CardError: truncated, not a .npy file, or of objects (which would need pickle).
    """
    if not path.exists():
        raise NotFoundError(f"There is no file '{path}'")
    # The header is Python's, and reading a damaged one raises almost anything.
    with reported(f"{path}: truncated or not a .npy file of numbers", Exception, kind=CardError):
        with path.open("rb") as file:
            if file.read(6) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("It does not begin as one")
        return np.lib.format.open_memmap(path, mode="r")
