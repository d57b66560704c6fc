"""Matrices of vectors in files, with ids and labels (.safetensors and .parquet), and the space beside a file."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.folder import BARE
from atlas.cards.kinds import TensorInfo
from atlas.cards.space import MAX_TEXT, SPACE_KEY, Space
from atlas.errors import AtlasError, CardError, reported
from atlas.items import tables
from atlas.items.files import named
from atlas.storage import parquet as storage
from atlas.storage.files import check_target, explained, whole_file, write_text
from atlas.storage.header import TensorFile, parsed, size_of
from atlas.storage.item_ids import RowNumbers, StoredIds, Texts, unpack_ids
from atlas.storage.parquet import ParquetFile, ParquetRows, Streamed, arrow, is_list
from atlas.storage.places import alone
from atlas.storage.remote import ASKED, is_remote, opened
from atlas.storage.rows import Parts, Rows
from atlas.storage.tensors import DTYPES

# More than any data set has; a file that claims more is damaged.
MAX_CLASSES = 1_000_000
# The tensor and the column of how far mapped rows are likely to be from the true ones.
ERROR = "predicted_error"


class ObjectRows(Streamed):
    """A matrix in an object of a store, read some rows at a time."""

    file: str

    def __init__(self, where: str, start: int, info: TensorInfo) -> None:
        """Say at which byte of the object it begins, and its dtype and shape (n, d), row by row."""
        self.file, self.start = where, start
        super().__init__([info.shape[0]], info.shape[1], DTYPES[info.dtype])

    def read(self, piece: int, size: int, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the rows in order, at most `size` at a time, all or those of an index that rises."""
        width = self.dim * self.dtype.itemsize
        asked = max(256, (ASKED if index is None else storage.READ) // width)
        with opened(self.file) as file:
            for start in range(0, len(self), asked):
                n = min(asked, len(self) - start)
                wanted = None if index is None else index[(index >= start) & (index < start + n)] - start
                if wanted is not None and not len(wanted):
                    continue
                file.seek(self.start + start * width)
                raw = bytearray(file.read(n * width))
                if len(raw) < n * width:
                    raise CardError(f"{self.file}: truncated: row {start + len(raw) // width} is not there")
                X = torch.frombuffer(raw, dtype=self.dtype).reshape(n, self.dim)
                yield from (X if wanted is None else X[wanted]).split(size)


class ObjectFile(TensorFile):
    """A safetensors file in a store."""

    def __init__(self, where: str) -> None:
        super().__init__(Path(where))
        self.where = where

    @functools.cached_property
    def _header(self) -> tuple[dict[str, TensorInfo], dict[str, int], Any]:
        with opened(self.where) as file:
            size = file.seek(0, 2)
            file.seek(0)
            return parsed(self.where, file, size)


def tensor_file(where: str | Path) -> TensorFile:
    """Return a safetensors file, here or in a store."""
    return ObjectFile(str(where)) if is_remote(where) else TensorFile(Path(where))


def npy_in_store(where: str) -> Rows:
    """Return the matrix of a .npy file in a store.

    Raises:
        CardError: truncated, not a .npy file, or no matrix of floating-point numbers row by row.
    """
    with opened(where) as file:
        # As of a file here: reading a damaged header raises almost anything.
        with reported(f"{where}: truncated or not a .npy file of numbers", Exception, kind=CardError):
            old = np.lib.format.read_magic(file) == (1, 0)
            read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            shape, by_column, dtype = read(file)
        start, size = file.tell(), file.seek(0, 2)
    name = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}.get(dtype.str)
    if len(shape) != 2 or by_column or name is None:
        raise CardError(f"{where}: must hold a matrix of floats, row by row, has {dtype} {shape} - copy it here")
    info = TensorInfo(name, shape)
    if start + size_of(info) > size:
        raise CardError(f"{where}: truncated: has {size} bytes, its header says {start + size_of(info)}")
    return ObjectRows(where, start, info)


def _rows(file: TensorFile, name: str, info: TensorInfo) -> Rows:
    """Return a tensor of a file as a matrix, which is read as it is used."""
    start = file.starts[name]
    return ObjectRows(file.where, start, info) if isinstance(file, ObjectFile) else Rows.map(file.path, start, info)


def read_matrix(file: TensorFile) -> tuple[Rows, Sequence[str] | None, Tensor | None]:
    """Return the one matrix of floats of a .safetensors file, or that called 'vectors', and its ids and labels."""
    infos, path = file.infos, file.path
    floats = [n for n, i in infos.items() if len(i.shape) == 2 and i.dtype in ("F64", "F32", "F16", "BF16")]
    if "vectors" in floats:
        floats = ["vectors"]
    if len(floats) != 1:
        names = ", ".join(f"'{name}'" for name in floats) or "none"
        raise CardError(f"{path}: must hold one matrix of floats, or one called 'vectors', has {names}")
    info = infos[floats[0]]
    rows = _rows(file, floats[0], info)
    labels = infos.get("labels")
    if labels and not (labels.shape == (len(rows),) and labels.dtype in ("I64", "I32", "I16", "I8", "U8")):
        shape = list(labels.shape)
        raise CardError(f"{path}: 'labels' must be {len(rows)} whole numbers, is {labels.dtype} {shape}")
    side = [n for n in infos if n in ("ids", "ids.ends", "ids.text", "labels")]
    others = {n: _rows(file, n, _column(infos[n])).tensor.flatten().clone() for n in side if infos[n].shape}
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
        label_column: the column of labels, if it is there and holds texts, whole numbers or bools; '': none.
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
    fits = bool(not is_list(kind) and re.search("string|int", str(kind)))
    for values in table.column(column):
        if str(kind) == "extension<arrow.uuid>":
            values, fits = pa.array([str(one) if one else None for one in values.to_pylist()], pa.string()), True
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
    if not re.match(r"(dictionary<values=)?(large_)?(string|u?int|float|double|halffloat|bool)", str(kind)):
        return None
    numbers: dict[Any, int] = {}
    found = [torch.empty(0, dtype=torch.int64)]
    for values in table.column(column):
        coded = values if hasattr(values, "dictionary") else values.dictionary_encode(null_encoding="encode")
        some = coded.dictionary.to_pylist()
        if not all(map(_names_class, some)):
            return None
        own = [numbers.setdefault(value, len(numbers)) for value in [*some, None]]
        # A null in a dictionary's numbers is the None at its end.
        index = coded.indices.fill_null(len(own) - 1).to_numpy(zero_copy_only=False)
        found.append(torch.tensor(own)[torch.from_numpy(index.astype("int64"))])
    # Numbers below -1 are names of classes, as ratings from -2 to 2 are, and so is -1 beside them.
    if any(isinstance(value, int | float) and value < -1 for value in numbers):
        return torch.cat(found), [None if value is None or value != value else str(int(value)) for value in numbers]
    return torch.cat(found), list(numbers)


def _names_class(value: Any) -> bool:
    """Whether a class may be called so; pandas writes whole numbers as floats where some are missing."""
    return not isinstance(value, float) or value != value or (value.is_integer() and abs(value) < 2**53)


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
            try:
                yield pa.record_batch([pa.array(part, pa.string()) for part in parts], schema=pa.schema(fields))
            except UnicodeEncodeError as error:
                raise AtlasError(f"{error.object!r} holds half a character (a lone surrogate) - correct it") from None

    return pa.schema([*(f for f in fields if f.name == "id"), field, *(f for f in fields if f.name != "id")]), batches()


def beside(path: Path) -> Path:
    """Return the file that carries the space of one that cannot carry it itself, such as an index of faiss."""
    return path.with_name(f"{path.name}.space.json")


def text_beside(path: Path) -> str:
    """Return the space recorded in the file beside another one, or in a .json file itself, '' if there is none."""
    file = beside(path)
    file = path if path.suffix == ".json" and not file.is_file() else file
    if not file.is_file():
        return ""
    with explained(file, "read"), file.open(encoding="utf-8", errors="replace") as opened_file:
        return opened_file.read(MAX_TEXT + 1)


@contextlib.contextmanager
def bare_file(path: Path, space: Space, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary name of a file of vectors, and let it take its place if all goes well, with its space.

    Of two processes that write it at once, and whenever one is killed, no file gets the space of another one beside it.
    """
    with contextlib.ExitStack() as stack:
        with whole_file(path) as temporary:
            yield temporary
            stack.enter_context(alone(path.parent))
            check_target(path, overwrite, BARE)
            beside(path).unlink(missing_ok=True)
        if path.suffix == ".npy":
            write_beside(path, space)


def write_beside(path: Path, space: Space) -> None:
    """Write down, in the file beside another one, which space its vectors are of."""
    write_text(beside(path), f"{space.to_json()}\n")
