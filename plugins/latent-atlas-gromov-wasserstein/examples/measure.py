"""Fit gromov-wasserstein between real spaces on disjoint items, and measure it on items of neither.

    python examples/measure.py [VECTORS]

The digits that ship with Atlas, by three networks; with VECTORS, a folder of banking-<split>.<encoder>.npy, the
questions of banking77 by text encoders, too. Beside it: a rotation fitted on as many pairs.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import atlas
from atlas.metrics import recall_at_k
from atlas.models.heads import HEADS
from atlas_gromov_wasserstein import GromovWasserstein

Split = tuple[Tensor, Tensor]


def fitted(source: Tensor, target: Tensor, rows: int, seed: int) -> tuple[atlas.Aligner, atlas.Aligner, float]:
    """Return the map from rows of which none are paired, a rotation on as many pairs, and the seconds of the first."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    began = time.process_time()
    made = GromovWasserstein(rows=rows, seed=seed).fit(source[order[:rows]], target[order[-rows:]])
    seconds = time.process_time() - began
    pairs = order[:rows]
    return made, atlas.create(atlas.Aligner, "procrustes").fit(source[pairs], target[pairs]), seconds


def digits() -> None:
    """Print the accuracy of the target's head on mapped digits, of every pair of networks and three seeds."""
    pixels = {split: atlas.read_vectors(f"digits-{split}") for split in ("train", "test")}
    y, test_y = pixels["train"].labels, pixels["test"].labels
    names = ("digits-mlp-s0", "digits-mlp-wide", "digits-conv")
    views = {name: tuple(atlas.encode(name, pixels[s]).data for s in pixels) for name in names}
    print("digits: accuracy of ten classes    rows  seeds 0, 1, 2          pairs  own    CPU s")
    for source, target in itertools.permutations(names, 2):
        head = HEADS["linear"]().fit(views[target][0], y)
        runs = [fitted(views[source][0], views[target][0], 300, seed) for seed in range(3)]

        def accuracy(X: Tensor, head=head) -> float:
            return float((head.predict(X) == test_y).double().mean())

        found = "  ".join(f"{accuracy(made.transform(views[source][1])):.3f}" for made, _, _ in runs)
        paired, own = accuracy(runs[0][1].transform(views[source][1])), accuracy(views[target][1])
        print(f"{source:16}  {target:16}  300  {found}    {paired:.3f}  {own:.3f}  {runs[0][2]:.0f}")


def texts(folder: Path) -> None:
    """Print how often a mapped question is nearest to itself among 3,080, of some pairs of text encoders."""
    print("banking77: top-1 of 3,080         rows  seeds 0, 1             pairs         CPU s")
    for (source, target), rows in itertools.product((("use", "e5"), ("minilm", "e5")), (300, 500)):
        (A, A_test), (B, B_test) = (
            tuple(torch.from_numpy(np.load(folder / f"banking-{s}.{e}.npy")).float() for s in ("train", "test"))
            for e in (source, target)
        )
        runs = [fitted(A, B, rows, seed) for seed in range(2)]
        centre = B.mean(0)
        found = "  ".join(f"{recall_at_k(made.transform(A_test) - centre, B_test - centre):.3f}" for made, _, _ in runs)
        paired = recall_at_k(runs[0][1].transform(A_test) - centre, B_test - centre)
        print(f"{source:16}  {target:16}  {rows}  {found}           {paired:.3f}         {runs[0][2]:.0f}")


if __name__ == "__main__":
    digits()
    if sys.argv[1:]:
        texts(Path(sys.argv[1]))
