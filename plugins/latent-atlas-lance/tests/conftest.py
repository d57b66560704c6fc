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
from storetools import alignment, by_metric, folder  # noqa: F401 (fixtures)

_count = itertools.count()


def table_of(X, ids):
    """Return a table of rows, a row of NaN without a vector."""
    vectors = pa.array([None if np.isnan(x).all() else x.tolist() for x in X], pa.list_(pa.float32(), X.shape[1]))
    return pa.table({"id": ids, "vector": vectors, "title": [f"title {i}" for i in range(len(X))]})


@pytest.fixture
def fill(tmp_path):
    """Return a function that makes a dataset of rows, and returns the URL of its store."""

    def making(X, ids=None):
        path = tmp_path / f"{next(_count)}.lance"
        lance.write_dataset(table_of(X, ids if ids is not None else pa.array(range(len(X)), pa.int64())), str(path))
        return f"lance://{path}"

    return making
