"""Collections of Chroma in a folder."""

from __future__ import annotations

import os

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,chroma"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ANONYMIZED_TELEMETRY"] = "False"

import itertools

import chromadb
import numpy as np
import pytest

import atlas

_count = itertools.count()


def rows(n, dim, seed=0):
    """Return vectors (n, dim), float32."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")


@pytest.fixture
def fill(tmp_path):
    """Return a function that makes a collection of rows in a folder, and returns the URL of its store."""

    def making(X, ids=None, space="l2"):
        name = f"docs{next(_count)}"
        client = chromadb.PersistentClient(path=str(tmp_path / "db"))
        made = client.create_collection(name, configuration={"hnsw": {"space": space}}, embedding_function=None)
        given = list(ids) if ids is not None else [f"item-{i:05}" for i in range(len(X))]
        about = [{"title": f"title {i}"} if i % 2 else None for i in range(len(X))]
        texts = [f"text {i}" for i in range(len(X))]
        made.add(ids=given, embeddings=X, metadatas=about, documents=texts)
        return f"chroma://{tmp_path / 'db'}/{name}"

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
