"""Metrics, each against the matrix products it cannot do without.

    python tests/benchmarks/bench_metrics.py [--quick]

Every figure is a ratio of two times measured in turn in one run. Memory is that of a process of its own, above that of
its inputs.
"""

from __future__ import annotations

import subprocess
import sys

import torch
from machine import describe, peak_mb, side_by_side, table

from atlas import metrics

QUICK = "--quick" in sys.argv
N, D = (20_000, 512) if QUICK else (100_000, 512)
N_NEAR = 3000 if QUICK else 10_000


def pair(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two random matrices (n, D), float32."""
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(n, D, generator=generator) for _ in range(2))
    return X, Y.add_(X, alpha=0.5)


def bench_similarity() -> None:
    """What is made of moments, against the products of the moments."""
    X, Y = pair(N)
    times = side_by_side(
        {
            "three": lambda: (X.T @ Y, X.T @ X, Y.T @ Y),
            "one": lambda: X.T @ Y,
            "cka": lambda: metrics.linear_cka(X, Y),
            "unbiased": lambda: metrics.unbiased_cka(X, Y),
            "cca": lambda: metrics.cca(X, Y),
            "procrustes": lambda: metrics.procrustes_distance(X, Y),
        },
        rounds=5,
    )
    rows = [(f"three products of {N} x {D}", f"{times['three']:.2f} s")]
    rows += [
        (f"{name} / three products", f"{times[name] / times['three']:.2f} x") for name in ("cka", "unbiased", "cca")
    ]
    rows += [("procrustes distance / one product", f"{times['procrustes'] / times['one']:.2f} x")]
    rows += [
        (f"memory of {name}", f"{memory(name):.0f} MB above its inputs") for name in ("linear_cka", "unbiased_cka")
    ]
    table("Similarity of spaces", rows)


def bench_retrieval() -> None:
    """What looks at all pairs of rows, against the product of all pairs."""
    X, Y = pair(N_NEAR)
    times = side_by_side(
        {
            "product": lambda: [part @ Y.T for part in X.split(1024)],
            "recall": lambda: metrics.recall_at_k(X, Y, 10),
            "neighbours": lambda: metrics.mutual_knn(X, Y),
            "rbf": lambda: metrics.rbf_cka(X, Y),
        },
        rounds=5,
    )
    product = times["product"]
    rows = [
        (f"product of {N_NEAR} x {N_NEAR} x {D}", f"{product:.2f} s"),
        ("self-recall@10 / its product", f"{times['recall'] / product:.2f} x"),
        ("mutual-knn@10 / its two products", f"{times['neighbours'] / product / 2:.2f} x"),
        ("rbf-cka / its two products (it computes in float64)", f"{times['rbf'] / product / 2:.2f} x"),
        ("memory of recall_at_k", f"{memory('recall_at_k'):.0f} MB above its inputs"),
    ]
    table("Retrieval and neighbours", rows)


def memory(name: str) -> float:
    """Return the peak memory of one metric in a process of its own, above that of its inputs, in MB."""
    command = [sys.executable, __file__, "--memory", name, *(["--quick"] if QUICK else [])]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_memory(name: str) -> None:
    """Compute one metric and print how much memory it took above its inputs."""
    function = getattr(metrics, name)
    function(torch.randn(600, 8), torch.randn(600, 8))
    X, Y = pair(N_NEAR if name == "recall_at_k" else N)
    before = peak_mb()
    function(X, Y)
    print(peak_mb() - before)


if __name__ == "__main__":
    if "--memory" in sys.argv:
        measure_memory(sys.argv[sys.argv.index("--memory") + 1])
    else:
        print(describe())
        bench_similarity()
        bench_retrieval()
