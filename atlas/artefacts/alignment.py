"""A fitted map from a source space to a target space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from atlas.artefacts.artefact import Artefact, OnCard, finite_tensors
from atlas.artefacts.composed import Composed, restored
from atlas.artefacts.vectors import Vectors
from atlas.cards.kinds import AlignmentCard, Metric, Part
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.errors import CardError
from atlas.plugins.catalogue import provider
from atlas.storage.header import TensorFile


@dataclass(frozen=True)
class Alignment(Artefact):
    """A fitted map from a source space to a target space, and where it came from.

    Attributes:
        aligner: the fitted map.
        source: the space it maps from.
        target: the space it maps to.
        config: the options it was fitted with.
        n_pairs: how many pairs of vectors it was fitted on.
        n_unpaired: how many vectors of either side it was fitted on beside these, whose partner it did not know.
        anchors: id of the anchors it was fitted on; '' if it was all pairs.
        dataset: what the items are from.
        metrics: what was measured of it.
        evaluation: references of what it was measured on, by the part each plays.
        parts: what it was made of, if it was not fitted itself.
    """

    kind = "alignment"
    source = OnCard[Space]()
    target = OnCard[Space]()
    config = OnCard[Mapping[str, Any]]()
    n_pairs = OnCard[int]()
    n_unpaired = OnCard[int]()
    anchors = OnCard[str]()
    dataset = OnCard[str]()
    metrics = OnCard[tuple[Metric, ...]]()
    evaluation = OnCard[Mapping[str, str]]()
    parts = OnCard[tuple[Part, ...]]()

    card: AlignmentCard
    aligner: Aligner

    @classmethod
    def of(cls, aligner: Aligner, source: Space, target: Space, id: str = "", **fields: Any) -> Alignment:
        """Return an alignment made of a fitted aligner, named after its spaces and method unless it is given an id."""
        card = AlignmentCard(
            id or default_id(source, target, aligner),
            source=source,
            target=target,
            aligner=aligner.name,
            config=aligner.config(),
            plugin=provider(type(aligner)),
            **fields,
        )
        return cls(card, aligner)

    def __call__(self, X: Any) -> Any:
        """Map a tensor or array (n, d_source) to the same kind of array, or `Vectors` of the source to the target.

        Raises:
            SpaceMismatchError: vectors of another space.
            AtlasError: the wrong width.
        """
        if not isinstance(X, Vectors):
            return self.aligner.transform(X)
        self.source.require(X.space, f"Alignment '{self.id}' maps from", "the vectors")
        return X.in_space(self.target, self.aligner.transform(X.data))

    def inverse(self) -> Alignment:
        """Return the map from the target back to the source."""
        kept = ("n_pairs", "n_unpaired", "anchors", "dataset", "license", "fitted_on")
        fields = {name: getattr(self.card, name) for name in kept}
        fields["parts"] = tuple(replace(part, inverse=not part.inverse) for part in reversed(self.as_parts()))
        name = slug(f"{self.target.id}__{self.source.id}__{self.method}-inverse")
        return Alignment.of(Composed.of([(self.aligner, True)]), self.target, self.source, name, **fields)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        return self.aligner.state_dict()

    @classmethod
    def from_card(cls, card: AlignmentCard, file: TensorFile) -> Alignment:
        """Return the alignment of a card and its file, which has been checked."""
        aligner = restored(card.aligner, card.config, finite_tensors(file), card.plugin)
        if (aligner.d_source, aligner.d_target) != (card.source.dim, card.target.dim):
            raise CardError(
                f"{file.path.parent}: the tensors map {aligner.d_source} to {aligner.d_target} dimensions, "
                f"the card says {card.source.dim} to {card.target.dim}"
            )
        return cls(card, aligner)


def default_id(source: Space, target: Space, aligner: Aligner) -> str:
    """Return 'source__target__method', cut to what an id may be."""
    name = f"{source.id}__{target.id}__{aligner.name}"
    return name if len(name) <= 96 else slug(name[:96])
