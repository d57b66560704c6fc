"""The items that spaces are aligned on, and their vectors in these spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from atlas.artefacts.artefact import Artefact, OnCard
from atlas.artefacts.vectors import Vectors
from atlas.cards.kinds import AnchorsCard
from atlas.cards.space import Space
from atlas.errors import AtlasError, CardError
from atlas.numerics.arrays import check_finite
from atlas.storage.header import TensorFile
from atlas.storage.item_ids import RowNumbers, check_ids, hash_ids, pack_ids, unpack_ids
from atlas.storage.rows import Rows
from atlas.storage.tensors import load_tensors


@dataclass(frozen=True)
class Anchors(Artefact):
    """Items that spaces are aligned on, and the vectors of those items in each space they have been encoded in.

    Two parties share anchors if they have the same items in the same order: `fingerprint` says whether they do.

    Attributes:
        ids: of the items, in order.
        views: id of each space to the vectors (n, d) of the items in it.
        spaces: in which they have been encoded.
        config: the options of the sampler that drew them.
        seed: of the draw.
        drawn_in: id of the space they were drawn in.
        dataset: the data set of the items.
    """

    kind = "anchors"
    spaces = OnCard[tuple[Space, ...]]()
    config = OnCard[Mapping[str, Any]]()
    seed = OnCard[int]()
    drawn_in = OnCard[str]()

    card: AnchorsCard
    ids: Sequence[str]
    views: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ids(self.ids, len(self.ids), f"Anchors '{self.id}'")
        for space in self.spaces:
            shape = tuple(self.views[space.id].shape)
            if shape != (len(self.ids), space.dim):
                raise AtlasError(
                    f"Anchors '{self.id}' in '{space.id}' must be {(len(self.ids), space.dim)}, got {shape}"
                )

    @classmethod
    def of(cls, id: str, ids: Sequence[str], *vectors: Vectors, **fields: Any) -> Anchors:
        """Return anchors of items, with their vectors in some spaces; other fields of the card by their names."""
        anchors = cls(AnchorsCard(id, n=len(ids), items=hash_ids(ids), **fields), ids)
        for view in vectors:
            anchors = anchors.encoded_in(view)
        return anchors

    @property
    def fingerprint(self) -> str:
        """The sha256 of the ids in their order."""
        return hash_ids(self.ids)

    def __repr__(self) -> str:
        """Return a description of one line."""
        return f"<Anchors '{self.id}': {len(self)} items in {', '.join(self.views) or 'no space'}>"

    def __len__(self) -> int:
        """Return the number of anchors."""
        return len(self.ids)

    def encoded_in(self, vectors: Vectors) -> Anchors:
        """Return these anchors with their vectors in one more space."""
        if any(space.id == vectors.space.id for space in self.spaces):
            raise AtlasError(f"Anchors '{self.id}' are encoded in '{vectors.space.id}' already - choose another id")
        view = vectors.of_items(self.ids, f"anchors '{self.id}'").data
        check_finite(view, f"Vectors of '{vectors.space.id}'")
        spaces = (*self.spaces, vectors.space)
        return Anchors(replace(self.card, spaces=spaces), self.ids, {**self.views, vectors.space.id: view})

    def vectors(self, space: str) -> Vectors:
        """Return the vectors of the anchors in a space, by its id."""
        for known in self.spaces:
            if known.id == space:
                return Vectors.made(known, Rows(self.views[space]), list(self.ids), dataset=self.dataset)
        names = ", ".join(known.id for known in self.spaces) or "none"
        raise AtlasError(f"Anchors '{self.id}' are not encoded in '{space}' - known: {names}")

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store: ids, and the vectors in each space as 'space.<id>'."""
        ids = self.ids if not isinstance(self.ids, RowNumbers) else list(self.ids)
        return {**pack_ids(ids), **{f"space.{name}": view for name, view in self.views.items()}}

    @classmethod
    def from_card(cls, card: AnchorsCard, file: TensorFile) -> Anchors:
        """Return the anchors of a card and its file, which has been checked."""
        tensors = load_tensors(file)
        ids = unpack_ids(tensors, card.n, str(file.path))
        if hash_ids(ids) != card.items:
            raise CardError(f"{file.path}: the ids are not those of the card ({card.items[:12]}...)")
        missing = [space.id for space in card.spaces if f"space.{space.id}" not in tensors]
        if missing:
            raise CardError(f"{file.path}: holds no vectors for space '{missing[0]}'")
        views = {space.id: tensors[f"space.{space.id}"] for space in card.spaces}
        return cls(card, list(ids), views)
