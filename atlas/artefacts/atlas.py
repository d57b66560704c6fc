"""Several alignments into one shared space, alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.artefact import Artefact, OnCard, finite_tensors, made_with
from atlas.artefacts.sketches import sketch_of
from atlas.artefacts.vectors import Vectors, check_ids_meet
from atlas.cards.kinds import AtlasCard, Metric
from atlas.cards.names import slug
from atlas.cards.sketch import Sketch
from atlas.cards.space import Space
from atlas.components.aggregator import Aggregator
from atlas.errors import AtlasError
from atlas.plugins.catalogue import create
from atlas.plugins.provenance import made_by
from atlas.storage.header import TensorFile
from atlas.storage.item_ids import pack_ids, unpack_ids
from atlas.storage.rows import Rows

ITEMS = ("ids", "ids.ends", "ids.text")


@dataclass(frozen=True)
class Atlas(Artefact):
    """Several alignments into one shared space, and the rule that combines them.

    Attributes:
        aggregator: the fitted charts and the rule.
        items: ids of the items it was fitted on, in the order of the aggregator's numbers for them.
        space: the shared space.
        charts: the space each chart maps from, in the order of the aggregator's charts.
        anchors: id of the anchors it was fitted on; '' if it was all items.
        dataset: the data set of the items.
        metrics: its figures.
        evaluation: references to the data of its figures, by role.
    """

    kind = "atlas"
    space = OnCard[Space]()
    charts = OnCard[tuple[Space, ...]]()
    anchors = OnCard[str]()
    metrics = OnCard[tuple[Metric, ...]]()
    evaluation = OnCard[Mapping[str, str]]()

    card: AtlasCard
    aggregator: Aggregator
    items: Sequence[str] = ()

    @classmethod
    def of(
        cls, aggregator: Aggregator, space: Space, charts: Sequence[Space], items: Sequence[str], **fields: Any
    ) -> Atlas:
        """Return an atlas made of a fitted aggregator; `id` and other fields of the card by their names."""
        card = AtlasCard(space=space, charts=tuple(charts), **made_with(aggregator), **fields)
        return cls(card, aggregator, items)

    def chart(self, space: str) -> Alignment:
        """Return the map of one space, by its id, into the shared one; it can be used and saved alone."""
        aligner = self.aggregator.chart(space)
        source = next(chart for chart in self.charts if chart.id == space)
        # A chart reaches the shared space itself only where combining keeps the coordinates.
        shared = (
            self.space
            if aligner.d_target == self.space.dim and not self.aggregator.moves
            else replace(self.space, id=slug(f"{self.space.id}-{space}"), dim=aligner.d_target)
        )
        fields = {name: getattr(self.card, name) for name in ("anchors", "dataset", "license", "fitted_on")}
        counts = dict(zip((chart.id for chart in self.charts), self.card.n_items, strict=False))
        fields["n_pairs"] = counts.get(space, 0)
        fields["parts"] = tuple(replace(part, chart=space) for part in self.as_parts())
        return Alignment.of(aligner, source, shared, slug(f"{self.id}__{space}"), **fields)

    def __call__(self, *views: Vectors) -> Vectors:
        """Combine vectors of several spaces, by item id; an item may be in any number of them.

        Returns:
            Vectors of the shared space: every item that is in at least one view, in the order they first occur.
        """
        if not views:
            raise AtlasError(f"Atlas '{self.id}' needs at least one set of vectors, got none")
        check_ids_meet(*views)
        order = list(dict.fromkeys(item for view in views for item in view.ids))
        row = {item: i for i, item in enumerate(order)}
        known = [chart.id for chart in self.charts]
        widest = max(self.aggregator.chart(name).d_target for name in known)
        rows = torch.zeros(len(order), len(known), widest)
        present = torch.zeros(len(order), len(known), dtype=torch.bool)
        labels = torch.full((len(order),), -1, dtype=torch.int64)
        classes = tuple(dict.fromkeys(name for view in views for name in view.classes))
        for view in views:
            k = self._which(view.space)
            if bool(present[:, k].any()):
                raise AtlasError(f"Atlas '{self.id}' was given vectors of '{known[k]}' twice - join them first")
            index = torch.tensor([row[item] for item in view.ids])
            # Far from zero, float64 vectors would lose their digits as float32.
            X = view.data if view.data.dtype == torch.float64 else view.data.float()
            mapped = self.aggregator.chart(known[k]).transform(X)
            rows[index, k, : mapped.shape[1]] = mapped.float()
            present[index, k] = True
            if view.labels is not None:
                renumber = torch.tensor([*(classes.index(name) for name in view.classes), -1])
                labels[index] = renumber[view.labels]
        combined = self.aggregator.combine(rows, present)
        known_labels = labels if bool((labels >= 0).any()) else None
        named = classes if known_labels is not None else ()
        return Vectors.made(self.space, Rows(combined), order, known_labels, classes=named, dataset=views[0].dataset)

    def __repr__(self) -> str:
        """Return a description of one line."""
        return f"<Atlas '{self.id}': {', '.join(chart.id for chart in self.charts)} to {self.space.dim} dimensions>"

    def add(self, vectors: Vectors) -> Atlas:
        """Return an atlas with one more chart; the others, and the shared space, are untouched.

        Args:
            vectors: of a new space, of items the atlas was fitted on; other items are left out.

        Raises:
            AtlasError: a space that has a chart, or too few of the items for the method.
        """
        number = {item: i for i, item in enumerate(self.items)}
        rows = torch.tensor([i for i, item in enumerate(vectors.ids) if item in number])
        if not len(rows):
            fitted = f"the {len(self.items)} items atlas '{self.id}' was fitted on"
            raise AtlasError(f"Vectors of '{vectors.space.id}' hold none of {fitted} - encode those")
        spaces = [chart.id for chart in self.charts]
        grown = type(self.aggregator).from_config(self.aggregator.config())
        grown.load_state_dict(self.aggregator.state_dict(), spaces)
        items = torch.tensor([number[vectors.ids[i]] for i in rows.tolist()])
        chosen = vectors.take(rows)
        grown.add(vectors.space.id, chosen.data, items)
        fitted_on = self.card.fitted_on and (Sketch.parse(self.card.fitted_on) | Sketch.parse(sketch_of(chosen))).text()
        counted = (*self.card.n_items, len(chosen)) if self.card.n_items else ()
        about: dict[str, Any] = {
            "charts": (*self.charts, vectors.space),
            "n_items": counted,
            "fitted_on": fitted_on,
            "parts": self.as_parts(),
        }
        name = slug(f"{self.id}-{vectors.space.id}"[:96])
        # Figures and words are those of the atlas as it was.
        card = replace(self.card, id=name, metrics=(), evaluation={}, description="", **about)
        return replace(self, card=card, aggregator=grown, origin=("", ""))

    def _which(self, space: Space) -> int:
        for k, chart in enumerate(self.charts):
            if chart.id == space.id or (space.known and chart.matches(space)):
                chart.require(space, f"Atlas '{self.id}' has a chart for", "the vectors")
                return k
        names = ", ".join(chart.id for chart in self.charts)
        raise AtlasError(f"Atlas '{self.id}' has no chart for space '{space.id}' - known: {names}")

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store: those of the charts and of the aggregator, and the ids of the items."""
        return {**self.aggregator.state_dict(), **pack_ids(list(self.items))}

    @classmethod
    def from_card(cls, card: AtlasCard, file: TensorFile) -> Atlas:
        """Return the atlas of a card and its file, which has been checked."""
        state = finite_tensors(file)
        kept = {name: state.pop(name) for name in ITEMS if name in state}
        items = unpack_ids(kept, len(kept.get("ids.ends", kept.get("ids", ()))), str(file.path))
        with made_by(Aggregator, card.aggregator, card.plugin):
            aggregator = create(Aggregator, card.aggregator, card.config)
            aggregator.load_state_dict(state, [chart.id for chart in card.charts])
        return cls(card, aggregator, list(items))
