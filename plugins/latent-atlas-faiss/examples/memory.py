"""What memory an export takes, and what loading the index would: 100,000 vectors of 256 dimensions, in several kinds.

python memory.py    # on Linux
"""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path

import faiss
import numpy as np
import torch

import atlas
from atlas.components.linear import Affine
from atlas_faiss import mapped_index, read

D, N = 256, 100_000


def build(kind: str, path: Path) -> None:
    """Write an index of random vectors."""
    X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    index = faiss.index_factory(D, kind)
    index.train(X[:5000])
    index.add(X)
    faiss.write_index(index, str(path))


def own_memory() -> float:
    """Return the memory in MB that this process has for itself; pages of files that are mapped are not part of it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def export(kind: str, path: Path) -> None:
    """Put a map in front of an index and write it, and print what is held meanwhile, and if it were loaded."""
    alignment = atlas.Alignment.of(Affine.of(torch.eye(D), torch.zeros(D)), atlas.Space("a", D), atlas.Space("b", D))
    held = []
    for reading in (read, faiss.read_index):
        before = own_memory()
        made = mapped_index(alignment, reading(str(path)), normalize=False)
        faiss.write_index(made, str(path.with_name("new.faiss")))
        held.append(own_memory() - before)
        del made
    print(f"{kind:<12}{path.stat().st_size / 2**20:8.0f} MB{held[0]:12.0f} MB{held[1]:12.0f} MB", flush=True)


if __name__ == "__main__":
    print("index           file       exported         loaded", flush=True)
    run = multiprocessing.get_context("spawn").Process
    for kind in ("Flat", "IVF64,Flat", "HNSW16", "SQ8"):
        with tempfile.TemporaryDirectory() as folder:
            for step in (build, export):
                process = run(target=step, args=(kind, Path(folder) / "old.faiss"))
                process.start()
                process.join()
