"""How a figure grows with the number of pairs, and its extrapolation to more pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.migration.scoring import DRAWS, Figure, resampled
from atlas.migration.trial import Trial

# The parts of the pairs that are tried, fewest first, how often each, and in how many folds.
PARTS, TIMES, FOLDS = (1 / 8, 1 / 4, 1 / 2, 1.0), 2, 4
FEWEST = 20
# Figures are taken to near their limit as a power of the number of pairs; these are the powers.
POWERS = torch.linspace(0.05, 1.25, 25, dtype=torch.float64)


@dataclass(frozen=True)
class Curve:
    """A figure for numbers of pairs.

    Attributes:
        sizes: numbers of pairs, fewest first, as few as the maps have seen.
        values: (sizes, times, q) for each number and choice of pairs, and each query.
        ceiling: (q,) the figure that no map exceeds.
    """

    sizes: Sequence[float]
    values: Tensor
    ceiling: Tensor

    def at(self, sizes: Sequence[int]) -> list[Figure]:
        """Return the expectation for numbers of pairs, and its 95 % interval: of queries, choices of pairs and power.

        Fits a - b n^-c with b >= 0 to the means of each resample by least squares, c being one of `POWERS`.
        """
        queries, tries = resampled(self.values.shape[2]), resampled(self.values.shape[1], DRAWS * len(self.sizes))
        means = torch.stack([self.values[i][:, queries].mean(2) for i in range(len(self.sizes))])
        picked = tries[:, 0].reshape(len(self.sizes), 1, DRAWS)
        drawn = means.gather(1, picked)[:, 0]
        centre = self.values.mean((1, 2))[:, None]
        top = self.ceiling[queries].mean(1)
        found = _extended(torch.tensor(self.sizes), torch.cat([centre, drawn], 1), torch.tensor(sizes))
        found = found.minimum(torch.cat([self.ceiling.mean()[None], top]))
        low, high = found[:, 1:].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), 1)
        return [Figure(*one) for one in zip(found[:, 0].tolist(), low.tolist(), high.tolist(), strict=True)]

    def needed(self, goal: float, least: int, most: int) -> int | None:
        """Return how many pairs are expected to reach a figure, doubled from the least; None if `most` are not."""
        size = least
        while size <= most:
            if self.at([size])[0].value >= goal:
                return size
            size *= 2
        return None


def _extended(sizes: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Return values (k, b) for wanted numbers of pairs, of curves through values (p, b) for p numbers."""
    best = torch.full(values.shape[1:], torch.inf, dtype=torch.float64)
    found = torch.zeros(len(wanted), values.shape[1], dtype=torch.float64)
    for power in POWERS:
        x, at = sizes.double() ** -power, wanted.double() ** -power
        slope = ((x - x.mean()) @ (values - values.mean(0)) / (x - x.mean()).square().sum()).clamp_max(0)
        error = (values - values.mean(0) - torch.outer(x - x.mean(), slope)).square().sum(0)
        better = error < best
        best = torch.where(better, error, best)
        found = torch.where(better, values.mean(0) + torch.outer(at - x.mean(), slope), found)
    return found


def sizes_of(n: int) -> list[int]:
    """Return the numbers of pairs to try where there are n."""
    return sorted({size for part in PARTS if (size := int(part * n)) >= FEWEST})


def curve(
    trial: Trial,
    find: Callable[[Trial, int], Tensor],
    score: Callable[[Tensor], Tensor],
    ceiling: Tensor,
) -> Curve:
    """Return the figure of a way with fewer pairs than there are.

    Args:
        trial: the searched vectors.
        find: the way: its finds in a trial, with maps that leave pairs out in so many folds.
        score: gives the figure for each query, of the finds.
        ceiling: (q,) the figure of the new model itself.
    """
    n = len(trial.pairs.old)
    sizes = sizes_of(n)
    values = [[score(find(trial.fewer(size, k), FOLDS)) for k in range(TIMES if size < n else 1)] for size in sizes]
    # A document that is a pair is served by a map of fewer pairs than there are.
    seen = int((trial.pairs.at >= 0).sum()) / len(trial.documents)
    used = [size * (1 - seen * size / n / FOLDS) for size in sizes]
    return Curve(used, torch.stack([torch.stack((found * TIMES)[:TIMES]) for found in values]), ceiling)
