"""Collections of Qdrant's local mode."""

from __future__ import annotations

import os

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,qdrant"
os.environ["HF_HUB_OFFLINE"] = "1"

import itertools

import pytest
from qdrant_client import QdrantClient, models
from storetools import alignment, by_metric, folder  # noqa: F401 (fixtures)

_count = itertools.count()


@pytest.fixture
def fill(tmp_path):
    """Return a function that makes a folder with a collection of rows, and returns the URL of its store."""

    def making(X, ids=None, distance="Dot", name=""):
        place = tmp_path / f"{next(_count)}"
        client = QdrantClient(path=str(place))
        params = models.VectorParams(size=X.shape[1], distance=models.Distance(distance))
        client.create_collection("docs", {name: params} if name else params)
        points = [
            models.PointStruct(id=one, vector={name: x} if name else x, payload={"title": f"title {row}"})
            for row, (one, x) in enumerate(zip(ids or range(len(X)), X.tolist(), strict=True))
        ]
        client.upsert("docs", points)
        client.close()
        return f"qdrant://{place}/docs"

    return making
