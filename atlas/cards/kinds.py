"""The seven kinds of card, as frozen dataclasses that check their fields.

A card is everything about an artefact but its tensors. Nothing here imports torch, so that listing is quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from atlas.cards.names import SHA256, check_id, current
from atlas.cards.schema import build
from atlas.cards.sketch import decoded
from atlas.cards.space import Space
from atlas.errors import AtlasError, CardError, unknown

FORMAT = 1
# Prefix of the names of the tensors that describe where the pairs of a fit lay.
DOMAIN = "domain."
# And of those that tell the worth of its results.
CALIBRATION = "calibration."
# The figure of a calibration: how often the first result through a map is that of the true vectors.
FIRST_RESULT = "first-result"

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multilingual")
_HUB = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


@dataclass(frozen=True)
class TensorInfo:
    """The shape and the dtype (as safetensors spells it) of one tensor in an artefact's file."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Metric:
    """One measured figure: the metric, the data, and how sure it is.

    `low` and `high` bound a 95 % interval. Without the other two a figure says little: `native` is the same figure for
    the target's own vectors, and `floor` for no alignment at all (of a head: for always naming the commonest class).
    `overlap` counts those of the n items that were fitted on: such a figure promises nothing of others.
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
    overlap: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", current(self.name))

    @property
    def held_out(self) -> bool:
        """Whether, as far as is known, hardly any of its items were fitted on: one in a hundred may be there twice."""
        return not self.overlap or self.overlap <= self.n / 100


@dataclass(frozen=True)
class Part:
    """An artefact that another was made of: a map of a chain, or the atlas that was extended or taken apart.

    `inverse` says that it is run backwards, `chart` of which space the map of an atlas is; `hub` and `sha256` are those
    of the part's own card, as far as they were known.
    """

    kind: str
    id: str
    chart: str = ""
    inverse: bool = False
    hub: str = ""
    sha256: str = ""
    license: str = ""
    dataset: str = ""
    n_pairs: int = 0
    method: str = ""

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_origin(self.sha256, self.hub)


def best(metrics: Iterable[Metric], name: str) -> Metric | None:
    """Return the best figure of a name, one of items that were fitted on only where there is no other."""
    return min((one for one in metrics if one.name == current(name)), key=rank, default=None)


def rank(figure: Metric | None) -> tuple[bool, bool, float]:
    """Return the sort key of figures of one name, best first: none last, those of items fitted on before."""
    if figure is None:
        return True, True, 0.0
    # Where the target's own vectors reach less than no alignment does, less is better.
    less = figure.native is not None and figure.floor is not None and figure.native < figure.floor
    return False, not figure.held_out, figure.value if less else -figure.value


def merged(old: Iterable[Metric], new: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return figures with new ones in place of those of the same name, data set and split."""
    return tuple({(one.name, one.dataset, one.split): one for one in (*old, *new)}.values())


@dataclass(frozen=True)
class Card:
    """Fields of every artefact's card.

    `sha256` and `tensors` describe the file beside the card; `hub` is where a registry entry without a file of its own
    is to be had, as owner/name@commit; `language` is that of the items, in codes of ISO 639.
    """

    kind: ClassVar[str] = ""
    # The field that names the component which made the artefact; '' for a kind that none makes.
    made_by: ClassVar[str] = ""

    id: str
    license: str = ""
    description: str = ""
    plugin: str = ""
    sha256: str = ""
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    hub: str = ""
    language: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_origin(self.sha256, self.hub)
        for code in self.language:
            if not _LANGUAGE.fullmatch(code):
                raise CardError(f"language must be a code such as en or pt-BR, or multilingual, got '{code[:40]}'")
        if self.tensors and not self.sha256:
            raise CardError("Tensors are listed but sha256 is missing")
        decoded(getattr(self, "fitted_on", ""))

    @property
    def method(self) -> str:
        """The name of the component that made the artefact; '' if none did."""
        return str(getattr(self, self.made_by)) if self.made_by else ""

    @property
    def plain(self) -> bool:
        """Whether it holds a weight and a bias (its domain aside) and can be used without Atlas."""
        return {name for name in self.tensors if not name.startswith((DOMAIN, CALIBRATION))} == {"weight", "bias"}

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
        try:
            return build(CARDS[kind], rest)
        except AtlasError as error:
            raise CardError(str(error)) from None


@dataclass(frozen=True)
class SpaceCard(Card):
    """A space and the encoder that makes it: name, options and, where it has weights, their file.

    `takes` is the kind of items that the encoder takes: text, images or arrays.
    """

    kind: ClassVar[str] = "space"

    space: Space = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    takes: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class AnchorsCard(Card):
    """Items that spaces are aligned on, how they were drawn, and the spaces in which their vectors are stored."""

    kind: ClassVar[str] = "anchors"
    made_by: ClassVar[str] = "sampler"

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
class MomentsCard(Card):
    """Moments of two spaces: sums over paired rows.

    `n_public` counts the rows, of all `n`, whose moments have been published.
    """

    kind: ClassVar[str] = "moments"

    source: Space = field(kw_only=True)
    target: Space = field(kw_only=True)
    n: int = field(kw_only=True)
    n_public: int = field(default=0, kw_only=True)
    anchors: str = field(default="", kw_only=True)
    dataset: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class AlignmentCard(Card):
    """A fitted map from a source space to a target space, and where it came from.

    `n_unpaired` counts the rows of either side whose partner was not known: a method that fits on pairs left them out.
    `evaluation` holds references to the data of its metrics, as source, target and head. `fitted_on` is
    a `Sketch` of the items it was fitted on, `parts` the maps it was made of, if it was not fitted itself.
    """

    kind: ClassVar[str] = "alignment"
    made_by: ClassVar[str] = "aligner"

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
    fitted_on: str = field(default="", kw_only=True)
    parts: tuple[Part, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class HeadCard(Card):
    """A classifier, a regressor or a decoder on the vectors of one space.

    `evaluation` says where the vectors are that its metrics were measured on, as vectors; `fitted_on` is a `Sketch` of
    the items it was trained on.
    """

    kind: ClassVar[str] = "head"
    made_by: ClassVar[str] = "head"

    space: Space = field(kw_only=True)
    head: str = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    classes: tuple[str, ...] = field(default=(), kw_only=True)
    dataset: str = field(default="", kw_only=True)
    metrics: tuple[Metric, ...] = field(default=(), kw_only=True)
    evaluation: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    fitted_on: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class AtlasCard(Card):
    """Several alignments into one shared space, and the rule that combines them.

    `evaluation` holds references to the data of its metrics, as vectors, vectors-2..., and head.
    `n_items` counts the items that each chart was fitted on, `fitted_on` is a `Sketch` of them all, and `parts` the
    atlas that was extended, if one was.
    """

    kind: ClassVar[str] = "atlas"
    made_by: ClassVar[str] = "aggregator"

    space: Space = field(kw_only=True)
    charts: tuple[Space, ...] = field(kw_only=True)
    n_items: tuple[int, ...] = field(default=(), kw_only=True)
    aggregator: str = field(kw_only=True)
    config: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    anchors: str = field(default="", kw_only=True)
    dataset: str = field(default="", kw_only=True)
    metrics: tuple[Metric, ...] = field(default=(), kw_only=True)
    evaluation: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    fitted_on: str = field(default="", kw_only=True)
    parts: tuple[Part, ...] = field(default=(), kw_only=True)


CARDS: dict[str, type[Card]] = {
    cls.kind: cls for cls in (SpaceCard, AnchorsCard, VectorsCard, MomentsCard, AlignmentCard, HeadCard, AtlasCard)
}


def _check_origin(sha256: str, hub: str) -> None:
    if sha256 and not SHA256.fullmatch(sha256):
        raise CardError(f"sha256 must be 64 lower-case hexadecimal digits, got '{sha256}'")
    if hub and not _HUB.fullmatch(hub):
        raise CardError(f"hub must be owner/name@commit with a commit of 40 hexadecimal digits, got '{hub}'")


def _plain_fields(value: Any) -> dict[str, Any]:
    result = {}
    for f in fields(value):
        item = getattr(value, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if item != default:
            result[f.name] = _plain(item)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, (Space, Metric, Part, TensorInfo)):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
