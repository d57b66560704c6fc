"""The graph of spaces and maps as an SVG picture, and the best route between every two of them."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlas.cards.space import Space
from atlas.errors import AtlasError
from atlas.routes.edges import Edge, node
from atlas.routes.paths import Graph, Route

# The routes between so many spaces are told; those of more are for the command.
MOST = 60
SIZE, RING = 720, 270


@dataclass(frozen=True)
class Node:
    """A space, and where it is drawn."""

    space: Space
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """A map, as a curve from one space to another that is the thicker the more it keeps."""

    edge: Edge
    key: str
    path: str
    width: float


@dataclass(frozen=True)
class Way:
    """The best route between two spaces, and the keys of the lines that it goes over."""

    source: Space
    target: Space
    route: Route
    lines: str


def nodes(edges: Sequence[Edge]) -> dict[str, Node]:
    """Return every space that a map is from or to, on a ring, by its `node`."""
    spaces = {node(space): space for edge in edges for space in (edge.source, edge.target)}
    ordered = sorted(spaces.items(), key=lambda item: (item[1].id, item[0]))
    turn = 2 * math.pi / max(1, len(ordered))
    return {
        key: Node(space, SIZE / 2 + RING * math.sin(i * turn), SIZE / 2 - RING * math.cos(i * turn))
        for i, (key, space) in enumerate(ordered)
    }


def lines(edges: Sequence[Edge], places: Mapping[str, Node]) -> list[Line]:
    """Return the maps as curves; one that is run backwards is the same curve."""
    found = []
    for i, edge in enumerate(one for one in edges if not one.inverse):
        a, b = places[node(edge.source)], places[node(edge.target)]
        # Bent to one side, so that a map there and one back are two curves.
        bent = (a.x + b.x) / 2 - (b.y - a.y) * 0.12, (a.y + b.y) / 2 + (b.x - a.x) * 0.12
        path = f"M{a.x:.1f} {a.y:.1f} Q{bent[0]:.1f} {bent[1]:.1f} {b.x:.1f} {b.y:.1f}"
        found.append(Line(edge, f"line-{i}", path, 1 + 7 * (edge.keeps or 0)))
    return found


def ways(edges: Sequence[Edge], places: Mapping[str, Node], drawn: Sequence[Line]) -> list[Way]:
    """Return the best route between every two spaces, as far as there is one."""
    if len(places) > MOST:
        return []
    graph = Graph(edges)
    key = {(str(line.edge.ref), line.edge.chart): line.key for line in drawn}
    found = []
    for a, b in itertools.permutations(places.values(), 2):
        with contextlib.suppress(AtlasError):
            route = graph.best(a.space, b.space)
            over = " ".join(key[str(edge.ref), edge.chart] for edge in route.edges)
            found.append(Way(a.space, b.space, route, over))
    return found
