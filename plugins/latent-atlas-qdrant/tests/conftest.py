"""Collections of Qdrant's local mode."""

from __future__ import annotations

import os

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,qdrant"
os.environ["HF_HUB_OFFLINE"] = "1"

import itertools

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

import atlas

_count = itertools.count()


def rows(n, dim, seed=0):
    """Return vectors (n, dim), float32."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")


@pytest.fixture
def fill(tmp_path):
    """Return a function that makes a folder with a collection of rows, and returns the URL of its store."""

    def making(X, ids=None, distance="Dot", name=""):
        folder = tmp_path / f"{next(_count)}"
        client = QdrantClient(path=str(folder))
        params = models.VectorParams(size=X.shape[1], distance=models.Distance(distance))
        client.create_collection("docs", {name: params} if name else params)
        points = [
            models.PointStruct(id=one, vector={name: x} if name else x, payload={"title": f"title {row}"})
            for row, (one, x) in enumerate(zip(ids or range(len(X)), X.tolist(), strict=True))
        ]
        client.upsert("docs", points)
        client.close()
        return f"qdrant://{folder}/docs"

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
