"""How much of each space maps keep, on average over the other spaces, estimated from the figures of maps.

Part of a space is predictable from no other, and part of the shared information is lost in it. So the figure of a map
from S to T is nearly `tells[S] * told[T]`. The losses at its ends count once in a route, not at every stop: a stop B
keeps `1 - (1 - tells[B]) ** 2`, the share that a map fitted on vectors of B keeps of vectors mapped there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atlas.routes.edges import Edge, node

# How often the fit is improved, how hard a map pulls that is far worse than its spaces allow, and how hard the shares
# are bounded by the best map of each space: where maps are few, any figures can be explained by shares.
ROUNDS, MOST, HELD = 200, 0.05, 0.1


@dataclass(frozen=True)
class Shares:
    """Logarithms of the share that each space predicts of others, and that others predict of it, by `node`."""

    tells: dict[str, float]
    told: dict[str, float]

    @classmethod
    def of(cls, edges: Sequence[Edge]) -> Shares:
        """Return the shares that explain the measured figures best."""
        known = [(node(e.source), node(e.target), math.log(e.keeps)) for e in edges if e.keeps and not e.inverse]
        sides = [_by_space((str(edge[end]), i) for i, edge in enumerate(known)) for end in (0, 1)]
        first = [{name: max(known[i][2] for i in rows) / 2 for name, rows in side.items()} for side in sides]
        tells, told = (dict(shares) for shares in first)
        for _ in range(ROUNDS):
            rest = [max(-MOST, found - tells[source] - told[target]) for source, target, found in known]
            for shares, start, side in zip((tells, told), first, sides, strict=True):
                for name, rows in side.items():
                    # Half of the missing part to each side, so that neither gets more than the other.
                    better = shares[name] + sum(rest[i] for i in rows) / len(rows) / 2
                    shares[name] = better + HELD * (start[name] - better)
        return cls(tells, told)

    def lost(self, edge: Edge) -> float:
        """Return the loss of an edge beyond that of any map between its spaces, as minus a logarithm."""
        assert edge.keeps
        ends = self.tells.get(node(edge.source), 0.0) + self.told.get(node(edge.target), 0.0)
        return max(0.0, ends - math.log(edge.keeps))

    def stop(self, at: str) -> float:
        """Return the loss where a route goes on from a space, as minus a logarithm."""
        missing = 1 - math.exp(self.tells.get(at, 0.0))
        return -math.log(max(1e-9, 1 - missing * missing))


def _by_space(ends: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, i in ends:
        found.setdefault(name, []).append(i)
    return found
