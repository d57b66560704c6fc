"""The space of an encoder, which decides whether vectors are comparable."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.cards.names import SHA256, canonical, check_id, sha256_of
from atlas.cards.schema import build
from atlas.errors import AtlasError, CardError, SpaceMismatchError, unknown

# Under which bare files carry the space of their vectors: in the metadata of a .safetensors file, and in those of the
# column of vectors of a .parquet file.
SPACE_KEY = "latent_atlas.space"
# How vectors of a space are compared: by the angle, the dot product, the Euclidean or the city-block distance.
METRICS = ("cosine", "dot", "l2", "l1")
# As much as a card may have.
MAX_TEXT = 1_000_000


@dataclass(frozen=True)
class Space:
    """The space of all vectors of one encoder with one set of options and weights.

    Two spaces are the same if their fingerprints are, whatever they are called. A space without an encoder is that of
    a bare file, about which only the dimension is known.

    Attributes:
        id: its name, for people.
        dim: the number of dimensions.
        encoder: the kind of program that made the vectors; '': unknown.
        identity: everything that decides its vectors.
        metric: one of `METRICS`, by which its vectors are compared; '': unknown. It is no part of the fingerprint.
    """

    id: str
    dim: int
    encoder: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    metric: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_id(self.id, "Space id")
        if self.dim < 1:
            raise CardError(f"Space '{self.id}' must have at least 1 dimension, got {self.dim}")
        if self.metric not in ("", *METRICS):
            raise CardError(unknown("metric", self.metric, METRICS))
        try:
            canonical(dict(self.identity))
        except (TypeError, ValueError, RecursionError) as error:
            raise CardError(f"Space '{self.id}' must have an identity of plain, finite data: {error}") from None

    def to_json(self) -> str:
        """Return the space as the one line of text that bare files carry under `SPACE_KEY`."""
        named = {"metric": self.metric} if self.metric else {}
        known = {"id": self.id, "dim": self.dim, "encoder": self.encoder, "identity": dict(self.identity)}
        return canonical({**known, **named})

    @classmethod
    def from_json(cls, text: str) -> Space:
        """Return the space of the text that `to_json` made, or raise `CardError` where it could not have."""
        try:
            if len(text) > MAX_TEXT:
                raise AtlasError(f"it has {len(text)} characters, more than {MAX_TEXT}")
            return build(cls, json.loads(text))
        except (ValueError, RecursionError, AtlasError) as error:
            reason = str(error) if isinstance(error, AtlasError) else "not JSON"
            raise CardError(f"The space under '{SPACE_KEY}' is damaged: {reason} - write the file anew") from None

    @property
    def known(self) -> bool:
        """Whether anything but the dimension is known."""
        return bool(self.encoder)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of encoder, identity and dimension; '' for the space of a bare file."""
        if not self.known:
            return ""
        return sha256_of({"encoder": self.encoder, "identity": dict(self.identity), "dim": self.dim})

    def matches(self, other: Space) -> bool:
        """Whether vectors of the other space may be used here; unknown spaces are compared by dimension alone."""
        if self.known and other.known:
            return self.fingerprint == other.fingerprint
        return self.dim == other.dim

    def same(self, other: Space) -> bool:
        """Whether both are one space as far as is known: by fingerprint, or by name and dimension."""
        if self.known and other.known:
            return self.fingerprint == other.fingerprint
        return (self.id, self.dim) == (other.id, other.dim)

    def require(self, other: Space, what: str, whose: str) -> None:
        """Raise unless vectors of `other` may be used where this space is required.

        Args:
            other: the space that was given.
            what: the one that requires it, as the subject of the sentence, such as "Alignment 'a__b' maps from".
            whose: the vectors in question, such as "the vectors".

        Raises:
            SpaceMismatchError: the fingerprints differ (or the dimensions, for a space of which no more is known).
        """
        if not self.matches(other):
            raise SpaceMismatchError(f"{what} '{self.id}', but {whose} are of '{other.id}': {self.difference(other)}")

    def difference(self, other: Space) -> str:
        """Name the first fields in which two spaces differ, with both values."""
        if self.dim != other.dim:
            return f"dimension is {self.dim} there, {other.dim} here"
        if self.encoder != other.encoder:
            return f"encoder is '{self.encoder}' there, '{other.encoder}' here"
        keys = sorted(set(self.identity) | set(other.identity))
        pairs = [(key, self.identity.get(key), other.identity.get(key)) for key in keys]
        differing = [f"{key} is {_short(a)} there, {_short(b)} here" for key, a, b in pairs if a != b]
        return "; ".join(differing) or "they are the same"


def _short(value: Any) -> str:
    text = str(value) if value is not None else "not set"
    return text[:12] + "..." if SHA256.fullmatch(text) else text
