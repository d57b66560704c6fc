"""Whether vectors find their counterparts, and whether two spaces agree on who is near whom.

Similarities are computed for some rows against all, never for all pairs at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.metrics.pairs import blocks, paired, same_space, working
from atlas.numerics.arrays import unit

# Similarities held at once: as many as fit into the processor's cache, and at least so many rows.
_HELD, _ROWS = 2**22, 32
# Queries and targets at a time where similarities are only counted: the tile stays in the cache of one core.
_TILE, _DEVICE_TILE = (256, 1024), (2**12, 2**15)


def ranks(queries: Any, targets: Any) -> Tensor:
    """Return the rank of the true match of each query among all targets by cosine, (n,) int64, 1 the best.

    Ties, up to rounding, count against: vectors that are all the same find nothing.

    Args:
        queries: (n, d).
        targets: (n, d); row i is the true match of query i.
    """
    queries, targets = (unit(working(t)) for t in same_space(queries, targets))
    queries = queries.to(targets)
    slack = 8 * torch.finfo(targets.dtype).eps
    # Below zero: further than the match, which is itself among those counted.
    least = (slack - (queries * targets).sum(1))[:, None]
    found = torch.zeros(len(queries), dtype=torch.int64, device=targets.device)
    height, width = _TILE if targets.device.type == "cpu" else _DEVICE_TILE
    for columns in targets.split(width):
        for block in blocks(len(queries), height):
            nearer = torch.addmm(least[block], queries[block], columns.T)
            found[block] += torch.ge(nearer, 0, out=nearer).sum(1).long()
    return found.cpu()


def hits(queries: Any, targets: Any, k: int = 1, *, found: Tensor | None = None) -> Tensor:
    """Return 1 where the true match of a query is among its k nearest targets, else 0; (n,) float64.

    Args:
        queries: (n, d).
        targets: (n, d); row i is the true match of query i.
        k: how many targets count as near.
        found: the result of `ranks`, where that is known.
    """
    found = ranks(queries, targets) if found is None else found
    _check_k(k, len(found))
    return (found <= k).double()


def recall_at_k(queries: Any, targets: Any, k: int = 1) -> float:
    """Return the share of queries whose true match (row i of i) is among the k nearest targets; chance is k / n."""
    return float(hits(queries, targets, k).mean())


def reciprocal_ranks(queries: Any, targets: Any, *, found: Tensor | None = None) -> Tensor:
    """Return 1 / rank of the true match of each query, (n,) float64; `found` as for `hits`."""
    return 1 / (ranks(queries, targets) if found is None else found).double()


def mrr(queries: Any, targets: Any) -> float:
    """Return the mean reciprocal rank of the true match among all targets (some papers cut it at rank k)."""
    return float(reciprocal_ranks(queries, targets).mean())


def mutual_knns(X: Any, Y: Any, k: int = 10, similarity: str = "cosine") -> Tensor:
    """Return for each item the share of its k nearest neighbours in one space that are so in the other, (n,) float64.

    Of rows that are as near as the k-th, up to rounding, the share is the one to expect of a draw: the order of the
    rows does not count.

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
    X, Y = (unit(working(t)) if similarity == "cosine" else working(t) for t in (X, Y))
    return _others_shared((X, X), (Y, Y), k)


def mutual_knn(X: Any, Y: Any, k: int = 10, similarity: str = "cosine") -> float:
    """Return the mean share of k nearest neighbours that two spaces agree on; chance is k / (n - 1)."""
    return float(mutual_knns(X, Y, k, similarity).mean())


def neighbours_kept(made: tuple[Any, Any], native: tuple[Any, Any], k: int = 10) -> Tensor:
    """Return for each item the share of its native neighbours that others find, too, (n,) float64.

    Args:
        made: queries and index (n, d); row i of both is of item i.
        native: queries and index (n, e) of the same items.
        k: nearest rows by cosine, the item itself left out; 1 to n - 1. Ties as in `mutual_knns`.
    """
    paired(made[0], native[0])
    _check_k(k, len(made[0]) - 1)
    a, b = (tuple(unit(working(t)) for t in same_space(*pair)) for pair in (made, native))
    return _others_shared((a[0], a[1]), (b[0], b[1]), k)


def jaccards(X: Any, Y: Any, k: int = 10) -> Tensor:
    """Return for each item |A and B| / |A or B|, (n,) float64: A the k rows of Y nearest to x, B those nearest to y.

    Cosine; y itself is among them, as in the search for a word's translation. Ties as in `mutual_knns`.

    Source: L. Moschella et al., Relative representations, 2023 (the authors' code).
    """
    same = X is Y
    X, Y = same_space(X, Y)
    _check_k(k, len(X))
    index = unit(working(Y))
    both = _both((index if same else unit(working(X)).to(index), index), (index, index))
    shared = torch.cat([_shared(mapped, own, k) for _, mapped, own in both])
    return shared / (2 * k - shared)


def jaccard(X: Any, Y: Any, k: int = 10) -> float:
    """Return the mean overlap of the k nearest targets of a mapped vector and of the true one, 0 to 1."""
    return float(jaccards(X, Y, k).mean())


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise AtlasError(f"k must be from 1 to {most} for this many rows, got {k}")


def _similarities(queries: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of the queries, and their similarities (b, n) to all targets."""
    for block in blocks(len(queries), max(_ROWS, _HELD // len(targets))):
        yield block, queries[block] @ targets.T


def _both(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield slices of the queries, and the similarities of two pairs of queries and targets."""
    if all(one is other for one, other in zip(a, b, strict=True)):
        yield from ((block, near, near) for block, near in _similarities(*a))
        return
    for (block, first), (_, second) in zip(_similarities(*a), _similarities(*b), strict=True):
        yield block, first, second


def _others_shared(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], k: int) -> Tensor:
    """Return the share of their k nearest, itself left out, that the queries of two pairs have in common, (n,)."""
    shared = []
    for block, near_a, near_b in _both(a, b):
        for near in (near_a, near_b):
            near.diagonal(block.start).fill_(-torch.inf)
        shared.append(_shared(near_a, near_b, k))
    return torch.cat(shared) / k


def _shared(A: Tensor, B: Tensor, k: int) -> Tensor:
    """Return how many of their k largest numbers two rows, of A (b, n) and of B (b, n), have in common, (b,) float64.

    Where ties leave the k largest open, the number to expect if those of A and those of B are drawn.
    """
    (near_a, tied_a), (near_b, tied_b) = _nearest(A, k), _nearest(B, k)
    shared = (near_a[:, :, None] == near_b[:, None]).sum((1, 2)).cpu().double()
    rows = (tied_a | tied_b).nonzero().flatten()
    for part in rows.split(_ROWS):
        chances = _chances(A[part], k) * _chances(B[part], k)
        shared[part.cpu()] = chances.sum(1).cpu()
    return shared


def _nearest(A: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the places of the k largest numbers of each row (b, k), and whether the next is as large (b,)."""
    if k == A.shape[1]:
        return A.topk(k).indices, torch.zeros(len(A), dtype=torch.bool, device=A.device)
    values, places = A.topk(k + 1)
    return places[:, :k], values[:, k] >= values[:, k - 1] - _slack(values)


def _chances(A: Tensor, k: int) -> Tensor:
    """Return for each number of a row (b, n) how probably it is among the k largest, ties being drawn."""
    last = A.topk(k).values[:, -1:]
    slack = _slack(A)[:, None]
    above = last + slack < A
    tied = (last - slack <= A) & ~above
    return above + tied * ((k - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)).double()


def _slack(A: Tensor) -> Tensor:
    """Return (b,) by how much rounding may tell equal numbers of a row (b, n) apart."""
    return 8 * torch.finfo(A.dtype).eps * A.amax(1).abs()
