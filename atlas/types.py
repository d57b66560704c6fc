"""What Atlas stores: the six cards, as frozen dataclasses that check what they are given.

A card is everything about an artefact but its tensors. Nothing here imports torch, so that listing is quick.
"""

from __future__ import annotations

import functools
import json
import math
import re
import types as pytypes
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Literal, Union

from atlas.errors import CardError, SpaceMismatchError, unknown, unquoted

FORMAT = 1
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(__[a-z0-9]+(-[a-z0-9]+)*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, so that equal values have equal hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, 64 hexadecimal digits."""
    # Here, because it takes longer to import than a card to be read.
    import hashlib

    return hashlib.sha256(canonical(value).encode()).hexdigest()


def slug(text: str) -> str:
    """Turn any text into an id: lower case, anything else than letters and digits becomes '-', '__' stays."""
    parts = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in text.split("__"))
    return "__".join(part for part in parts if part) or "unnamed"


def check_id(name: str, what: str = "id") -> str:
    """Return the id, or raise `CardError` when it could not be a folder, a Hub repository and a tensor prefix."""
    if not isinstance(name, str) or not _ID.fullmatch(name) or len(name) > 96:
        hint = f" - for example '{slug(name)}'" if isinstance(name, str) and name else ""
        raise CardError(
            f"{what} {name!r} must be at most 96 lower-case letters, digits and single '-', parts joined by '__'{hint}"
        )
    return name


@dataclass(frozen=True)
class Space:
    """What one encoder, with one set of options and weights, produces.

    Two spaces are the same if their fingerprints are, whatever they are called. A space without an encoder is that of
    a bare file, about which only the dimension is known.
    """

    id: str
    dim: int
    encoder: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_id(self.id, "Space id")
        if self.dim < 1:
            raise CardError(f"Space '{self.id}' must have at least 1 dimension, got {self.dim}")
        try:
            canonical(dict(self.identity))
        except (TypeError, ValueError, RecursionError) as error:
            raise CardError(f"Space '{self.id}' must have an identity of plain, finite data: {error}") from None

    @property
    def known(self) -> bool:
        """Whether anything but the dimension is known."""
        return bool(self.encoder)

    @property
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

    def require(self, other: Space, what: str, whose: str) -> None:
        """Raise unless vectors of `other` may be used where `what` asks for this space.

        Args:
            other: the space that was given.
            what: what asks, as the subject of the sentence, such as "Alignment 'a__b' maps from".
            whose: what was given, such as "the vectors".

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
    return text[:12] + "..." if _SHA256.fullmatch(text) else text


@dataclass(frozen=True)
class TensorInfo:
    """The shape and the dtype (as safetensors spells it) of one tensor in an artefact's file."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Metric:
    """One measured figure: what was measured, on what, and how sure it is.

    `low` and `high` bound a 95 % interval. Without the other two a figure says little: `native` is the same figure for
    the target's own vectors, and `floor` for no alignment at all (of a head: for always naming the commonest class).
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    native: float | None = None
    floor: float | None = None
    dataset: str = ""
    split: str = ""
    n: int = 0


@dataclass(frozen=True)
class Card:
    """What every artefact's card holds.

    `sha256` and `tensors` describe the file beside the card; `hub` is where a registry entry without a file of its own
    is to be had, as owner/name@commit.
    """

    kind: ClassVar[str] = ""

    id: str
    license: str = ""
    description: str = ""
    plugin: str = ""
    sha256: str = ""
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    hub: str = ""

    def __post_init__(self) -> None:
        check_id(self.id)
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise CardError(f"sha256 must be 64 lower-case hexadecimal digits, got '{self.sha256}'")
        if self.hub and not _HUB.fullmatch(self.hub):
            raise CardError(f"hub must be owner/name@commit with a commit of 40 hexadecimal digits, got '{self.hub}'")
        if self.tensors and not self.sha256:
            raise CardError("Tensors are listed but sha256 is missing")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for YAML, fields with their default value left out."""
        return {"format": FORMAT, "kind": self.kind, **_plain_fields(self)}

    @staticmethod
    def from_dict(data: Any) -> Card:
        """Check plain data and return the card of its kind.

        Raises:
            CardError: not a mapping, a newer format, an unknown kind, or a field that is unknown, missing or mistyped.
        """
        if not isinstance(data, dict):
            raise CardError(f"A card must be a mapping, got {type(data).__name__}")
        rest = dict(data)
        version = rest.pop("format", None)
        if type(version) is not int or version < 1:
            raise CardError(f"Field 'format' must be a whole number from 1 to {FORMAT}, got {version!r}")
        if version > FORMAT:
            raise CardError(f"Format {version} is newer than this Atlas reads ({FORMAT}) - upgrade latent-atlas")
        kind = rest.pop("kind", None)
        if not isinstance(kind, str) or kind not in CARDS:
            raise CardError(unknown("kind", kind, CARDS))
        return _build(CARDS[kind], rest, "")


@dataclass(frozen=True)
class SpaceCard(Card):
    """A space and the encoder that makes it: name, options and, where it has weights, their file."""

    kind: ClassVar[str] = "space"

    space: Space = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class AnchorsCard(Card):
    """Items that spaces are aligned on, how they were drawn, and the spaces in which their vectors are stored."""

    kind: ClassVar[str] = "anchors"

    n: int = field(kw_only=True)
    items: str = field(kw_only=True)
    spaces: tuple[Space, ...] = field(default=(), kw_only=True)
    sampler: str = field(default="", kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    drawn_in: str = field(default="", kw_only=True)
    dataset: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class VectorsCard(Card):
    """Rows of one space, with the id of the item each row encodes and, if known, its class."""

    kind: ClassVar[str] = "vectors"

    space: Space = field(kw_only=True)
    n: int = field(kw_only=True)
    classes: tuple[str, ...] = field(default=(), kw_only=True)
    dataset: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class AlignmentCard(Card):
    """A fitted map from a source space to a target space, and where it came from.

    `n_unpaired` counts the rows of either side that it was fitted on without a partner that is known. `evaluation` says
    where what its metrics were measured on is: references, as source, target and head.
    """

    kind: ClassVar[str] = "alignment"

    source: Space = field(kw_only=True)
    target: Space = field(kw_only=True)
    aligner: str = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    n_pairs: int = field(default=0, kw_only=True)
    n_unpaired: int = field(default=0, kw_only=True)
    anchors: str = field(default="", kw_only=True)
    dataset: str = field(default="", kw_only=True)
    metrics: tuple[Metric, ...] = field(default=(), kw_only=True)
    evaluation: Mapping[str, str] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class HeadCard(Card):
    """What reads vectors of one space: a classifier, a regressor or a decoder.

    `evaluation` says where the vectors are that its metrics were measured on, as vectors.
    """

    kind: ClassVar[str] = "head"

    space: Space = field(kw_only=True)
    head: str = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    classes: tuple[str, ...] = field(default=(), kw_only=True)
    dataset: str = field(default="", kw_only=True)
    metrics: tuple[Metric, ...] = field(default=(), kw_only=True)
    evaluation: Mapping[str, str] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class AtlasCard(Card):
    """Several alignments into one shared space, and the rule that combines them.

    `evaluation` says where what its metrics were measured on is: references, as vectors, vectors-2..., and head.
    """

    kind: ClassVar[str] = "atlas"

    space: Space = field(kw_only=True)
    charts: tuple[Space, ...] = field(kw_only=True)
    aggregator: str = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    anchors: str = field(default="", kw_only=True)
    dataset: str = field(default="", kw_only=True)
    metrics: tuple[Metric, ...] = field(default=(), kw_only=True)
    evaluation: Mapping[str, str] = field(default_factory=dict, kw_only=True)


CARDS: dict[str, type[Card]] = {
    cls.kind: cls for cls in (SpaceCard, AnchorsCard, VectorsCard, AlignmentCard, HeadCard, AtlasCard)
}


def _plain_fields(value: Any) -> dict[str, Any]:
    result = {}
    for f in fields(value):
        item = getattr(value, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if item != default:
            result[f.name] = _plain(item)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, (Space, Metric, TensorInfo)):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _schema(cls: type) -> tuple[dict[str, Field], dict[str, Any]]:
    """Return the fields of a dataclass and their types, by name."""
    return {f.name: f for f in fields(cls)}, typing.get_type_hints(cls)


def _build(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise CardError(f"{where or 'The card'} must be a mapping, got {type(data).__name__}")
    known = {f.name: f for f in fields(cls)}
    hints = _hints(cls)
    for name in data:
        if name not in known:
            raise CardError(unknown("field", f"{where}{name}", [where + k for k in known]))
    for name, f in known.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise CardError(f"Field '{where}{name}' is missing")
    return cls(**{name: _checked(hints[name], value, where + name) for name, value in data.items()})


def _checked(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (Union, pytypes.UnionType):
        return None if value is None else _checked(typing.get_args(hint)[0], value, where)
    if hint in (Space, Metric, TensorInfo):
        return _build(hint, value, where + ".")
    if origin is tuple:
        if not isinstance(value, list):
            raise CardError(f"Field '{where}' must be a list, got {value!r}")
        inner = typing.get_args(hint)[0]
        return tuple(_checked(inner, item, f"{where}.{i}") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        inner = typing.get_args(hint)[1]
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise CardError(f"Field '{where}' must be a mapping with text keys, got {value!r}")
        return {key: _checked(inner, item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    return _scalar(hint, value, where)


def _scalar(hint: type, value: Any, where: str) -> Any:
    """Return a text, number or truth value of the very type asked for; a whole number will do for a float."""
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        note = unquoted(value) if hint in (int, float) else ""
        raise CardError(f"Field '{where}' must be {hint.__name__}, got {value!r} ({type(value).__name__}){note}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CardError(f"Field '{where}' must be finite, got {value}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise CardError(f"Field '{where}' must be from 0 to 2**63 - 1, got {str(value)[:24]}")
    return value


FitsOn = Literal["pairs", "source", "sets", "seeds"]
