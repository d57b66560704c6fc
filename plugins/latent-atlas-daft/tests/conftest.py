"""Shards in the working folder."""

from __future__ import annotations

import os

# Of the plugins that are installed, only this one and the built-in are there; workers get the same.
os.environ["ATLAS_PLUGINS"] = "builtin,daft"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
# Ray gives its workers way to all other programs, which may be for ever where these are many.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (its name)

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import atlas


def write(folder, X):
    """Write rows as four shards."""
    folder.mkdir()
    for part, rows in enumerate(np.split(np.arange(len(X)), 4)):
        table = pa.table({"id": [f"item-{i}" for i in rows], "vector": list(X[rows])})
        pyarrow.parquet.write_table(table, folder / f"part-{part}.parquet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with shards 'x' and 'y', 'map' from one to the other, and what is made without an engine."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    X = random.normal(size=(2000, 8)).astype("float32")
    write(tmp_path / "x", X)
    write(tmp_path / "y", X @ random.normal(size=(8, 8)).astype("float32"))
    atlas.moments(source="x", target="y").save_pretrained("sums")
    atlas.fit("linear", moments="sums").save_pretrained("map")
    atlas.apply("map", "x", out="alone")
    return tmp_path
