"""Vectors in a folder of .parquet files, as a store."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

import atlas
from atlas.authors import SHADOW, SPACE_KEY, VECTORS, Batch, exchange, parquet_columns, whole_file

# The file of a folder that holds the notes; readers of Parquet leave out names that begin with a dot.
NOTES = ".latent_atlas.json"
# The lists of a batch that have an entry for each row.
BESIDE = ("ids", "marks", "labels", "other")


class Row(NamedTuple):
    """A row of a table of the columns beside vectors."""

    table: Any
    number: int


@dataclass
class Parquet(atlas.Store):
    """Vectors in the .parquet files of a folder: parquet:///FOLDER?id=id&vector=vector.

    The shadow is a folder 'FOLDER__shadow' beside it with the same columns. A switch exchanges the names of both.
    """

    name = "parquet"
    # Each batch becomes a file.
    rows: ClassVar[int] = 20_000

    id: str = atlas.option("", help="Column of the ids, texts or whole numbers; '': the one that is called so")
    vector: str = atlas.option("", help="Column of the vectors; '': the only one that holds lists")
    labels: str = atlas.option("", help="Column of the labels; '': there are none")

    def __post_init__(self):
        self.close()

    def close(self) -> None:
        """Forget the rows that were read."""
        # The cursor that was read to and the batches from there on; footers and ids of files, as long as these stay.
        self._reading: tuple[str, Iterator[Batch] | None] = ("", None)
        self._footers: dict[Path, tuple[int, Any, str]] = {}
        self._known: dict[Path, tuple[int, Any]] = {}

    def _path(self, place: str) -> Path:
        folder = self.address.file
        if folder is None:
            raise self.fail("is not on this machine - give the path of a folder, as in parquet:///FOLDER")
        now, shadow, swap = (folder.with_name(f"{folder.name}{end}") for end in ("", "__shadow", "__swap"))
        # A switch that was cut off where names cannot be exchanged in one step: the old vectors have a third name then.
        if swap.is_dir():
            if not now.exists():
                shadow.rename(now)
            swap.rename(shadow)
        return now if place == VECTORS else shadow

    def _files(self, place: str) -> list[Path]:
        """Return the files of a place in the natural order of their names."""
        path = self._path(place)
        if place == VECTORS and not path.is_dir():
            there = "is a file - move it into a folder" if path.is_file() else "is not there - check the path"
            raise self.fail(f"{there}, and give that of a folder of .parquet files")
        return sorted((file for file in path.glob("*.parquet") if file.name[0] != "."), key=_natural)

    def _opened(self, path: Path) -> tuple[Any, str]:
        """Return the vectors of a file, and the name of its column of ids."""
        state = path.stat().st_mtime_ns
        if self._footers.get(path, (0,))[0] != state:
            rows, key, _ = parquet_columns(path, self.vector or None, self.id or None)
            if not key or rows.columns[0] == key or len(rows.columns) > 1:
                what = "vectors" if key else "ids"
                raise self.fail(f"has no column of {what} in '{path.name}' - name one, as in ?{what[:-1]}=NAME")
            self._footers[path] = state, rows, key
        return self._footers[path][1:]

    def _first(self) -> tuple[Any, str]:
        """Return the first file of the vectors in use, which tells of the columns."""
        files = self._files(VECTORS)
        if not files:
            raise self.fail("has no .parquet files - check the path")
        return self._opened(files[0])

    def _said(self, place: str) -> dict[str, Any]:
        file = self._path(place) / NOTES
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def dim(self, place: str) -> int:
        """Return the length of the lists, 0 if there is no such folder."""
        if place == SHADOW and not self._path(SHADOW).is_dir():
            return 0
        found = (self._opened(file)[0].dim for file in self._files(place))
        return self._said(place).get("dim") or next(filter(None, found), 0)

    def count(self, place: str) -> int:
        """Return how many rows have a vector."""
        total = 0
        for file in self._files(place):
            rows, _ = self._opened(file)
            lists = rows.table.batches(rows.columns, 8192) if _may_lack(rows) else ()
            total += len(rows) - sum(batch.column(0).null_count for batch in lists)
        return total

    def read(self, place: str, after: str, size: int) -> Batch:
        """Return rows in the order of the files; the cursor is how many of a file were read, and its name."""
        if not after and place == VECTORS:
            self._check_ids()
        at, batches = self._reading
        if batches is None or at != f"{place} {after}":
            batches = self._from(place, after, size)
        found: list[Batch] = []
        while (left := size - sum(map(len, found))) and (batch := next(batches, None)):
            if len(batch) > left:
                done, name = batch.cursor.split(" ", 1)
                batches = itertools.chain([batch.take(range(left, len(batch)))], batches)
                batch = batch.take(range(left), cursor=f"{int(done) - len(batch) + left} {name}")
            found.append(batch)
        self._reading = (f"{place} {found[-1].cursor}", batches) if found else ("", None)
        return self._joined(found, place)

    def _from(self, place: str, after: str, size: int) -> Iterator[Batch]:
        row, _, name = after.partition(" ")
        for file in self._files(place):
            if name and _natural(file) < _natural(Path(name)):
                continue
            read = int(row) if file.name == name else 0
            for batch, done in self._batches(file, size, read):
                yield replace(batch, cursor=f"{done} {file.name}")

    def fetch(self, place: str, ids: Sequence[str]) -> Batch:
        """Return the rows of ids."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = []
        for file in self._files(place):
            wanted = pc.is_in(self._ids(file), pa.array(list(ids), pa.string())).to_numpy(zero_copy_only=False)
            found += [batch for batch, _ in self._batches(file, self.rows, 0, wanted)]
        return self._joined(found, place)

    def _joined(self, found: Sequence[Batch], place: str) -> Batch:
        if len(found) < 2:
            return found[0] if found else Batch([], np.empty((0, self.dim(place)), np.float32))
        columns = {name: [x for batch in found for x in getattr(batch, name)] for name in BESIDE}
        vectors = np.concatenate([batch.vectors for batch in found])
        return Batch(**columns, vectors=vectors, cursor=found[-1].cursor)

    def _batches(
        self, file: Path, size: int, read: int, wanted: np.ndarray | None = None
    ) -> Iterator[tuple[Batch, int]]:
        """Yield rows of a file after those that were read, all or those that are wanted, and how many were read then.

        Row groups in which there are none are passed over.
        """
        rows, key = self._opened(file)
        begin = 0
        for group in range(rows.table.metadata.num_row_groups):
            done, begin = begin, begin + rows.table.metadata.row_group(group).num_rows
            if begin <= read or (wanted is not None and not wanted[done:begin].any()):
                continue
            for table in rows.table.batches(rows.table.schema.names, size, [group]):
                first, done = done, done + len(table)
                chosen = np.arange(max(read - first, 0), len(table))
                chosen = chosen if wanted is None else np.flatnonzero(wanted[first:done])
                if len(chosen):
                    yield self._batch(rows, key, table.take(chosen), first + int(chosen[0])), done

    def _batch(self, rows: Any, key: str, table: Any, first: int) -> Batch:
        """Return rows of a file, of which the first has this number."""
        import pyarrow as pa

        [vector], n = rows.columns, len(table)
        vectors = rows.matrix(table.select([vector]), first).float().numpy()
        marks = table.column(f"{vector}__mark").to_pylist() if f"{vector}__mark" in table.schema.names else [""] * n
        labels = table.column(self.labels).cast(pa.string()).fill_null("").to_pylist() if self.labels else ()
        others = pa.Table.from_batches([table.drop_columns([vector])])
        ids = table.column(key).cast(pa.string()).to_pylist()
        return Batch(ids, vectors, "", [one or "" for one in marks], labels, [Row(others, i) for i in range(n)])

    def _check_ids(self) -> None:
        """Raise `AtlasError` where ids are missing or repeat: rows are told apart by them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        ids = pa.chunked_array([self._ids(file) for file in self._files(VECTORS)], pa.string())
        if ids.null_count:
            raise self.fail("has a row without an id - give every row one of its own")
        if pc.count_distinct(ids).as_py() < len(ids):
            counts = pc.value_counts(ids)
            twice = counts.filter(pc.greater(counts.field("counts"), 1))[0].as_py()["values"]
            raise self.fail(f"has more than one row '{twice}' - give every row an id of its own")

    def _ids(self, file: Path) -> Any:
        """Return the ids of a file, which are kept as long as it is the same."""
        import pyarrow as pa

        state = file.stat().st_mtime_ns
        if self._known.get(file, (None, None))[0] != state:
            rows, key = self._opened(file)
            parts = [batch.column(0).cast(pa.string()) for batch in rows.table.batches([key], 65536)]
            self._known[file] = state, pa.concat_arrays(parts) if parts else pa.array([], pa.string())
        return self._known[file][1]

    def begin(self, dim: int) -> None:
        """Make a folder."""
        self._first()
        self._check_alone(VECTORS)
        path = self._path(SHADOW)
        made = path.with_name(f"{path.name}__new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        (made / NOTES).write_text(json.dumps({"dim": dim, "notes": {}}), encoding="utf-8")
        made.rename(path)

    def put(self, batch: Batch) -> None:
        """Write a file of rows, once those of the same ids have gone from others."""
        import pyarrow as pa
        import pyarrow.compute as pc

        files = self._files(SHADOW)
        ids = pa.array(list(batch.ids), pa.string())
        for file in files:
            again = pc.is_in(self._ids(file), ids)
            if pc.any(again).as_py():
                self._take_out(file, again)
        number = 1 + max((int(file.stem.removeprefix("part-")) for file in files), default=0)
        table = self._table(batch, ids)
        with _writer(self._path(SHADOW) / f"part-{number:05}.parquet", table.schema) as writer:
            writer.write_table(table)

    def _take_out(self, file: Path, gone: Any) -> None:
        """Write a file anew without some of its rows."""
        import pyarrow.compute as pc

        rows, _ = self._opened(file)
        kept, done = pc.invert(gone), 0
        if not pc.any(kept).as_py():
            file.unlink()
            return
        with _writer(file, rows.table.schema) as writer:
            for batch in rows.table.batches(rows.table.schema.names, 8192):
                writer.write_batch(batch.filter(kept.slice(done, len(batch))))
                done += len(batch)

    def _table(self, batch: Batch, ids: Any) -> Any:
        """Return the table of rows: the columns of the vectors in use, in their order, and the marks."""
        import pyarrow as pa

        rows, key = self._first()
        [vector], schema = rows.columns, rows.table.schema
        kind = schema.field(vector).type
        number = getattr(kind, "storage_type", kind).value_type
        space, dim = self.stamped(SHADOW), batch.vectors.shape[1]
        flat = pa.array(np.ascontiguousarray(batch.vectors, np.float32).reshape(-1)).cast(number)
        marks = pa.array([one or None for one in batch.marks] if batch.marks else [None] * len(batch), pa.string())
        columns = _others(batch) or {key: (schema.field(key).remove_metadata(), ids.cast(schema.field(key).type))}
        carried = {SPACE_KEY: space.to_json()} if space else None
        columns[vector] = (
            pa.field(vector, pa.list_(number, dim), False, carried),
            pa.FixedSizeListArray.from_arrays(flat, dim),
        )
        columns[f"{vector}__mark"] = pa.field(f"{vector}__mark", pa.string()), marks
        names = [*(name for name in schema.names if name in columns), *(n for n in columns if n not in schema.names)]
        return pa.table([columns[name][1] for name in names], schema=pa.schema([columns[name][0] for name in names]))

    def kept(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors at half precision where the column has that."""
        rows, _ = self._first()
        return vectors.astype(np.float16).astype(np.float32) if str(rows.dtype) == "torch.float16" else vectors

    def notes(self, place: str) -> dict[str, str]:
        """Return the contents of a hidden file of the folder, and the space that the column of vectors carries."""
        files = self._files(place)
        rows = self._opened(files[0])[0] if files else None
        carried = (rows and rows.table.schema.field(rows.columns[0]).metadata) or {}
        space = carried.get(SPACE_KEY.encode(), b"").decode()
        return {**({SPACE_KEY: space} if space else {}), **self._said(place).get("notes", {})}

    def note(self, place: str, notes: Mapping[str, str]) -> None:
        """Write a hidden file in the folder."""
        said = {**self._said(place), "notes": dict(notes)}
        with whole_file(self._path(place) / NOTES) as temporary:
            temporary.write_text(json.dumps(said), encoding="utf-8")

    def switch(self) -> None:
        """Exchange the names of the folders, in one step where the file system can."""
        now, shadow = self._path(VECTORS), self._path(SHADOW)
        if not exchange(now, shadow):
            now.rename(now.with_name(f"{now.name}__swap"))
            self._path(VECTORS)
        self.close()

    def _check_alone(self, place: str) -> None:
        """Raise `AtlasError` where a folder holds more than tables: it would stay with the old ones, and go with them.

        Files that are hidden or begin with '_' are of the tables, as readers of Parquet have it.
        """
        for entry in sorted(self._path(place).iterdir()) if self._path(place).is_dir() else ():
            if entry.is_dir() or not (entry.suffix == ".parquet" or entry.name.startswith((".", "_"))):
                kind = "folder" if entry.is_dir() else "file"
                raise self.fail(
                    f"holds the {kind} '{entry.name}' beside its tables in '{entry.parent}', which would be deleted "
                    "with the old vectors - move it elsewhere"
                )

    def drop(self) -> None:
        """Delete the folder of the shadow, under another name, so that none is left by half."""
        self._check_alone(SHADOW)
        shadow = self._path(SHADOW)
        gone = shadow.with_name(f"{shadow.name}__gone")
        shutil.rmtree(gone, ignore_errors=True)
        if shadow.exists():
            shadow.rename(gone)
            shutil.rmtree(gone)


def _natural(file: Path) -> list[Any]:
    """Return a key by which files are sorted so that part-2 comes before part-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", file.name)]


def _may_lack(rows: Any) -> bool:
    """Whether a vector may be missing in a file; a footer that counts those that are missing often says no."""
    if not rows.table.schema.field(rows.columns[0]).nullable:
        return False
    [leaf], metadata = rows.table.leaves(rows.columns), rows.table.metadata
    known = [metadata.row_group(i).column(leaf).statistics for i in range(metadata.num_row_groups)]
    return any(one is None or one.null_count is None or one.null_count > 0 for one in known)


def _others(batch: Batch) -> dict[str, Any]:
    """Return field and values of each column that was read beside vectors; none of rows of another store."""
    import pyarrow as pa

    if not all(isinstance(row, Row) for row in batch.other):
        return {}
    tables = {id(row.table): row.table for row in batch.other}
    if not tables:
        return {}
    starts = dict(zip(tables, np.cumsum([0, *map(len, tables.values())]).tolist(), strict=False))
    whole = pa.concat_tables(tables.values(), promote_options="default").take(
        [starts[id(row.table)] + row.number for row in batch.other]
    )
    return {field.name: (field, whole.column(field.name)) for field in whole.schema}


@contextlib.contextmanager
def _writer(path: Path, schema: Any) -> Iterator[Any]:
    """Yield a writer of a file, which is on the disk before it has its name."""
    import pyarrow as pa
    from pyarrow import parquet

    # Numbers that look random gain nothing from a dictionary, from compression and from their extremes.
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    how = {"use_dictionary": flat, "write_statistics": flat, "compression": dict.fromkeys(flat, "snappy")}
    with whole_file(path) as temporary:
        with parquet.ParquetWriter(temporary, schema, **how) as writer:
            yield writer
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())


ALL = [Parquet]
