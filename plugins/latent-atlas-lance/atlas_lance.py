"""Vectors in a Lance dataset."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import atlas
from atlas.authors import SHADOW, VECTORS, Batch

# The column of the marks, and the entry of a dataset's config that holds the notes.
MARK, NOTES = "latent_atlas_mark", "latent_atlas"
METRICS = {"cosine": "cosine", "dot": "dot", "l2": "l2"}


@dataclass
class Lance(atlas.Store):
    """Vectors in a column of a Lance dataset, such as a table of LanceDB: lance:///FOLDER/TABLE.lance?vector=vector.

    The shadow is a dataset 'TABLE.lance__shadow' beside it with the same columns. A switch exchanges the names of both
    folders; one that was cut off is finished whenever the dataset is used next.
    """

    name = "lance"

    id: str = atlas.option("id", help="Column of the ids, texts or whole numbers, unique and never null")
    vector: str = atlas.option("vector", help="Column of the vectors, a list of fixed size")
    labels: str = atlas.option("", help="Column of the labels; '': there are none")

    def __post_init__(self):
        # Datasets that are open: opening one reads its whole manifest, which grows with each batch that is put.
        self._held: dict[str, Any] = {}
        self._counts: dict[tuple[str, int], int] = {}
        # Hashes of the ids in the shadow, once they were read: sorted runs, each at least twice as long as the next.
        self._runs: list[np.ndarray] = []

    def close(self) -> None:
        """Let go of the datasets."""
        self._held, self._counts, self._runs = {}, {}, []

    def _path(self, place: str) -> Path:
        file = self.address.file
        if file is None:
            raise self.fail("is not on this machine - give the path of a folder, as in lance:///FOLDER/TABLE.lance")
        now, shadow, swap = (file.with_name(f"{file.name}{end}") for end in ("", "__shadow", "__swap"))
        # A switch that was cut off: the old vectors have a third name then.
        if swap.exists():
            if not now.exists():
                shadow.rename(now)
            swap.rename(shadow)
        return now if place == VECTORS else shadow

    def _dataset(self, place: str) -> Any:
        """Return the dataset of a place, None if there is none."""
        import lance

        path = self._path(place)
        if place == VECTORS and not (path / "_versions").is_dir():
            raise self.fail("is no Lance dataset - check the path")
        return lance.dataset(str(path)) if (path / "_versions").is_dir() else None

    def _size(self, schema: Any) -> int:
        for name in filter(None, (self.id, self.vector, self.labels)):
            if name not in schema.names:
                raise self.fail(f"has no column '{name}', only {', '.join(schema.names)} - name it, as in ?vector=NAME")
        import pyarrow as pa

        key = schema.field(self.id).type
        if not pa.types.is_integer(key) and "string" not in str(key):
            raise self.fail(f"has a column '{self.id}' of {key} - name one of texts or whole numbers, as in ?id=NAME")
        kind = schema.field(self.vector).type
        size = getattr(kind, "list_size", 0)
        if not size or not pa.types.is_floating(kind.value_type):
            told = "that is no list of fixed size, of floating-point numbers"
            raise self.fail(f"has a column '{self.vector}' {told} - name another, ?vector=NAME")
        return size

    def dim(self, place: str) -> int:
        """Return the size of the column."""
        found = self._dataset(place)
        if place == SHADOW and found and not {self.id, self.vector} <= {*found.schema.names}:
            raise self.fail(f"has a dataset '{self._path(SHADOW).name}' beside it that Atlas did not make - rename it")
        return 0 if found is None else self._size(found.schema)

    def count(self, place: str) -> int:
        """Return how many rows have a vector: of each version of a dataset, all vectors are read once."""
        found = self._dataset(place)
        if not found.schema.field(self.vector).nullable:
            return found.count_rows()
        version = (place, found.version)
        if version not in self._counts:
            self._counts[version] = found.count_rows(f"`{self.vector}` IS NOT NULL")
        return self._counts[version]

    def read(self, place: str, after: str, size: int) -> Batch:
        """Return rows in the order of the dataset; the cursor is how many were before.

        From the first row on, they are those of one version.
        """
        start, held = int(after or 0), f"read {place}"
        if not after or held not in self._held:
            self._held[held] = self._dataset(place)
        table = self._held[held].to_table(offset=start, limit=size)
        return self._batch(table, str(start + table.num_rows))

    def fetch(self, place: str, ids: Sequence[str]) -> Batch:
        """Return the rows of ids."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = self._dataset(place)
        kind = found.schema.field(self.id).type
        if pa.types.is_integer(kind):
            given = pa.array([one for one in ids if one.lstrip("-").isdigit()], pa.string()).cast(kind)
            return self._batch(found.to_table(filter=pc.field(self.id).isin(given)), "")
        # In SQL, since Lance compares no large texts otherwise.
        quoted = ", ".join("'" + one.replace("'", "''") + "'" for one in ids) or "NULL"
        return self._batch(found.to_table(filter=f"CAST(`{self.id}` AS STRING) IN ({quoted})"), "")

    def _batch(self, table: Any, cursor: str) -> Batch:
        import pyarrow as pa

        n, dim = table.num_rows, self._size(table.schema)
        column = table.column(self.vector).combine_chunks()
        vectors = np.full((n, dim), np.nan, np.float32)
        # A null has no numbers.
        vectors[~column.is_null().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy(False).reshape(-1, dim)
        marks = table.column(MARK).to_pylist() if MARK in table.schema.names else []
        others = table.drop_columns([name for name in (self.vector, MARK) if name in table.schema.names])
        labels = table.column(self.labels).cast(pa.string()).fill_null("").to_pylist() if self.labels else ()
        ids = table.column(self.id).cast(pa.string()).to_pylist()
        return Batch(ids, vectors, cursor, [one or "" for one in marks], labels, others.to_pylist())

    def begin(self, dim: int) -> None:
        """Make a dataset with the same columns, and one for the marks."""
        self.close()
        import lance
        import pyarrow as pa

        schema = self._dataset(VECTORS).schema
        number = schema.field(self.vector).type.value_type
        fields = [pa.field(f.name, pa.list_(number, dim)) if f.name == self.vector else f for f in schema]
        fields = [field for field in fields if field.name != MARK] + [pa.field(MARK, pa.string())]
        lance.write_dataset(pa.schema(fields).empty_table(), str(self._path(SHADOW)))

    def put(self, batch: Batch) -> None:
        """Append rows, with the other columns that were read, or merge them where some of the ids are there."""
        import lance
        import pyarrow as pa

        found = self._held.get(SHADOW) or self._dataset(SHADOW)
        schema = found.schema
        kind = schema.field(self.vector).type
        flat = pa.array(np.ascontiguousarray(batch.vectors, np.float32).reshape(-1)).cast(kind.value_type)
        made = {
            self.vector: pa.FixedSizeListArray.from_arrays(flat, kind.list_size),
            MARK: pa.array(list(batch.marks), pa.string()),
            self.id: pa.array(list(batch.ids)).cast(schema.field(self.id).type),
        }
        beside = list(batch.other) or [{}] * len(batch)
        others = pa.Table.from_pylist(beside, pa.schema([f for f in schema if f.name not in made]))
        columns = [made[name] if name in made else others.column(name) for name in schema.names]
        table = pa.table(columns, schema=schema)
        # Either is one version of the dataset; a merge takes twice as long, though all rows be new.
        if self._has(found, batch.ids):
            found.merge_insert(self.id).when_matched_update_all().when_not_matched_insert_all().execute(table)
        else:
            found = lance.write_dataset(table, found, mode="append")
        self._held[SHADOW] = found

    def _has(self, found: Any, ids: Sequence[str]) -> bool:
        """Return whether some of the ids may be in the shadow, whose ids are read once; from now on, these are."""
        import pyarrow as pa

        if not self._runs:
            parts = [part.column(0).cast(pa.string()) for part in found.to_batches(columns=[self.id])]
            self._runs = [np.concatenate([hashed([]), *(hashed(part.to_pylist()) for part in parts)])]
            self._runs[0].sort()
        new = np.sort(hashed(ids))
        has = False
        for run in filter(len, self._runs):
            places = run.searchsorted(new).clip(max=len(run) - 1)
            has = has or bool((run[places] == new).any())
        self._runs.append(new)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]
        return has

    def metric_of(self, place: str) -> str:
        """Return the metric of the index of a dataset's vectors; that of a shadow without one is of the vectors'."""
        found = self._dataset(place)
        if found is None:
            return ""
        # Else it warns that it reads all centroids.
        os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")
        names = [one.name for one in found.describe_indices() if one.field_names == [self.vector]]
        made = [part for name in names for part in found.stats.index_stats(name)["indices"]]
        metrics = {str(part.get("metric_type", "")) for part in made}
        if place == SHADOW and not metrics:
            return self.metric_of(VECTORS)
        return METRICS.get(metrics.pop(), "") if len(metrics) == 1 else ""

    def notes(self, place: str) -> dict[str, str]:
        """Return the config of a dataset."""
        text = self._dataset(place).config().get(NOTES)
        return json.loads(text) if text else {}

    def note(self, place: str, notes: Mapping[str, str]) -> None:
        """Write to the config of a dataset."""
        (self._held.get(place) or self._dataset(place)).update_config({NOTES: json.dumps(dict(notes))})

    def switch(self) -> None:
        """Exchange the names of the folders, by way of a third one."""
        self.close()
        now = self._path(VECTORS)
        now.rename(now.with_name(f"{now.name}__swap"))
        self._path(VECTORS)

    def drop(self) -> None:
        """Delete the folder of the shadow, under another name, so that none is left by half."""
        self.close()
        shadow = self._path(SHADOW)
        gone = shadow.with_name(f"{shadow.name}__gone")
        shutil.rmtree(gone, ignore_errors=True)
        if shadow.exists():
            shadow.rename(gone)
            shutil.rmtree(gone)


def hashed(ids: Sequence[str]) -> np.ndarray:
    """Return a number for each id, (n,) int64: two of different ids are hardly ever the same, and then merged."""
    return np.fromiter(map(hash, ids), np.int64, len(ids))


@atlas.hookimpl
def register_stores():
    """Return the stores of this plugin."""
    return [Lance]
