"""Tables that are given in Python, and back: frames of pandas and polars, Arrow tables, Hugging Face datasets.

A single column of them will do, too. None of these libraries is imported unless something of it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atlas.cards.space import SPACE_KEY, Space
from atlas.errors import AtlasError
from atlas.items.tables import Table, arrow_table

# The name of a single column that has none.
COLUMN = "vectors"
# Of the same libraries, but no table: a recipe for one, or several.
_NO_TABLES = {
    "LazyFrame": "is not read yet - give it as frame.collect()",
    "IterableDataset": "is read once, from its first row on - load it whole, or write it to .parquet files",
    "IterableDatasetDict": "holds several data sets - load one of them whole",
    "DatasetDict": "holds several data sets - give one of them, such as data['train']",
}


def table_of(given: Any) -> Table | None:
    """Return the columns of a frame, a table, a dataset or a column of one; None for anything else."""
    name = type(given).__name__
    if name in _NO_TABLES and type(given).__module__.partition(".")[0] in _READERS:
        raise AtlasError(f"This {name} {_NO_TABLES[name]}")
    return _READERS[_library(given)](given) if _library(given) else None


def replaced(given: Any, names: Sequence[str], X: np.ndarray, space: Space) -> Any:
    """Return a table of the same kind with other vectors in the place of those it had.

    Args:
        given: the frame, table, dataset or column.
        names: the column that held the vectors, or the columns that held their dimensions.
        X: (n, d) the new vectors.
        space: of these, which an Arrow table carries.
    """
    return _WRITERS[_library(given)](given, names, X, space)


def _library(given: Any) -> str:
    """Return the library of a table; '' for anything that is not a readable table."""
    found = {cls.__module__.partition(".")[0] for cls in type(given).__mro__} & set(_READERS)
    fits = any(hasattr(given, name) for name in ("to_numpy", "to_pylist", "with_format")) and hasattr(given, "__len__")
    return found.pop() if found and fits and not isinstance(given, dict) else ""


def _stacked(cells: np.ndarray, what: str) -> np.ndarray:
    """Return cells that hold a vector each as one array (n, d); a missing vector becomes a row of NaN."""
    if cells.dtype != object:
        return cells
    rows = [None if cell is None or isinstance(cell, float) else np.asarray(cell) for cell in cells]
    shapes = {row.shape: i for i, row in enumerate(rows) if row is not None}
    if len(shapes) != 1:
        found = " and ".join(f"{shape} in row {i}" for shape, i in list(shapes.items())[:2]) or "none"
        raise AtlasError(f"{what} must hold arrays of one shape, has {found}")
    absent = np.full(next(iter(shapes)), np.nan, np.float32)
    return np.stack([absent if row is None else row for row in rows])


def _holds_arrays(cells: Any) -> bool:
    """Whether the first cell of a column of pandas that is not missing is a sequence of numbers."""
    first = next((cell for cell in cells if cell is not None and not isinstance(cell, float)), None)
    return hasattr(first, "__len__") and not isinstance(first, (str, bytes, dict, set))


def _pandas(given: Any) -> Table:
    frame = given.to_frame(COLUMN) if given.ndim == 1 else given
    names = [str(name) for name in frame.columns]
    kinds = {name: getattr(dtype, "kind", "O") for name, dtype in zip(names, frame.dtypes, strict=True)}
    arrays = [name for i, name in enumerate(names) if kinds[name] == "O" and _holds_arrays(frame.iloc[:, i])]

    def column(name: str) -> Any:
        cells = frame.iloc[:, names.index(name)].to_numpy()
        return (
            _stacked(cells, f"Column '{name}'") if name in arrays else cells if kinds[name] == "f" else cells.tolist()
        )

    # An index that is not just the numbers of the rows says which items they are.
    plain = type(frame.index).__name__ == "RangeIndex" and (frame.index.start, frame.index.step) == (0, 1)
    index = None if plain else frame.index.tolist()
    return Table(names, column, lambda i: f"row {i}", arrays, [n for n in names if kinds[n] == "f"], index)


def _with_pandas(given: Any, names: Sequence[str], X: np.ndarray, space: Space) -> Any:
    import pandas

    if given.ndim == 1:
        return type(given)(list(X), index=given.index, name=given.name)
    old = [name for name in given.columns if str(name) in names]
    if len(old) == 1 and _holds_arrays(given[old[0]]):
        return given.assign(**{"_": list(X)}).drop(columns=old).rename(columns={"_": old[0]})[list(given.columns)]
    new = pandas.DataFrame(X, index=given.index, columns=[str(i) for i in range(X.shape[1])])
    return pandas.concat([given.drop(columns=old), new], axis=1)


def _polars(given: Any) -> Table:
    frame = given if hasattr(given, "columns") else given.to_frame(COLUMN)
    kinds = dict(frame.schema)
    nested = {name: getattr(kind, "inner", None) for name, kind in kinds.items()}
    arrays = [name for name, inner in nested.items() if inner is not None and inner.is_numeric()]
    numbers = [name for name, kind in kinds.items() if kind.is_float()]

    def column(name: str) -> Any:
        if name in arrays:
            return _stacked(frame[name].to_numpy(), f"Column '{name}'")
        return frame[name].to_numpy() if name in numbers else frame[name].to_list()

    return Table(frame.columns, column, lambda i: f"row {i}", arrays, numbers)


def _with_polars(given: Any, names: Sequence[str], X: np.ndarray, space: Space) -> Any:
    import polars

    if not hasattr(given, "columns"):
        return polars.Series(given.name, X)
    if given.schema[names[0]].is_nested():
        return given.with_columns(polars.Series(names[0], X))
    return given.drop(names).with_columns([polars.Series(str(i), X[:, i]) for i in range(X.shape[1])])


def _arrow(given: Any) -> Table:
    table = _as_table(given)
    return arrow_table(table.schema, lambda name: table.column(name).combine_chunks())


def _as_table(given: Any) -> Any:
    import pyarrow

    if hasattr(given, "schema"):
        return pyarrow.Table.from_batches([given]) if isinstance(given, pyarrow.RecordBatch) else given
    return pyarrow.table({COLUMN: given})


def _with_arrow(given: Any, names: Sequence[str], X: np.ndarray, space: Space) -> Any:
    import pyarrow

    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(X.reshape(-1)), X.shape[1])
    table = _as_table(given)
    where = table.schema.get_field_index(names[0])
    field = pyarrow.field(names[0], vectors.type, metadata={SPACE_KEY: space.to_json()})
    made = table.set_column(where, field, vectors)
    if isinstance(given, pyarrow.RecordBatch):
        return made.to_batches()[0]
    return made if hasattr(given, "schema") else vectors


def _datasets(given: Any) -> Table:
    return _arrow(given.with_format("arrow")[:])


def _with_datasets(given: Any, names: Sequence[str], X: np.ndarray, space: Space) -> Any:
    table = _with_arrow(given.with_format("arrow")[:], names, X, space)
    return type(given)(table).with_format(**given.format)


_READERS = {
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _arrow,
    "datasets": lambda given: _arrow(given.with_format("arrow")[:]),
}
_WRITERS = {"pandas": _with_pandas, "polars": _with_polars, "pyarrow": _with_arrow, "datasets": _with_datasets}
