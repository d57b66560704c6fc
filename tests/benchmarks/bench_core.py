"""Fitting, applying, comparing and projecting, each against the matrix products it cannot do without.

    python tests/benchmarks/bench_core.py [--quick]

Every figure is a ratio of two times measured in turn in one run. Memory is that of a process of its own, above that of
the interpreter with Atlas imported.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import describe, peak_mb, side_by_side, table

from atlas import metrics
from atlas.artefacts.loading import read_bare
from atlas.components.aligner import Aligner
from atlas.components.linear import Affine
from atlas.plugins.catalogue import create
from atlas.storage.rows import map_npy
from atlas.verbs.apply import apply
from atlas.verbs.fit import fit

QUICK = "--quick" in sys.argv
N_FIT, D_FIT = (20_000, 768) if QUICK else (100_000, 768)
N_APPLY, D_APPLY = (100_000, 384) if QUICK else (1_000_000, 384)
N_CKA, D_CKA = (20_000, 512) if QUICK else (100_000, 512)
ANCHORS = 1000


def write_matrix(path: Path, n: int, d: int, seed: int) -> None:
    """Write normal random numbers, float32, to a .npy file, some rows at a time."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    generator = np.random.default_rng(seed)
    for start in range(0, n, 10_000):
        out[start : start + 10_000] = generator.standard_normal((min(10_000, n - start), d), dtype=np.float32)
    out.flush()


def bench_fit(folder: Path) -> None:
    """Fits of memory-mapped pairs against their matrix products and one decomposition."""
    for name, seed in (("x.npy", 0), ("y.npy", 1)):
        write_matrix(folder / name, N_FIT, D_FIT, seed)
    X, Y = (torch.from_numpy(np.load(folder / name)) for name in ("x.npy", "y.npy"))
    C = (X[:5000].T @ Y[:5000]).double()
    S = (X[:5000].T @ X[:5000]).double()

    def fitted(name: str) -> None:
        source, target = read_bare(folder / "x.npy"), read_bare(folder / "y.npy")
        fit(name, source=source, target=target).tensors()

    times = side_by_side(
        {
            "xy": lambda: X.T @ Y,
            "xy+xx": lambda: (X.T @ Y, X.T @ X),
            "svd": lambda: torch.linalg.svd(C),
            "eigh": lambda: torch.linalg.eigh(S),
            "procrustes": lambda: fitted("procrustes"),
            "linear": lambda: fitted("linear"),
            "linear of np.memmap": lambda: fit("linear", **memory_maps(folder)).tensors(),
        },
        rounds=3,
    )
    floor = {"procrustes": times["xy"] + times["svd"], "linear": times["xy+xx"] + times["eigh"]}
    floor["linear of np.memmap"] = floor["linear"]
    rows = [(f"{m} / (products + one decomposition)", f"{times[m] / floor[m]:.2f} x") for m in floor]
    rows += [(f"peak memory of {m}", f"{memory(folder, m):.0f} MB above the interpreter") for m in floor]
    table(f"Fit of {N_FIT} x {D_FIT} pairs from files", rows)


def memory_maps(folder: Path) -> dict[str, np.memmap]:
    """Return the pairs as somebody who knows numpy alone has them."""
    return {side: np.load(folder / name, mmap_mode="r") for side, name in (("source", "x.npy"), ("target", "y.npy"))}


def memory(folder: Path, what: str) -> float:
    """Return the peak memory of one piece of work in a process of its own, above that of its imports, in MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory", str(folder), what], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure_memory(folder: Path, what: str) -> None:
    """Do one piece of work and print how much memory it took above that of the imports."""
    create(Aligner, "procrustes").fit(torch.eye(3), torch.eye(3)).transform(torch.eye(3))
    torch.ones(512, 512) @ torch.ones(512, 512)
    before = peak_mb()
    if what == "apply":
        apply(an_alignment(folder), read_bare(folder / "in.npy"), out=folder / "memory.npy", overwrite=True)
    elif what == "linear of np.memmap":
        fit("linear", **memory_maps(folder)).tensors()
    else:
        fit(what, source=read_bare(folder / "x.npy"), target=read_bare(folder / "y.npy")).tensors()
    print(peak_mb() - before)


def an_alignment(folder: Path):
    """Return an affine alignment between spaces of the applied file's dimension."""
    from atlas.artefacts.alignment import Alignment
    from atlas.cards.space import Space

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(D_APPLY, D_APPLY, generator=generator)
    return Alignment.of(Affine.of(weight, torch.zeros(D_APPLY)), Space("in", D_APPLY), Space("out", D_APPLY))


def bench_apply(folder: Path) -> None:
    """Applying a map, file to file, against the bare product over the same file."""
    write_matrix(folder / "in.npy", N_APPLY, D_APPLY, 2)
    alignment = an_alignment(folder)
    weight = alignment.aligner.state["weight"]

    def bare() -> None:
        for batch in map_npy(folder / "in.npy").batches():
            batch @ weight

    def bare_written() -> None:
        with (folder / "bare.bin").open("wb", buffering=0) as file:
            for batch in map_npy(folder / "in.npy").batches():
                file.write((batch @ weight).numpy())

    def ours() -> None:
        apply(alignment, read_bare(folder / "in.npy"), out=folder / "out.npy", overwrite=True)

    times = side_by_side({"bare": bare, "written": bare_written, "ours": ours}, rounds=3)
    rows = [
        ("apply / bare product, nothing written", f"{times['ours'] / times['bare']:.2f} x"),
        ("apply / bare product, result written", f"{times['ours'] / times['written']:.2f} x"),
        ("peak memory", f"{memory(folder, 'apply'):.0f} MB above the interpreter"),
    ]
    table(f"Apply, file to file, {N_APPLY} x {D_APPLY} to {D_APPLY}", rows)


def bench_cka() -> None:
    """Linear CKA against its three products; relative projection against its one."""
    generator = torch.Generator().manual_seed(3)
    X, Y = (torch.randn(N_CKA, D_CKA, generator=generator) for _ in range(2))
    relative = create(Aligner, "relative").fit(X[:ANCHORS])
    times = side_by_side(
        {
            "products": lambda: (X.T @ Y, X.T @ X, Y.T @ Y),
            "cka": lambda: metrics.linear_cka(X, Y),
            "product": lambda: X @ X[:ANCHORS].T,
            "relative": lambda: relative.transform(X),
        },
        rounds=3,
    )
    rows = [
        (f"linear CKA of {N_CKA} x {D_CKA} / its three products", f"{times['cka'] / times['products']:.2f} x"),
        (f"relative projection on {ANCHORS} anchors / its product", f"{times['relative'] / times['product']:.2f} x"),
    ]
    table("Comparing and projecting", rows)


def bench_start() -> None:
    """Starting the command against starting Python with click."""
    atlas = str(Path(sys.executable).with_name("atlas"))
    commands = {
        "click": [sys.executable, "-c", "import click"],
        "help": [atlas, "--help"],
        "list": [atlas, "list"],
    }
    times = side_by_side(
        {
            name: lambda c=command: subprocess.run(c, capture_output=True, check=True)
            for name, command in commands.items()
        },
        rounds=9,
    )
    rows = [
        (f"atlas {'--help' if n == 'help' else n} / python -c 'import click'", f"{times[n] / times['click']:.2f} x")
        for n in ("help", "list")
    ]
    table("Starting", rows)


if __name__ == "__main__":
    if "--memory" in sys.argv:
        at = sys.argv.index("--memory")
        measure_memory(Path(sys.argv[at + 1]), sys.argv[at + 2])
    else:
        print(describe())
        with tempfile.TemporaryDirectory() as name:
            bench_fit(Path(name))
            bench_apply(Path(name))
        bench_cka()
        bench_start()
