"""The best way between two spaces over published maps, as one alignment."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.artefact import Artefact
from atlas.artefacts.loading import load
from atlas.artefacts.moments import Moments
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import read_card
from atlas.cards.kinds import AlignmentCard, AnchorsCard, Metric, MomentsCard
from atlas.cards.names import current
from atlas.cards.space import Space
from atlas.components.encoder import Encoder
from atlas.components.linear import LinearAligner
from atlas.errors import AtlasError, NotFoundError
from atlas.hub.pulling import locate
from atlas.numerics.moments import Moments as Sums
from atlas.routes.edges import R2, Edge, edges, here, node, there
from atlas.routes.paths import Graph, Route
from atlas.verbs.compose import compose
from atlas.verbs.evaluate import evaluate
from atlas.verbs.parameters.arguments import moments_of

# Fewer anchors predict no figure.
LEAST = 100

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

    Maps, the maps of atlases, and both run backwards are followed, spaces matched by fingerprint. The share it keeps is
    estimated before anything is applied: from the held-out figures of the cards, and, where moments of its two ends are
    published and its maps are affine, from these, which is exact for data like theirs. A route of several maps whose
    ends share published anchors is tried on those.

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
    cards = [*here(), *(there(token) if hub else ())]
    found = [*edges(cards, **how)]
    graph = Graph(found, cards, how.get("metric", R2))
    begin, end = space_of(source, found), space_of(target, found)
    try:
        return graph.best(begin, end), graph
    except NotFoundError as error:
        elsewhere = "" if hub else ", or look on the Hub: --hub (hub=True)"
        raise NotFoundError(f"{error}{elsewhere}") from None


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
            chosen, made = _judged(chosen, compose(*parts, id=id), graph, metric)
            return chosen, _described(chosen, made, metric)
        chosen = graph.best(chosen.edges[0].source, chosen.edges[-1].target, without)


def _alignment(edge: Edge) -> Alignment:
    found = load(edge.ref, (edge.card.kind,))
    alignment = found.chart(edge.chart) if edge.chart else found
    return alignment.inverse() if edge.inverse else alignment


def moments_between(chosen: Route, graph: Graph) -> Moments | None:
    """Return moments of the two ends of a route, of as many pairs as there are; None where none are published."""
    begin, end = node(chosen.edges[0].source), node(chosen.edges[-1].target)
    named = [
        (getattr(card, "n", 0) or getattr(card, "n_pairs", 0), ref)
        for card, ref in graph.cards
        if isinstance(card, (AlignmentCard, MomentsCard)) and {node(card.source), node(card.target)} == {begin, end}
    ]
    for _, ref in sorted(named, key=lambda one: -one[0]):
        with contextlib.suppress(AtlasError):
            found = moments_of(ref)
            return found if node(found.source) == begin else found.reversed().with_card(id=found.id)
    return None


def _judged(chosen: Route, made: Alignment, graph: Graph, metric: str) -> tuple[Route, Alignment]:
    """Predict the figure of a route of affine maps from moments of its ends, or of several maps from anchors in both.

    Both are exact on data like theirs.
    """
    if metric == R2 and isinstance(made.aligner, LinearAligner) and (found := moments_between(chosen, graph)):
        weight, bias = (made.aligner.state[name].double() for name in ("weight", "bias"))
        keeps = explained(found.sums, weight, bias)
        chosen = replace(chosen, keeps=keeps, told_by=f"moments '{found.id}' of {found.n:,} pairs")
    elif len(chosen.edges) > 1 and (shared := anchors_between(chosen, graph)):
        id, source, target = shared
        [figure] = evaluate(made, source=source, target=target, metrics=[scaled(metric, len(source), _counted(chosen))])
        fitted = f", of which about {figure.overlap:,} were fitted on" if figure.overlap else ""
        told_by = f"{figure.name} of the {len(source):,} anchors '{id}'{fitted}"
        chosen = replace(chosen, keeps=figure.value, told_by=told_by)
    return chosen, made


def anchors_between(chosen: Route, graph: Graph) -> tuple[str, Vectors, Vectors] | None:
    """Return the id of the most anchors that are published in both ends of a route, and their vectors; None: of none.

    Fewer than `LEAST` tell too little.
    """
    ends = [node(chosen.edges[0].source), node(chosen.edges[-1].target)]
    named = [(card, ref) for card, ref in graph.cards if isinstance(card, AnchorsCard) and card.n >= LEAST]
    for card, ref in sorted(named, key=lambda one: -one[0].n):
        known = {node(space): space.id for space in card.spaces}
        if all(end in known for end in ends):
            with contextlib.suppress(AtlasError):
                found = load(ref, "anchors")
                return card.id, *(found.vectors(known[end]) for end in ends)
    return None


def scaled(metric: str, n: int, of: int) -> str:
    """Return a metric for n items that is as hard as it is for more of them: @1 of 256 for @10 of 3,080."""
    name, at, k = metric.partition("@")
    return f"{name}@{max(1, round(int(k) * n / of))}" if at and of > n else metric


def _counted(chosen: Route) -> int:
    """Return how many items the figures on the cards of a route are of, at most."""
    return max((one.n or 0 for edge in chosen.edges for one in getattr(edge.card, "metrics", ())), default=0)


def explained(m: Sums, weight: Tensor, bias: Tensor) -> float:
    """Return R² of Y ≈ X @ weight + bias over the rows of moments."""
    missed = m.ssy.sum() - 2 * (weight * m.get("xy")).sum() + (weight * (m.get("xx") @ weight)).sum()
    missed = missed + m.n * (m.mean_x @ weight + bias - m.mean_y).square().sum()
    return float(1 - missed / m.ssy.sum())


def _described(chosen: Route, made: Alignment, metric: str) -> Alignment:
    datasets = {
        one.dataset for edge in chosen.edges for one in getattr(edge.card, "metrics", ()) if one.name == current(metric)
    }
    dataset = datasets.pop() if len(datasets) == 1 else ""
    estimated = () if chosen.keeps is None else (Metric(f"estimated {metric}", chosen.keeps, dataset=dataset),)
    return made.with_card(metrics=estimated)
