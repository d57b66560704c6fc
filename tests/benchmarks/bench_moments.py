"""Moments that are kept, and maps that know their domain, each against what it cannot do without.

    python tests/benchmarks/bench_moments.py

Every figure is a ratio of times of the processor, measured in turn in one run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe, table

from atlas import Vectors, fit, load, moments

N, D = 20_000, 512


def in_turn(functions: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the least time of the processor that each function takes, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    return {name: min(values[1:]) for name, values in times.items()}


def main() -> None:
    """Measure, and print a table."""
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(N, D, generator=generator) for _ in range(2))
    source, target = Vectors.of(X, "a"), Vectors.of(Y, "b")
    known = moments(source=source, target=target)
    made = fit("linear", moments=known)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / which for which in ("with", "without")]
        made.save_pretrained(folders[0])
        fit("linear", moments=known, confidence=False).save_pretrained(folders[1])
        weight, double = made.aligner.state["weight"], [t.double() for t in (X, Y)]
        times = in_turn(
            {
                "products": lambda: (double[0].T @ double[1], *(t.T @ t for t in double)),
                "moments": lambda: moments(source=source, target=target),
                "product": lambda: X @ weight,
                "confidence": lambda: made.confidence(X),
                "plain fit": lambda: fit("linear", source=source, target=target, confidence=False),
                "fit": lambda: fit("linear", source=source, target=target),
                "fit from moments": lambda: fit("linear", moments=known),
                "load": lambda: load(folders[0]),
                "plain load": lambda: load(folders[1]),
            }
        )
    pairs = {
        "moments / their three products in float64": ("moments", "products"),
        "fit linear / the same without the domain": ("fit", "plain fit"),
        "fit linear from moments / from rows": ("fit from moments", "fit"),
        "predicted errors / mapping the rows": ("confidence", "product"),
        "load a map / one without its domain": ("load", "plain load"),
    }
    table(f"{N} x {D} to {D}", [(what, f"{times[a] / times[b]:.2f} x") for what, (a, b) in pairs.items()])


if __name__ == "__main__":
    print(describe())
    main()
