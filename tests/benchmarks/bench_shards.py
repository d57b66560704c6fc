"""Sets of .parquet shards: peak memory whatever their number, and processor time beside bare arrays and a bare stream.

    python tests/benchmarks/bench_shards.py [--quick]

Memory is that of a process of its own, above that of the interpreter with torch, pyarrow and Atlas imported. Times are
processor time on one thread, of pieces of work that take turns in one run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from machine import describe, in_turn, peak_mb, table
from pyarrow import parquet

import atlas

QUICK = "--quick" in sys.argv
N, D = (10_000, 256) if QUICK else (10_000, 384)
FEW, MANY = 5, 50
WORK = ("fit", "fit, other order", "moments", "apply", "evaluate", "compare")


def write(folder: Path, shards: int, seed: int, flip: bool = False) -> None:
    """Write a set of shards with ids; `flip`: the last row of each first."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for k in range(shards):
        X = generator.standard_normal((N, D), dtype=np.float32)
        ids = [f"item-{k}-{i}" for i in (range(N - 1, -1, -1) if flip else range(N))]
        columns = {"id": ids, "vector": pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), D)}
        how = {"use_dictionary": ["id"], "compression": "none", "row_group_size": 5_000}
        parquet.write_table(pa.table(columns), folder / f"part-{k}.parquet", **how)


def memory(folder: Path, what: str) -> float:
    """Return the peak memory of one piece of work in a process of its own, above that of its imports, in MB."""
    words = [sys.executable, __file__, "--memory", str(folder), what]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def work(folder: Path, what: str) -> None:
    """Do one piece of work on the sets of a folder."""
    source, target = folder / "source", folder / "target"
    if what == "fit":
        atlas.fit("linear", source=source, target=target).save_pretrained(folder / "map", overwrite=True)
    elif what == "fit, other order":
        atlas.fit("linear", source=source, target=folder / "flipped")
    elif what == "moments":
        atlas.moments(source=source, target=target)
    elif what == "apply":
        atlas.apply(folder / "map", source, out=folder / "out")
    elif what == "evaluate":
        atlas.evaluate(folder / "map", source=source, target=target, metrics=["cosine", "r2"])
    else:
        atlas.compare(source, target)


def measure_memory(folder: Path, what: str) -> None:
    """Do one piece of work and print how much memory it took above that of the imports."""
    torch.set_num_threads(1)
    small = atlas.Vectors.of(torch.eye(3))
    atlas.compare(small, small)
    atlas.apply(atlas.fit("linear", source=small, target=small), small)
    torch.ones(512, 512) @ torch.ones(512, 512)
    before = peak_mb()
    work(folder, what)
    print(peak_mb() - before)


def bench_memory(folder: Path) -> None:
    """Peak memory over many shards and over few."""
    for shards in (FEW, MANY):
        place = folder / str(shards)
        place.mkdir()
        for seed, name in enumerate(("source", "target", "flipped")):
            write(place / name, shards, seed, flip=name == "flipped")
    rows = []
    for what in WORK:
        few, many = (memory(folder / str(shards), what) for shards in (FEW, MANY))
        rows.append((what, f"{few:.0f} MB, {many:.0f} MB ({many / few:.2f} x)"))
    table(f"Peak memory above the interpreter, {FEW} and {MANY} shards of {N} x {D}", rows)


def bench_time(folder: Path) -> None:
    """Processor time of apply and fit beside what cannot be avoided."""
    torch.set_num_threads(1)
    place, paths = folder / str(FEW), {}
    for name in ("source", "target"):
        paths[name] = place / f"{name}.npy"
        np.save(paths[name], atlas.read_vectors(place / name).data.numpy())
    alignment = atlas.load(place / "map")
    weight, bias = alignment.tensors()["weight"], alignment.tensors()["bias"]
    out = place / "bare"
    out.mkdir()

    def bare() -> None:
        for path in (place / "source").glob("*.parquet"):
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                schema = file.schema_arrow
                how = {"use_dictionary": ["id"], "compression": "none"}
                with parquet.ParquetWriter(out / path.name, schema, **how) as written:
                    for batch in file.iter_batches(5_000, use_threads=False):
                        X = torch.from_numpy(batch.column("vector").flatten().to_numpy().reshape(-1, D))
                        flat = pa.array(torch.addmm(bias, X, weight).reshape(-1).numpy())
                        column = pa.FixedSizeListArray.from_arrays(flat, D)
                        written.write_batch(pa.record_batch([batch.column("id"), column], schema=schema))

    def read() -> None:
        for path in [*(place / "source").glob("*.parquet"), *(place / "target").glob("*.parquet")]:
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                for _ in file.iter_batches(1_000, columns=["vector"], use_threads=False):
                    pass

    turn = iter(range(99))
    found = in_turn(
        {
            "bare": bare,
            "read": read,
            "apply": lambda: atlas.apply(alignment, place / "source", out=place / f"out-{next(turn)}"),
            "npy": lambda: atlas.fit("linear", source=paths["source"], target=paths["target"]),
            "parquet": lambda: atlas.fit("linear", source=place / "source", target=place / "target"),
        },
        rounds=3,
    )
    times = {name: min(one.processor) for name, one in found.items()}
    table(
        f"Processor time, {FEW} shards of {N} x {D}",
        [
            (
                "apply, shards to shards / a bare stream of pyarrow and the product",
                f"{times['apply'] / times['bare']:.2f} x",
            ),
            ("fit linear from shards / from .npy files", f"{times['parquet'] / times['npy']:.2f} x"),
            (
                "the same and reading the shards by pyarrow alone / from .npy files",
                f"{1 + times['read'] / times['npy']:.2f} x",
            ),
        ],
    )


if __name__ == "__main__":
    if "--memory" in sys.argv:
        at = sys.argv.index("--memory")
        measure_memory(Path(sys.argv[at + 1]), sys.argv[at + 2])
    else:
        print(describe())
        with tempfile.TemporaryDirectory() as name:
            bench_memory(Path(name))
            bench_time(Path(name))
