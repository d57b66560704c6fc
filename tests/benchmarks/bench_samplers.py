"""Samplers, against the plain way to do the same.

    python tests/benchmarks/bench_samplers.py [--quick]

Every figure is a ratio: of processor times, the least of rounds in which both take turns, or of costs of clusters.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import describe, in_turn, table
from sklearn.cluster import KMeans as Peer

from atlas.components.sampler import Sampler
from atlas.plugins.catalogue import create
from atlas_builtin import clusters
from atlas_builtin.rows import Directions
from atlas_builtin.samplers import KMeans

QUICK = "--quick" in sys.argv
N, D, ANCHORS = (20_000, 256, 300) if QUICK else (100_000, 512, 1000)
STEPS = 20
SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared"))
TEXTS = SHARED / "data" / "vectors" / "banking-train.minilm.npy"


def vectors(kind: str) -> torch.Tensor:
    """Return vectors, float32: random ones (N, D) of one cloud or of 50 clusters, or MiniLM's of 10,003 texts."""
    if kind == "texts":
        return torch.from_numpy(np.load(TEXTS).astype("float32"))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(N, D, generator=generator)
    if kind == "one cloud":
        return noise
    return torch.randn(50, D, generator=generator)[torch.arange(N) % 50] + 0.3 * noise


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 3) -> float:
    """Return the least processor time of one function as a share of that of another."""
    times = in_turn({"ours": ours, "theirs": theirs}, rounds)
    return min(times["ours"].processor) / min(times["theirs"].processor)


def naive_farthest(X: torch.Tensor) -> None:
    """Choose a few rows by naive greedy, which takes one product of all rows and one vector for each."""
    unit = torch.nn.functional.normalize(X)
    distance = 1 - unit @ unit[0]
    for _ in range(STEPS):
        distance = torch.minimum(distance, 1 - unit @ unit[int(distance.argmax())])


def k_means_of_sklearn(X: torch.Tensor) -> None:
    """Fit scikit-learn's k-means with as many rounds, from one k-means++ start."""
    rows = torch.nn.functional.normalize(X - X.mean(0)).numpy()
    Peer(ANCHORS, n_init=1, max_iter=10, tol=0, random_state=0).fit(rows)


def costs(X: torch.Tensor) -> list[tuple[str, float]]:
    """Return the cost of a greedy start as a share of that of a plain one, before and after the rounds."""
    rows = Directions(X, centre=True)
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
    return [("cost of the start", before), ("cost after the rounds", after)]


def bench(kind: str) -> None:
    """Measure samplers on one kind of vectors."""
    X = vectors(kind)
    few = X[: 10 * ANCHORS]
    farthest = ratio(lambda: create(Sampler, "farthest-point").sample(X, ANCHORS), lambda: naive_farthest(X))
    rows = [
        ("farthest-point / naive greedy in float32", farthest * STEPS / ANCHORS),
        (
            "d-optimal / farthest-point",
            ratio(
                *(
                    lambda name=name: create(Sampler, name).sample(X, ANCHORS)
                    for name in ("d-optimal", "farthest-point")
                )
            ),
        ),
        (
            f"k-means / scikit-learn's in float32, {len(few)} rows",
            ratio(lambda: KMeans().sample(few, ANCHORS), lambda: k_means_of_sklearn(few)),
        ),
        (
            f"k-means, greedy start / plain, time, {len(few)} rows",
            ratio(lambda: KMeans(trials=8).sample(few, ANCHORS), lambda: KMeans().sample(few, ANCHORS)),
        ),
        *((f"k-means, greedy start / plain, {what}, {len(few)} rows", value) for what, value in costs(few)),
    ]
    table(f"{ANCHORS} of {len(X)} x {X.shape[1]}, {kind}", [(name, f"{value:.2f} x") for name, value in rows])


if __name__ == "__main__":
    print(describe())
    for kind in ("one cloud", "50 clusters", *(["texts"] if TEXTS.exists() else [])):
        bench(kind)
