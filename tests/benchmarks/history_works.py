"""Works of a user that code of any commit can do, served over a pipe: bench_history.py measures them.

Each work is made by a function that takes an empty folder and returns what to time. Names have moved since the first
commits: `first` takes the one that is there.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import atlas

Work = Callable[[], object]
WORKS: dict[str, Callable[[Path], Work]] = {}


def work(name: str) -> Callable[[Callable[[Path], Work]], Callable[[Path], Work]]:
    """Note a work under a name."""
    return lambda make: WORKS.setdefault(name, make)


def first(*places: str) -> Any:
    """Return the first attribute that can be imported, of 'module:name' each."""
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"None of {', '.join(places)} is there")


def pair(n: int, d: int, e: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vectors of n items in two spaces (n, d) and (n, e), float32: one a noisy map of the other."""
    g = torch.Generator().manual_seed(0)
    X, W = torch.randn(n, d, generator=g), torch.randn(d, e or d, generator=g) / d**0.5
    return X, X @ W + 0.3 * torch.randn(n, e or d, generator=g)


def files(folder: Path, ending: str, n: int, d: int) -> list[Path]:
    """Write the vectors of two spaces, and return their files."""
    paths = [folder / f"{side}{ending}" for side in "xy"]
    for path, rows in zip(paths, pair(n, d), strict=True):
        if ending == ".npy":
            np.save(path, rows.numpy())
            continue
        import pyarrow as pa
        import pyarrow.parquet as parquet

        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.numpy().reshape(-1)), d)
        parquet.write_table(pa.table({"id": [f"item-{i}" for i in range(n)], "vector": column}), path)
    return paths


def mapped(d: int) -> Any:
    """Return a map between spaces of d dimensions."""
    X, Y = pair(2000, d)
    return atlas.fit("linear", source=atlas.Vectors.of(X, "a"), target=atlas.Vectors.of(Y, "b"))


def command(folder: Path, *words: str) -> Work:
    """Return a command of Atlas, of the code that this process has found, run in a folder that nothing changes."""
    return lambda: subprocess.run([sys.executable, "-m", "atlas", *words], cwd=folder, capture_output=True, check=True)


def fit(name: str, n: int, d: int, e: int = 0, **options: Any) -> Callable[[Path], Work]:
    """Return the making of a fit of tensors."""
    X, Y = pair(n, d, e)
    return lambda _: lambda: atlas.create(atlas.Aligner, name, **options).fit(X, Y)


for _name in ("procrustes", "linear", "cca", "low-rank"):
    for _n, _d in ((4000, 128), (4000, 512)):
        work(f"fit {_name}, {_n} x {_d}")(fit(_name, _n, _d))
for _role in ("index", "queries"):
    work(f"fit auto for {_role}, 1000 x 384 to 512")(fit("auto", 1000, 384, 512, role=_role))
work("fit procrustes, 2000 x 64")(fit("procrustes", 2000, 64))
work("fit procrustes, 10000 x 384 to 192")(fit("procrustes", 10_000, 384, 192))


def moments(d: int) -> Callable[[Path], Work]:
    """Return the making of moments of 10,000 rows."""
    made = first("atlas.numerics.moments:Moments", "atlas.moments:Moments")
    X, Y = pair(10_000, d)
    return lambda _: lambda: made.of(X, Y)


for _d in (64, 256, 768):
    work(f"moments, 10000 x {_d}")(moments(_d))


def one_row(d: int, backwards: bool) -> Callable[[Path], Work]:
    """Return the making of a thousand calls with one row each, by the quickest way there is."""

    def made(_: Path) -> Work:
        alignment = mapped(d).inverse() if backwards else mapped(d)
        call = alignment.compiled() if hasattr(alignment, "compiled") else alignment.aligner.transform
        row = pair(1, d)[0]
        row = row[0].numpy() if hasattr(alignment, "compiled") else row
        return lambda: [call(row) for _ in range(1000)]

    return made


for _d in (64, 384):
    work(f"one row through a map, {_d}")(one_row(_d, backwards=False))
    work(f"one row backwards, {_d}")(one_row(_d, backwards=True))


def head(name: str, rows: int, n: int = 3000, d: int = 384) -> Callable[[Path], Work]:
    """Return the making of a head's fit (rows 0), or of a hundred calls with some rows each."""

    def made(_: Path) -> Work:
        create = first("atlas.models.heads:create_head", "atlas.heads:create_head")
        g = torch.Generator().manual_seed(0)
        y = torch.arange(n) % 10
        X = 0.35 * torch.randn(10, d, generator=g)[y] + torch.randn(n, d, generator=g)
        if not rows:
            return lambda: create(name).fit(X, y)
        fitted = create(name).fit(X, y)
        return lambda: [fitted.scores(X[:rows]) for _ in range(100)]

    return made


for _name in ("knn", "kernel", "nearest-mean"):
    work(f"head {_name}, one row, 3000 kept")(head(_name, 1))
work("fit head linear, 10000 x 384")(head("linear", 0, 10_000))
FIRST = """
import torch
try:
    from atlas.models.heads import create_head
except ImportError:
    from atlas.heads import create_head
create_head("linear").fit(torch.randn(200, 16), torch.arange(200) % 2)
"""
work("first linear head of a process, import included")(
    lambda _: lambda: subprocess.run([sys.executable, "-c", FIRST], check=True)
)


def metric(name: str, n: int, d: int) -> Callable[[Path], Work]:
    """Return the making of a figure of all pairs of rows."""
    X, Y = pair(n, d)
    more = (10,) if name != "mrr" else ()
    return lambda _: lambda: getattr(importlib.import_module("atlas.metrics"), name)(X, Y, *more)


for _name in ("recall_at_k", "mutual_knn", "mrr"):
    work(f"{_name}, 5000 x 384")(metric(_name, 5000, 384))


def applied(ending: str, out: str) -> Callable[[Path], Work]:
    """Return the making of an apply from file to file."""

    def made(folder: Path) -> Work:
        alignment, (source, _) = mapped(384), files(folder, ending, 50_000, 384)
        numbers = iter(range(1000))
        return lambda: atlas.apply(alignment, atlas.read_vectors(source), out=folder / f"{next(numbers)}{out}")

    return made


work("apply .parquet to .parquet, 50000 x 384")(applied(".parquet", ".parquet"))
work("apply .npy to a folder, 50000 x 384")(applied(".npy", ""))


@work("look at a .parquet file of 200 row groups")
def _looked(folder: Path) -> Work:
    from pyarrow import parquet

    path = files(folder, ".parquet", 20_000, 64)[0]
    parquet.write_table(parquet.read_table(path), path, row_group_size=100)
    return lambda: atlas.read_vectors(path)


@work("fit linear of .parquet files, 50000 x 384")
def _from_tables(folder: Path) -> Work:
    source, target = files(folder, ".parquet", 50_000, 384)
    return lambda: atlas.fit("linear", source=atlas.read_vectors(source), target=atlas.read_vectors(target))


@work("pair 1000000 shuffled ids")
def _paired(_: Path) -> Work:
    orders = (range(1_000_000), np.random.default_rng(0).permutation(1_000_000))
    flat = torch.zeros(1_000_000, 1)
    source, target = (
        atlas.Vectors.of(flat, name, ids=[f"item-{i}" for i in order]) for name, order in zip("ab", orders, strict=True)
    )
    paired = first("atlas.artefacts.vectors:paired", "atlas.vectors:paired", "atlas.artefacts:paired")
    return lambda: paired(source, target)


def loaded(d: int) -> Callable[[Path], Work]:
    """Return the making of ten loads of a map between d dimensions."""

    def made(folder: Path) -> Work:
        mapped(d).save_pretrained(folder / "map")
        return lambda: [atlas.load(folder / "map") for _ in range(10)]

    return made


for _d in (384, 1536):
    work(f"load a map of {_d}")(loaded(_d))
for _words in ("aligners", "plugins"):
    work(f"atlas {_words}")(lambda folder, words=_words: command(folder, words))  # type: ignore[misc]


@work("load a chain of 1000 maps")
def _chain(folder: Path) -> Work:
    vectors = atlas.Vectors.of(pair(40, 4)[0], "a")
    half = atlas.fit("relative", source=vectors, anchors=vectors.ids)
    atlas.compose(*[half, half.inverse()] * 500).save_pretrained(folder / "chain")
    return lambda: atlas.load(folder / "chain")


def main() -> None:
    """Serve: read the name of a work, do it once or more, and print its processor time, children included."""
    torch.set_num_threads(1)
    made: dict[str, Work] = {}
    for line in sys.stdin:
        name = line.strip()
        try:
            if name not in made:
                folder = Path(sys.argv[1], str(len(made)))
                folder.mkdir(parents=True)
                made[name] = WORKS[name](folder)
            begun, then = time.process_time(), _children()
            made[name]()
            print(time.process_time() - begun + _children() - then, flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


def _children() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
