"""Shards worked on by engines, against the bare product over the same files. Run by hand:

    python tests/benchmarks/bench_engines.py --rows 1000000 --dim 96 --engines none daft:workers=1 daft:workers=2

Beside each other, on the same shards: pyarrow reading, the product of numpy, and pyarrow writing, in one thread; and
`atlas.apply` and `atlas.moments`, here and by engines, whose workers have one thread each. Printed are seconds of
processor, of this process and of those it started, and by the clock, with the start of the workers.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

import atlas
from atlas.components.linear import Affine


def table(X: np.ndarray, first: int) -> pa.Table:
    """Return rows with ids."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), X.shape[1])
    return pa.table({"id": [f"item-{i}" for i in range(first, first + len(X))], "vector": vectors})


def bare(shards: list[Path], W: np.ndarray, out: Path) -> None:
    """Read each shard, multiply, and write it with its ids."""
    out.mkdir()
    how = {"use_dictionary": ["id"], "compression": {"id": "snappy"}, "write_statistics": ["id"]}
    for shard in shards:
        found = parquet.read_table(shard, use_threads=False)
        X = found.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, len(W))
        Y = pa.FixedSizeListArray.from_arrays(pa.array((X @ W).reshape(-1)), W.shape[1])
        parquet.write_table(pa.table({"id": found.column("id"), "vector": Y}), out / shard.name, **how)


def measured(name: str, n: int, work: Callable[[], object]) -> float:
    """Do something, print what it took, and return the seconds of processor."""
    before, clock = used(), time.perf_counter()
    work()
    taken, clock = used() - before, time.perf_counter() - clock
    print(f"{name:30} {taken:7.1f} s of processor ({n / taken:9,.0f} rows/s) {clock:7.1f} s", flush=True)
    return taken


def used() -> float:
    """Return the seconds of processor of this process and of those that it started and that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--shard", type=int, default=100_000, help="rows in a shard")
    parser.add_argument("--engines", nargs="+", default=["none", "processes:workers=1", "processes:workers=2"])
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    given = parser.parse_args()
    n, d = given.rows, given.dim
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    W = random.normal(size=(d, d)).astype("float32")
    spaces = atlas.Space("old", d), atlas.Space("new", d)
    alignment = atlas.Alignment.of(Affine.of(torch.from_numpy(W), torch.zeros(d)), *spaces, "old-new")
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place)
        (folder / "x").mkdir()
        for first in range(0, n, given.shard):
            X = random.normal(size=(min(given.shard, n - first), d)).astype("float32")
            parquet.write_table(table(X, first), folder / "x" / f"part-{first // given.shard}.parquet")
        shards = sorted((folder / "x").glob("*.parquet"))
        floor = measured("read, product, write", n, partial(bare, shards, W, folder / "y"))
        x, y, out = folder / "x", folder / "y", folder / "out"
        for name in given.engines:
            how = {"engine": None if name == "none" else name}
            applied = measured(f"apply, {name}", n, partial(atlas.apply, alignment, x, out=out, **how))
            shutil.rmtree(out)
            summed = measured(f"moments, {name}", n, partial(atlas.moments, source=x, target=y, **how))
            print(f"{name}: apply {applied / floor:.2f} and moments {summed / floor:.2f} times the bare product")


if __name__ == "__main__":
    main()
