"""Samplers, against the plain way to do the same.

    python tests/benchmarks/bench_samplers.py [--quick]

Every figure is a ratio of two times measured in turn in one run.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import torch
from machine import describe, seconds, table

from atlas.components.sampler import Sampler
from atlas.plugins.catalogue import create
from atlas_builtin import clusters
from atlas_builtin.rows import Directions
from atlas_builtin.samplers import KMeans

QUICK = "--quick" in sys.argv
N, D, ANCHORS = (20_000, 256, 300) if QUICK else (100_000, 512, 1000)
STEPS = 20


def vectors(kind: str, n: int) -> torch.Tensor:
    """Return random vectors (n, D), float32: of one cloud, or of 50 clusters."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, D, generator=generator)
    if kind == "one cloud":
        return noise
    return torch.randn(50, D, generator=generator)[torch.arange(n) % 50] + 0.3 * noise


def naive_farthest(X: torch.Tensor) -> float:
    """Return the time of naive greedy, which takes one product of all rows and one vector for each anchor."""
    unit = torch.nn.functional.normalize(X)
    distance = 1 - unit @ unit[0]

    def steps() -> None:
        nonlocal distance
        for _ in range(STEPS):
            distance = torch.minimum(distance, 1 - unit @ unit[int(distance.argmax())])

    steps()
    return seconds(steps) / STEPS * ANCHORS


def k_means_of_sklearn(X: torch.Tensor) -> None:
    """Fit scikit-learn's k-means with as many rounds, from one k-means++ start."""
    from sklearn.cluster import KMeans

    rows = torch.nn.functional.normalize(X - X.mean(0)).numpy()
    KMeans(ANCHORS, n_init=1, max_iter=10, tol=0, random_state=0).fit(rows)


def greedy(X: torch.Tensor) -> list[tuple[str, float]]:
    """Return the ratios of time and of cost, before and after the rounds, of a greedy start to a plain one."""
    rows = Directions(X, centre=True)
    slower = seconds(lambda: KMeans(trials=8).sample(X, ANCHORS)) / seconds(lambda: KMeans().sample(X, ANCHORS))
    starts: dict[str, Callable[[torch.Generator], torch.Tensor]] = {
        "greedy": lambda g: clusters.greedy_starting_rows(rows, ANCHORS, 8, g),
        "plain": lambda g: clusters.starting_rows(rows, ANCHORS, g),
    }
    found = {(name, rounds): 0.0 for name in starts for rounds in (0, 10)}
    for (name, start), seed in itertools.product(starts.items(), range(3)):
        centres = rows[start(torch.Generator().manual_seed(seed))]
        for rounds in range(11):
            group = clusters.nearest_centres(rows, centres)
            if (name, rounds) in found:
                found[name, rounds] += float(clusters.scores(rows, group, centres)[1].sum())
            centres = clusters.move_centres(rows, group, centres)
    before, after = (found["greedy", rounds] / found["plain", rounds] for rounds in (0, 10))
    return [("time", slower), ("cost of the start", before), ("cost after the rounds", after)]


def bench(kind: str) -> None:
    """Time every sampler on one kind of vectors."""
    X = vectors(kind, N)
    times = {
        name: seconds(lambda name=name: create(Sampler, name).sample(X, ANCHORS))
        for name in ("uniform", "farthest-point", "d-optimal", "k-means")
    }
    rows = [(name, f"{value:.2f} s") for name, value in times.items()]
    rows += [("farthest-point / naive greedy in float32", f"{times['farthest-point'] / naive_farthest(X):.2f} x")]
    few = X[: 10 * ANCHORS]
    ours = seconds(lambda: create(Sampler, "k-means").sample(few, ANCHORS))
    ratio = ours / seconds(lambda: k_means_of_sklearn(few))
    rows += [(f"k-means / scikit-learn's in float32, {len(few)} rows", f"{ratio:.2f} x")]
    rows += [
        (f"k-means, greedy start / plain, {what}, {len(few)} rows", f"{value:.2f} x") for what, value in greedy(few)
    ]
    table(f"{ANCHORS} of {N} x {D}, {kind}", rows)


if __name__ == "__main__":
    print(describe())
    bench("one cloud")
    bench("50 clusters")
