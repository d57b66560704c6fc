"""What has been fitted, alive: alignments, heads and atlases, each a card and its tensors together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.arrays import check_finite
from atlas.base import Aggregator, Aligner
from atlas.cards import CARD
from atlas.chain import Composed, restored
from atlas.errors import AtlasError, CardError
from atlas.files import MODEL, Rows, load_tensors
from atlas.heads import HEADS, HeadModel
from atlas.hub.mixin import OnHub
from atlas.ids import pack_ids, unpack_ids
from atlas.plugins import create, provider
from atlas.provenance import made_by
from atlas.types import AlignmentCard, AtlasCard, HeadCard, Metric, Space, slug
from atlas.vectors import Vectors

ITEMS = ("ids", "ids.ends", "ids.text")


class Stored(OnHub):
    """What every artefact but vectors can do: be saved to a folder and loaded from one."""

    kind = ""

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the artefact to a folder, whole or not at all."""
        from atlas.artefacts import save

        save(self, folder, overwrite=overwrite)


@dataclass(frozen=True)
class Alignment(Stored):
    """A fitted map from a source space to a target space, and where it came from.

    Attributes:
        source: the space it maps from.
        target: the space it maps to.
        aligner: the fitted map.
        method: name of the aligner that was fitted; it is kept where the map is loaded without its plugin.
        n_pairs: how many pairs of vectors it was fitted on.
        n_unpaired: how many vectors of either side it was fitted on beside these, whose partner it did not know.
        anchors: id of the anchors it was fitted on; '' if it was all pairs.
    """

    id: str
    source: Space
    target: Space
    aligner: Aligner
    method: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    plugin: str = ""
    n_pairs: int = 0
    anchors: str = ""
    dataset: str = ""
    metrics: tuple[Metric, ...] = ()
    license: str = ""
    description: str = ""
    evaluation: Mapping[str, str] = field(default_factory=dict)
    n_unpaired: int = 0

    kind = "alignment"

    @classmethod
    def of(cls, aligner: Aligner, source: Space, target: Space, id: str = "", **fields: Any) -> Alignment:
        """Return an alignment made of a fitted aligner, named after its spaces and method unless it is given an id."""
        return cls(
            id or default_id(source, target, aligner),
            source,
            target,
            aligner,
            aligner.name,
            aligner.config(),
            provider(type(aligner)),
            **fields,
        )

    def __call__(self, X: Any) -> Any:
        """Map a tensor or array (n, d_source) to the same kind of array, or `Vectors` of the source to the target.

        Raises:
            SpaceMismatchError: vectors of another space.
            AtlasError: the wrong width.
        """
        if not isinstance(X, Vectors):
            return self.aligner.transform(X)
        self.source.require(X.space, f"Alignment '{self.id}' maps from", "the vectors")
        return replace(X, space=self.target, rows=Rows(self.aligner.transform(X.data)))

    def inverse(self) -> Alignment:
        """Return the map from the target back to the source."""
        aligner = Composed.of([(self.aligner, True)])
        fields = {name: getattr(self, name) for name in ("n_pairs", "n_unpaired", "anchors", "dataset")}
        made = Alignment.of(aligner, self.target, self.source, **fields, license=self.license)
        return replace(made, id=slug(f"{self.target.id}__{self.source.id}__{self.method}-inverse"))

    def card(self, **stored: Any) -> AlignmentCard:
        """Return the card."""
        return AlignmentCard(
            id=self.id,
            source=self.source,
            target=self.target,
            aligner=self.method,
            config=dict(self.config),
            plugin=self.plugin,
            n_pairs=self.n_pairs,
            n_unpaired=self.n_unpaired,
            anchors=self.anchors,
            dataset=self.dataset,
            metrics=self.metrics,
            license=self.license,
            description=self.description,
            evaluation=dict(self.evaluation),
            **stored,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        return self.aligner.state_dict()

    @classmethod
    def from_card(cls, card: AlignmentCard, folder: Path) -> Alignment:
        """Return the alignment of an artefact's folder, whose file has been checked."""
        aligner = restored(card.aligner, card.config, _finite(load_tensors(folder / MODEL), folder), card.plugin)
        if (aligner.d_source, aligner.d_target) != (card.source.dim, card.target.dim):
            raise CardError(
                f"{folder}: the tensors map {aligner.d_source} to {aligner.d_target} dimensions, "
                f"the card says {card.source.dim} to {card.target.dim}"
            )
        return cls(
            card.id,
            card.source,
            card.target,
            aligner,
            card.aligner,
            card.config,
            card.plugin,
            card.n_pairs,
            card.anchors,
            card.dataset,
            card.metrics,
            card.license,
            card.description,
            card.evaluation,
            card.n_unpaired,
        )


def default_id(source: Space, target: Space, aligner: Aligner) -> str:
    """Return 'source__target__method', cut to what an id may be."""
    name = f"{source.id}__{target.id}__{aligner.name}"
    return name if len(name) <= 96 else slug(name[:96])


@dataclass(frozen=True)
class Head(Stored):
    """What reads vectors of one space: a classifier, a regressor or a decoder.

    Attributes:
        space: whose vectors it reads.
        model: the fitted head.
        classes: names of the classes, in the order of the columns of its scores; none for regressors and decoders.
    """

    id: str
    space: Space
    model: HeadModel
    classes: tuple[str, ...] = ()
    dataset: str = ""
    metrics: tuple[Metric, ...] = ()
    license: str = ""
    description: str = ""
    evaluation: Mapping[str, str] = field(default_factory=dict)

    kind = "head"

    def __call__(self, X: Any) -> Tensor:
        """Return the scores (n, classes), or what a regressor or decoder says, of a tensor, an array or `Vectors`."""
        return self.model.scores(self._read(X))

    def predict(self, X: Any) -> Tensor:
        """Return the number of the class of each row, (n,) int64."""
        return self.model.predict(self._read(X))

    def _read(self, X: Any) -> Any:
        if not isinstance(X, Vectors):
            return X
        self.space.require(X.space, f"Head '{self.id}' reads", "the vectors")
        return X.data

    def card(self, **stored: Any) -> HeadCard:
        """Return the card."""
        return HeadCard(
            id=self.id,
            space=self.space,
            head=self.model.name,
            config=self.model.config(),
            classes=self.classes,
            dataset=self.dataset,
            metrics=self.metrics,
            license=self.license,
            description=self.description,
            evaluation=dict(self.evaluation),
            **stored,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        return self.model.state_dict()

    @classmethod
    def from_card(cls, card: HeadCard, folder: Path) -> Head:
        """Return the head of an artefact's folder, whose file has been checked."""
        if card.head not in HEADS:
            raise CardError(f"{folder / CARD}: unknown head '{card.head}' - known: {', '.join(sorted(HEADS))}")
        model = HEADS[card.head].from_config(card.config)
        model.load_state_dict(_finite(load_tensors(folder / MODEL), folder))
        about = (card.metrics, card.license, card.description, card.evaluation)
        return cls(card.id, card.space, model, card.classes, card.dataset, *about)


@dataclass(frozen=True)
class Atlas(Stored):
    """Several alignments into one shared space, and the rule that combines them.

    Attributes:
        space: the shared space.
        charts: the space each chart maps from, in the order of the aggregator's charts.
        aggregator: the fitted charts and the rule.
        items: ids of the items it was fitted on, in the order of the aggregator's numbers for them.
    """

    id: str
    space: Space
    charts: tuple[Space, ...]
    aggregator: Aggregator
    items: Sequence[str] = ()
    anchors: str = ""
    dataset: str = ""
    metrics: tuple[Metric, ...] = ()
    license: str = ""
    description: str = ""
    evaluation: Mapping[str, str] = field(default_factory=dict)

    kind = "atlas"

    def chart(self, space: str) -> Alignment:
        """Return the map of one space, by its id, into the shared one; it can be used and saved alone."""
        aligner = self.aggregator.chart(space)
        source = next(chart for chart in self.charts if chart.id == space)
        # A chart reaches the shared space itself only where combining keeps the coordinates.
        shared = (
            self.space
            if aligner.d_target == self.space.dim
            else replace(self.space, id=slug(f"{self.space.id}-{space}"), dim=aligner.d_target)
        )
        return Alignment.of(aligner, source, shared, slug(f"{self.id}__{space}"), anchors=self.anchors)

    def __call__(self, *views: Vectors) -> Vectors:
        """Combine vectors of several spaces, by item id; an item may be in any number of them.

        Returns:
            Vectors of the shared space: every item that is in at least one view, in the order they first occur.
        """
        if not views:
            raise AtlasError(f"Atlas '{self.id}' needs at least one set of vectors, got none")
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
            mapped = self.aggregator.chart(known[k]).transform(view.data.float())
            rows[index, k, : mapped.shape[1]] = mapped
            present[index, k] = True
            if view.labels is not None:
                renumber = torch.tensor([*(classes.index(name) for name in view.classes), -1])
                labels[index] = renumber[view.labels]
        combined = self.aggregator.combine(rows, present)
        known_labels = labels if bool((labels >= 0).any()) else None
        dataset = views[0].dataset
        return Vectors(
            self.space, Rows(combined), order, known_labels, classes if known_labels is not None else (), dataset
        )

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
        grown.add(vectors.space.id, vectors.data[rows], items)
        return replace(self, charts=(*self.charts, vectors.space), aggregator=grown)

    def _which(self, space: Space) -> int:
        for k, chart in enumerate(self.charts):
            if chart.id == space.id or (space.known and chart.matches(space)):
                chart.require(space, f"Atlas '{self.id}' has a chart for", "the vectors")
                return k
        names = ", ".join(chart.id for chart in self.charts)
        raise AtlasError(f"Atlas '{self.id}' has no chart for space '{space.id}' - known: {names}")

    def card(self, **stored: Any) -> AtlasCard:
        """Return the card."""
        return AtlasCard(
            id=self.id,
            space=self.space,
            charts=self.charts,
            aggregator=self.aggregator.name,
            config=self.aggregator.config(),
            plugin=provider(type(self.aggregator)),
            anchors=self.anchors,
            dataset=self.dataset,
            metrics=self.metrics,
            license=self.license,
            description=self.description,
            evaluation=dict(self.evaluation),
            **stored,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store: those of the charts and of the aggregator, and the ids of the items."""
        return {**self.aggregator.state_dict(), **pack_ids(list(self.items))}

    @classmethod
    def from_card(cls, card: AtlasCard, folder: Path) -> Atlas:
        """Return the atlas of an artefact's folder, whose file has been checked."""
        state = _finite(load_tensors(folder / MODEL), folder)
        kept = {name: state.pop(name) for name in ITEMS if name in state}
        items = unpack_ids(kept, len(kept.get("ids.ends", kept.get("ids", ()))), str(folder / MODEL))
        with made_by(Aggregator, card.aggregator, card.plugin):
            aggregator = create(Aggregator, card.aggregator, card.config)
            aggregator.load_state_dict(state, [chart.id for chart in card.charts])
        return cls(
            card.id,
            card.space,
            card.charts,
            aggregator,
            list(items),
            card.anchors,
            card.dataset,
            card.metrics,
            card.license,
            card.description,
            card.evaluation,
        )


def _finite(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            check_finite(tensor.reshape(len(tensor) if tensor.ndim else 1, -1), f"{folder / MODEL}: tensor '{name}'")
    return tensors
