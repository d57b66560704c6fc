"""Isometries of several spaces onto their common mean, fitted together; items may be in any of the spaces.

A space is a matrix F (n, d + 1) over all n items: its centred rows and a 1, or zeros where it does not have the item.
Its map P (d + 1, wide) is the isometry, and the shift as last row, so that F @ P is the space's view of the items.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from atlas_builtin.solvers import polar

EPS = torch.finfo(torch.float64).eps


def placed(X: Tensor, rows: Tensor, n: int) -> Tensor:
    """Return a space's matrix over all n items from its vectors and the rows where they belong."""
    F = X.new_zeros(n, X.shape[1] + 1)
    F[rows, :-1] = X
    F[rows, -1] = 1
    return F


def rms_length(X: Tensor) -> Tensor:
    """Return the root mean square length of rows about their mean."""
    return (X - X.mean(0)).square().sum(1).mean().sqrt()


def relative_sizes(spaces: Sequence[Tensor]) -> Tensor:
    """Return (k,) the sizes of spaces that agree best with how large any two are on the items both have.

    Minimises the sum over pairs of (log size - log size - log of the ratio of root mean square lengths)^2, weighted by
    items in common. If all spaces have the same items, the size is the root mean square length.
    """
    k = len(spaces)
    laplacian, flow = torch.zeros(k, k).double(), torch.zeros(k).double()
    for s, r in itertools.combinations(range(k), 2):
        rows = (spaces[s][:, -1] > 0) & (spaces[r][:, -1] > 0)
        ratio = (rms_length(spaces[s][rows, :-1]) / rms_length(spaces[r][rows, :-1])).log()
        # Not a number where they have fewer than two different items in common.
        if torch.isfinite(ratio):
            edge = torch.zeros(k).double()
            edge[s], edge[r] = 1, -1
            laplacian += rows.sum() * torch.outer(edge, edge)
            flow += rows.sum() * ratio * edge
    own = torch.stack([rms_length(F[F[:, -1] > 0, :-1]) for F in spaces]).log()
    logs = torch.linalg.pinv(laplacian, hermitian=True) @ flow
    # Only ratios are known so far: on the whole, the sizes are those of all rows of each space.
    return (logs + (own - logs).mean()).exp()


def fitted_map(A: Tensor, C: Tensor) -> Tensor:
    """Return the map (d + 1, wide) that minimises ||A O + t - C|| over isometries O and shifts t."""
    a, c = A.mean(0), C.mean(0)
    turn = polar((A - a).T @ (C - c), EPS)
    return torch.cat([turn, (c - a @ turn)[None]])


def consensus(spaces: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
    """Return (n, wide) the mean of the spaces' views of each item, over those that have it."""
    total = torch.stack([F @ P for F, P in zip(spaces, maps, strict=True)]).sum(0)
    return total / torch.stack([F[:, -1] for F in spaces]).sum(0)[:, None]


def joined(spaces: Sequence[Tensor]) -> list[Tensor] | int:
    """Return first maps: the widest space stays, and others follow onto the mean of those before, most in common first.

    Or the number of a space that has fewer than two items in common with those before.
    """
    wide = max(F.shape[1] for F in spaces) - 1
    first = max(range(len(spaces)), key=lambda s: (spaces[s].shape[1], float(spaces[s][:, -1].sum())))
    d = spaces[first].shape[1] - 1
    maps = {first: torch.cat([torch.eye(d, wide), torch.zeros(1, wide)]).to(spaces[first])}
    total, count = spaces[first] @ maps[first], spaces[first][:, -1]
    while len(maps) < len(spaces):
        common = {s: (F[:, -1] > 0) & (count > 0) for s, F in enumerate(spaces) if s not in maps}
        best = max(common, key=lambda s: int(common[s].sum()))
        rows = common[best]
        if int(rows.sum()) < 2:
            return best
        maps[best] = fitted_map(spaces[best][rows, :-1], total[rows] / count[rows, None])
        total, count = total + spaces[best] @ maps[best], count + spaces[best][:, -1]
    return [maps[s] for s in range(len(spaces))]


def refined(
    spaces: Sequence[Tensor], maps: Sequence[Tensor], iterations: int, tolerance: float
) -> tuple[list[Tensor], float]:
    """Return maps onto the mean that they make themselves, and by how much the last round changed them.

    Each in turn is fitted to the mean of the others, which never raises the sum of squares. (Its own part in it is
    left out: it does not change with the isometry, and would only hold it back.) Products between spaces are computed
    once, so that a round does not depend on the number of items.

    Source: J. M. F. ten Berge, Orthogonal Procrustes rotation for two or more matrices, Psychometrika 42, 1977.
    """
    counts = torch.stack([F[:, -1] for F in spaces]).sum(0)[:, None]
    shared = [[F.T @ (G / counts) for G in spaces] for F in spaces]
    maps, change = list(maps), 0.0
    for _ in range(iterations):
        before = list(maps)
        for s, F in enumerate(spaces):
            others = torch.stack([shared[s][r] @ P for r, P in enumerate(maps) if r != s]).sum(0)
            own = shared[s][s]
            turn = polar(others[:-1] + own[:-1, -1:] * maps[s][-1:], EPS)
            shift = (others[-1:] + own[-1:, :-1] @ turn) / (F[:, -1].sum() - own[-1, -1])
            maps[s] = torch.cat([turn, shift])
        change = max(float((new - old).norm() / new.norm()) for new, old in zip(maps, before, strict=True))
        if change <= tolerance:
            break
    return maps, change
