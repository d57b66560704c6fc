"""Measure functional-maps on few pairs of two text encoders, beside maps that are fitted on the pairs alone.

    python examples/measure.py VECTORS SOURCE TARGET

VECTORS holds banking-<split>.<encoder>.npy, the questions of banking77 by encoders such as SOURCE and TARGET. Each side
is given the known pairs and 3,000 other questions, of which none is on both sides.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import atlas
from atlas.metrics import recall_at_k

METHODS = ("procrustes", "linear", "functional-maps")
COUNTS, OTHERS = (10, 30, 100), 3000


def fitted(method: str, A: Tensor, B: Tensor, n: int) -> atlas.Aligner:
    """Return a map fitted on n pairs of A and B, and on other rows if the method makes use of such."""
    made = atlas.create(atlas.Aligner, method)
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(0))
    known, left, right = order[:n], order[n : n + OTHERS], order[n + OTHERS : n + 2 * OTHERS]
    if made.fits_on == "pairs":
        return made.fit(A[known], B[known])
    pairs = torch.arange(n)[:, None].expand(-1, 2)
    return made.fit(A[torch.cat([known, left])], B[torch.cat([known, right])], pairs)


def main(folder: Path, source: str, target: str) -> None:
    """Print, by method and number of pairs, how often a mapped question is nearest to itself among the test's."""
    (A, A_test), (B, B_test) = (
        [torch.from_numpy(np.load(folder / f"banking-{s}.{e}.npy")).float() for s in ("train", "test")]
        for e in (source, target)
    )
    print(f"{source} to {target}, top-1 of {len(B_test):,}; known pairs: {', '.join(map(str, COUNTS))}")
    for method in METHODS:
        made = (fitted(method, A, B, n).transform(A_test) - B.mean(0) for n in COUNTS)
        print(f"{method:17}" + "".join(f"{float(recall_at_k(Z, B_test - B.mean(0))):8.3f}" for Z in made), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore", atlas.AtlasWarning)
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), *sys.argv[2:4])
