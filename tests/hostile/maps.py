"""Maps of vectors of any unit, anywhere, with columns of any size: what cannot be right is refused, or told.

    python tests/hostile/maps.py [--tries 2000] [--seed 1]

Each try plants an exact map between vectors whose units, offsets, constant and repeated columns, repeated rows and
types are drawn at random, fits one of the aligners, and compares with least squares in float64.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "contracts")]

import numpy as np
import torch
from test_scale import EXACT, outcome

# These turn, or weigh directions by their variance, and are right where all are alike.
RIGID = ("procrustes", "cca", "linear-orthogonal")


def drawn(rng: np.random.Generator, rigid: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vectors of the same items in two spaces, one an affine map of the other."""
    n, d = int(rng.integers(30, 200)), int(rng.integers(2, 10))
    X = rng.standard_normal((n, d))
    W = np.linalg.qr(rng.standard_normal((d, d)))[0]
    if not rigid:
        W = rng.standard_normal((d, d))
        if rng.random() < 0.4:
            X *= 10.0 ** rng.uniform(-3, 3, d)
        if rng.random() < 0.2:
            X[:, 0] = X[:, -1]
    if rng.random() < 0.3:
        X = X[rng.integers(0, n, 2 * n)]
    if rng.random() < 0.3:
        X = np.concatenate([X, np.full((len(X), 1), 10.0 ** rng.uniform(0, 9))], 1)
        W = np.concatenate([W, np.zeros((1, d))])
    Y = X @ W
    for Z in (X, Y):
        if rng.random() < 0.5:
            Z += Z.std() * 10.0 ** rng.uniform(0, 10) * rng.choice([-1, 1], Z.shape[1])
        if rng.random() < 0.5:
            Z *= 2.0 ** rng.uniform(-60, 60)
    kinds = [rng.choice([torch.float32, torch.float64]) for _ in "XY"]
    return torch.tensor(X).to(kinds[0]), torch.tensor(Y).to(kinds[1])


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Counter[str]] = {name: Counter() for name in EXACT}
    for number in range(given.tries):
        # Training takes a hundred times as long as solving.
        name = "mlp" if number % 40 == 0 else EXACT[number % (len(EXACT) - 1)]
        X, Y = drawn(np.random.default_rng([given.seed, number]), name in RIGID)
        what = outcome(name, X, Y)
        found[name][what] += 1
        if what == "silent and wrong":
            print(f"WRONG {name} in try {number}", flush=True)
    for name, counts in found.items():
        print(f"{name:<18} {counts.total():>5} tried: {', '.join(f'{n} {what}' for what, n in counts.items())}")
    wrong = sum(counts["silent and wrong"] for counts in found.values())
    print(f"maps: {given.tries} tried, {wrong} silent and wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
