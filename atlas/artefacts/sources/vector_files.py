"""Matrices of vectors in files, with ids and labels: .safetensors and .parquet."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.kinds import TensorInfo
from atlas.cards.space import SPACE_KEY, Space
from atlas.errors import CardError
from atlas.items import tables
from atlas.items.files import named
from atlas.storage import parquet as storage
from atlas.storage.header import TensorFile
from atlas.storage.item_ids import RowNumbers, StoredIds, Texts, unpack_ids
from atlas.storage.parquet import ParquetFile, ParquetRows, arrow, is_list
from atlas.storage.rows import Parts, Rows

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
    path: str | Path, vector_column: str | None = None, id_column: str | None = None, label_column: str = "label"
) -> tuple[ParquetRows, Sequence[str] | None, tuple[Tensor, list[Any]] | None, str]:
    """Return the vectors of a .parquet file, ids and labels if columns hold such, and the text of their space or ''.

    Args:
        path: a path or URL.
        vector_column: the column of vectors; None: the only one of lists, or one column of numbers for each dimension.
        id_column: the column of ids; None: the one with a common name, such as id; '': none.
        label_column: the column of labels, if it is there and holds texts or whole numbers; '': none.
    """
    with named(path):
        rows, key, carried = parquet_columns(path, vector_column, id_column)
        file = rows.table
        ids = None if key is None else StoredIds(len(file), functools.partial(_ids, file, key), str(path))
        found = None if label_column not in file.schema.names else _labels(file, label_column)
    return rows, ids, found, carried


def parquet_columns(
    path: str | Path, vector_column: str | None = None, id_column: str | None = None
) -> tuple[ParquetRows, str | None, str]:
    """Return the vectors of a .parquet file, the name of its column of ids or None, and the text of their space or ''.

    Args:
        path: a path or URL.
        vector_column: as for `read_parquet`.
        id_column: as for `read_parquet`.
    """
    file = ParquetFile(path)
    table = tables.arrow_table(file.schema, file.column)
    columns = table.vector_columns(vector_column, id_column)
    key = tables.find_column(table.names, id_column, tables.ID, "id")
    return ParquetRows(file, columns), key, table.space(columns[0])


def _ids(table: ParquetFile, column: str) -> Iterator[Texts]:
    """Yield the ids of a table in packed lists."""
    pa, _ = arrow()
    done, kind = 0, table.schema.field(column).type
    fits = not is_list(kind) and re.search("string|int", str(kind))
    for values in table.column(column):
        # As texts: whole numbers, dictionaries and views, which have no ends, become such.
        found = values.cast(pa.large_string()) if fits else values
        ends = np.frombuffer(found.buffers()[1], np.int64)[found.offset :][: len(found) + 1] if fits else np.empty(0)
        if not fits or found.null_count or bool((ends[1:] == ends[:-1]).any()):
            texts = values.to_pylist()
            row = next(i for i, value in enumerate(texts) if not fits or value in (None, ""))
            problem = "empty" if texts[row] in (None, "") else type(texts[row]).__name__
            raise CardError(
                f"{table.where}: '{column}' in row {done + row} is not an id, but {problem} - mend it, or number the "
                "rows: --id-column '' (id_column='')"
            )
        yield Texts(ends, np.frombuffer(found.buffers()[2], np.uint8))
        done += len(found)


def _labels(table: ParquetFile, column: str) -> tuple[Tensor, list[Any]] | None:
    """Return a number for the label of each row, and the label of each number; None if the column holds no such."""
    kind = table.schema.field(column).type
    if is_list(kind) or not re.search("string|int", str(kind)):
        return None
    numbers: dict[Any, int] = {}
    found = [torch.empty(0, dtype=torch.int64)]
    for values in table.column(column):
        coded = values if hasattr(values, "dictionary") else values.dictionary_encode(null_encoding="encode")
        own = [numbers.setdefault(value, len(numbers)) for value in [*coded.dictionary.to_pylist(), None]]
        # A null in a dictionary's numbers is the None at its end.
        index = coded.indices.fill_null(len(own) - 1).to_numpy(zero_copy_only=False)
        found.append(torch.tensor(own)[torch.from_numpy(index.astype("int64"))])
    return torch.cat(found), list(numbers)


def write_parquet(
    path: Path,
    batches: Iterable[Tensor],
    dtype: torch.dtype,
    space: Space,
    rows: Rows,
    ids: Sequence[str],
    labels: Sequence[str] | None,
    error: Tensor | None = None,
) -> None:
    """Write vectors to a .parquet file.

    Args:
        path: the file.
        batches: of the vectors.
        dtype: of their numbers; one that Arrow lacks becomes float32.
        space: of the vectors, which the column carries.
        rows: those that the vectors were made of; if they lie in .parquet files of the same columns, all others of
            these are carried along.
        ids: if there are no such columns: the ids, in a column `id` unless they are row numbers.
        labels: if there are no such columns: the class of each row, '' where unknown.
        error: the predicted error of each row, a column of its own, if it is known.
    """
    pa, _ = arrow()
    number = {torch.float64: pa.float64(), torch.float16: pa.float16()}.get(dtype, pa.float32())
    parts = [part for part in (rows.parts if isinstance(rows, Parts) else [rows]) if isinstance(part, ParquetRows)]
    whole = sum(map(len, parts)) == len(rows) and all(part.like(parts[0]) for part in parts)
    name = parts[0].columns[0] if whole and len(parts[0].columns) == 1 else "vector"
    field = pa.field(name, pa.list_(number, space.dim), metadata={SPACE_KEY: space.to_json()})
    if whole:
        schema = parts[0].schema_with(field)
        others: Iterator[Any] = itertools.chain.from_iterable(part.others() for part in parts)
    else:
        schema, others = _columns(pa, field, ids, labels)
    if error is not None:
        if ERROR in schema.names:
            schema = schema.remove(schema.get_field_index(ERROR))
        schema = schema.append(pa.field(ERROR, pa.float32()))
    storage.write_parquet(path, batches, field, len(rows), schema, others, {} if error is None else {ERROR: error})


def _columns(pa: Any, field: Any, ids: Sequence[str], labels: Sequence[str] | None) -> tuple[Any, Iterator[Any]]:
    """Return the schema of vectors with ids and labels, and batches of these."""
    columns = {**({} if isinstance(ids, RowNumbers) else {"id": ids}), **({} if labels is None else {"label": labels})}
    fields = [pa.field(name, pa.string()) for name in columns]

    def batches() -> Iterator[Any]:
        for start in range(0, len(ids), 65536):
            parts = [[text or None for text in values[start : start + 65536]] for values in columns.values()]
            yield pa.record_batch([pa.array(part, pa.string()) for part in parts], schema=pa.schema(fields))

    return pa.schema([*(f for f in fields if f.name == "id"), field, *(f for f in fields if f.name != "id")]), batches()
