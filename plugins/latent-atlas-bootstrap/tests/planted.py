"""Planted truths: two spaces that show the same world, and samples of it that share a few items only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import atlas
from atlas_bootstrap.rounds import Sides


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return random float64 numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clusters(n: int, d: int, groups: int = 25, spread: float = 0.6, seed: int = 0) -> Tensor:
    """Return points about random centres, of unequal variances, as what networks make of a world of classes."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, d, generator=g, dtype=torch.float64)
    which = torch.randint(groups, (n,), generator=g)
    noise = torch.randn(n, d, generator=g, dtype=torch.float64)
    return (centres[which] + spread * noise) * torch.linspace(1.5, 0.5, d, dtype=torch.float64)


@dataclass
class World:
    """Two sets of vectors whose first rows are of the same items, and items that neither holds.

    Attributes:
        X: (n, d_source).
        Y: (m, d_target), of other items but for the first.
        pairs: (s, 2) the rows that are of one item.
        source: (h, d_source) held-out items in the source.
        target: (h, d_target) the same in the target.
        rotation: (d_source, d_target).
    """

    X: Tensor
    Y: Tensor
    pairs: Tensor
    source: Tensor
    target: Tensor
    rotation: Tensor


def world(seeds: int, n: int = 400, m: int = 350, d: int = 12, d_target: int = 12, noise: float = 0.0, seed: int = 0):
    """Return a world: the target is the source turned, scaled by 3 and moved, both with noise of their own."""
    Z = clusters(n + m + 200, d, seed=seed)
    rotation = torch.linalg.qr(normal(max(d, d_target), max(d, d_target), seed=seed + 1)).Q[:d, :d_target]
    source = Z + 1 + noise * normal(*Z.shape, seed=seed + 2)
    target = 3 * (Z @ rotation + noise * normal(len(Z), d_target, seed=seed + 3)) - 7
    X, Y = source[:n], torch.cat([target[:seeds], target[n : n + m - seeds]])
    pairs = torch.arange(seeds)[:, None].expand(-1, 2)
    return World(X, Y, pairs, source[-200:], target[-200:], rotation)


def found(fitted: atlas.Aligner, planted: World) -> float:
    """Return how many held-out items of the source are mapped nearest to themselves in the target."""
    near = torch.cdist(fitted.transform(planted.source), planted.target).argmin(1)
    return float((near == torch.arange(len(near))).double().mean())


def sides_of(X: Tensor, Y: Tensor, seeds: int) -> Sides:
    """Return sides of all rows."""
    return Sides(X, Y, seeds, (torch.arange(len(X)), torch.arange(len(Y))))
