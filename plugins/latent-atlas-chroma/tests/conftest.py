"""Collections of Chroma in a folder."""

from __future__ import annotations

import os

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,chroma"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ANONYMIZED_TELEMETRY"] = "False"

import itertools

import chromadb
import pytest
from storetools import alignment, by_metric, folder  # noqa: F401 (fixtures)

_count = itertools.count()


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
