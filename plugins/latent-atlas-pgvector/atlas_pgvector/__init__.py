"""Vectors in a table of PostgreSQL with pgvector."""

from __future__ import annotations

import contextlib
import functools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import atlas
from atlas.authors import SHADOW, VECTORS, Batch
from atlas_pgvector.binary import decoded, encoded, messages
from atlas_pgvector.tables import ALL_INDEXES, COLUMNS, INDEXES, KEY, NOTES, Source, joined, metric, split

# Seconds to wait for a connection, and for another run to let go of its lock: the server may notice late that it died.
PATIENCE = 10


@dataclass
class Pgvector(atlas.Store):
    """Vectors in a column of PostgreSQL with pgvector: pgvector://USER@HOST/DATABASE/TABLE?id=id&vector=embedding.

    The shadow is filled as a table beside it, 'TABLE__VECTOR__shadow'. The first switch makes a column of it, with the
    indexes that the old one has, and exchanges the names of both columns.
    """

    name = "pgvector"
    prunes = True

    id: str = atlas.option("id", help="Column of the ids, unique and never NULL")
    vector: str = atlas.option("embedding", help="Column of the vectors, of type vector or halfvec")
    labels: str = atlas.option("", help="Column of the labels; '': there are none")

    def __post_init__(self):
        self._names: dict[str, Any] = {}
        self._quiet = False

    @functools.cached_property
    def _connection(self) -> Any:
        import psycopg

        at = self.address
        database = at.path.strip("/").partition("/")[0]
        given = {"host": at.host, "port": at.port, "user": at.user, "password": at.password, "dbname": database}
        known = {name: value for name, value in given.items() if value}
        return psycopg.connect(**known, connect_timeout=PATIENCE, autocommit=True, application_name="latent-atlas")

    def close(self) -> None:
        """Close the connection."""
        if "_connection" in vars(self):
            self._connection.close()
            del self._connection

    def _run(self, text: str, /, *values: Any, **names: Any) -> Any:
        from psycopg import errors

        try:
            return self._connection.execute(self._sql(text, **names), values or None)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            raise self.fail("is in use by an open transaction - wait for its end, and run it again") from None

    def _sql(self, text: str, /, **names: Any) -> Any:
        """Return a statement in which '{name}' stands for an identifier, or for SQL that was made before."""
        from psycopg import sql

        known = {**self._names, **names}
        parts = {name: sql.Identifier(part) if isinstance(part, str) else part for name, part in known.items()}
        return sql.SQL(text).format(**parts)

    def _columns(self) -> dict[str, dict[str, Any]]:
        """Return the columns of the table and of the one beside it by name: type, its name, dimension, not null."""
        schema, table = split(self.address.path)
        side = f"{table}__{self.vector}__shadow"
        if len(side.encode()) > 63:
            raise self.fail(f"has names too long for PostgreSQL: '{side}' - rename the table or the column")
        found: dict[str, dict[str, Any]] = {"table": {}, "side": {}}
        for which, name, *about in self._run(COLUMNS, schema, table, schema, side).fetchall():
            found[which][name] = about
        if not found["table"]:
            where = f" in schema '{schema}' - put a name with a dot in double quotes, or" if schema else " -"
            raise self.fail(f"has no table '{table}'{where} check the URL")
        if next(iter(found["table"].values()))[5] in ("v", "m"):
            raise self.fail(f"has a view '{table}', and a view has no key - name the table behind it")
        for name in filter(None, (self.id, self.vector, self.labels)):
            if name not in found["table"]:
                raise self.fail(f"has no column '{name}' in table '{table}' - name it in the URL, as in ?vector=NAME")
        kind = found["table"][self.vector][0]
        if kind not in ("vector", "halfvec"):
            raise self.fail(f"has a column '{self.vector}' of type {kind} - name one of type vector or halfvec")
        if found["side"] and not {"id", "vector", "mark"} <= {*found["side"]}:
            raise self.fail(f"has a table '{side}' beside it that Atlas did not make - rename it")
        other = found["table"].get(f"{self.vector}__shadow")
        if other and other[0] not in ("vector", "halfvec"):
            raise self.fail(f"has a column '{self.vector}__shadow' of type {other[0]} - rename it")
        space = found["table"][self.vector][4]
        self._names = {
            "table": self._sql("{a}.{b}", a=space, b=table),
            "side": self._sql("{a}.{b}", a=space, b=side),
            "id": self.id,
            **{name: f"{self.vector}{end}" for name, end in (("vector", ""), ("mark", "__mark"), ("swap", "__swap"))},
            **{name: f"{self.vector}__{name}" for name in ("shadow", "shadow_mark")},
        }
        return found

    def _source(self, place: str) -> Source | None:
        """Return where the vectors of a place are, None if there is no such place."""
        found = self._columns()
        if place == SHADOW and found["side"]:
            return Source("side", "id", "vector", "mark", "", "text", *found["side"]["vector"][:2])
        vector = self.vector if place == VECTORS else f"{self.vector}__shadow"
        if vector not in found["table"]:
            return None
        mark = f"{self.vector}__mark" if place == VECTORS else f"{self.vector}__shadow_mark"
        mark = mark if mark in found["table"] else ""
        key, (_, _, type_name, *_) = self.id, found["table"][self.id]
        return Source("table", key, vector, mark, self.labels, type_name, *found["table"][vector][:2])

    def _there(self, place: str) -> Source:
        source = self._source(place)
        if source is None:
            raise self.fail("has no shadow - make one first")
        return source

    def _select(self, place: str, condition: str, **names: Any) -> Batch:
        source = self._there(place)
        null = self._sql("NULL::text")
        text = "COPY (SELECT {found}::vector, s.{key}::text, {marked}, {label} FROM {source} AS s "
        names |= {"source": self._names[source.table], "key": source.id, "found": source.vector}
        names["marked"] = source.mark or null
        names["label"] = self._sql("{label}::text", label=source.label) if source.label else null
        statement = self._sql(f"{text}{condition}) TO STDOUT (FORMAT binary)", **names)
        dim = self._dim(source)
        with self._connection.cursor().copy(statement):
            ids, vectors, marks, labels = decoded(messages(self._connection), dim, self.fail)
        cursor = f"={ids[-1]}" if ids else ""
        return Batch(ids, vectors, cursor, marks, labels if source.label else ())

    def _dim(self, source: Source) -> int:
        if source.dim > 0:
            return source.dim
        found = self._run(
            "SELECT vector_dims({found}) FROM {source} WHERE {found} IS NOT NULL LIMIT 1",
            source=self._names[source.table],
            found=source.vector,
        ).fetchone()
        return found[0] if found else 0

    def dim(self, place: str) -> int:
        """Return the dimension of a column."""
        source = self._source(place)
        return self._dim(source) if source else 0

    def count(self, place: str) -> int:
        """Return how many rows have a vector."""
        source = self._there(place)
        names = {"source": self._names[source.table], "found": source.vector}
        return self._run("SELECT count({found}) FROM {source}", **names).fetchone()[0]

    def read(self, place: str, after: str, size: int) -> Batch:
        """Return rows in the order of their ids."""
        from psycopg import sql

        if not after and place == VECTORS:
            self._check_key()
        condition = "WHERE s.{key} > {after} " if after else ""
        names = {"after": sql.Literal(after[1:]), "size": sql.Literal(size)}
        return self._select(place, condition + "ORDER BY s.{key} LIMIT {size}", **names)

    def _check_key(self) -> None:
        self._columns()
        if not self._run(KEY, self._names["table"].as_string(self._connection), self.id).fetchone():
            raise self.fail(
                f"has a column '{self.id}' that may repeat or be NULL - name the primary key, as in ?id=NAME"
            )

    def fetch(self, place: str, ids: Sequence[str]) -> Batch:
        """Return the rows of ids."""
        from psycopg import sql

        names = {"ids": sql.Literal(list(ids)), "type": sql.SQL(self._there(place).id_type)}
        return self._select(place, "WHERE s.{key} = ANY({ids}::text[]::{type}[])", **names)

    def begin(self, dim: int) -> None:
        """Make the table beside it."""
        from psycopg import sql

        kind = sql.SQL(f"{self._there(VECTORS).kind}({int(dim)})")
        text = 'CREATE TABLE {side} (id text COLLATE "C" PRIMARY KEY, vector {kind} NOT NULL, mark text NOT NULL)'
        self._run(text, kind=kind)

    def put(self, batch: Batch) -> None:
        """Copy rows into the table beside it, in one transaction."""
        from psycopg import errors

        half = self._there(SHADOW).kind == "halfvec"
        data = encoded(batch.ids, np.asarray(batch.vectors, np.float32), batch.marks, half)
        try:
            self._copy(data)
        except errors.UniqueViolation:
            with self._connection.transaction():
                self._run("DELETE FROM {side} WHERE id = ANY(%s)", list(batch.ids))
                self._copy(data)

    def _copy(self, data: bytes) -> None:
        statement = self._sql("COPY {side} (id, vector, mark) FROM STDIN (FORMAT binary)")
        with self._connection.transaction(), self._connection.cursor().copy(statement) as copy:
            copy.write(data)

    def kept(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors at half precision where the column has that."""
        half = self._there(VECTORS).kind == "halfvec"
        return vectors.astype(np.float16).astype(np.float32) if half else vectors

    def metric_of(self, place: str) -> str:
        """Return the metric of the column's indexes, if they have one and the same."""
        source = self._source(place)
        # The column that is made of the table beside it gets the indexes of the old one.
        column = self.vector if source is None or source.table == "side" else source.vector
        found = self._run(INDEXES, self._names["table"].as_string(self._connection), column).fetchall()
        return metric({operators for _, _, operators, _ in found}) if source else ""

    def _comment(self, source: Source) -> str:
        table = self._names[source.table].as_string(self._connection)
        found = self._connection.execute(NOTES, [table, table, source.vector]).fetchone()
        return (found and found[0]) or ""

    def notes(self, place: str) -> dict[str, str]:
        """Return the content of the last line of a column's comment."""
        return joined(self._comment(self._there(place)))[1]

    def note(self, place: str, notes: Mapping[str, str]) -> None:
        """Write a line of JSON below the text of a column's comment."""
        source = self._there(place)
        said, _ = joined(self._comment(source))
        line = f"latent_atlas: {json.dumps(dict(notes))}" if notes else ""
        self._set_comment(source.table, source.vector, "\n".join(filter(None, (said, line))))

    def _set_comment(self, table: str, column: str, text: str) -> None:
        from psycopg import sql

        names = {"source": self._names[table], "column": column, "text": sql.Literal(text)}
        self._run("COMMENT ON COLUMN {source}.{column} IS {text}", **names)

    @contextlib.contextmanager
    def settled(self) -> Iterator[bool]:
        """Make a column of the table beside it, and lock the table for all that write; others go on reading."""
        if self._columns()["side"]:
            self._fill()
        with self._connection.transaction():
            self._run("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            self._quiet = True
            try:
                yield True
            finally:
                self._quiet = False

    def switch(self) -> None:
        """Exchange the names of two columns, the first time once the table beside it has become one of them."""
        if self._columns()["side"] and not self._quiet:
            self._fill()
        with self._connection.transaction():
            self._run("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            if self._columns()["side"]:
                self._check_full()
                self._set_comment("table", f"{self.vector}__shadow", self._comment(self._there(SHADOW)))
                self._run("DROP TABLE {side}")
            self._exchange()

    def _fill(self) -> None:
        """Make a column of the table beside it, with the indexes of the old one, while others go on reading."""
        from psycopg import sql

        source, key = self._there(SHADOW), self._there(VECTORS).id_type
        names = {"kind": sql.SQL(f"{source.kind}({source.dim})"), "type": sql.SQL(key)}
        self._run(
            "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {shadow} {kind}, ADD COLUMN IF NOT EXISTS {shadow_mark} text",
            **names,
        )
        self._run(
            "UPDATE {table} AS t SET {shadow} = s.vector, {shadow_mark} = s.mark FROM {side} AS s "
            "WHERE t.{id} = s.id::{type} AND t.{vector} IS NOT NULL "
            "AND (t.{shadow}, t.{shadow_mark}) IS DISTINCT FROM (s.vector, s.mark)",
            **names,
        )
        table = self._names["table"].as_string(self._connection)
        wanted = {name: about for name, *about in self._run(INDEXES, table, self.vector).fetchall()}
        there = [about for _, *about in self._run(INDEXES, table, f"{self.vector}__shadow").fetchall()]
        for method, operators, options in (about for about in wanted.values() if about not in there):
            given = sql.SQL(f"WITH ({', '.join(options)})" if options else "")
            about = {"method": method, "operators": operators, "options": given}
            self._run("CREATE INDEX ON {table} USING {method} ({shadow} {operators}) {options}", **about)
        for (name,) in self._run(ALL_INDEXES, table, self.vector).fetchall():
            if name not in wanted:
                told = f"has an index '{name}' of more than the column '{self.vector}', which keeps the old vectors"
                warnings.warn(
                    str(self.fail(f"{told} - make it anew after the switch")), atlas.AtlasWarning, stacklevel=2
                )

    def _check_full(self) -> None:
        """Raise `AtlasError` if a row has a vector and no mapped one."""
        condition = "WHERE {vector} IS NOT NULL AND {shadow} IS NULL"
        found = self._run(f"SELECT {{id}}::text, count(*) OVER () FROM {{table}} {condition} LIMIT 1").fetchone()
        if found:
            raise self.fail(f"has {found[1]} rows that are not mapped, such as '{found[0]}' - run atlas apply again")

    def _exchange(self) -> None:
        columns = self._columns()["table"]
        strict = columns[self.vector][3]
        if strict:
            self._run("ALTER TABLE {table} ALTER COLUMN {vector} DROP NOT NULL")
        self._rename("vector", "shadow", columns)
        self._rename("mark", "shadow_mark", columns)
        if strict and not self._run("SELECT 1 FROM {table} WHERE {vector} IS NULL LIMIT 1").fetchone():
            self._run("ALTER TABLE {table} ALTER COLUMN {vector} SET NOT NULL")

    def _rename(self, a: str, b: str, columns: Mapping[str, Any]) -> None:
        """Exchange the names of two columns, of which one may not be there."""
        names = {"a": self._names[a], "b": self._names[b]}
        for before, after, first in (("a", "swap", "a"), ("b", "a", "b"), ("swap", "b", "a")):
            if names[first] in columns:
                self._run(f"ALTER TABLE {{table}} RENAME COLUMN {{{before}}} TO {{{after}}}", **names)

    def drop(self) -> None:
        """Remove the table beside it, and the column."""
        self._columns()
        with self._connection.transaction():
            self._run("DROP TABLE IF EXISTS {side}")
            self._run("ALTER TABLE {table} DROP COLUMN IF EXISTS {shadow}, DROP COLUMN IF EXISTS {shadow_mark}")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other runs from writing to the table, wherever they are: PostgreSQL knows of the lock."""
        from psycopg import errors

        self.dim(VECTORS)
        # Whatever the URL calls the table: with its schema or without.
        key = f"latent_atlas {self._names['table'].as_string(self._connection)} {self.vector}"
        self._run(f"SET lock_timeout = '{PATIENCE}s'")
        try:
            self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
        except errors.LockNotAvailable:
            raise self.busy() from None
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                self._run("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


@atlas.hookimpl
def register_stores():
    """Return the stores of this plugin."""
    return [Pgvector]
