"""Reading a large folder of vectors against hashing it, and applying a map to a folder against a bare file.

    python tests/benchmarks/bench_storage.py [--quick]

Every figure is a ratio of two times measured in turn in one run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import torch
from bench_core import an_alignment, write_matrix
from machine import describe, side_by_side, table

from atlas.artefacts.loading import load, read_bare
from atlas.cards.folder import MODEL
from atlas.storage.files import sha256_file
from atlas.verbs.apply import apply

QUICK = "--quick" in sys.argv
N, D = (100_000, 384) if QUICK else (700_000, 384)


def bench_apply(folder: Path) -> None:
    """Applying a map, to a bare file and to a folder; both are new each time."""
    alignment, vectors = an_alignment(folder), read_bare(folder / "in.npy")
    numbers = iter(range(1000))

    def to(ending: str) -> None:
        out = folder / f"out-{next(numbers)}{ending}"
        apply(alignment, vectors, out=out)
        (out / MODEL if out.is_dir() else out).unlink()

    times = side_by_side({"file": lambda: to(".npy"), "folder": lambda: to("")}, rounds=3)
    rows = [("apply to a folder / to a .npy file", f"{times['folder'] / times['file']:.2f} x")]
    table(f"Apply, {N} x {D} to {D}", rows)


def bench_reading(folder: Path) -> None:
    """Ten rows of a folder of vectors, against hashing it."""
    read_bare(folder / "in.npy").save_pretrained(folder / "v")
    rows = torch.arange(10) * (N // 10)
    times = side_by_side(
        {"hash": lambda: sha256_file(folder / "v" / MODEL), "ten": lambda: load(folder / "v").take(rows)}, rounds=3
    )
    size = (folder / "v" / MODEL).stat().st_size / 1e9
    table(
        f"Ten rows of {size:.2f} GB", [("load and take / hash the file", f"{100 * times['ten'] / times['hash']:.2f} %")]
    )


if __name__ == "__main__":
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = name
        write_matrix(Path(name) / "in.npy", N, D, 0)
        bench_apply(Path(name))
        bench_reading(Path(name))
