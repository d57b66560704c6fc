"""Turning one cloud of vectors onto another: softly matched rows, the map they imply, and how well it fits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

# Maps that are turned at once: their numbers, (maps, rows, rows), should stay in the cache.
TOGETHER = 8
# Rounds in which rows and columns of the soft matching are balanced, so that no row of the target is everyone's match.
BALANCING = 2
# Rows whose neighbourhoods set the temperature, and halvings of the interval it is looked for in.
SAMPLE, HALVINGS = 256, 20


def polar(matrix: Tensor) -> Tensor:
    """Return the matrix (..., a, b) with orthonormal rows (columns, if a > b) of the largest trace with this one."""
    U, _, Vt = torch.linalg.svd(matrix, full_matrices=False)
    return U @ Vt


def turned(X: Tensor, Y: Tensor, W: Tensor, temperatures: Iterable[float]) -> Tensor:
    """Improve a map: match each mapped row softly with target rows, fit a rotation to that, and so on.

    Args:
        X: unit rows (n, d_source) of the source.
        Y: unit rows (m, d_target) of the target.
        W: the map to begin from, (d_source, d_target).
        temperatures: one for each round; a similarity weighs exp(similarity / temperature).
    """
    for temperature in temperatures:
        W = polar((X.T @ targets(X, Y, W, temperature)).double()).to(X)
    return W


def targets(X: Tensor, Y: Tensor, W: Tensor, temperature: float) -> Tensor:
    """Return for each row of X the mean of the rows of Y that match it, (n, d_target).

    The weights are a soft assignment with rows of sum 1 and columns of nearly equal sums, as in optimal transport.
    """
    weight = F.normalize(X @ W, dim=-1) @ Y.T
    weight.div_(temperature).sub_(weight.amax(-1, keepdim=True)).exp_()
    for _ in range(BALANCING):
        weight.div_(weight.sum(-1, keepdim=True))
        weight.div_(weight.sum(-2, keepdim=True).clamp_(min=1e-12))
    return weight.div_(weight.sum(-1, keepdim=True)) @ Y


def cooling(Y: Tensor, warm: float, cold: float, rounds: int) -> list[float]:
    """Return falling temperatures, at which the rows of Y have about `warm` neighbours at first and `cold` at last."""
    logs = [temperature_for(Y, neighbours).log() for neighbours in (warm, cold)]
    return torch.linspace(float(logs[0]), float(logs[1]), rounds, dtype=torch.float64).exp().tolist()


def temperature_for(Y: Tensor, neighbours: float) -> Tensor:
    """Return the temperature at which the weights of a row's neighbours are spread over so many, by their entropy."""
    similarity = Y[:SAMPLE] @ Y.T
    similarity.fill_diagonal_(-torch.inf)
    low, high = torch.tensor(1e-4).log(), torch.tensor(1e2).log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wide = torch.distributions.Categorical(logits=similarity / middle.exp()).entropy().mean().exp() > neighbours
        low, high = (low, middle) if wide else (middle, high)
    return ((low + high) / 2).exp()


def closeness(X: Tensor, Y: Tensor, W: Tensor) -> Tensor:
    """Return how near mapped rows and target rows are to each other, 1 if as near as rows of one space are, (...).

    Args:
        X: unit rows (n, d_source).
        Y: unit rows (n, d_target), as many.
        W: maps (..., d_source, d_target).
    """
    return nearest(X, Y, W).mean(-1) / nearest_of_own(X, Y).mean()


def nearest(X: Tensor, Y: Tensor, W: Tensor) -> Tensor:
    """Return the cosine of every mapped row to the nearest target row, then the other way round, (..., 2 n)."""
    across = F.normalize(X @ W, dim=-1) @ Y.T
    return torch.cat([across.amax(-1), across.amax(-2)], -1)


def nearest_of_own(X: Tensor, Y: Tensor) -> Tensor:
    """Return the cosine of every row to the nearest other one of its own space, (2 n,)."""
    return torch.cat([(Z @ Z.T).fill_diagonal_(-1).amax(-1) for Z in (X, Y)])


def agreement(X: Tensor, maps: Tensor, W: Tensor) -> Tensor:
    """Return the mean cosine between the outputs of several maps and of one for unit rows, 1 if they are equal."""
    return F.cosine_similarity(X @ maps, X @ W, dim=-1).mean(-1)
