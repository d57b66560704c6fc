"""Lance datasets in a folder."""

from __future__ import annotations

import os

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,lance"
os.environ["HF_HUB_OFFLINE"] = "1"

import itertools

import lance
import numpy as np
import pyarrow as pa
import pytest

import atlas

_count = itertools.count()


def rows(n, dim, seed=0):
    """Return vectors (n, dim), float32."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")


def table_of(X, ids):
    """Return a table of rows, a row of NaN without a vector."""
    vectors = pa.array([None if np.isnan(x).all() else x.tolist() for x in X], pa.list_(pa.float32(), X.shape[1]))
    return pa.table({"id": ids, "vector": vectors, "title": [f"title {i}" for i in range(len(X))]})


@pytest.fixture
def fill(tmp_path):
    """Return a function that makes a dataset of rows, and returns the URL of its store."""

    def making(X, ids=None):
        path = tmp_path / f"{next(_count)}.lance"
        lance.write_dataset(table_of(X, list(ids) if ids is not None else list(range(len(X)))), str(path))
        return f"lance://{path}"

    return making


@pytest.fixture
def alignment():
    """An affine map from 6 to 9 dimensions."""
    spaces = [atlas.Space(name, dim, "planted", {"name": name}) for name, dim in (("old", 6), ("new", 9))]
    X = rows(50, 6, 1)
    pair = [atlas.Vectors.of(Z, space) for Z, space in zip((X, X @ rows(6, 9, 2) + 1), spaces, strict=True)]
    return atlas.fit("linear", source=pair[0], target=pair[1], id="old-new")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path
