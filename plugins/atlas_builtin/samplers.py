"""Built-in samplers: which items to align on.

All compute on the CPU and in float64, wherever and in whatever type the vectors are: a choice between two rows is one
of kind, and rounding that fell out differently on another machine would make other anchors of the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import atlas
from atlas_builtin.clusters import greedy_starting_rows, move_centres, nearest_centres, starting_rows, typical_rows
from atlas_builtin.rows import (
    Directions,
    Standardised,
    blocks,
    greedy,
    lower_angle,
    lower_distance,
    lower_uncertainty,
)

# The penalty of the ridge regression that d-optimal anchors are chosen for, on columns of mean variance 1.
RIDGE = 0.01
# More draws for each centre cost time and bring nothing.
MOST_TRIALS = 100


@dataclass
class Uniform(atlas.Sampler):
    """Draw every item with the same probability: the plain choice, and hard to beat with many anchors."""

    name = "uniform"

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        return torch.randperm(len(X), generator=generator)[:n]


@dataclass
class Stratified(atlas.Sampler):
    """Draw the same number of every class, as nearly as the classes allow; needs labels.

    Classes take turns, in random order, until there are enough; a class that is used up is passed over. Items of
    unknown class, -1, are taken last.
    """

    name = "stratified"

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise self.fail("needs the class of each vector - give labels, or use sampler 'uniform'")
        classes, inverse, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
        shuffled = torch.randperm(len(X), generator=generator)
        grouped = shuffled[inverse[shuffled].argsort(stable=True)]
        group = inverse[grouped]
        turn = torch.arange(len(X)) - (counts.cumsum(0) - counts)[group]
        turn += len(X) * (classes[group] < 0)
        order = torch.randperm(len(classes), generator=generator)
        return grouped[(turn * len(classes) + order[group]).argsort()[:n]]


@dataclass
class FarthestPoint(atlas.Sampler):
    """Start anywhere, then take the item farthest from all taken so far: spreads anchors out, outliers first.

    Greedy k-centre on directions: the distance is 1 - cos(x, a), or 1 - |cos(x, a)|, for which opposite vectors are the
    same. A row of zeros has no direction and is taken last.
    """

    name = "farthest-point"

    metric: str = atlas.option(
        "cosine", help="Distance: 1 - cosine, or 1 - |cosine| (opposite is near)", choices=("cosine", "abs-cosine")
    )

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        rows = Directions(X)
        lower = lower_angle if self.metric == "abs-cosine" else lower_distance
        distance = torch.where(rows.directed, torch.inf, -1.0).double()
        return greedy(rows, n, generator, distance, lambda x: x, lower)


@dataclass
class DOptimal(atlas.Sampler):
    """Take the item a least-squares map is least sure of, again and again: for one to three anchors per dimension.

    Greedily maximises det(A'A + r I) over the anchors' rows A = [(x - mean) / s, 1], with s^2 the mean variance of a
    column and r = 0.01. The first row is random. Made for linear maps with little or no penalty, where it makes the
    most of few anchors; with fewer, 'k-means' is the better choice, and with many it favours outliers for nothing.
    """

    name = "d-optimal"

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        rows = Standardised(X)
        taken = torch.empty(0, rows.dim, dtype=torch.float64)

        def take(x: Tensor) -> Tensor:
            # The inverse of A'A + r I is I / r - V'V; a new row adds one row to V (Sherman and Morrison).
            nonlocal taken
            v = x / RIDGE - taken.T @ (taken @ x)
            v = v / (1 + x @ v).sqrt()
            taken = torch.cat([taken, v[None]])
            return v

        uncertainty = torch.cat([rows[block].square().sum(1) for block in blocks(len(X))]) / RIDGE
        return greedy(rows, n, generator, uncertainty, take, lower_uncertainty)


@dataclass
class KMeans(atlas.Sampler):
    """Group the items by direction from their mean and take the most typical of each group: few outliers.

    Minimises the sum of ||u - c||^2 over as many centres c as anchors are asked for, u = (x - mean) / |x - mean|. Each
    group gives the member of largest cosine with its centre; for a group without members, the row that is farthest from
    its own centre is taken. Lloyd's rounds from a k-means++ start.
    """

    name = "k-means"

    iterations: int = atlas.option(10, help="Rounds of moving the centres, at most; 0 keeps the k-means++ start")
    centre: bool = atlas.option(True, help="Take directions from the mean of all vectors, not from zero")
    trials: int = atlas.option(
        1, help="Rows drawn for each centre of the start, of which the best is kept: 8 is greedy"
    )

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise self.fail(f"needs 0 or more iterations, got {self.iterations}")
        if not 1 <= self.trials <= MOST_TRIALS:
            raise self.fail(f"needs 1 to {MOST_TRIALS} trials, got {self.trials}")

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        rows = Directions(X, centre=self.centre)
        first = (
            starting_rows(rows, n, generator)
            if self.trials == 1
            else greedy_starting_rows(rows, n, self.trials, generator)
        )
        centres = rows[first]
        group = nearest_centres(rows, centres)
        for _ in range(self.iterations):
            before = group
            centres = move_centres(rows, group, centres)
            group = nearest_centres(rows, centres)
            if torch.equal(group, before):
                break
        return typical_rows(rows, group, centres, n)


ALL: list[type[atlas.Sampler]] = [Uniform, Stratified, FarthestPoint, DOptimal, KMeans]
