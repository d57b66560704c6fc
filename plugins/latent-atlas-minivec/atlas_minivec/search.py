"""From many maps to begin with to one: all are improved on few rows, the best on more, and the last are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas_minivec.clusters import starting_maps
from atlas_minivec.turning import (
    TOGETHER,
    agreement,
    closeness,
    cooling,
    nearest,
    nearest_of_own,
    polar,
    temperature_for,
    turned,
)


class Stage(NamedTuple):
    """The rows that maps are improved on, and how many maps go on.

    Attributes:
        directions: of largest variance; None: all.
        rows: of each side, at most.
        rounds: of matching and turning.
        cold: neighbours a row is matched with in the last round; None: as many as in the first, a share of all rows.
        kept: how many of the closest maps go on, and with them the closest one that differs from the first.
    """

    directions: int | None
    rows: int
    rounds: int
    cold: int | None
    kept: int


# Neighbours a row is matched with while looking, as a share of all rows, and at the end.
WARM, COLD = 0.05, 5
STAGES = (
    Stage(64, 300, 6, None, 80),
    Stage(64, 800, 10, None, 10),
    Stage(128, 2000, 14, None, 2),
    Stage(None, 2500, 20, COLD, 1),
)
# Rounds on all rows at the end, at most, and the change of a map, 1 - cosine, at which it has settled.
LAST, SETTLED = 40, 1e-5
# Starts that owe nothing to clusters: where the clusters mislead, these are rivals.
RANDOM = 16
# Rows kept for judging maps, at most, and as a share.
JUDGES, JUDGED = 1000, 0.2
# Maps whose results have a lower mean cosine than this are different ones; half-right maps have more with right ones.
DIFFERENT = 0.25
# Standard errors that a gain must exceed.
CERTAIN = 3


@dataclass
class Sides:
    """Unit rows of both spaces, not paired, in axes of falling variance; the last of each are kept for judging."""

    X: Tensor
    Y: Tensor
    held: int

    @classmethod
    def of(cls, X: Tensor, Y: Tensor) -> Sides:
        """Return rows (n, d_source) and (m, d_target) in their own axes."""
        return cls(X, Y, min(JUDGES, int(JUDGED * min(len(X), len(Y)))))

    def within(self, stage: Stage) -> Sides:
        """Return the rows, and as many to judge by, in the directions of a stage."""
        X, Y = (Z[:, : stage.directions] for Z in (self.X, self.Y))
        held = min(self.held, stage.rows)
        parts = [torch.cat([Z[: min(stage.rows, len(Z) - self.held)], Z[len(Z) - held :]]) for Z in (X, Y)]
        return Sides(F.normalize(parts[0]), F.normalize(parts[1]), held)

    @property
    def seen(self) -> tuple[Tensor, Tensor]:
        """The rows to fit on."""
        return self.X[: len(self.X) - self.held], self.Y[: len(self.Y) - self.held]

    @property
    def judges(self) -> tuple[Tensor, Tensor]:
        """The rows that are kept for judging, as many of each side."""
        return self.X[len(self.X) - self.held :], self.Y[len(self.Y) - self.held :]


def found(sides: Sides, starts: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Return the map (d_source, d_target) under which both sides come closest, and its margin over the best rival.

    The rival is the closest map that does something else.
    """
    maps = beginnings(sides, starts, generator)
    for stage in STAGES:
        within = sides.within(stage)
        maps = improved(within, padded(maps, within.X.shape[1], within.Y.shape[1]), stage)
        maps = ranked(within, maps)
        is_rival = different(within, maps)
        kept = torch.zeros_like(is_rival)
        kept[: stage.kept] = kept[is_rival.nonzero().flatten()[:1]] = True
        maps, is_rival = maps[kept], is_rival[kept]
    rivals = maps[is_rival]
    return maps[0], margin(within, maps[0], rivals[0] if len(rivals) else None)


def margin(sides: Sides, W: Tensor, rival: Tensor | None) -> float:
    """Return how much closer one map brings both sides than another does, for certain, 0 to 1.

    The mean gain in the cosine of rows to their nearest of the other side, less three standard errors, as a share of
    the possible gain: rows are then as near as those of one space. Without a rival, all that is reached is a gain.
    """
    near = nearest(*sides.judges, W)
    other = torch.zeros_like(near) if rival is None else nearest(*sides.judges, rival)
    gain = near - other
    room = nearest_of_own(*sides.judges).mean() - other.mean()
    certain = gain.mean() - CERTAIN * gain.std() / len(gain) ** 0.5
    return float((certain / room).clamp(0, 1)) if room > 0 else 0.0


def beginnings(sides: Sides, starts: int, generator: torch.Generator) -> Tensor:
    """Return the maps to begin from, square and of few directions: those of matched clusters, and random ones."""
    d = min(STAGES[0].directions or 0, sides.X.shape[1], sides.Y.shape[1])
    X, Y = (F.normalize(Z[:, :d]) for Z in sides.seen)
    noise = torch.randn(RANDOM, d, d, generator=generator)
    return torch.cat([starting_maps(X, Y, starts, generator), polar(noise)])


def padded(maps: Tensor, rows: int, columns: int) -> Tensor:
    """Return maps (s, a, b) for more directions, which they leave out."""
    return F.pad(maps, (0, columns - maps.shape[2], 0, rows - maps.shape[1]))


def improved(sides: Sides, maps: Tensor, stage: Stage) -> Tensor:
    """Return maps (s, d_source, d_target) improved on the rows that may be seen."""
    X, Y = sides.seen
    warm = WARM * len(Y)
    temperatures = cooling(Y, warm, min(stage.cold or warm, warm), stage.rounds)
    return torch.cat([turned(X, Y, part, temperatures) for part in maps.split(TOGETHER)])


def ranked(sides: Sides, maps: Tensor) -> Tensor:
    """Return maps in the order of their closeness, by the rows that are kept for judging, the closest first."""
    close = torch.cat([closeness(*sides.judges, part) for part in maps.split(TOGETHER)])
    return maps[close.argsort(descending=True, stable=True)]


def different(sides: Sides, maps: Tensor) -> Tensor:
    """Return which maps do something else than the first of them, (s,) bool."""
    X, _ = sides.judges
    return torch.cat([agreement(X, part, maps[0]) < DIFFERENT for part in maps.split(TOGETHER)])


def finished(sides: Sides, W: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Return the map improved on all rows, on a new draw of at most so many each round, until it settles."""
    temperature = float(temperature_for(sides.Y[:rows], COLD))
    for _ in range(LAST):
        X, Y = (Z[torch.randperm(len(Z), generator=generator)[:rows]] for Z in (sides.X, sides.Y))
        before, W = W, turned(X, Y, W, [temperature])
        if 1 - float(agreement(X, before[None], W)) < SETTLED:
            break
    return polar(W.double())
