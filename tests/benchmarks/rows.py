"""The rows of the table of benchmarks: what Atlas does, the floor under it, and what peers do."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import atlas
from atlas import metrics
from atlas.artefacts.loading import read_bare
from atlas.artefacts.vectors import paired
from atlas.components.aligner import Aligner
from atlas.components.sampler import Sampler
from atlas.models.heads import create_head
from atlas.numerics.moments import Moments
from atlas.plugins.catalogue import create

# What pyarrow hands out must not be written to, and is not.
warnings.filterwarnings("ignore", "The given NumPy array is not writ")

Work = Callable[[], object]
# Rows and dimensions.
SMALL, LARGE = (2_000, 64), (10_000, 384)
# Of these, recall alone is measured, and a fit.
MANY, MAPPED = (100_000, 64), (100_000, 768)


@dataclass
class Row:
    """One line of the table: all of its functions do the same work on the same data."""

    work: str
    size: str
    floor: str
    run_floor: Work
    run: Work
    peers: dict[str, Work] = field(default_factory=dict)


def every(folder: Path, only: str) -> Iterator[Row]:
    """Yield the rows whose work has all of some words, each at two sizes."""
    for made in (fits, moments, maps, heads, retrieval, spaces, samplers, files):
        for name, (n, d) in (("small", SMALL), ("large", LARGE)):
            place = folder / name
            place.mkdir(exist_ok=True)
            for row in made(n, d, place):
                if all(word in row.work for word in only.split()):
                    yield row
    yield from (row for row in starting() if all(word in row.work for word in only.split()))


def pair(n: int, d: int, e: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vectors of n items in two spaces (n, d) and (n, e), float32: one a noisy map of the other."""
    g = torch.Generator().manual_seed(0)
    X, W = torch.randn(n, d, generator=g), torch.randn(d, e or d, generator=g) / d**0.5
    return X, X @ W + 0.3 * torch.randn(n, e or d, generator=g)


def peer(module: str, name: str, work: Callable[[Any], object]) -> dict[str, Work]:
    """Return the work of a peer, by its name, where it is installed."""
    with contextlib.suppress(ImportError):
        found = importlib.import_module(module)
        return {name: lambda: work(found)}
    return {}


def fits(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Fits of tensors, against their products and one decomposition."""
    X, Y = pair(n, d)
    Z, half, size = Y[:, : d // 2].contiguous(), d // 2, f"{n} x {d}"
    C, S, x, y = (X.T @ Y).double(), (X.T @ X).double(), X.numpy(), Y.numpy()
    scipy = peer("scipy.linalg", "scipy", lambda m: m.orthogonal_procrustes(x - x.mean(0), y - y.mean(0)))
    ridge = peer("sklearn.linear_model", "scikit-learn", lambda m: m.RidgeCV(np.logspace(-3, 3, 7)).fit(x, y))

    def fit(name: str, target: torch.Tensor = Y) -> Work:
        return lambda: create(Aligner, name).fit(X, target).state

    svd, eigh = torch.linalg.svd, torch.linalg.eigh
    yield Row("fit procrustes", size, "product, SVD", lambda: (X.T @ Y, svd(C)), fit("procrustes"), scipy)
    thin = f"{size} to {half}"
    yield Row("fit procrustes", thin, "product, SVD", lambda: (X.T @ Z, svd(C[:, :half], False)), fit("procrustes", Z))
    yield Row("fit linear", size, "2 products, eigh", lambda: (X.T @ Y, X.T @ X, eigh(S)), fit("linear"), ridge)
    few = slice(0, 10 * d)
    views = [atlas.Vectors.of(t[few], name) for t, name in ((X, "a"), (Y, "b"), (X + Y, "c"))]
    products = [X.T @ Y] * 3
    for name in ("generalized-procrustes", "whitened-concat"):
        floor = "3 products, 3 SVDs"
        three = lambda: [(X[few].T @ Y[few], svd(P)) for P in products]  # noqa: E731
        yield Row(
            f"aggregate {name} of 3",
            f"{len(X[few])} x {d}",
            floor,
            three,
            lambda name=name: atlas.aggregate(name, *views).tensors(),
        )


def moments(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Moments, against their products."""
    for k in (d,) if d == SMALL[1] else (256, 768):
        X, Y = pair(n, k)
        yield from products(X, Y)
    a, b = X.double(), Y.double()
    source, target = atlas.Vectors.of(X, "a"), atlas.Vectors.of(Y, "b")
    three = lambda: (a.T @ b, a.T @ a, b.T @ b)  # noqa: E731
    kept = lambda: atlas.moments(source=source, target=target)  # noqa: E731
    yield Row("atlas.moments, to keep", f"{n} x {X.shape[1]}", "3 products in float64", three, kept)


def products(X: torch.Tensor, Y: torch.Tensor) -> Iterator[Row]:
    """Moments of float32 rows, of which one product or two are asked for."""
    size, both = f"{len(X)} x {X.shape[1]}", ("xy", "xx")
    yield Row("moments, xy", size, "product", lambda: X.T @ Y, lambda: Moments.of(X, Y))
    yield Row("moments, xy and xx", size, "2 products", lambda: (X.T @ Y, X.T @ X), lambda: Moments.of(X, Y, both))


def maps(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Maps of many rows and of one, against the product."""
    X, Y = pair(n, d)
    made, size, one = atlas.fit("linear", source=X, target=Y), f"{n} x {d}", X[0].numpy()
    weight, bias = (made.tensors()[name] for name in ("weight", "bias"))
    w, b, backwards = weight.numpy(), bias.numpy(), made.inverse()
    forward, back = made.compiled(), backwards.compiled()
    v, c = (backwards.tensors()[name].numpy() for name in ("weight", "bias"))
    anchors = X[: n // 10]
    relative = create(Aligner, "relative").fit(anchors)
    yield Row("map rows", size, "product", lambda: torch.addmm(bias, X, weight), lambda: made.aligner.transform(X))
    yield Row("map one row, compiled()", f"1 x {d}", "x @ W + b", lambda: one @ w + b, lambda: forward(one))
    yield Row(
        "map one row, transform()", f"1 x {d}", "x @ W + b", lambda: one @ w + b, lambda: made.aligner.transform(one)
    )
    yield Row("map one row backwards, compiled()", f"1 x {d}", "x @ W + b", lambda: one @ v + c, lambda: back(one))
    yield Row("relative projection", f"{size}, {len(anchors)} anchors", "product", lambda: X @ anchors.T,
              lambda: relative.transform(X))  # fmt: skip
    yield Row("confidence", size, "product", lambda: X @ weight, lambda: made.confidence(X))
    source, target = atlas.Vectors.of(X, made.source), atlas.Vectors.of(Y, made.target)
    few = ["cosine", "r2"]
    yield Row("evaluate, cosine and r2", size, "product", lambda: X @ weight,
              lambda: atlas.evaluate(made, source=source, target=target, metrics=few))  # fmt: skip
    all_pairs = lambda: deque((part @ Y.T for _ in range(3) for part in Y.split(1024)), 0)  # noqa: E731
    yield Row("evaluate, all it measures by default", size, "3 products of all pairs", all_pairs,
              lambda: atlas.evaluate(made, source=source, target=target))  # fmt: skip


def heads(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Heads: one row, and the fit of a linear one at the same tolerance."""
    g = torch.Generator().manual_seed(0)
    kept, classes = min(n, 3000), 10
    y = torch.arange(n) % classes
    X = 0.35 * torch.randn(classes, d, generator=g)[y] + torch.randn(n, d, generator=g)
    row, few, size = X[:1], X[:kept], f"1 x {d}, {kept} kept"
    units = torch.nn.functional.normalize(few).T.contiguous()

    def faiss(m: Any) -> Work:
        index = m.IndexFlatIP(d)
        index.add(np.ascontiguousarray(units.T.numpy()))
        return lambda: index.search(row.numpy(), 5)

    for name in ("knn", "kernel", "nearest-mean"):
        head = create_head(name).fit(few, y[:kept])
        peers: dict[str, Work] = {}
        with contextlib.suppress(ImportError):
            peers = {"faiss": faiss(importlib.import_module("faiss"))} if name == "knn" else {}
        against = units[:, : len(head.state.get("landmarks", few))] if name != "nearest-mean" else units[:, :classes]
        bare = lambda against=against: row @ against  # noqa: E731
        yield Row(f"head {name}, one row", size, "product", bare, lambda head=head: head.scores(row), peers)
    Z = ((X - X.mean(0)) / X.std(0)).double().numpy()
    penalty = create_head("linear").penalty
    how = {"C": 1 / (penalty * n), "tol": 1e-6, "max_iter": 1000}
    learn = peer("sklearn.linear_model", "", lambda m: m.LogisticRegression(**how).fit(Z, y.numpy()))
    for work in learn.values():
        yield Row("fit head linear", f"{n} x {d}, {classes} classes", "scikit-learn, same tolerance", work,
                  lambda: create_head("linear").fit(X, y))  # fmt: skip


def retrieval(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Figures that look at all pairs of rows, against their product."""
    X, Y = pair(n, d)
    size = f"{n} x {d}"

    def flat(m: Any) -> object:
        index = m.IndexFlatIP(d)
        index.add(Y.numpy())
        return index.search(X.numpy(), 10)

    # Parts are dropped, as all at once would take 40 GB of the largest.
    product = lambda: deque((part @ Y.T for part in X.split(1024)), 0)  # noqa: E731
    yield Row(
        "recall@10", size, "product", product, lambda: metrics.recall_at_k(X, Y, 10), peer("faiss", "faiss", flat)
    )
    if (n, d) == MANY:
        return
    yield Row("MRR", size, "product", product, lambda: metrics.mrr(X, Y))
    both = lambda: deque(((part @ Y.T, part @ X.T) for part in X.split(1024)), 0)  # noqa: E731
    yield Row("mutual kNN@10", size, "2 products", both, lambda: metrics.mutual_knn(X, Y))
    if (n, d) == LARGE:
        yield from retrieval(*MANY, folder)


def spaces(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Similarity of spaces, against its products."""
    X, Y = pair(n, d)
    three = lambda: (X.T @ Y, X.T @ X, Y.T @ Y)  # noqa: E731
    for name in ("linear_cka", "unbiased_cka", "cca"):
        yield Row(name, f"{n} x {d}", "3 products", three, lambda name=name: getattr(metrics, name)(X, Y))


def samplers(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Samplers, against the plain way to do the same in float32."""
    X, k = pair(n, d)[0], n // 40
    unit = torch.nn.functional.normalize(X)

    def naive() -> None:
        distance = 1 - unit @ unit[0]
        for _ in range(k):
            distance = torch.minimum(distance, 1 - unit @ unit[int(distance.argmax())])

    size = f"{k} of {n} x {d}"
    yield Row("farthest-point", size, "naive greedy", naive, lambda: create(Sampler, "farthest-point").sample(X, k))
    rows = torch.nn.functional.normalize(X - X.mean(0)).numpy()
    how = {"n_init": 1, "max_iter": 10, "tol": 0, "random_state": 0}
    for work in peer("sklearn.cluster", "", lambda m: m.KMeans(k, **how).fit(rows)).values():
        yield Row("k-means", size, "scikit-learn", work, lambda: create(Sampler, "k-means").sample(X, k))


def files(n: int, d: int, folder: Path) -> Iterator[Row]:
    """Work from file to file, against the bare product over the same files, and loading and pairing."""
    n *= 5
    X, Y = pair(n, d)
    size, numbers = f"{n} x {d}", itertools.count()
    for name, t in (("x", X), ("y", Y)):
        np.save(folder / f"{name}.npy", t.numpy())
    made = atlas.fit("linear", source=X[:2000], target=Y[:2000])
    weight, bias = (made.tensors()[name] for name in ("weight", "bias"))

    def bare() -> None:
        with (folder / "bare.bin").open("wb", buffering=0) as file:
            for part in torch.from_numpy(np.load(folder / "x.npy", mmap_mode="c")).split(8192):
                file.write(torch.addmm(bias, part, weight).numpy())

    def applied(ending: str) -> None:
        atlas.apply(made, read_bare(folder / f"x{ending or '.npy'}"), out=folder / f"out-{next(numbers)}{ending}")

    yield Row("apply .npy to .npy", size, "product, written", bare, lambda: applied(".npy"))
    yield Row("apply .npy to a folder", size, "product, written", bare, lambda: applied(""))
    npy = lambda: atlas.fit("linear", source=folder / "x.npy", target=folder / "y.npy")  # noqa: E731
    products = lambda: (X.T @ Y, X.T @ X)  # noqa: E731
    yield Row("fit linear of .npy files", size, "2 products", products, npy)
    for k in (d,) if d == SMALL[1] else (d, 4 * d):
        place, one = folder / f"map-{k}", pair(2000, k)[0]
        atlas.fit("procrustes", source=one, target=one.flip(1)).save_pretrained(place, overwrite=True)
        file = place / "model.safetensors"
        hashed = lambda file=file: hashlib.sha256(file.read_bytes()).digest()  # noqa: E731
        yield Row("load a map", f"{k} to {k}", "sha256 of its file", hashed, lambda place=place: atlas.load(place))
    if d == LARGE[1]:
        yield mapped(*MAPPED, folder)
    with contextlib.suppress(ImportError):
        yield from tables(X, Y, folder, applied, npy, weight, bias)


def mapped(n: int, d: int, folder: Path) -> Row:
    """Return the row of a fit on memory maps of (n, d) vectors."""
    for name, t in zip(("mapped-x", "mapped-y"), pair(n, d), strict=True):
        np.save(folder / f"{name}.npy", t.numpy())
    x, y = (np.load(folder / f"mapped-{side}.npy", mmap_mode="r") for side in "xy")
    X, Y = torch.from_numpy(x), torch.from_numpy(y)
    S = (X[: 2 * d].T @ X[: 2 * d]).double()
    floor = lambda: (X.T @ Y, X.T @ X, torch.linalg.eigh(S))  # noqa: E731
    run = lambda: atlas.fit("linear", source=x, target=y)  # noqa: E731
    return Row("fit linear of memory maps", f"{n} x {d}", "2 products, eigh", floor, run)


def tables(
    X: torch.Tensor, Y: torch.Tensor, folder: Path, applied: Callable[[str], None], npy: Work, weight: Any, bias: Any
) -> Iterator[Row]:
    """The same from tables, beside pyarrow alone; and the pairing of ids."""
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.parquet as parquet

    (n, d), ids = X.shape, [f"item-{i}" for i in range(len(X))]
    for name, t in (("x", X), ("y", Y)):
        column = pa.FixedSizeListArray.from_arrays(pa.array(t.numpy().reshape(-1)), d)
        parquet.write_table(pa.table({"id": ids, "vector": column}), folder / f"{name}.parquet")

    def stream() -> None:
        schema = parquet.read_schema(folder / "x.parquet")
        file = parquet.ParquetFile(folder / "x.parquet")
        with file, parquet.ParquetWriter(folder / "bare.parquet", schema) as out:
            for batch in file.iter_batches(8192, use_threads=False):
                rows = torch.from_numpy(batch.column("vector").flatten().to_numpy().reshape(-1, d))
                flat = pa.array(torch.addmm(bias, rows, weight).reshape(-1).numpy())
                lists = pa.FixedSizeListArray.from_arrays(flat, d)
                out.write_batch(pa.record_batch([batch.column("id"), lists], schema=schema))

    size = f"{n} x {d}"
    yield Row("apply .parquet to .parquet", size, "pyarrow, product", stream, lambda: applied(".parquet"))
    fit = lambda: atlas.fit("linear", source=folder / "x.parquet", target=folder / "y.parquet")  # noqa: E731
    yield Row("fit linear of .parquet files", size, "the same of .npy", npy, fit)
    n = n if d == SMALL[1] else 1_000_000
    known, wanted = ([f"item-{i}" for i in order] for order in (range(n), np.random.default_rng(0).permutation(n)))
    flat = torch.zeros(n, 1)
    source, target = atlas.Vectors.of(flat, "a", ids=known), atlas.Vectors.of(flat, "b", ids=wanted)
    index = lambda: pyarrow.compute.index_in(pa.array(wanted), pa.array(known))  # noqa: E731
    yield Row("pair shuffled ids", f"{n}", "pyarrow's index_in of lists", index, lambda: paired(source, target))


def starting() -> Iterator[Row]:
    """Commands, against starting Python with click; the first listing after a change imports torch, as ours has."""
    run = lambda *words: subprocess.run(words, capture_output=True, check=True)  # noqa: E731
    command = str(Path(sys.executable).with_name("atlas"))
    for words in ("--help", "list", "aligners", "plugins", "metrics"):
        yield Row(f"atlas {words}", "", "python -c 'import click'", lambda: run(sys.executable, "-c", "import click"),
                  lambda words=words: run(command, words))  # fmt: skip
