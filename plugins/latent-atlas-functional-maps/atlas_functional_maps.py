"""A map between two spaces from a few known pairs, found as a map between smooth functions on graphs of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

import atlas

# Similarities are computed in strips of so many rows.
STRIP = 1024


@dataclass
class FunctionalMaps(atlas.LinearAligner):
    """Rotate by a map between smooth functions on both spaces, which few known pairs and many other rows determine.

    Links every row to its neighbours on its own side, and takes the smoothest functions on these graphs, eigenvectors
    of their Laplacians. A matrix carries those of the source to those of the target: similarities to known items become
    those to their partners, and smooth functions stay as smooth. It carries the coordinates of the source, too; they
    and the known pairs are rotated onto the target's.

    Source: M. Fumero et al., Latent functional maps, 2024 (the idea; the way to a map of vectors is Atlas' own);
    M. Ovsjanikov et al., Functional maps: a flexible representation of maps between shapes, 2012.
    """

    name = "functional-maps"
    streaming = False
    fits_on = "seeds"

    rows: int = atlas.option(3000, help="Rows of either side beside the known ones, at most")
    neighbours: int = atlas.option(30, help="Rows of its own side that each row is linked to")
    functions: int = atlas.option(100, help="Smooth functions of either side, at most")
    commuting: float = atlas.option(
        0.02, help="Weight of functions staying as smooth, beside known pairs staying known"
    )
    seed: int = atlas.option(0, help="Of the rows")

    def __post_init__(self) -> None:
        for name, least in {"rows": 10, "neighbours": 1, "functions": 2, "commuting": 0, "seed": 0}.items():
            if not getattr(self, name) >= least:
                raise self.fail(f"needs {name} of at least {least}, got {getattr(self, name)}")

    # The moments of a linear aligner are sums over pairs, of which few are known here.
    fit = atlas.Aligner.fit
    partial_fit = atlas.Aligner.partial_fit

    def fit_moments(self, m: Any) -> Any:
        """Raise: moments are those of pairs."""
        raise self.fail("is fitted on rows of which most are not paired, and has no moments - call fit()")

    def _fit_seeds(self, X: Tensor, Y: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        """Return weight and bias from X (n, d_source), Y (m, d_target) and the rows (s, 2) that are of one item."""
        generator = torch.Generator().manual_seed(self.seed)
        P = X[self._drawn(X, pairs[:, 0], "source", generator)]
        Q = Y[self._drawn(Y, pairs[:, 1], "target", generator)]
        (P, mean_x), (Q, mean_y) = ((Z - Z.mean(0), Z.mean(0)) for Z in (P, Q))
        (P, size_x), (Q, size_y) = ((Z / rms(Z), rms(Z)) for Z in (P, Q))
        count, known = min(self.functions, len(P) - 1, len(Q) - 1), len(pairs)
        left, right = (Functions.of(normalize(Z), known, self.neighbours, count) for Z in (P, Q))
        # The coordinates of the source as combinations of functions of the target, but for the constant, and those of
        # the target; and the known pairs. Both are means over rows, and so count alike.
        across, there = (carried(left, right, self.commuting) @ left.of_rows(P))[1:], right.of_rows(Q)[1:]
        U, _, Vt = torch.linalg.svd(across.T @ there + P[:known].T @ Q[:known] / known, full_matrices=False)
        weight = U @ Vt
        weight = weight * (size_y / size_x / rms(P @ weight))
        return {"weight": weight, "bias": mean_y - mean_x @ weight}

    def _drawn(self, Z: Tensor, known: Tensor, side: str, generator: torch.Generator) -> Tensor:
        """Return the rows to look at: the known ones first, and of the others as many as the option allows."""
        if torch.equal(Z, Z[:1].expand_as(Z)):
            raise self.fail(f"needs rows that differ, got the same vector for all of the {side}")
        others = torch.ones(len(Z), dtype=torch.bool)
        others[known] = False
        others = others.nonzero().flatten()
        return torch.cat([known, others[torch.randperm(len(others), generator=generator)[: self.rows]]])


@dataclass(frozen=True)
class Functions:
    """The smoothest functions on the rows of one side.

    Attributes:
        values: (n, k) of each function at each row, orthonormal under `mass`; the first is constant.
        mass: (n,) of the rows, of sum 1: how crowded the place of a row is.
        frequencies: (k,) from 0: how much a function varies between neighbours.
        known: (k, s) the similarity to each known row, as a combination of the functions.
    """

    values: Tensor
    mass: Tensor
    frequencies: Tensor
    known: Tensor

    @classmethod
    def of(cls, unit: Tensor, known: int, neighbours: int, count: int) -> Functions:
        """Return the functions on the graph of rows of length 1, of which the first are known."""
        W, degree = graph(unit, min(neighbours, len(unit) - 1))
        found, vectors = most_alike(W, count)
        mass = torch.from_numpy(degree / degree.sum())
        values = torch.from_numpy(vectors) / mass.sqrt()[:, None]
        alike = unit @ unit[:known].T
        alike = alike - mass @ alike
        alike = alike / (mass @ alike.square()).sqrt().clamp_min(1e-12)
        frequencies = torch.from_numpy(1 - found).clamp_min(0)
        return cls(values, mass, frequencies, (values * mass[:, None]).T @ alike)

    def of_rows(self, Z: Tensor) -> Tensor:
        """Return (k, d) the columns of Z (n, d), which are functions on the rows, as combinations of these."""
        return (self.values * self.mass[:, None]).T @ Z


def most_alike(A: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues (k,) of a sparse symmetric matrix, from the largest, and their vectors (n, k)."""
    from scipy.sparse.linalg import eigsh

    if 3 * count > A.shape[0]:
        found, vectors = np.linalg.eigh(A.toarray())
    else:  # From a fixed start, so that the same rows give the same vectors.
        found, vectors = eigsh(A, k=count, which="LA", v0=np.ones(A.shape[0]))
    order = np.argsort(-found, kind="stable")[:count]
    return found[order], np.ascontiguousarray(vectors[:, order])


def graph(unit: Tensor, k: int) -> tuple[Any, np.ndarray]:
    """Return the graph of unit rows and their k nearest of the others: 1 less its Laplacian, and (n,) degrees."""
    from scipy.sparse import coo_array, diags_array

    at, weights = [], []
    for begin in range(0, len(unit), STRIP):
        cosines = unit[begin : begin + STRIP] @ unit.T
        cosines[torch.arange(len(cosines)), torch.arange(begin, begin + len(cosines))] = -2
        found = cosines.topk(k, 1)
        at.append(found.indices)
        weights.append((1 + found.values) / 2 + 1e-9)
    columns, values = torch.cat(at).flatten().numpy(), torch.cat(weights).flatten().numpy()
    W = coo_array((values, (np.repeat(np.arange(len(unit)), k), columns)), shape=(len(unit),) * 2).tocsr()
    W = W.maximum(W.T)
    degree = W.sum(1)
    root = diags_array(1 / np.sqrt(degree))
    return root @ W @ root, degree


def carried(left: Functions, right: Functions, commuting: float) -> Tensor:
    """Return C (k, k), which takes combinations of functions of the left to those of the right.

    Minimises |C a - b|^2 over the combinations a and b of known items, and `commuting` times the square of what the
    Laplacians of both sides differ by before and after C.
    """
    a, b = left.known, right.known
    gap = (right.frequencies[:, None] - left.frequencies[None, :]).square()
    size = a.square().sum()
    ridge = size * (commuting * gap / gap.mean().clamp_min(1e-12) + 1e-9)
    return torch.linalg.solve(a @ a.T + torch.diag_embed(ridge), (b @ a.T)[:, :, None])[:, :, 0]


def rms(Z: Tensor) -> Tensor:
    """Return the root of the mean squared length of rows."""
    return Z.square().sum(1).mean().sqrt()


@atlas.hookimpl
def register_aligners() -> list[type[atlas.Aligner]]:
    """Return the aligners of this plugin."""
    return [FunctionalMaps]
