"""The things Atlas stores, alive: a card and its tensors together, saved, loaded and used."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from atlas.anchors import Anchors
from atlas.arrays import check_finite
from atlas.bare import read_bare, vectors_from
from atlas.base import Aggregator, Aligner, Encoder
from atlas.cards import BARE, CARD, dump_card, read_card
from atlas.chain import Composed, restored
from atlas.errors import AtlasError, CardError
from atlas.files import MODEL, Rows, check_target, load_tensors, save_tensors, sha256_file, whole_folder
from atlas.heads import HEADS, HeadModel
from atlas.hub import locate
from atlas.hub.mixin import OnHub
from atlas.plugins import create, provider
from atlas.provenance import made_by
from atlas.registry import check_file
from atlas.types import AlignmentCard, AtlasCard, Card, HeadCard, Metric, Space, SpaceCard, slug
from atlas.vectors import Vectors

A = TypeVar("A")


class Stored(OnHub):
    """What every artefact but vectors can do: be saved to a folder and loaded from one."""

    kind = ""

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the artefact to a folder, whole or not at all."""
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
        fields: dict[str, Any] = {"n_pairs": self.n_pairs, "anchors": self.anchors, "dataset": self.dataset}
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
        return cls(card.id, card.space, model, card.classes, card.dataset, card.metrics, card.license, card.description)


@dataclass(frozen=True)
class Atlas(Stored):
    """Several alignments into one shared space, and the rule that combines them.

    Attributes:
        space: the shared space.
        charts: the space each chart maps from, in the order of the aggregator's charts.
        aggregator: the fitted charts and the rule.
    """

    id: str
    space: Space
    charts: tuple[Space, ...]
    aggregator: Aggregator
    anchors: str = ""
    dataset: str = ""
    metrics: tuple[Metric, ...] = ()
    license: str = ""
    description: str = ""

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
            **stored,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        return self.aggregator.state_dict()

    @classmethod
    def from_card(cls, card: AtlasCard, folder: Path) -> Atlas:
        """Return the atlas of an artefact's folder, whose file has been checked."""
        state = _finite(load_tensors(folder / MODEL), folder)
        with made_by(Aggregator, card.aggregator, card.plugin):
            aggregator = create(Aggregator, card.aggregator, card.config)
            aggregator.load_state_dict(state, [chart.id for chart in card.charts])
        return cls(
            card.id,
            card.space,
            card.charts,
            aggregator,
            card.anchors,
            card.dataset,
            card.metrics,
            card.license,
            card.description,
        )


def _finite(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            check_finite(tensor.reshape(len(tensor) if tensor.ndim else 1, -1), f"{folder / MODEL}: tensor '{name}'")
    return tensors


def save(artefact: Any, folder: str | Path, *, overwrite: bool = False, **about: str) -> None:
    """Write an artefact (or an encoder, as the card of its space) to a folder, whole or not at all.

    Args:
        artefact: what to write.
        folder: where to; its last part becomes the id of vectors and spaces.
        overwrite: replace what is there.
        **about: license and description, to write on the card.

    Raises:
        AtlasError: something is there and `overwrite` was not asked for, or the file cannot be written.
    """
    if not isinstance(artefact, Encoder):
        artefact = replace(artefact, **about)
    if isinstance(artefact, Vectors):
        return artefact.save_pretrained(folder, overwrite=overwrite)
    path = check_target(folder, overwrite)
    if isinstance(artefact, Encoder):
        id = artefact.stored_id or slug(path.name)
        card_of, tensors = functools.partial(_encoder_card, artefact, id, **about), artefact.state_dict()
    else:
        card_of, tensors = artefact.card, artefact.tensors()
    with whole_folder(path) as temporary:
        stored: dict[str, Any] = {}
        if tensors:
            stored["tensors"] = save_tensors(temporary / MODEL, tensors)
            stored["sha256"] = sha256_file(temporary / MODEL)
        (temporary / CARD).write_text(dump_card(card_of(**stored)), encoding="utf-8")


def _encoder_card(encoder: Encoder, id: str, **fields: Any) -> SpaceCard:
    return SpaceCard(id=id, space=encoder.space(id), config=encoder.config(), plugin=provider(type(encoder)), **fields)


def _encoder_from(card: SpaceCard, folder: Path) -> Encoder:
    with made_by(Encoder, card.space.encoder, card.plugin):
        encoder = create(Encoder, card.space.encoder, card.config)
        if card.tensors:
            encoder.load_state_dict(load_tensors(folder / MODEL))
    encoder.stored_id = card.space.id
    card.space.require(encoder.space(card.id), f"{folder / CARD}: the card is of", "the weights")
    return encoder


def load(ref: str | Path, kind: str | Sequence[str] = "", **hub: Any) -> Any:
    """Load an artefact: `Alignment`, `Anchors`, `Atlas`, `Head`, `Vectors`, or, for a space, its `Encoder`.

    Args:
        ref: a folder, the id of a registry entry, or 'hf://owner/name[@revision]'.
        kind: what it must be; '' for anything.
        **hub: how to pull from the Hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        NotFoundError: nothing is there.
        CardError: the card is malformed, or the tensors are not the ones it describes.
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    kinds = tuple(k for k in kinds if k)
    folder = locate(ref, kinds, **hub)
    card = read_card(folder)
    if kinds and card.kind not in kinds:
        raise AtlasError(f"'{folder}' is of kind {card.kind} - expected {' or '.join(kinds)}")
    if card.sha256:
        check_file(folder, card)
    return _LOADERS[card.kind](card, folder)


_LOADERS: dict[str, Any] = {
    "space": _encoder_from,
    "anchors": Anchors.from_card,
    "vectors": vectors_from,
    "alignment": Alignment.from_card,
    "head": Head.from_card,
    "atlas": Atlas.from_card,
}


def read_vectors(ref: str | Path) -> Vectors:
    """Return vectors: a folder, a registry id, or a bare .npy, .safetensors or .parquet file."""
    path = locate(ref, ["vectors"])
    return read_bare(path) if path.suffix in BARE and not path.is_dir() else load(path, "vectors")


__all__ = [
    "Alignment",
    "Anchors",
    "Atlas",
    "Card",
    "Head",
    "Stored",
    "Vectors",
    "load",
    "locate",
    "read_vectors",
    "save",
]
