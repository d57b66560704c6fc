"""The items that spaces are aligned on, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.arrays import check_finite
from atlas.errors import AtlasError, CardError
from atlas.files import MODEL, Rows, load_tensors
from atlas.hub.mixin import OnHub
from atlas.ids import RowNumbers, check_ids, hash_ids, pack_ids, unpack_ids
from atlas.types import AnchorsCard, Space
from atlas.vectors import Vectors


@dataclass(frozen=True)
class Anchors(OnHub):
    """Items that spaces are aligned on, and the vectors of those items in each space they have been encoded in.

    Two parties share anchors if they have the same items in the same order: `fingerprint` says whether they do.
    """

    id: str
    ids: Sequence[str]
    views: Mapping[str, Tensor] = field(default_factory=dict)
    spaces: tuple[Space, ...] = ()
    sampler: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    drawn_in: str = ""
    dataset: str = ""
    license: str = ""
    description: str = ""

    kind = "anchors"

    def __post_init__(self) -> None:
        check_ids(self.ids, len(self.ids), f"Anchors '{self.id}'")
        for space in self.spaces:
            shape = tuple(self.views[space.id].shape)
            if shape != (len(self.ids), space.dim):
                raise AtlasError(
                    f"Anchors '{self.id}' in '{space.id}' must be {(len(self.ids), space.dim)}, got {shape}"
                )

    @property
    def fingerprint(self) -> str:
        """The sha256 of the ids in their order."""
        return hash_ids(self.ids)

    def __len__(self) -> int:
        """Return the number of anchors."""
        return len(self.ids)

    def encoded_in(self, vectors: Vectors) -> Anchors:
        """Return these anchors with their vectors in one more space."""
        if any(space.id == vectors.space.id for space in self.spaces):
            raise AtlasError(f"Anchors '{self.id}' are encoded in '{vectors.space.id}' already - choose another id")
        view = vectors.of_items(self.ids, f"anchors '{self.id}'").data
        check_finite(view, f"Vectors of '{vectors.space.id}'")
        return replace(self, views={**self.views, vectors.space.id: view}, spaces=(*self.spaces, vectors.space))

    def vectors(self, space: str) -> Vectors:
        """Return the vectors of the anchors in a space, by its id."""
        for known in self.spaces:
            if known.id == space:
                return Vectors(known, Rows(self.views[space]), list(self.ids), dataset=self.dataset)
        names = ", ".join(known.id for known in self.spaces) or "none"
        raise AtlasError(f"Anchors '{self.id}' are not encoded in '{space}' - known: {names}")

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store: ids, and the vectors in each space as 'space.<id>'."""
        ids = self.ids if not isinstance(self.ids, RowNumbers) else list(self.ids)
        return {**pack_ids(ids), **{f"space.{name}": view for name, view in self.views.items()}}

    def card(self, **stored: Any) -> AnchorsCard:
        """Return the card."""
        return AnchorsCard(
            id=self.id,
            n=len(self.ids),
            items=self.fingerprint,
            spaces=self.spaces,
            sampler=self.sampler,
            config=dict(self.config),
            seed=self.seed,
            drawn_in=self.drawn_in,
            dataset=self.dataset,
            license=self.license,
            description=self.description,
            **stored,
        )

    @classmethod
    def from_card(cls, card: AnchorsCard, folder: Path) -> Anchors:
        """Return the anchors of an artefact's folder, whose file has been checked."""
        tensors = load_tensors(folder / MODEL)
        ids = unpack_ids(tensors, card.n, str(folder / MODEL))
        if hash_ids(ids) != card.items:
            raise CardError(f"{folder / MODEL}: the ids are not those of the card ({card.items[:12]}...)")
        missing = [space.id for space in card.spaces if f"space.{space.id}" not in tensors]
        if missing:
            raise CardError(f"{folder / MODEL}: holds no vectors for space '{missing[0]}'")
        views = {space.id: tensors[f"space.{space.id}"] for space in card.spaces}
        return cls(
            card.id,
            list(ids),
            views,
            card.spaces,
            card.sampler,
            card.config,
            card.seed,
            card.drawn_in,
            card.dataset,
            card.license,
            card.description,
        )
