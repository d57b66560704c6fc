"""Parallel anchors by optimisation: those of the target are moved until both sides look alike relative to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas_bootstrap.matching import unit
from atlas_bootstrap.rounds import Sides


@dataclass(frozen=True)
class Search:
    """How anchors are optimised: steps and rate of Adam, and the entropy and iterations of Sinkhorn's matching."""

    anchors: int
    steps: int
    rate: float
    entropy: float
    iterations: int


def optimise(sides: Sides, search: Search, generator: torch.Generator) -> Tensor:
    """Return pairs of rows (k, 2) of X and Y: anchors, the seeds first, then random rows of X and their matches.

    Minimises the mean square of R_X - T R_Y over the anchors of Y on the unit sphere, where R_X and R_Y are the cosines
    of all rows with the anchors of their side, and T is Sinkhorn's matching of the rows of R_X and R_Y by Euclidean
    distance, every row of it scaled to sum to 1. The seeds stay where they are. In the end each anchor is replaced by
    the row of Y nearest to it.

    Args:
        sides: the vectors; matching is for all rows of X with all of Y at once, n * m numbers.
        search: how.
        generator: of the random rows and starts.

    Source: I. Cannistraci et al., Bootstrapping parallel anchors for relative representations, 2023.
    """
    s, free = sides.seeds, min(search.anchors, len(sides.X)) - sides.seeds
    X, Y = unit(sides.X - sides.X.mean(0)).float(), unit(sides.Y - sides.Y.mean(0)).float()
    rows = torch.cat([torch.arange(s), s + torch.randperm(len(X) - s, generator=generator)[:free]])
    R_X = X @ X[rows].T
    moved = unit(torch.randn(free, Y.shape[1], generator=generator)).requires_grad_()
    adam = torch.optim.Adam([moved], search.rate)
    for _ in range(search.steps):
        R_Y = Y @ torch.cat([Y[:s], moved]).T
        with torch.no_grad():
            T = transport(R_X, R_Y, search)
        loss = (R_X - T @ R_Y).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            moved.copy_(unit(moved))
    found = torch.cat([torch.arange(s), (moved.detach() @ Y.T).argmax(1)])
    return torch.stack([rows, found], 1)


def transport(R_X: Tensor, R_Y: Tensor, search: Search) -> Tensor:
    """Return the matching (n, m) of two sets of rows, of least entropic transport cost; rows sum to 1."""
    n, m = len(R_X), len(R_Y)
    closeness = -torch.cdist(R_X, R_Y) / search.entropy
    v = torch.full((m,), -math.log(m))
    for _ in range(search.iterations):
        u = -math.log(n) - torch.logsumexp(closeness + v, 1)
        v = -math.log(m) - torch.logsumexp(closeness + u[:, None], 0)
    return torch.softmax(closeness + v, 1)
