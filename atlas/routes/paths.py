"""The best way through the graph of spaces."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.cards.kinds import Card
from atlas.cards.space import Space
from atlas.errors import AtlasError, NotFoundError
from atlas.routes.edges import R2, Edge, node
from atlas.routes.noise import ADDED, FIRST, Noise, figure_of, noise_of

# The cost of an edge of which nothing is known, or that keeps nothing: more than any known way.
UNKNOWN = 1e6


@dataclass(frozen=True)
class Route:
    """Edges from one space to another, each from where the one before it leads to.

    Attributes:
        edges: in order.
        keeps: the figure that is expected of the whole; None where that of an edge is not known.
        told_by: the ground of the expectation.
    """

    edges: tuple[Edge, ...]
    keeps: float | None
    told_by: str = "the figures on the cards"


class Graph:
    """Spaces and the edges between them.

    Attributes:
        cards: of all that the edges are of, each with where it is, and of moments.
        metric: the figure that the edges keep.
        noise: the estimates of the spaces.
        leaving: the edges from each space.
    """

    def __init__(self, edges: Sequence[Edge], cards: Sequence[tuple[Card, str | Path]] = (), metric: str = R2) -> None:
        self.cards, self.metric = cards, metric
        self.noise = Noise.of(edges, metric)
        self.leaving: dict[str, list[Edge]] = {}
        for edge in edges:
            self.leaving.setdefault(node(edge.source), []).append(edge)

    def cost(self, edge: Edge, first: bool, last: bool) -> float:
        """Return the noise that an edge adds to that of a good map between the ends of a route."""
        if not edge.keeps:
            return UNKNOWN
        noise = noise_of(edge.keeps, self.metric)
        excess = max(0.0, noise - self.noise.between(node(edge.source), node(edge.target)))
        if first and last:
            return excess
        return excess + ADDED * noise * (FIRST if first else 1)

    def keeps(self, edges: Sequence[Edge]) -> float | None:
        """Return the figure that is expected of edges after one another; None where that of one is not known."""
        if any(edge.keeps is None for edge in edges):
            return None
        if len(edges) == 1 or not all(edge.keeps for edge in edges):
            return min(edge.keeps or 0.0 for edge in edges)
        added = sum(self.cost(edge, edge is edges[0], edge is edges[-1]) for edge in edges)
        return figure_of(self.noise.between(node(edges[0].source), node(edges[-1].target)) + added, self.metric)

    def best(self, source: Space, target: Space, without: Collection[Edge] = ()) -> Route:
        """Return the route that is expected to keep most; of as good ones, one of few edges.

        Args:
            source: where to begin.
            target: where to end.
            without: edges that cannot be used.

        Raises:
            NotFoundError: no edges lead from one to the other.
            AtlasError: both are one.
        """
        begin, end = node(source), node(target)
        if begin == end:
            raise AtlasError(f"'{source.id}' and '{target.id}' are the same space - no map is needed")
        order = itertools.count()
        ways: list[tuple[float, int, int, str, tuple[Edge, ...]]] = [(0.0, 0, next(order), begin, ())]
        done = set()
        while ways:
            length, _, _, at, way = heapq.heappop(ways)
            if at == end:
                return Route(way, self.keeps(way))
            if at in done:
                continue
            done.add(at)
            for edge in self.leaving.get(at, []):
                if edge not in without:
                    onwards, longer = node(edge.target), (*way, edge)
                    far = length + self.cost(edge, at == begin, onwards == end)
                    heapq.heappush(ways, (far, len(longer), next(order), onwards, longer))
        raise NotFoundError(f"No maps lead from '{source.id}' to '{target.id}' - fit one")
