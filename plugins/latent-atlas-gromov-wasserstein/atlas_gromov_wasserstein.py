"""A rotation between two spaces from the distances within each: no item has to be known on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import atlas

# Couplings are found in time that grows with the cube of the rows: a minute for this many and ten starts.
MOST = 2000
# A matching of items in the order of how far they are from all others, at so many of these distances.
PROFILE = 50


@dataclass
class GromovWasserstein(atlas.LinearAligner):
    """Rotate without any pairs, by matching distances within both spaces: for narrow spaces with few clear clusters.

    Finds the coupling of some rows of the source with some of the target that changes distances least, from several
    starts, and the rotation, shift and scale that the best coupling implies.

    Source: F. Mémoli, Gromov-Wasserstein distances and the metric approach to object matching, Foundations of
    Computational Mathematics 11, 2011; solved by POT, conditional gradient.
    """

    name = "gromov-wasserstein"
    streaming = False
    fits_on = "sets"

    rows: int = atlas.option(300, help=f"Rows of each side that are coupled, 2 to {MOST}; time grows with its cube")
    starts: int = atlas.option(10, help="Couplings to begin from, of which the one of least change is kept")
    seed: int = atlas.option(0, help="Of the rows and the starts")

    def __post_init__(self) -> None:
        if not 2 <= self.rows <= MOST:
            raise self.fail(f"needs 2 to {MOST} rows, got {self.rows}")
        for name, least in (("starts", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise self.fail(f"needs {name} of at least {least}, got {getattr(self, name)}")

    # The moments of a linear aligner are sums over pairs, of which there are none here.
    fit = atlas.Aligner.fit
    partial_fit = atlas.Aligner.partial_fit

    def fit_moments(self, m: Any) -> Any:
        """Raise: moments are those of pairs."""
        raise self.fail("is fitted on rows that are not paired, and has no moments - call fit()")

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        """Return weight and bias, from X (n, d_source) and Y (m, d_target), float64, which are not paired."""
        assert Y is not None
        (X, mean_x, size_x), (Y, mean_y, size_y) = self._centred(X, "source"), self._centred(Y, "target")
        chance = np.random.default_rng(self.seed)
        A, B = (Z[torch.from_numpy(chance.permutation(len(Z))[: self.rows])] for Z in (X, Y))
        coupling = coupled(distances(A), distances(B), self.starts, chance)
        U, _, Vt = torch.linalg.svd(A.T @ coupling @ B, full_matrices=False)
        weight = U @ Vt * (size_y / size_x)
        return {"weight": weight, "bias": mean_y - mean_x @ weight}

    def _centred(self, X: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows about their mean, the mean, and the root of the mean squared length about it."""
        mean = X.mean(0)
        size = (X - mean).square().sum(1).mean().sqrt()
        if size <= 1e-12 * mean.norm():
            raise self.fail(f"needs rows that differ, got the same vector for all of the {side}")
        return X - mean, mean, size


def distances(A: Tensor) -> np.ndarray:
    """Return the distances between rows, (n, n), of mean 1: two spaces may be of different size."""
    found = torch.cdist(A, A)
    return (found / found.mean()).numpy()


def coupled(C: np.ndarray, D: np.ndarray, starts: int, chance: np.random.Generator) -> Tensor:
    """Return the coupling (n, m), of sum 1, that changes distances C (n, n) into D (m, m) least, of several starts."""
    import ot

    p, q = (np.full(len(Z), 1 / len(Z)) for Z in (C, D))
    # The first start is by how far items are from all others, which no rotation changes; the others are random.
    share = np.linspace(0, 1, PROFILE)
    profiles = [np.quantile(Z, share, axis=1).T for Z in (C, D)]
    costs = [ot.dist(*profiles), *(chance.standard_normal((len(p), len(q))) for _ in range(starts - 1))]
    best, least = np.outer(p, q), np.inf
    for cost in costs:
        start = (ot.emd(p, q, cost) + np.outer(p, q)) / 2
        found, log = ot.gromov.gromov_wasserstein(C, D, p, q, "square_loss", G0=start, log=True, max_iter=300)
        if log["gw_dist"] < least:
            best, least = found, log["gw_dist"]
    return torch.from_numpy(best)


@atlas.hookimpl
def register_aligners() -> list[type[atlas.Aligner]]:
    """Return the aligners of this plugin."""
    return [GromovWasserstein]
