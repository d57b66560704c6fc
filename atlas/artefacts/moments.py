"""Moments of two spaces, in sums that merge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from atlas.artefacts.artefact import Artefact, OnCard
from atlas.cards.folder import dump_card
from atlas.cards.kinds import Card, MomentsCard
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError, CardError, located, warn
from atlas.numerics import moments
from atlas.storage.header import TensorFile
from atlas.storage.tensors import load_tensors

# Moments of fewer rows than so many for each dimension are not published unless it is asked for: they give rows away.
PRIVATE = 10


@dataclass(frozen=True)
class Moments(Artefact):
    """Sums over the paired rows of two spaces: all that a linear method may know about the data.

    They merge, `m1 + m2`, as if all rows had been counted at once, and `sum` of any number of them is their merge.

    Attributes:
        sums: the numbers, float64.
        source: the space of the one side.
        target: the space of the other.
        n: how many pairs they are of.
        n_public: of these, how many are in moments that have been published.
        anchors: id of the anchors they are restricted to; '' if it was all pairs.
        dataset: the data set of the items.
    """

    kind = "moments"
    source = OnCard[Space]()
    target = OnCard[Space]()
    n = OnCard[int]()
    n_public = OnCard[int]()
    anchors = OnCard[str]()

    card: MomentsCard
    sums: moments.Moments

    @classmethod
    def of(cls, sums: moments.Moments, source: Space, target: Space, id: str = "", **fields: object) -> Moments:
        """Return moments made of sums, named after their spaces unless they are given an id."""
        name = id or slug(f"{source.id}__{target.id}__moments")
        return cls(MomentsCard(name, source=source, target=target, n=sums.n, **fields), sums)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        """Return a description of one line."""
        between = f"{self.source.id} ({self.source.dim}) and {self.target.id} ({self.target.dim})"
        return f"<Moments '{self.id}': {between}, {self.n} pairs>"

    def __add__(self, other: Moments) -> Moments:
        """Merge the moments of two disjoint sets of rows; a pair that is in both counts twice, with a warning.

        Raises:
            SpaceMismatchError: they are of other spaces.
        """
        for name in ("source", "target"):
            mine, others = getattr(self, name), getattr(other, name)
            mine.require(others, f"Moments '{self.id}' have the {name}", f"those of '{other.id}'")
        same = {f: v for f in ("anchors", "dataset", "license") if (v := getattr(self, f)) == getattr(other, f)}
        about = {"n_public": self.n_public + other.n_public, **same}
        # A space of which something is known says more than one that only has the right dimension.
        source, target = (a if a.known else b for a, b in zip(self._spaces, other._spaces, strict=True))
        sums = self.sums + other.sums
        # Hashes of rows are gone from published moments, and beyond some number of rows; then nobody can tell.
        if sums.rows is not None and (twice := self.sums.n_distinct + other.sums.n_distinct - sums.n_distinct):
            text = f"Moments '{self.id}' and '{other.id}' share {twice:,} pairs, which count twice"
            warn(f"{text} - give each set of items once", 3)
        return Moments.of(sums, source, target, self.id, **about)

    def __radd__(self, other: int) -> Moments:
        """Return itself, so that `sum` of some moments is their merge."""
        return self if other == 0 else NotImplemented

    @property
    def _spaces(self) -> tuple[Space, Space]:
        return self.source, self.target

    def reversed(self) -> Moments:
        """Return the moments with source and target in each other's place."""
        name = slug(f"{self.target.id}__{self.source.id}__moments")
        card = replace(self.card, id=name, source=self.target, target=self.source)
        return Moments(card, self.sums.reversed())

    def to_bytes(self) -> bytes:
        """Return all of it as a safetensors file, whose tensor `card` is the text of the card."""
        from safetensors.torch import save

        text = bytearray(dump_card(self.card).encode())
        tensors = {**self.tensors(), "card": torch.frombuffer(text, dtype=torch.uint8)}
        return save({name: t.contiguous() for name, t in tensors.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Moments:
        """Return the moments whose `to_bytes` gave these bytes.

        Raises:
            AtlasError: these are not the bytes of moments.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(data)
            text = bytes(tensors.pop("card").to(torch.uint8).flatten().tolist()).decode()
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise AtlasError(f"These bytes are not moments: {error} - give the result of to_bytes()") from None
        card = Card.from_dict(parse_yaml(text, "The card of moments"))
        if not isinstance(card, MomentsCard):
            raise CardError(f"These bytes are of kind {card.kind}, not moments")
        return cls._checked(card, tensors)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        return self.sums.tensors()

    @classmethod
    def from_card(cls, card: MomentsCard, file: TensorFile) -> Self:
        """Return the moments of a card and its file, which has been checked."""
        with located(file.path, CardError):
            return cls._checked(card, load_tensors(file))

    @classmethod
    def _checked(cls, card: MomentsCard, tensors: dict[str, Tensor]) -> Self:
        sums = moments.Moments.from_tensors(tensors, card.source.dim, card.target.dim)
        if sums.n != card.n or not 0 <= card.n_public <= card.n:
            raise CardError(f"The tensors are of {sums.n} rows, the card says {card.n}, {card.n_public} of them public")
        return cls(card, sums)

    def published(self, few: bool = False) -> Moments:
        """Return a public copy: without hashes of rows, which would reveal whether a pair was among them.

        Raises:
            AtlasError: moments of so few rows that they give them away.
        """
        fresh = min(self.sums.n_distinct, self.n - self.n_public)
        check_many(fresh, self.source.dim, self.target.dim, few, f"Moments '{self.id}'")
        return Moments(replace(self.card, n_public=self.n), self.sums.anonymous())


def are_many(n: int, d_source: int, d_target: int) -> bool:
    """Whether sums over rows do not give the rows away."""
    return n >= PRIVATE * max(d_source, d_target)


def check_many(n: int, d_source: int, d_target: int, few: bool, what: str) -> None:
    """Raise `AtlasError` where sums over rows that have not been published give these rows away; none give none."""
    if n and not few and not are_many(n, d_source, d_target):
        raise AtlasError(
            f"{what} would give away the {n:,} distinct rows that have not been published before: "
            f"{PRIVATE * max(d_source, d_target):,} are needed for {max(d_source, d_target)} dimensions "
            "- publish them with --few (few=True) if anybody may have them"
        )
