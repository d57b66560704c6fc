"""Where a search for a map can begin: clusters of both spaces, matched by how they lie to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from atlas_minivec.turning import polar

# Coarse clusters are found alike in both spaces but can be matched in many ways, fine ones the other way round.
SIZES = (14, 20, 30)
# Rows that are clustered in one run, and rounds of k-means: the same rows would give nearly the same clusters again.
ROWS, ROUNDS = 2500, 8
# Random assignments that are improved for one pair of clusterings, and how many of the best are kept.
TRIALS, KEPT = 30, 4


def starting_maps(X: Tensor, Y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return maps to begin from, (at least count, d, d): each turns matched clusters onto each other.

    Args:
        X: unit rows (n, d) of the source.
        Y: unit rows (m, d) of the target, not paired with those of the source.
        count: how many maps.
        generator: all randomness.
    """
    sizes = sorted({min(size, len(X) // 4, len(Y) // 4) for size in SIZES})
    runs = -(-count // (len(sizes) * KEPT))
    found = []
    for size in sizes:
        A, B = (torch.stack([centres(Z, size, generator) for _ in range(runs)]) for Z in (X, Y))
        order = matchings(geometry(A), geometry(B), generator)
        matched = torch.stack([b[o] for b, o in zip(B, order, strict=True)])
        found.append(polar(A.mT[:, None] @ matched).flatten(0, 1))
    return torch.cat(found)


def centres(X: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return k centres (k, d) of a random part of unit rows, by k-means from a k-means++ start."""
    X = X[torch.randperm(len(X), generator=generator)[:ROWS]]
    C = X[spread(X, k, generator)]
    for _ in range(ROUNDS):
        group = torch.addmm(C.square().sum(1) / -2, X, C.T).argmax(1)
        sums = torch.zeros_like(C).index_add_(0, group, X)
        counts = torch.bincount(group, minlength=k)[:, None]
        C = torch.where(counts > 0, sums / counts.clamp(min=1), C)
    return C


def spread(X: Tensor, k: int, generator: torch.Generator) -> list[int]:
    """Return the numbers of k unit rows, each drawn in proportion to its squared distance from those before."""
    chosen = [int(torch.randint(len(X), (1,), generator=generator))]
    distance = 1 - X @ X[chosen[0]]
    while len(chosen) < k:
        weight = distance.clamp(min=0).double().cumsum(0)
        at = torch.rand(1, generator=generator, dtype=torch.float64) * weight[-1]
        chosen.append(int(torch.searchsorted(weight, at, right=True).clamp(max=len(X) - 1)))
        distance = torch.minimum(distance, 1 - X @ X[chosen[-1]])
    return chosen


def geometry(C: Tensor) -> Tensor:
    """Return the products of centres (..., k, d) about their mean, (..., k, k), scaled to norm 1."""
    C = C - C.mean(-2, keepdim=True)
    products = C @ C.mT
    return products / torch.linalg.matrix_norm(products, keepdim=True)


def matchings(A: Tensor, B: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each pair of kernels the best few ways to number the second like the first, (r, KEPT, k).

    Maximises sum_ij A_ij B_p(i)p(j) over orders p: from random orders, the exchange of two places that gains most is
    made until none gains, for all orders of all pairs at once.

    Args:
        A: (r, k, k) symmetric.
        B: (r, k, k) symmetric.
        generator: draws the orders to begin from.
    """
    r, k = A.shape[:2]
    order = torch.rand(r, TRIALS, k, generator=generator).argsort(-1)
    A, B = (M[:, None].expand(-1, TRIALS, -1, -1).flatten(0, 1) for M in (A, B))
    order = exchanged(A, B, order.flatten(0, 1))
    value = (A * reordered(B, order)).sum((1, 2)).reshape(r, TRIALS)
    order = order.reshape(r, TRIALS, k)
    return torch.stack([best_orders(v, o) for v, o in zip(value, order, strict=True)])


def exchanged(A: Tensor, B: Tensor, order: Tensor) -> Tensor:
    """Improve orders (b, k) by the best exchange of two places, again and again, until none improves."""
    order, places, rows = order.clone(), order.shape[1], torch.arange(len(order))
    while len(rows):
        gain, at = gains(A[rows], reordered(B[rows], order[rows])).flatten(1).max(1)
        rows, at = rows[gain > 1e-6], at[gain > 1e-6]
        first, second = at // places, at % places
        order[rows, first], order[rows, second] = order[rows, second], order[rows, first]
    return order


def reordered(B: Tensor, order: Tensor) -> Tensor:
    """Return matrices (b, k, k) with rows and columns in another order, (b, k)."""
    k = B.shape[-1]
    rows = B.gather(1, order[:, :, None].expand(-1, -1, k))
    return rows.gather(2, order[:, None, :].expand(-1, k, -1))


def gains(A: Tensor, B: Tensor) -> Tensor:
    """Return the gain of sum(A * B) if places r and s of B were exchanged, (b, k, k).

    Twice the sum over all j but r and s of (A_rj - A_sj) (B_sj - B_rj), and the two diagonal places.
    """
    product = A @ B
    a, b, p = (M.diagonal(dim1=1, dim2=2) for M in (A, B, product))
    over_all = product + product.mT - p[:, :, None] - p[:, None, :]
    at_r = (a[:, :, None] - A) * (B - b[:, :, None])
    at_s = (A - a[:, None, :]) * (b[:, None, :] - B)
    return 2 * (over_all - at_r - at_s) + (a[:, :, None] - a[:, None, :]) * (b[:, None, :] - b[:, :, None])


def best_orders(value: Tensor, order: Tensor) -> Tensor:
    """Return the KEPT different orders of highest value, (KEPT, k); the last of them again where there are fewer."""
    by_value = order[value.argsort(descending=True, stable=True)]
    different = list(dict.fromkeys(tuple(o) for o in by_value.tolist()))[:KEPT]
    return torch.tensor(different + different[-1:] * (KEPT - len(different)))
