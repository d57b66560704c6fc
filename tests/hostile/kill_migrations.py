"""Kill migrations at random moments, and see that they go on, and go back. Run by hand:

    python tests/hostile/kill_migrations.py parquet --kills 100

Each time, a run of a plan is ended by SIGKILL at a random moment; the vectors in use must then be all old or all
mapped. The run that follows must end with all of them mapped, and a rollback, which is killed, too, and called again,
with the old ones to the bit and nothing beside them.
Needs what `kill_stores.py` does for the stores it knows.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from kill_stores import K, content, killed, pgvector, qdrant, same
from pyarrow import parquet

import atlas
from atlas.artefacts.sources.stores import opened
from atlas.components.store import SHADOW, VECTORS
from atlas.migration.acting.plan import planned
from atlas.migration.advising import advise

D, PAIRS, QUERIES = 32, 300, 50


@contextlib.contextmanager
def folder_of_parquet(X: np.ndarray) -> Iterator[str]:
    """Yield the URL of a folder of ten files."""
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        docs.mkdir()
        for k, rows in enumerate(np.array_split(np.arange(len(X)), 10)):
            table = pa.table({"id": rows, "vector": pa.array(list(X[rows]), pa.list_(pa.float32()))})
            parquet.write_table(table, docs / f"{k}.parquet")
        yield f"parquet://{docs}"


STORES = {"parquet": folder_of_parquet, "pgvector": pgvector, "qdrant": qdrant}


def plan_for(url: str, X: np.ndarray, folder: Path) -> Path:
    """Advise on a store whose new model is a linear map of the old one, asked by queries near documents."""
    g = np.random.default_rng(1)
    new = X @ g.normal(size=(D, K)).astype("float32")
    some = g.choice(len(X), PAIRS, replace=False)
    asked = some[:QUERIES]
    space = atlas.Space("new", K, "planted", {"model": "new"})
    atlas.Vectors.of(new[some], space, ids=[str(i) for i in some]).save_pretrained(folder / "new.safetensors")
    queries = new[asked] + 0.1 * g.normal(size=(QUERIES, K)).astype("float32")
    atlas.Vectors.of(queries, space, ids=[f"q{i}" for i in asked]).save_pretrained(folder / "queries.safetensors")
    given = {"old": url, "new": str(folder / "new.safetensors"), "queries_new": str(folder / "queries.safetensors")}
    given["gate"] = "ndcg@10>=0.9"
    plan = planned(advise(**given, aligners=["linear"]), given)
    assert plan is not None and plan.way == "convert"
    plan.write(folder / "plan.yaml")
    return folder / "plan.yaml"


def kill_and_look(url: str, plan: Path, kills: int, chance: random.Random) -> tuple[int, int]:
    """Kill as many runs and rollbacks, and return how many were still at work."""
    before, _ = content(url, VECTORS)
    begin = time.monotonic()
    atlas.Migration(plan).run()
    middle, due = time.monotonic(), content(url, VECTORS)[0]
    usual, begin = middle - begin, time.monotonic()
    atlas.Migration(plan).rollback()
    usual_back = time.monotonic() - begin
    assert same(content(url, VECTORS)[0], before)
    at_work = [0, 0]
    for turn in range(kills):
        at_work[0] += killed(lambda: atlas.Migration(plan).run(), chance.uniform(0, usual))
        now, _ = content(url, VECTORS)
        assert same(now, before) or same(now, due)
        assert atlas.Migration(plan).run().stage == "switched"
        assert same(content(url, VECTORS)[0], due) and same(content(url, SHADOW)[0], before)
        at_work[1] += killed(lambda: atlas.Migration(plan).rollback(), chance.uniform(0, usual_back))
        now, _ = content(url, VECTORS)
        assert same(now, before) or same(now, due)
        assert atlas.Migration(plan).rollback().stage == "planned"
        assert same(content(url, VECTORS)[0], before)
        with opened(url) as store:
            assert not store.dim(SHADOW)
        print(f"{turn + 1} of {kills}: as it should be", end="\r", flush=True)
    return at_work[0], at_work[1]


def main() -> None:
    """Kill, look, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", choices=STORES)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=5000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    X = np.random.default_rng(0).normal(size=(given.rows, D)).astype("float32")
    with STORES[given.store](X) as url, tempfile.TemporaryDirectory() as folder:
        runs, rollbacks = kill_and_look(url, plan_for(url, X, Path(folder)), given.kills, random.Random(0))
    print(f"{given.kills} of {given.kills}: all as it should be; killed at work: {runs} runs, {rollbacks} rollbacks")


if __name__ == "__main__":
    main()
