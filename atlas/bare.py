"""Vectors in files: bare ones of which only the dimension is known, and those of an artefact's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from atlas import tables
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.files import MODEL, Rows, map_npy, read_header
from atlas.ids import RowNumbers, check_ids, unpack_ids
from atlas.inputs import named
from atlas.types import Space, TensorInfo, VectorsCard, slug
from atlas.vectors import Vectors

# More than any data set has; a file that claims more is damaged.
MAX_CLASSES = 1_000_000


def read_bare(path: str | Path) -> Vectors:
    """Return the vectors of a bare .npy, .safetensors or .parquet file, of whose space only the dimension is known.

    Ids are its `id` column (.parquet) or its `ids` tensors (.safetensors), else row numbers. A .safetensors file holds
    one matrix of floating-point numbers, or one called `vectors`.
    """
    path = Path(path)
    ids: Sequence[str] | None = None
    labels = None
    if path.suffix == ".npy":
        rows = map_npy(path)
    elif path.suffix == ".safetensors":
        rows, ids, labels = _read_safetensors(path)
    else:
        rows, ids = _read_parquet(path)
    if 0 in rows.tensor.shape:
        raise AtlasError(f"'{path}' has no vectors: its shape is {tuple(rows.tensor.shape)}")
    ids = RowNumbers(len(rows)) if ids is None else ids
    classes = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
    return Vectors(Space(slug(path.stem), rows.tensor.shape[1]), rows, ids, labels, classes)


def _read_safetensors(path: Path) -> tuple[Rows, Sequence[str] | None, Tensor | None]:
    infos, starts = read_header(path)
    floats = [n for n, i in infos.items() if len(i.shape) == 2 and i.dtype in ("F64", "F32", "F16", "BF16")]
    if "vectors" in floats:
        floats = ["vectors"]
    if len(floats) != 1:
        names = ", ".join(f"'{name}'" for name in floats) or "none"
        raise CardError(f"{path}: must hold one matrix of floats, or one called 'vectors', has {names}")
    info = infos[floats[0]]
    rows = Rows.map(path, starts[floats[0]], info)
    labels = infos.get("labels")
    if labels and not (labels.shape == (len(rows),) and labels.dtype in ("I64", "I32", "I16", "I8", "U8")):
        shape = list(labels.shape)
        raise CardError(f"{path}: 'labels' must be {len(rows)} whole numbers, is {labels.dtype} {shape}")
    side = [n for n in infos if n in ("ids", "ids.ends", "ids.text", "labels")]
    others = {n: Rows.map(path, starts[n], _column(infos[n])).tensor.flatten().clone() for n in side if infos[n].shape}
    ids = unpack_ids(others, len(rows), str(path)) if any(n.startswith("ids") for n in others) else None
    return rows, ids, _checked_labels(others["labels"].to(torch.int64), path) if labels else None


def _checked_labels(labels: Tensor, path: Path) -> Tensor:
    if not -1 <= int(labels.min()) <= int(labels.max()) < MAX_CLASSES:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise CardError(f"{path}: 'labels' must be from -1 to {MAX_CLASSES - 1}, they are {found}")
    return labels


def _column(info: TensorInfo) -> TensorInfo:
    return TensorInfo(info.dtype, (info.shape[0], 1))


def _read_parquet(path: Path) -> tuple[Rows, Sequence[str] | None]:
    if not path.is_file():
        raise NotFoundError(f"There is no file '{path}'")
    with named(path):
        table = tables.read_parquet(path)
        if len(table.arrays) != 1:
            raise AtlasError(f"There must be one column of vectors, the columns are {', '.join(table.names)}")
        X = table.column(table.arrays[0])
        if X.ndim != 2 or X.dtype.kind not in "fiu":
            found = f"{X.dtype} {X.shape[1:]}"
            raise AtlasError(f"Column '{table.arrays[0]}' must hold vectors of numbers, has {found}")
        ids = table.ids(None)
    kept = torch.tensor(X).to(torch.float32)
    return Rows(kept), None if ids is None else check_ids(ids, len(X), str(path))


def vectors_from(card: VectorsCard, folder: Path) -> Vectors:
    """Return the vectors of an artefact's folder, whose file has been checked; the matrix is read as it is used."""
    infos, _ = read_header(folder / MODEL)
    if "vectors" not in infos or len(infos["vectors"].shape) != 2 or infos["vectors"].shape[0] != card.n:
        raise CardError(f"{folder / MODEL}: must hold a matrix 'vectors' of {card.n} rows")
    rows, ids, labels = _read_safetensors(folder / MODEL)
    if labels is not None and int(labels.max()) >= len(card.classes):
        raise CardError(
            f"{folder / MODEL}: labels go up to {int(labels.max())}, the card lists {len(card.classes)} classes"
        )
    found = RowNumbers(card.n) if ids is None else ids
    return Vectors(card.space, rows, found, labels, card.classes, card.dataset, card.license, card.description)
