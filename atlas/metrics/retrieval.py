"""Whether vectors find their counterparts, and whether two spaces agree on who is near whom.

Similarities are computed for some rows against all, never for all pairs at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.metrics.pairs import blocks, paired, same_space, unit

# Similarities held at once: what fits into the processor's cache, and at least so many rows of them.
_HELD, _ROWS = 2**22, 32


def ranks(queries: Any, targets: Any) -> Tensor:
    """Return the rank of the true match of each query among all targets by cosine, (n,) int64, 1 the best.

    Ties, up to rounding, count against: vectors that are all the same find nothing.

    Args:
        queries: (n, d).
        targets: (n, d); row i is the true match of query i.
    """
    queries, targets = (unit(t) for t in same_space(queries, targets))
    slack = 8 * torch.finfo(targets.dtype).eps
    found = []
    for block, similarity in _similarities(queries.to(targets), targets):
        own = similarity.diagonal(block.start) - slack
        # The match itself is among those counted.
        found.append((similarity >= own[:, None]).sum(1))
    return torch.cat(found).cpu()


def hits(queries: Any, targets: Any, k: int = 1) -> Tensor:
    """Return 1 where the true match of a query is among its k nearest targets, else 0; (n,) float64."""
    found = ranks(queries, targets)
    _check_k(k, len(found))
    return (found <= k).double()


def recall_at_k(queries: Any, targets: Any, k: int = 1) -> float:
    """Return the share of queries whose true match (row i of i) is among the k nearest targets; chance is k / n."""
    return float(hits(queries, targets, k).mean())


def reciprocal_ranks(queries: Any, targets: Any) -> Tensor:
    """Return 1 / rank of the true match of each query, (n,) float64."""
    return 1 / ranks(queries, targets).double()


def mrr(queries: Any, targets: Any) -> float:
    """Return the mean reciprocal rank of the true match among all targets (some papers cut it at rank k)."""
    return float(reciprocal_ranks(queries, targets).mean())


def mutual_knns(X: Any, Y: Any, k: int = 10, similarity: str = "cosine") -> Tensor:
    """Return for each item the share of its k nearest neighbours in one space that are so in the other, (n,) float64.

    Args:
        X: (n, d_x).
        Y: (n, d_y), the same items.
        k: neighbours, the item itself left out; 1 to n - 1.
        similarity: "cosine", or "dot" for the rows as they are. Figures differ by a fifth between the two, and again
            if vectors are centred or clipped first: say which when you report one.

    Source: M. Huh et al., The Platonic Representation Hypothesis, 2024 (the authors' code, without its clipping).
    """
    X, Y = paired(X, Y)
    if similarity not in ("cosine", "dot"):
        raise AtlasError(f"similarity must be cosine or dot, got '{similarity}'")
    _check_k(k, len(X) - 1)
    near = [_neighbours(unit(t) if similarity == "cosine" else _plain(t), k) for t in (X, Y)]
    return _overlap(*near) / k


def mutual_knn(X: Any, Y: Any, k: int = 10, similarity: str = "cosine") -> float:
    """Return the mean share of k nearest neighbours that two spaces agree on; chance is k / (n - 1)."""
    return float(mutual_knns(X, Y, k, similarity).mean())


def jaccards(X: Any, Y: Any, k: int = 10) -> Tensor:
    """Return for each item |A and B| / |A or B|, (n,) float64: A the k rows of Y nearest to x, B those nearest to y.

    Cosine; y itself is among them, as in the search for a word's translation.

    Source: L. Moschella et al., Relative representations, 2023 (the authors' code).
    """
    X, Y = same_space(X, Y)
    _check_k(k, len(X))
    index = unit(Y)
    mapped, own = (
        torch.cat([similarity.topk(k).indices for _, similarity in _similarities(rows, index)])
        for rows in (unit(X).to(index), index)
    )
    shared = _overlap(mapped, own)
    return shared / (2 * k - shared)


def jaccard(X: Any, Y: Any, k: int = 10) -> float:
    """Return the mean overlap of the k nearest targets of a mapped vector and of the true one, 0 to 1."""
    return float(jaccards(X, Y, k).mean())


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise AtlasError(f"k must be from 1 to {most} for this many rows, got {k}")


def _plain(X: Tensor) -> Tensor:
    return X if X.dtype in (torch.float32, torch.float64) else X.float()


def _similarities(queries: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of the queries, and their similarities (b, n) to all targets."""
    for block in blocks(len(queries), max(_ROWS, _HELD // len(targets))):
        yield block, queries[block] @ targets.T


def _neighbours(X: Tensor, k: int) -> Tensor:
    """Return the k most similar other rows of each row, (n, k)."""
    found = []
    for block, similarity in _similarities(X, X):
        similarity.diagonal(block.start).fill_(-torch.inf)
        found.append(similarity.topk(k).indices)
    return torch.cat(found)


def _overlap(A: Tensor, B: Tensor) -> Tensor:
    """Return how many numbers each row of A (n, k) shares with that of B, (n,) float64."""
    parts = [(A[b, :, None] == B[b, None]).sum((1, 2)) for b in blocks(len(A))]
    return torch.cat(parts).cpu().double()
