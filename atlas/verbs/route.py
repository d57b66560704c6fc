"""A map from one space to another, made of maps that are published."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.artefact import Artefact
from atlas.artefacts.loading import load
from atlas.cards.folder import read_card
from atlas.cards.kinds import Metric
from atlas.cards.space import Space
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, NotFoundError
from atlas.hub.pulling import locate
from atlas.routes.edges import R2, Edge, edges, here, node, there
from atlas.routes.paths import Graph, Route
from atlas.verbs.compose import compose

SpaceLike: TypeAlias = Space | Encoder | Artefact | str | Path


def route(
    source: SpaceLike,
    target: SpaceLike,
    *,
    hub: bool = False,
    metric: str = R2,
    dataset: str = "",
    id: str = "",
    token: str | bool | None = None,
) -> Alignment:
    """Find the best way from one space to another over published maps, and return it as one alignment.

    Maps, the maps of atlases, and both run backwards are followed, spaces matched by fingerprint. What a route keeps is
    estimated from the held-out figures of the cards, before anything is applied.

    Args:
        source: the space to map from: its id, or where vectors or an encoder of it are.
        target: the space to map to.
        hub: look on the Hub, too, not only in the registry.
        metric: the figure on the cards to go by, one that is 1 at best, such as r2 or recall@10.
        dataset: go by figures of this data set alone; '': the best of each card.
        id: id of the alignment; by default made of its spaces.
        token: None for the one you are logged in with.

    Raises:
        NotFoundError: no such space, or no maps lead from one to the other.
    """
    return followed(find_route(source, target, hub=hub, metric=metric, dataset=dataset, token=token), metric, id)[1]


def find_route(source: SpaceLike, target: SpaceLike, *, hub: bool = False, **how: Any) -> tuple[Route, Graph]:
    """Return the best route, and the graph it was found in; arguments as for `route`."""
    token = how.pop("token", None)
    found = [*edges(here(), **how), *(edges(there(token), **how) if hub else ())]
    graph = Graph(found)
    return graph.best(space_of(source, found), space_of(target, found)), graph


def space_of(given: SpaceLike, graph: Iterable[Edge]) -> Space:
    """Return the space that is meant: by its id in a graph, or that of vectors, an encoder or another artefact."""
    if isinstance(given, Space):
        return given
    if isinstance(given, Encoder):
        return given.space()
    if isinstance(given, Artefact):
        return _of_card(given.card)
    known = [space for edge in graph for space in (edge.source, edge.target)]
    named = {node(space): space for space in known if space.id == str(given)}
    if len(named) > 1:
        raise AtlasError(f"'{given}' is the id of {len(named)} spaces - give the folder of vectors of the one you mean")
    if named:
        return next(iter(named.values()))
    try:
        return _of_card(read_card(locate(given, ["space", "vectors", "head"], tensors=False)))
    except NotFoundError:
        near = difflib.get_close_matches(str(given), [space.id for space in known], n=1)
        hint = f"did you mean '{near[0]}'?" if near else "give its id, or where vectors of it are"
        raise NotFoundError(f"No map is from or to a space '{given}' - {hint}") from None


def _of_card(card: Any) -> Space:
    if not isinstance(space := getattr(card, "space", None), Space):
        raise AtlasError(f"'{card.id}' is of kind {card.kind} - give the id of a space, or vectors of it")
    return space


def followed(found: tuple[Route, Graph], metric: str = R2, id: str = "") -> tuple[Route, Alignment]:
    """Return a route as one alignment; where a map of it cannot be run backwards, the best route without that."""
    chosen, graph = found
    without: list[Edge] = []
    while True:
        parts = []
        for edge in chosen.edges:
            try:
                parts.append(_alignment(edge))
            except NotFoundError:
                raise
            except AtlasError:
                if not edge.inverse:
                    raise
                without.append(edge)
                break
        else:
            return chosen, _composed(chosen, parts, metric, id)
        chosen = graph.best(chosen.edges[0].source, chosen.edges[-1].target, without)


def _alignment(edge: Edge) -> Alignment:
    found = load(edge.ref, (edge.card.kind,))
    alignment = found.chart(edge.chart) if edge.chart else found
    return alignment.inverse() if edge.inverse else alignment


def _composed(chosen: Route, parts: Sequence[Alignment], metric: str, id: str) -> Alignment:
    datasets = {one.dataset for edge in chosen.edges for one in getattr(edge.card, "metrics", ()) if one.name == metric}
    dataset = datasets.pop() if len(datasets) == 1 else ""
    estimated = () if chosen.keeps is None else (Metric(f"estimated {metric}", chosen.keeps, dataset=dataset),)
    return compose(*parts, id=id).with_card(metrics=estimated)
