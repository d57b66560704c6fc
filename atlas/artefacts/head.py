"""A fitted head of one space: a classifier, a regressor or a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from atlas.artefacts.artefact import Artefact, OnCard, finite_tensors
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import CARD
from atlas.cards.kinds import HeadCard, Metric
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.encoder import Encoder
from atlas.components.head import HeadModel
from atlas.errors import CardError
from atlas.models.heads import HEADS
from atlas.storage.header import TensorFile


@dataclass(frozen=True)
class Head(Artefact):
    """A classifier, a regressor or a decoder of the vectors of one space.

    Attributes:
        model: the fitted head.
        space: whose vectors it reads.
        classes: names of the classes, in the order of the columns of its scores; none for regressors and decoders.
        dataset: the data set it was trained on.
        metrics: its figures.
        evaluation: references to the data of its figures, by role.
    """

    kind = "head"
    space = OnCard[Space]()
    classes = OnCard[tuple[str, ...]]()
    metrics = OnCard[tuple[Metric, ...]]()
    evaluation = OnCard[Mapping[str, str]]()

    card: HeadCard
    model: HeadModel

    @classmethod
    def of(cls, model: HeadModel, space: Space, id: str = "", **fields: Any) -> Head:
        """Return a head made of a fitted model, named after its space and kind unless it is given an id."""
        name = id or slug(f"{space.id}__{model.name}")
        return cls(HeadCard(name, space=space, head=model.name, config=model.config(), **fields), model)

    @classmethod
    def of_encoder(cls, encoder: Encoder) -> Head:
        """Return the head that an encoder's checkpoint carries: the classifier it was trained with.

        Raises:
            AtlasError: it carries none, or one that reads other vectors than its options make.
        """
        space = encoder.space()
        model, classes = encoder.own_head()
        return cls.of(model, space, slug(f"{space.id}__own"), classes=tuple(classes))

    def __call__(self, X: Any) -> Tensor:
        """Return the scores (n, classes), or the outputs of a regressor or decoder, of a tensor, array or `Vectors`."""
        return self.model.scores(self._read(X))

    def __repr__(self) -> str:
        """Return a description of one line."""
        return f"<Head '{self.id}': {len(self.classes)} classes of {self.space.id} ({self.space.dim})>"

    def predict(self, X: Any) -> Tensor:
        """Return the number of the class of each row, (n,) int64."""
        return self.model.predict(self._read(X))

    def _read(self, X: Any) -> Any:
        if not isinstance(X, Vectors):
            return X
        self.space.require(X.space, f"Head '{self.id}' reads", "the vectors")
        return X.data

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        return self.model.state_dict()

    @classmethod
    def from_card(cls, card: HeadCard, file: TensorFile) -> Head:
        """Return the head of a card and its file, which has been checked."""
        if card.head not in HEADS:
            raise CardError(
                f"{file.path.with_name(CARD)}: unknown head '{card.head}' - known: {', '.join(sorted(HEADS))}"
            )
        return cls(card, HEADS[card.head].from_config(card.config).load_state_dict(finite_tensors(file)))
