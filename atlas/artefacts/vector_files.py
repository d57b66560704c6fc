"""Matrices of vectors in files, with ids and labels: .safetensors and .parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.items import tables
from atlas.items.files import named
from atlas.storage.header import TensorFile
from atlas.storage.item_ids import check_ids, unpack_ids
from atlas.storage.rows import Rows

# More than any data set has; a file that claims more is damaged.
MAX_CLASSES = 1_000_000
# The tensor and the column of how far mapped rows are likely to be from the true ones.
ERROR = "predicted_error"


def read_matrix(file: TensorFile) -> tuple[Rows, Sequence[str] | None, Tensor | None]:
    """Return the one matrix of floats of a .safetensors file, or that called 'vectors', and its ids and labels."""
    infos, starts, path = file.infos, file.starts, file.path
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


def read_error(file: TensorFile, n: int) -> Tensor | None:
    """Return the predicted errors of n rows in a file of vectors; None if it has none."""
    info = file.infos.get(ERROR)
    if info is None:
        return None
    if info != TensorInfo("F32", (n,)):
        raise CardError(f"{file.path}: '{ERROR}' must be {n} float32 numbers, is {info.dtype} {list(info.shape)}")
    return Rows.map(file.path, file.starts[ERROR], _column(info)).tensor.flatten().clone()


def _column(info: TensorInfo) -> TensorInfo:
    return TensorInfo(info.dtype, (info.shape[0], 1))


def read_parquet(
    path: Path, vector_column: str | None = None, id_column: str | None = None
) -> tuple[Rows, Sequence[str] | None]:
    """Return the vectors of a .parquet file, and its ids."""
    if not path.is_file():
        raise NotFoundError(f"There is no file '{path}'")
    with named(path):
        table = tables.read_parquet(path)
        X = table.vectors(table.vector_columns(vector_column, id_column))
        ids = table.ids(id_column)
    kept = torch.tensor(X).to(torch.float32)
    return Rows(kept), None if ids is None else check_ids(ids, len(X), str(path))


def write_parquet(
    path: Path, batches: Iterable[Tensor], ids: Sequence[str], dim: int, error: Tensor | None = None
) -> None:
    """Write ids and batches of vectors to a .parquet file, and the predicted errors that are known by then."""
    pa, parquet = tables.arrow()
    columns = [("id", pa.string()), ("vector", pa.list_(pa.float32(), dim))]
    schema = pa.schema([*columns, *([] if error is None else [(ERROR, pa.float32())])])
    done = 0
    with parquet.ParquetWriter(path, schema) as file:
        for batch in batches:
            flat = pa.array(batch.to(torch.float32).contiguous().reshape(-1).numpy())
            rows = slice(done, done + len(batch))
            names = pa.array(list(ids[rows]), pa.string())
            done += len(batch)
            found = [names, pa.FixedSizeListArray.from_arrays(flat, dim)]
            found += [] if error is None else [pa.array(error[rows].numpy())]
            file.write_batch(pa.record_batch(found, schema=schema))
    if done != len(ids):
        raise AtlasError(f"Expected {len(ids)} rows to write, got {done}")
