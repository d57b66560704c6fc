"""Whether bootstrapping helped, told from seeds that were held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import atlas
from atlas_bootstrap.matching import unit
from atlas_bootstrap.rounds import Sides

Fit = Callable[[Sides], atlas.Aligner]
# A mean rank below this leaves little to gain.
FOUND = 2.0


@dataclass(frozen=True)
class Check:
    """The ranks at which the partners of held-out seeds are found, among all vectors of the target; 1 is best.

    Attributes:
        alone: (h,) float64, the rank of each seed by a map fitted on the other seeds alone.
        bootstrapped: (h,) the rank by a map bootstrapped from them.
        among: how many vectors of the target there are.
    """

    alone: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    bootstrapped: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    among: int = 0

    @property
    def helped(self) -> bool:
        """Whether ranks fell on average, in logarithms, by more than one standard error of that average.

        Where most seeds are found at once, it is enough that they did not rise by more than that.
        """
        gain = self.alone.log() - self.bootstrapped.log()
        error = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else torch.zeros(())
        return bool(gain.mean() > error or (geometric(self.bootstrapped) < FOUND and gain.mean() >= -error))

    def __str__(self) -> str:
        """Return both mean ranks as messages tell them."""
        found, alone = geometric(self.bootstrapped), geometric(self.alone)
        return f"mean rank {found:.1f} of {self.among}, and {alone:.1f} by the seeds alone"


def geometric(ranks: Tensor) -> float:
    """Return the geometric mean of ranks, which one that is far off does not decide."""
    return float(ranks.log().mean().exp())


def hold_out(sides: Sides, folds: int, bootstrap: Fit, alone: Fit, generator: torch.Generator) -> Check:
    """Return how well both ways of fitting find the partners of seeds they have not seen.

    The seeds are dealt into parts, and each is taken from both sides while the others are fitted on.

    Args:
        sides: all vectors.
        folds: how many parts, 2 to the number of seeds; at least two seeds must be left to fit on.
        bootstrap: fits on all rows.
        alone: fits on the seeds.
        generator: deals.
    """
    ranks: tuple[list[Tensor], list[Tensor]] = ([], [])
    for held in torch.randperm(sides.seeds, generator=generator).chunk(folds):
        kept = without(sides, held)
        target = torch.cat([kept.Y, sides.Y[held]])
        for fit, found in zip((alone, bootstrap), ranks, strict=True):
            found.append(ranks_of_last(fit(kept).transform(sides.X[held]), target))
    return Check(torch.cat(ranks[0]), torch.cat(ranks[1]), len(sides.Y))


def without(sides: Sides, held: Tensor) -> Sides:
    """Return the sides less some of the seeds."""
    x, y = (torch.ones(len(rows), dtype=torch.bool) for rows in (sides.X, sides.Y))
    x[held] = y[held] = False
    return Sides(sides.X[x], sides.Y[y], sides.seeds - len(held), (sides.numbers[0][x], sides.numbers[1][y]))


def ranks_of_last(mapped: Tensor, target: Tensor) -> Tensor:
    """Return the rank of its partner for each mapped row: the partners are the last rows of the target, in order.

    By cosine about the mean of the target; ties count against, so that a map of all rows to one point finds nothing.
    """
    centre = target.mean(0)
    cosines = unit(mapped - centre) @ unit(target - centre).T
    own = cosines[torch.arange(len(mapped)), torch.arange(len(target) - len(mapped), len(target))]
    return (cosines >= own[:, None] - 8 * torch.finfo(cosines.dtype).eps).sum(1).double()
