"""Tables of items: .csv, .tsv, .jsonl and .parquet files, and the roles of their columns."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.cards.space import SPACE_KEY
from atlas.errors import AtlasError, unknown, warn
from atlas.items.batches import texts
from atlas.storage.files import explained
from atlas.storage.item_ids import id_of
from atlas.storage.parquet import ParquetFile, arrow, is_list

TEXT = "text texts sentence sentences question query content document utterance review abstract body passage prompt"
LABEL = "label labels class category intent topic target"
ID = "id _id item_id doc_id docid uid guid uuid"
VECTOR = "vector vectors embedding embeddings emb"


@dataclass(frozen=True)
class Table:
    """Columns by name, each read when it is asked for.

    Attributes:
        names: of the columns.
        column: returns the values of a column, for arrays as one array.
        where: says which row the i-th is, as a person would look for it.
        arrays: names of the columns that hold arrays.
        numbers: names of the columns that hold floating-point numbers.
        index: names of the rows where no column holds them; None: nothing.
        space: returns the space that a column of vectors carries as text, '' if it carries none.
    """

    names: Sequence[str]
    column: Callable[[str], Any]
    where: Callable[[int], str]
    arrays: Sequence[str] = ()
    numbers: Sequence[str] = ()
    index: Sequence[Any] | None = None
    space: Callable[[str], str] = lambda name: ""

    def items(self, wanted: str | None) -> list[str] | np.ndarray:
        """Return the items: texts, or an array (n, ...)."""
        name = find_column(self.names, wanted or None, TEXT, "text")
        if name is None and len(self.arrays) == 1:
            name = self.arrays[0]
        if name is None:
            raise AtlasError(
                f"No column is called 'text' or the like, there are {self._named()} - say which with {_flag('text')}"
            )
        values = self.column(name)
        return values if name in self.arrays else texts(values, lambda i: f"'{name}' in {self.where(i)}")

    def vector_columns(self, wanted: str | None, *others: str | None) -> list[str]:
        """Return the column of vectors; where there is none, all but ids, classes and others, if these hold numbers."""
        if wanted in self.names and wanted not in self.arrays:
            raise AtlasError(
                f"Column '{wanted}' must hold a list or an array of numbers in every row - text is parsed by json.loads"
            )
        name = find_column(self.arrays, wanted or None, VECTOR, "vector")
        if name is not None or len(self.arrays) == 1:
            return [name or self.arrays[0]]
        aside = {*others, *ID.split(), *LABEL.split()}
        left = [name for name in self.names if name not in aside]
        if left and not self.arrays and set(left) <= set(self.numbers):
            return left
        raise AtlasError(
            f"There must be one column of vectors, there are {self._named()} - say which with {_flag('vector')}"
        )

    def _named(self) -> str:
        return ", ".join(f"'{name}'" for name in self.names[:20]) + (", ..." if len(self.names) > 20 else "")

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        """Return the vectors (n, d) of a column, or of one for each dimension."""
        if names[0] not in self.arrays:
            return np.stack([self.column(name) for name in names], 1)
        X = self.column(names[0])
        if X.ndim != 2 or X.dtype.kind not in "fiu":
            raise AtlasError(f"Column '{names[0]}' must hold vectors of numbers, has {X.dtype} {X.shape[1:]}")
        return X

    def labels(self, wanted: str | None) -> list[str] | None:
        """Return the class of each item, '' where it is not known, or None if no column holds classes."""
        name = find_column(self.names, wanted, LABEL, "label")
        if name is None:
            return None
        without = f"read without classes: {_flag('label', '')}"
        values = self._checked(name, "a class", without, lambda value: isinstance(value, str | int | float | None))
        # NaN, pandas' form of a missing value, is the only value that does not equal itself.
        names = ["" if value is None or value != value else str(value) for value in values]
        return texts(names, lambda i: f"'{name}' in {self.where(i)}")

    def warn_numbered(self, *used: str | None) -> None:
        """Warn that rows have no ids, if one of the columns that are not used might hold them."""
        left = [name for name in self.names if name not in used and name not in (*TEXT.split(), *LABEL.split())]
        if left:
            warn(
                f"No column is called 'id' or the like, so that rows are numbered from 0; there are {self._named()} - "
                "say which with --id-column (id_column=), '' for none",
                4,
            )

    def classes(self, wanted: str | None) -> list[str] | None:
        """Return the class of each item as `labels` does, but None where a column is only called as if it held them."""
        try:
            return self.labels(wanted)
        except AtlasError:
            if wanted:
                raise
            return None

    def ids(self, wanted: str | None) -> list[str] | None:
        """Return the id of each item, or None if no column holds ids."""
        name = find_column(self.names, wanted, ID, "id")
        if name is None and self.index is None:
            return None
        without = f"number the rows: {_flag('id', '')}"
        values = self._checked(name, "an id", without, lambda value: id_of(value) is not None)
        return texts([id_of(value) or "" for value in values], lambda i: f"'{name}' in {self.where(i)}")

    def _checked(self, name: str | None, what: str, without: str, fits: Callable[[Any], bool]) -> list[Any]:
        values = list(self.index or () if name is None else self.column(name))
        name = name or "the index"
        for i, value in enumerate(values):
            if not fits(value):
                found = "empty" if value is None or value == "" or value != value else type(value).__name__
                raise AtlasError(f"'{name}' in {self.where(i)} is not {what}, but {found} - correct it, or {without}")
        return values


def _flag(what: str, value: str | None = None) -> str:
    given = "" if value is None else repr(value)
    return f"--{what}-column {given} ({what}_column={given})".replace("  ", " ")


def find_column(names: Sequence[str], wanted: str | None, common: str, what: str) -> str | None:
    """Return the name of a column: the one wanted ('' for none), else the only one with a common name, else None.

    Args:
        names: of all columns.
        wanted: the name that was asked for.
        common: names such a column often has, separated by spaces.
        what: the role of the column: "text", "label" or "id".

    Raises:
        AtlasError: there is no such column, or more than one has a common name.
    """
    if wanted is not None:
        if wanted and wanted not in names:
            raise AtlasError(unknown("column", wanted, names))
        return wanted or None
    found = [name for name in names if name.strip().lower() in common.split()]
    if len(found) > 1:
        columns = " or ".join(f"'{name}'" for name in found)
        raise AtlasError(f"The {what} may be in {columns} - say which with {_flag(what)}")
    return found[0] if found else None


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without its byte-order mark, or raise `AtlasError` with the line that is not."""
    with explained(path, "read"), path.open("rb") as file:
        # Something else than text may be as large as a disk.
        raw = file.read(2**16)
        raw += b"" if b"\0" in raw else file.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise AtlasError(f"Not UTF-8 text in line {line} - save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise AtlasError(f"A zero byte in line {line}, as UTF-16 has many - save the file as UTF-8")
    return text


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, each with its number, from 0."""
    text = read_text(path)
    # Old files of a Mac end their lines in CR alone.
    lines = text.split("\n" if "\n" in text else "\r")
    return [(i, line.removesuffix("\r")) for i, line in enumerate(lines) if line.strip()]


def read_csv(path: Path) -> Table:
    """Return the table of a .csv or .tsv file, whose first row names the columns."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    numbered = _rows(read_text(path), delimiter)
    if not numbered:
        raise AtlasError("The file is empty")
    (_, names), rows = numbered[0], numbered[1:]
    where = {name: i for i, name in enumerate(names)}
    commas = "separate them by ','"
    for other, advice in {",": "call the file .csv", "\t": "call the file .tsv", ";": commas, "|": commas}.items():
        if len(names) == 1 and other != delimiter and other in names[0]:
            raise AtlasError(f"Its columns seem to be separated by {other!r} - {advice}")
    if len(where) != len(names):
        twice = next(name for i, name in enumerate(names) if where[name] != i)
        raise AtlasError(f"Two columns are called '{twice}' - rename one")
    for line, row in rows:
        if len(row) != len(names):
            raise AtlasError(
                f"Line {line} does not fit the first row: that names {len(names)} columns, this has {len(row)}"
            )
    return Table(names, lambda name: [row[where[name]] for _, row in rows], lambda i: f"line {rows[i][0]}")


def _rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with the line it begins in, from 1."""
    # The module's own limit of 128 kB is less than a long document has.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        plain = delimiter == "\t" and not _quotes_pair(text)
        how: dict[str, Any] = {"delimiter": delimiter, "quoting": csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL}
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, **how)
        return list(_numbered(reader))
    except csv.Error as error:
        raise AtlasError(f"Not a table in line {reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _quotes_pair(text: str) -> bool:
    """Whether every line of a .tsv is a row as its quotes have it: in most such files they are letters like others."""
    try:
        for line in text.split("\n"):
            if '"' in line:
                next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return False
    return True


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    before = 0
    for row in reader:
        if row:
            yield before + 1, row
        before = reader.line_num


def read_jsonl(path: Path) -> Table:
    """Return the table of a .jsonl file: an object, or a text alone, in every line that is not blank."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for i, line in lines_of(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise AtlasError(f"Not JSON in line {i + 1}: {reason}") from None
        if not isinstance(row, (dict, str)):
            raise AtlasError(f"Line {i + 1} must be an object or a text, got {type(row).__name__}")
        rows.append((i + 1, row if isinstance(row, dict) else {"text": row}))
    if not rows:
        raise AtlasError("The file is empty")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    return Table(names, lambda name: [row.get(name) for _, row in rows], lambda i: f"line {rows[i][0]}")


def read_parquet(path: Path) -> Table:
    """Return the table of a .parquet file."""
    pa, _ = arrow()
    file = ParquetFile(path)

    def column(name: str) -> Any:
        return pa.chunked_array(file.column(name), file.schema.field(name).type).combine_chunks()

    return arrow_table(file.schema, column)


def arrow_table(schema: Any, read: Callable[[str], Any]) -> Table:
    """Return a table of Arrow columns, of which those of lists are arrays.

    Args:
        schema: names and types of the columns.
        read: returns a column as an array of Arrow.
    """
    arrays = [field.name for field in schema if is_list(field.type)]
    numbers = [field.name for field in schema if str(field.type) in ("halffloat", "float", "double")]

    def column(name: str) -> Any:
        values = read(name)
        if name in arrays:
            return _stacked(values, f"Column '{name}'")
        return values.to_numpy(zero_copy_only=False) if name in numbers else values.to_pylist()

    def space(name: str) -> str:
        return ((schema.field(name).metadata or {}).get(SPACE_KEY.encode()) or b"").decode(errors="replace")

    return Table(schema.names, column, lambda i: f"row {i}", arrays, numbers, space=space)


def _stacked(values: Any, what: str) -> np.ndarray:
    """Return a column of lists (of lists...) of numbers as one array, or raise `AtlasError` if their lengths differ.

    Where a vector is missing, there is a row of NaN.
    """
    from pyarrow import compute

    present, shape = values.is_valid().to_numpy(zero_copy_only=False), [int(len(values) - values.null_count)]
    values = values.drop_null() if values.null_count else values
    while is_list(values.type) and not hasattr(values, "to_numpy_ndarray"):
        lengths = compute.unique(compute.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or values.null_count:
            raise AtlasError(f"{what} must hold arrays of one shape, none missing")
        shape.append(lengths[0])
        values = values.flatten()
    if values.null_count:
        raise AtlasError(f"{what} must hold arrays of one shape, none missing")
    array = hasattr(values, "to_numpy_ndarray")
    found = values.to_numpy_ndarray() if array else values.to_numpy(zero_copy_only=False).reshape(shape)
    if present.all():
        return found
    whole = np.full((len(present), *found.shape[1:]), np.nan, found.dtype if found.dtype.kind == "f" else np.float64)
    whole[present] = found
    return whole
