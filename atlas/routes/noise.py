"""The noise of maps, estimated from their figures: it adds up along a route, which figures do not.

R² is turned into the ratio of error to explained variance. Another figure, a share of items that are right, is taken
for the chance that normal noise stays within a margin of 1. Part of a space is predictable from no other, so that the
noise of a good map from S to T is near `source[S] + target[T]`. It counts once in a route: a map on the way that is as
good as its spaces allow adds a fifth of its noise, the first one a tenth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from atlas.routes.edges import R2, Edge, node

# The part of its noise that a map on the way adds, and of that the part that the first map adds.
ADDED, FIRST = 0.2, 0.5
# A map with more noise than this many times that of its spaces is worse than they allow.
ALLOWED = 1.25
# How often the estimates are improved, how much worse a map is than expected where it pulls hardest, beyond which it
# pulls ever less, and how hard the estimates are bounded by the best map of each space: where maps are few, they can
# explain any figures.
ROUNDS, MOST, HELD = 200, 0.5, 0.1
NORMAL = NormalDist()


def noise_of(figure: float, metric: str = R2) -> float:
    """Return the noise of a map with a figure above 0 and up to 1."""
    figure = min(figure, 1 - 1e-9)
    return 1 / figure - 1 if metric == R2 else 1 / NORMAL.inv_cdf((1 + figure) / 2)


def figure_of(noise: float, metric: str = R2) -> float:
    """Return the figure of a map with some noise."""
    return 1 / (1 + noise) if metric == R2 else math.erf(1 / noise / math.sqrt(2))


@dataclass(frozen=True)
class Noise:
    """Estimates of noise.

    Attributes:
        source: the noise of maps from each space, by `node`.
        target: the noise of maps to each space.
        least: that of the best measured map between two spaces, by source and target.
    """

    source: dict[str, float]
    target: dict[str, float]
    least: dict[tuple[str, str], float]

    @classmethod
    def of(cls, edges: Sequence[Edge], metric: str = R2) -> Noise:
        """Return the estimates that explain the measured figures best."""
        known = [
            (node(e.source), node(e.target), noise_of(e.keeps, metric)) for e in edges if e.keeps and not e.inverse
        ]
        least: dict[tuple[str, str], float] = {}
        for begin, end, noise in known:
            least[begin, end] = min(noise, least.get((begin, end), noise))
        sides = [_by_space((str(edge[end]), i) for i, edge in enumerate(known)) for end in (0, 1)]
        first = [{name: min(known[i][2] for i in rows) / 2 for name, rows in side.items()} for side in sides]
        source, target = (dict(noise) for noise in first)
        for _ in range(ROUNDS):
            expected = [source[begin] + target[end] for begin, end, _ in known]
            rest = [e * _pull(noise / e - 1) for e, (_, _, noise) in zip(expected, known, strict=True)]
            for noises, start, side in zip((source, target), first, sides, strict=True):
                for name, rows in side.items():
                    # Half of the missing part to each side, so that neither gets more than the other.
                    # Never less than none, as beside maps that are far better or worse than each other.
                    better = max(0.0, noises[name] + sum(rest[i] for i in rows) / len(rows) / 2)
                    noises[name] = better + HELD * (start[name] - better)
        return cls(source, target, least)

    def between(self, begin: str, end: str) -> float:
        """Return the noise of a good map between two spaces: that of the best one, if it is as good as they allow."""
        expected = self.source.get(begin, 0.0) + self.target.get(end, 0.0)
        found = self.least.get((begin, end))
        return expected if found is None else min(found, ALLOWED * expected)


def _pull(worse: float) -> float:
    return worse if worse < MOST else MOST * MOST / worse


def _by_space(ends: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, i in ends:
        found.setdefault(name, []).append(i)
    return found
