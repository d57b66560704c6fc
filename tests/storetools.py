"""What tests of stores share: rows, a map, and a small real store, the one that a new plugin comes with, 'lite'."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atlas
from atlas.plugins.scaffold import contents

CODE = contents("lite", "store")["atlas_lite.py"]


def rows(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return vectors (n, dim), float32."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")


@pytest.fixture
def alignment() -> atlas.Alignment:
    """An affine map from 6 to 9 dimensions, from 'old' to 'new'."""
    spaces = [atlas.Space(name, dim, "planted", {"name": name}) for name, dim in (("old", 6), ("new", 9))]
    X = rows(50, 6, 1)
    pair = [atlas.Vectors.of(Z, space) for Z, space in zip((X, X @ rows(6, 9, 2) + 1), spaces, strict=True)]
    return atlas.fit("linear", source=pair[0], target=pair[1], id="old-new")


@pytest.fixture
def by_metric(alignment: atlas.Alignment) -> Callable[[str], atlas.Alignment]:
    """A function that returns the same map, to a space whose vectors are compared by a metric."""

    def naming(metric: str) -> atlas.Alignment:
        target = replace(alignment.target, metric=metric)
        return replace(alignment, card=replace(alignment.card, target=target))

    return naming


def refuses_another_metric(url: str, by_metric: Callable[[str], atlas.Alignment], metric: str) -> None:
    """Assert that a store searched by a metric refuses a map to another one and stays as it was, and map by its own."""
    other = "l2" if metric == "cosine" else "cosine"
    words = f"is searched by {metric}, and vectors of 'new' are compared by {other}, so that other rows would be found"
    with pytest.raises(atlas.AtlasError, match=words):
        atlas.apply(by_metric(other), url, out=url)
    assert atlas.store_status(url)["shadow"] is None
    assert len(atlas.apply(by_metric(metric), url, out=url)) == atlas.store_status(url)["vectors"]["rows"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(path: Path, X: np.ndarray, ids: list[Any] | None = None, table: str = "vectors") -> str:
    """Make a database of vectors, a row of NaN without one, and return the URL of the store."""
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, vector BLOB, mark TEXT)")
        add(database, X, ids or [f"item-{i:05}" for i in range(len(X))], table)
    database.close()
    return f"lite://{path}" + (f"?table={table}" if table != "vectors" else "")


def add(database: sqlite3.Connection, X: np.ndarray, ids: list[Any], table: str = "vectors") -> None:
    """Add rows to a table."""
    rows = [(i, None if np.isnan(x).all() else x.tobytes(), None) for i, x in zip(ids, X, strict=True)]
    database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
    database.commit()


def content(path: Path, table: str = "vectors") -> dict[str, Any]:
    """Return vectors and marks of a table by id."""
    with sqlite3.connect(path) as database:
        found = database.execute(f"SELECT id, vector, mark FROM {table}").fetchall()
    database.close()
    return {i: (np.frombuffer(v or b"", "float32"), mark) for i, v, mark in found}
