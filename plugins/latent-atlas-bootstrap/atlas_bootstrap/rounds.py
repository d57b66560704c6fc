"""Self-training: match all rows under the map so far, fit the map on the matches, and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import atlas
from atlas_bootstrap.matching import alike, unit

# The weight of the seeds beside all matched rows, in the first round and in the last: at first the matches are poor.
FIRST_WEIGHT, LAST_WEIGHT = 1.0, 0.05
# Neighbours in the last round, as a fraction of those in the first: at the end they can be told apart.
LAST_NEIGHBOURS = 0.5


@dataclass(frozen=True)
class Sides:
    """Two sets of vectors, float64, of which the first rows, as many as there are seeds, are pairs.

    Attributes:
        X: (n, d_source) of the source.
        Y: (m, d_target) of the target.
        seeds: how many of the first rows of X and Y are of the same items.
        numbers: the row numbers of X and of Y in the sets they were drawn from.
    """

    X: Tensor
    Y: Tensor
    seeds: int
    numbers: tuple[Tensor, Tensor]

    def directions(self) -> Sides:
        """Return the directions of all rows from the mean of their own side."""
        return replace(self, X=unit(self.X - self.X.mean(0)), Y=unit(self.Y - self.Y.mean(0)))

    def stand_ins(self, near: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return pairs (n + m rows): every row, and the mean of the rows of the other side that are most like it.

        The match of a seed is its partner.
        """
        to_y, to_x = (side[rows].mean(1) for side, rows in zip((self.Y, self.X), near, strict=True))
        to_y[: self.seeds], to_x[: self.seeds] = self.Y[: self.seeds], self.X[: self.seeds]
        return torch.cat([self.X, to_x]), torch.cat([to_y, self.Y])


def self_train(sides: Sides, rounds: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Return for each row of X the rows of Y that are most like it, (n, k), and for each row of Y those of X, (m, k).

    At first rows are alike if their cosines with the seeds of their own side are. Every round turns X onto Y by the
    rotation that fits best on all rows and their stand-ins, the seeds with a weight that falls from round to round, and
    looks for the rows most alike under that.

    Args:
        sides: the vectors.
        rounds: how many, at least 1.
        neighbours: of which a stand-in is the mean, in the first round.
    """
    sides = sides.directions()
    s = sides.seeds
    near = alike(sides.X @ sides.X[:s].T, sides.Y @ sides.Y[:s].T, clipped(neighbours, sides))
    for weight, k in schedule(rounds, neighbours):
        P, Q = sides.stand_ins(near)
        heavy = (weight * len(P) / s) ** 0.5
        W = rotation(torch.cat([P, heavy * sides.X[:s]]), torch.cat([Q, heavy * sides.Y[:s]]))
        near = alike(sides.X @ W, sides.Y, clipped(k, sides))
    return near


def schedule(rounds: int, neighbours: int) -> Iterator[tuple[float, int]]:
    """Yield the weight of the seeds and the number of neighbours for each round."""
    for done in range(rounds):
        share = done / max(rounds - 1, 1)
        yield FIRST_WEIGHT * (LAST_WEIGHT / FIRST_WEIGHT) ** share, max(1, round(neighbours * LAST_NEIGHBOURS**share))


def clipped(k: int, sides: Sides) -> int:
    """Return k, or how many rows there are on the smaller side."""
    return min(k, len(sides.X), len(sides.Y))


def rotation(P: Tensor, Q: Tensor) -> Tensor:
    """Return the matrix (d_source, d_target) with orthonormal rows or columns that best turns P onto Q."""
    fitted = atlas.create(atlas.Aligner, "procrustes", {"centre": False, "scale": False}).fit(P, Q)
    return fitted.state_dict()["weight"].double()
