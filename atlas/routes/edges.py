"""The edges of the graph: maps, and the charts of atlases, each forwards and backwards, as their cards tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.cards.kinds import AlignmentCard, AtlasCard, Card, best
from atlas.cards.space import Space
from atlas.hub.searching import readable, search
from atlas.storage.registry import Registry

# The figure for which `backwards` knows how much a map run backwards keeps.
R2 = "r2"


@dataclass(frozen=True)
class Edge:
    """A way from one space to another.

    Attributes:
        source: the space it leads from.
        target: the space it leads to.
        ref: where the artefact is: a folder, or a reference to the Hub.
        card: that of the artefact.
        chart: id of the space whose map of an atlas it is; '' for an alignment.
        inverse: whether the map is run backwards.
        keeps: the figure that is expected, 1 for all and 0 for nothing; None where nothing held-out was measured.
    """

    source: Space
    target: Space
    ref: str | Path
    card: Card
    chart: str = ""
    inverse: bool = False
    keeps: float | None = None

    @property
    def name(self) -> str:
        """The edge's name in a sentence."""
        name = f"{self.card.id}, chart {self.chart}" if self.chart else self.card.id
        return f"{name}, backwards" if self.inverse else name


def node(space: Space) -> str:
    """Return the key that is equal for two spaces if they are one: the fingerprint, else id and dimension."""
    return space.fingerprint or f"{space.id} {space.dim}"


def edges(cards: Iterable[tuple[Card, str | Path]], metric: str = R2, dataset: str = "") -> Iterator[Edge]:
    """Yield the edges of cards.

    Args:
        cards: each with where its artefact is; of other kinds than alignments and atlases, none is yielded.
        metric: the figure to go by.
        dataset: count figures of this data set alone; '': the best of any.
    """
    for card, ref in cards:
        if isinstance(card, AlignmentCard):
            yield from _both(Edge(card.source, card.target, ref, card), metric, dataset)
        elif isinstance(card, AtlasCard):
            for chart in card.charts:
                yield from _both(Edge(chart, card.space, ref, card, chart=chart.id), metric, dataset)


def _both(edge: Edge, metric: str, dataset: str) -> Iterator[Edge]:
    keeps = kept(edge, metric, dataset)
    yield Edge(edge.source, edge.target, edge.ref, edge.card, edge.chart, False, keeps)
    back = backwards(keeps) if metric == R2 else keeps
    yield Edge(edge.target, edge.source, edge.ref, edge.card, edge.chart, True, back)


def kept(edge: Edge, metric: str, dataset: str = "") -> float | None:
    """Return a figure of held-out items that a card has, from 0 to 1; that of a chart is of its space as a split."""
    metrics = [one for one in getattr(edge.card, "metrics", ()) if not dataset or one.dataset == dataset]
    figure = best([one for one in metrics if not edge.chart or one.split == edge.chart], metric)
    # A figure of items that were fitted on promises nothing.
    return None if figure is None or not figure.held_out else min(1.0, max(0.0, figure.value))


def backwards(keeps: float | None) -> float | None:
    """Return the R² of a map run backwards: the part it missed is an error then, as large beside the part it kept."""
    return keeps and max(0.0, 2 - 1 / keeps)


def here() -> Iterator[tuple[Card, str | Path]]:
    """Yield the cards of the registries, and where their artefacts are."""
    for entry in Registry().entries():
        yield entry.card, entry.folder


def there(token: str | bool | None = None) -> Iterator[tuple[Card, str | Path]]:
    """Yield the cards of the maps, atlases, moments and anchors on the Hub; unreadable ones are left out."""
    for kind in ("alignment", "atlas", "moments", "anchors"):
        for _, pulled in readable(search(kind=kind, token=token), token):
            yield pulled.card, pulled.pinned
