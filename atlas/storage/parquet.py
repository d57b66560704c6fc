"""Matrices in .parquet files, read and written by row groups; pyarrow is imported when one is."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError, CardError, NotFoundError, first_line, needed
from atlas.numerics.arrays import tensor_of
from atlas.storage.remote import ASKED, is_remote, opened, state
from atlas.storage.rows import BATCH_BYTES, Pieces, Rows
from atlas.storage.writers import spooled

# A file that says it holds more than this, and more than so many times its own size, is not worth reading.
MOST, TIMES = 2**28, 100
# Rows of other columns that are read at a time: nobody knows how large they are.
FEW = 1024
# Bytes of vectors that are read at a time.
READ = 2**20
_LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")


def arrow() -> tuple[Any, Any]:
    """Return `pyarrow` and `pyarrow.parquet`, or raise `AtlasError` saying how to get them."""
    with needed("A .parquet file needs", "pyarrow", "parquet"):
        import pyarrow
        from pyarrow import parquet
    return pyarrow, parquet


def is_list(kind: Any) -> bool:
    """Whether a type of Arrow is one of lists or of tensors of one shape; views of lists are there from 16 on."""
    return str(kind).startswith((*(f"{name}<" for name in _LISTS), "extension<arrow.fixed_shape_tensor"))


class ParquetFile:
    """A .parquet file, of which only the footer has been read.

    Attributes:
        where: its path, or the URL of an object.
        schema: of Arrow.
        metadata: its footer, as pyarrow reads it.
        size: in bytes.
    """

    def __init__(self, where: str | Path) -> None:
        self.where = where
        if not is_remote(where) and not Path(where).is_file():
            raise NotFoundError(f"There is no file '{where}'")
        with self._open("truncated or not a .parquet file") as file:
            self.metadata, self.schema = file.metadata, file.schema_arrow
        self.size = (state(where) or [0])[0]

    @contextlib.contextmanager
    def _open(self, problem: str, metadata: Any = None, buffer: int = READ) -> Iterator[Any]:
        pa, parquet = arrow()
        try:
            with (
                opened(self.where) as source,
                parquet.ParquetFile(source, metadata=metadata, buffer_size=buffer, pre_buffer=False) as file,
            ):
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            # pyarrow before 26 reads no list of fixed length that is null.
            advice = " - install pyarrow 26 or newer" if "Expected all lists to be of size" in str(error) else ""
            raise CardError(f"{self.where}: {problem}: {first_line(error)}{advice}") from None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.metadata.num_rows

    def batches(
        self, columns: Sequence[str], size: int = FEW, groups: Sequence[int] | None = None
    ) -> Generator[Any, None, None]:
        """Yield record batches of some columns, of at most `size` rows, of all row groups or of some."""
        with self.reading(columns) as read:
            yield from read(size, range(self.metadata.num_row_groups) if groups is None else groups)

    @contextlib.contextmanager
    def reading(self, columns: Sequence[str], few: bool = False) -> Iterator[Callable[[int, Sequence[int]], Generator]]:
        """Yield a function of a size and of numbers of row groups, which yields batches of at most that size.

        Args:
            columns: to read.
            few: whether only few rows of each row group will be.
        """
        # The buffers of many columns would be large together.
        buffer = ASKED if is_remote(self.where) and len(columns) == 1 and not few else READ
        names = ", ".join(f"'{name}'" for name in columns)
        with self._open(f"column{'s' * (len(columns) > 1)} {names} cannot be read", self.metadata, buffer) as file:

            def read(size: int, groups: Sequence[int]) -> Generator[Any, None, None]:
                left = sum(self.metadata.row_group(i).num_rows for i in groups)
                for batch in file.iter_batches(size, row_groups=list(groups), columns=list(columns), use_threads=False):
                    batch.validate(full=True)
                    left -= len(batch)
                    yield batch
                if left:
                    raise OSError(f"{abs(left):,} rows too {'few' if left > 0 else 'many'}")

            yield read

    def groups(self, columns: Sequence[str]) -> list[Any]:
        """Return the footer's entries of each row group, or raise `CardError` for impossible ones.

        A row of some columns is read of each first: where a footer says something impossible of a column, pyarrow
        raises an error when it is read, and ends the process when its statistics are asked for.
        """
        found = [self.metadata.row_group(i) for i in range(self.metadata.num_row_groups)]
        held = sum(group.total_byte_size for group in found)
        if held > max(MOST, TIMES * self.size):
            raise CardError(f"{self.where}: says it takes {held:,} bytes in a file of {self.size:,} - write it anew")
        with self.reading(columns, few=True) as read:
            for i in range(len(found)):
                with contextlib.closing(read(1, [i])) as rows:
                    next(rows, None)
        return found

    def leaves(self, columns: Sequence[str]) -> list[int]:
        """Return the numbers of the columns as Parquet counts them: of a list, that of its elements."""
        paths = [self.metadata.schema.column(i).path for i in range(len(self.metadata.schema))]
        return [i for i, path in enumerate(paths) if path.split(".", 1)[0] in columns]

    def column(self, name: str) -> Iterator[Any]:
        """Yield the values of a column in pieces, or raise `CardError` where they take far more than the file does."""
        held = 0
        for batch in self.batches([name]):
            held += batch.nbytes
            if held > max(MOST, TIMES * self.size):
                raise CardError(
                    f"{self.where}: column '{name}' has more than {held // 2**20} MB in a file of {self.size} bytes - "
                    f"write it anew without compression, if that is right"
                )
            yield batch.column(0)


class Streamed(Pieces):
    """Rows that are read from the beginning of a piece, so that those in any order come from a temporary file."""

    def at_random(self) -> Rows:
        """Return the same rows where any can be read at any time: in a temporary file."""
        return self.spooled

    @functools.cached_property
    def spooled(self) -> Rows:
        """The same rows in a temporary file without a name."""
        return spooled(self.chunks(self.batch_rows()), self.dim, self.dtype)


class ParquetRows(Streamed):
    """The vectors in a .parquet file, read by row groups. Where one is missing, there is a row of NaN.

    Attributes:
        table: the file.
        columns: the name of the column of vectors, or those of one column of numbers for each dimension.
    """

    def __init__(self, table: ParquetFile, columns: Sequence[str]) -> None:
        """Look at columns.

        Raises:
            CardError: they hold no vectors of numbers, or say that they hold far more than the file could.
        """
        self.table, self.columns, self.file = table, list(columns), table.where
        given = table.schema.field(columns[0]).type
        kind = getattr(given, "storage_type", given)
        dtype = _NUMBERS.get(str(getattr(kind, "value_type", kind)))
        if dtype is None or len(getattr(given, "shape", ())) > 1:
            raise self._fail(f"must hold vectors of numbers, has {given}")
        groups = table.groups(columns)
        leaves = table.leaves(columns)
        values = sum(group.column(i).num_values for group in groups for i in leaves)
        if values * dtype.itemsize > max(MOST, TIMES * table.size):
            raise self._fail(f"says it has {values:,} numbers, in a file of {table.size:,} bytes - write it anew")
        # Each row of another length than the first is reported when it is read.
        dim = getattr(kind, "list_size", None) if is_list(kind) else len(columns)
        if dim is None and values:
            some = next(table.batches(columns, 64), None)
            dim = next((len(row) for row in some.column(0).to_pylist() if row), 0) if some else 0
        super().__init__([group.num_rows for group in groups] or [0], dim or 0, dtype)

    def chunks(self, size: int, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield rows as they are read, at most `size` at a time, all in order or those of an index that rises."""
        return super().chunks(size, index) if index is not None else self._in_order(size)

    def _in_order(self, size: int) -> Iterator[Tensor]:
        # Each time that an object is opened, its store is asked.
        with self.table.reading(self.columns) as read:
            for piece in range(len(self.ends)):
                yield from self._piece(read, piece, size)

    def read(self, piece: int, size: int, index: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the rows of a row group in order, at most `size` at a time, all or those of an index that rises."""
        with self.table.reading(self.columns) as read:
            if index is None:
                yield from self._piece(read, piece, size)
                return
            start = 0
            for X in self._piece(read, piece, size):
                first, last = np.searchsorted(index.numpy(), [start, start + len(X)])
                if first < last:
                    yield X[index[first:last] - start]
                if last == len(index):
                    return
                start += len(X)

    def _piece(self, read: Callable[[int, Sequence[int]], Generator], piece: int, size: int) -> Iterator[Tensor]:
        begin = int(self.ends[piece - 1]) if piece else 0
        # Pieces so small that the memory of one serves for the next.
        for batch in read(min(size, max(256, READ // (self.dim * self.dtype.itemsize))), [piece]):
            yield self.matrix(batch, begin)
            begin += len(batch)

    def matrix(self, batch: Any, first: int) -> Tensor:
        """Return rows of a batch of the vectors' columns; raise `CardError` where one does not fit.

        Args:
            batch: of the file.
            first: the number in the file of its first row.
        """
        if not is_list(self.table.schema.field(self.columns[0]).type):
            parts = [batch.column(name).to_numpy(zero_copy_only=False) for name in self.columns]
            return torch.from_numpy(np.stack(parts, 1)).to(self.dtype)
        values = getattr(batch.column(0), "storage", batch.column(0))
        if not values.null_count:
            return self._lists(values, range(first, first + len(values)))
        rows = first + np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
        whole = torch.full((len(values), self.dim), torch.nan, dtype=self.dtype)
        whole[torch.from_numpy(rows - first)] = self._lists(values.drop_null(), rows)
        return whole

    def _lists(self, values: Any, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Return lists, of the rows of the file that are given, as a matrix."""
        from pyarrow import compute

        fixed = getattr(values.type, "list_size", None) == self.dim
        lengths: Any = None if fixed else compute.list_value_length(values)
        if not fixed and len(wrong := compute.indices_nonzero(compute.not_equal(lengths, self.dim))):
            i = wrong[0].as_py()
            raise self._fail(f"has a vector of length {lengths[i]} in row {rows[i]}, others have {self.dim}")
        flat = values.flatten()
        if flat.null_count:
            row = rows[compute.index(flat.is_null(), True).as_py() // self.dim]
            raise self._fail(f"lacks a number in row {row} - remove the row, or fill it")
        return tensor_of(flat.to_numpy(zero_copy_only=False).reshape(-1, self.dim)).to(self.dtype)

    def _fail(self, problem: str) -> CardError:
        return CardError(f"{self.table.where}: column '{self.columns[0]}' {problem}")

    def like(self, other: ParquetRows) -> bool:
        """Whether both are of files with the same columns."""
        return self.columns == other.columns and self.table.schema.equals(other.table.schema)

    def others(self) -> Iterator[Any]:
        """Return batches of the other columns of the file."""
        names = [name for name in self.table.schema.names if name not in self.columns]
        return self.table.batches(names) if names else iter(())

    def schema_with(self, field: Any) -> Any:
        """Return the schema of the file with one column in place of the vectors'."""
        schema = self.table.schema
        first = schema.get_field_index(self.columns[0])
        for name in self.columns:
            schema = schema.remove(schema.get_field_index(name))
        return schema.insert(first, field)


_HELD = (torch.float16, torch.float32, torch.float64)
_NUMBERS = {
    **{"halffloat": torch.float16, "float": torch.float32, "double": torch.float64},
    **dict.fromkeys(("int8", "uint8", "int16", "uint16"), torch.float32),
    **dict.fromkeys(("int32", "uint32", "int64", "uint64"), torch.float64),
}


def write_parquet(
    path: Path,
    batches: Iterable[Tensor],
    field: Any,
    n: int,
    schema: Any,
    others: Iterator[Any],
    numbers: Mapping[str, Tensor],
) -> None:
    """Write vectors to a .parquet file, in row groups of some tens of MB.

    Args:
        path: the file.
        batches: of rows, n in all.
        field: the column of the vectors, in Arrow's words: its name, its type and its metadata.
        n: how many rows there are.
        schema: of all columns.
        others: record batches of the other columns.
        numbers: columns (n,) that are there in whole.
    """
    pa, parquet = arrow()
    names = [name for name in schema.names if name != field.name and name not in numbers]
    flat = [name for name in names if not pa.types.is_nested(schema.field(name).type)]
    dim, done = field.type.list_size, 0
    held: list[Any] = []
    size = max(256, BATCH_BYTES // (dim * 4))
    # Numbers that look random gain nothing from a dictionary, from compression and from their extremes.
    how = {"use_dictionary": flat, "write_statistics": flat, "compression": dict.fromkeys(flat, "snappy")}
    with parquet.ParquetWriter(path, schema, **how) as file:
        for group in _grouped(batches, size):
            rows = sum(map(len, group))
            columns = {field.name: pa.chunked_array([_column(pa, batch, field.type) for batch in group], field.type)}
            columns |= {name: pa.array(t[done : done + rows].numpy()) for name, t in numbers.items()}
            if names:
                taken, held = _taken(pa, held, others, rows)
                columns |= {name: taken.column(name) for name in names}
            done += rows
            file.write_table(pa.table([columns[name] for name in schema.names], schema=schema))
    if done != n:
        raise AtlasError(f"Expected {n} rows to write, got {done}")


def _grouped(batches: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Yield batches by so many as have `size` rows in all; one that has too many is parted, none is copied."""
    held: list[Tensor] = []
    n = 0
    for batch in batches:
        while n + len(batch) >= size:
            yield [*held, batch[: size - n]]
            batch, held, n = batch[size - n :], [], 0
        if len(batch):
            held.append(batch)
            n += len(batch)
    if held:
        yield held


def _column(pa: Any, batch: Tensor, kind: Any) -> Any:
    """Return rows as a column of vectors."""
    batch = batch if batch.dtype in _HELD else batch.float()
    values = pa.array(batch.contiguous().reshape(-1).numpy(), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(values, kind.list_size)


def _taken(pa: Any, held: list[Any], others: Iterator[Any], n: int) -> tuple[Any, list[Any]]:
    """Return the next n rows of tables that come in batches, and the rest of the last batch."""
    while sum(map(len, held)) < n:
        if (batch := next(others, None)) is None:
            raise AtlasError(f"Expected {n} rows of the other columns, got {sum(map(len, held))}")
        held.append(batch)
    table = pa.Table.from_batches(held)
    return table.slice(0, n), table.slice(n).to_batches()
