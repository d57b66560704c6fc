"""The most memory that work on files takes above the interpreter, at two numbers of rows.

    python tests/benchmarks/memory.py

Each figure is that of a process of its own, after a small piece of the same work.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import describe, peak_mb, table

import atlas

SIZES, D = (20_000, 200_000), 384
WORK = ("fit procrustes", "fit linear", "apply")


def work(folder: Path, what: str) -> None:
    """Do one piece of work on the files of a folder."""
    if what == "apply":
        atlas.apply(folder.parent / "map", folder / "x.npy", out=folder / "out.npy", overwrite=True)
    else:
        atlas.fit(what.removeprefix("fit "), source=folder / "x.npy", target=folder / "y.npy").tensors()


def write(folder: Path, n: int) -> None:
    """Write two matrices (n, D) of normal random numbers, float32."""
    folder.mkdir()
    for seed, name in enumerate("xy"):
        out = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(n, D))
        generator = np.random.default_rng(seed)
        for start in range(0, n, 1000):
            out[start : start + 1000] = generator.standard_normal((min(1000, n - start), D), dtype=np.float32)


def main(place: Path) -> None:
    """Measure, and print a table."""
    for n in (1000, *SIZES):
        write(place / str(n), n)
    atlas.fit("linear", source=place / "1000" / "x.npy", target=place / "1000" / "y.npy").save_pretrained(place / "map")
    found = {what: [peak(place / str(n), what) for n in SIZES] for what in WORK}
    table(
        f"Memory above the interpreter, {SIZES[0]} and {SIZES[1]} rows of {D}",
        [(what, " and ".join(f"{mb:.0f} MB" for mb in peaks)) for what, peaks in found.items()],
    )


def peak(folder: Path, what: str) -> float:
    """Return the most memory that one piece of work takes in a process of its own, in MB."""
    words = [sys.executable, __file__, str(folder), what]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        work(Path(sys.argv[1]).parent / "1000", sys.argv[2])
        before = peak_mb()
        work(Path(sys.argv[1]), sys.argv[2])
        print(peak_mb() - before)
    else:
        print(describe())
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
