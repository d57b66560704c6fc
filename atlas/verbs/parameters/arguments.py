"""Arguments of verbs, and their meaning.

An artefact, encoder or head can be given itself, or as text: its folder, its id in a registry, or 'hf://owner/name'.
Vectors can be given as arrays and tables, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar

import numpy as np
import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.anchors import Anchors
from atlas.artefacts.artefact import Artefact
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.head import Head
from atlas.artefacts.loading import loaded, read_vectors
from atlas.artefacts.moments import Moments
from atlas.artefacts.sources.stores import is_store
from atlas.artefacts.vectors import UNNAMED, Vectors
from atlas.cards.folder import CARD
from atlas.cards.space import Space
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.engine import Engine, Executor
from atlas.components.exporter import Exporter
from atlas.components.head import HeadModel
from atlas.components.options import Component
from atlas.components.sampler import Sampler
from atlas.errors import AtlasError, NotFoundError, warn
from atlas.hub.cache import INSIDE, SCHEME
from atlas.hub.pulling import pull
from atlas.items.batches import Items, as_items
from atlas.items.files import named, read_items, table_items
from atlas.items.frames import table_of
from atlas.plugins.catalogue import SHIPPED, component, components, create, missing
from atlas.storage.files import as_path, check_list, write_list
from atlas.storage.registry import Registry


class Table(Protocol):
    """A frame of pandas or polars, an Arrow table, a dataset of Hugging Face, a sparse matrix of scipy."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a column."""


AlignerLike: TypeAlias = Aligner | str
SamplerLike: TypeAlias = Sampler | str
AggregatorLike: TypeAlias = Aggregator | str
ExporterLike: TypeAlias = Exporter | str
EngineLike: TypeAlias = Executor | str
HeadModelLike: TypeAlias = HeadModel | str
EncoderLike: TypeAlias = Encoder | str | Path
ItemsLike: TypeAlias = Items | Vectors | Tensor | np.ndarray | Sequence[Any] | Table | str | Path
VectorsLike: TypeAlias = Vectors | Tensor | np.ndarray | Sequence[Any] | Table | str | Path
MomentsLike: TypeAlias = Moments | str | Path
AnchorsLike: TypeAlias = Anchors | Sequence[str] | str | Path
AlignmentLike: TypeAlias = Alignment | str | Path
AtlasLike: TypeAlias = Atlas | str | Path
HeadLike: TypeAlias = Head | str | Path
MappingLike: TypeAlias = Alignment | Atlas | str | Path
MeasuredLike: TypeAlias = Alignment | Head | Atlas | str | Path
Seed: TypeAlias = int
BatchSize: TypeAlias = int

A = TypeVar("A", bound=Artefact)
C = TypeVar("C", bound=Component)
CLASSES: dict[str, type[Artefact]] = {cls.kind: cls for cls in (Anchors, Vectors, Moments, Alignment, Head, Atlas)}


def component_of(kind: type[C], given: C | str, options: Mapping[str, Any]) -> C:
    """Return a component, given itself or by its name and options."""
    return create(kind, given, options) if isinstance(given, str) else given


def artefact_of(given: A | str | Path, *classes: type[A]) -> A:
    """Return an artefact of one of some classes, given itself or by where it is."""
    if isinstance(given, classes):
        return given
    if isinstance(given, (str, Path)):
        return loaded(given, [cls.kind for cls in classes])
    kinds = " or ".join(cls.kind for cls in classes)
    raise AtlasError(f"Expected {kinds}, got {type(given).__name__} - give it, its folder, its id or a reference")


def vectors_of(
    given: VectorsLike, vector_column: str | None = None, id_column: str | None = None, *, name: str = "vectors"
) -> Vectors:
    """Return vectors: themselves, by where they or the shards of a set of them are, or of an array or a table.

    Args:
        given: the argument that stands for them.
        vector_column: the column of a table that holds the vectors; None: the only one that holds arrays.
        id_column: the column of a table that holds the ids; None: the one with a common name.
        name: of their space, where the argument has none.
    """
    if lies_somewhere(given):
        found = read_vectors(given, vector_column=vector_column, id_column=id_column)
        if found.numbered and id_column is None and str(given).lower().endswith(".parquet"):
            advice = "say which column holds ids with id_column=, '' for none, or call it 'id'"
            warn(f"{given}: the rows have no ids and are numbered from 0 - {advice}", 3)
        return found
    if isinstance(given, Artefact):
        made = artefact_of(given, Vectors)
    else:
        with named(f"The {name}") if name in ("source", "target") else contextlib.nullcontext():
            made = Vectors.of(given, vector_column=vector_column, id_column=id_column)
    return made if made.space.id != UNNAMED else made.in_space(Space(name, made.space.dim), made.data)


def lies_somewhere(given: Any) -> TypeGuard[str | Path | Sequence[str | Path]]:
    """Whether something says where vectors are: in a file or folder, or in several files."""
    several = isinstance(given, (list, tuple)) and len(given) > 0
    return isinstance(given, (str, Path)) or (several and all(isinstance(one, (str, Path)) for one in given))


def views_of(
    given: Sequence[VectorsLike],
    vector_column: str | None = None,
    id_column: str | None = None,
    *,
    name: str = "vectors",
) -> list[Vectors]:
    """Return several sets of vectors; the spaces of those that have no name are numbered from 1."""
    found = []
    for i, one in enumerate(given, 1):
        with contextlib.nullcontext() if len(given) == 1 or lies_somewhere(one) else named(f"Vectors {i}"):
            found.append(vectors_of(one, vector_column, id_column, name=f"{name}-{i}"))
    return found


def engine_of(given: EngineLike | None) -> Executor | None:
    """Return an engine, given itself or as text with its options, such as 'daft:workers=2'; None for this process."""
    if not isinstance(given, str):
        if given is None or hasattr(given, "map"):
            return given
        raise AtlasError(f"Expected an engine, got {type(given).__name__} - give its name, or an object with 'map'")
    name, _, options = given.partition(":")
    cls = component(Engine, name)
    pairs = [option.partition("=") for option in options.split(",") if option]
    return cls.from_config(cls.parse_config([(key, text) for key, _, text in pairs]))


def moments_of(given: MomentsLike) -> Moments:
    """Return moments, given themselves or by where they are: also those published beside an alignment."""
    text = str(given) if isinstance(given, (str, Path)) else ""
    if text.startswith(SCHEME) and pull(text, tensors=False).card.kind == "alignment":
        try:
            return loaded(text, ["moments"], inside=INSIDE)
        except NotFoundError:
            raise NotFoundError(f"'{text}' is an alignment without moments beside it - ask who published it") from None
    return artefact_of(given, Moments)


def anchors_of(given: AnchorsLike | None) -> tuple[Sequence[str] | None, str]:
    """Return the items of anchors and the id of these, '' for a list of items; None if none are given."""
    found = loaded(given, ["anchors"]) if isinstance(given, (str, Path)) else given
    if isinstance(found, Anchors):
        return found.ids, found.id
    return None if found is None else [str(item) for item in found], ""


def encoder_of(given: EncoderLike, options: Mapping[str, Any] | None = None) -> Encoder:
    """Return an encoder: a component's name with options, or the folder or registry id of a stored space."""
    if isinstance(given, Encoder):
        return given
    known = components(Encoder)
    if str(given) in known:
        return create(Encoder, str(given), options)
    try:
        stored = loaded(given, ["space"])
    except NotFoundError:
        if "/" in str(given) or str(given).startswith("."):
            raise
        ids = [entry.card.id for entry in Registry().list(kind="space")]
        kind = "encoder" if str(given) in SHIPPED["encoder"] else "encoder or space"
        raise missing(kind, str(given), [*known, *ids]) from None
    if options:
        raise AtlasError(f"Options are those of the stored space '{given}' - leave out {', '.join(sorted(options))}")
    return stored


def head_of(given: HeadLike) -> Head:
    """Return a head: itself, or by where it is; that of a stored space is the one its encoder carries."""
    if not isinstance(given, (str, Path)):
        return artefact_of(given, Head)
    found = loaded(given, ("head", "space"))
    return Head.of_encoder(found) if isinstance(found, Encoder) else found


def items_of(given: ItemsLike, **columns: str | None) -> Items:
    """Return the items of a path, of stored vectors (as arrays), or of a list, tensor or array."""
    if isinstance(given, Vectors):
        return _rows_as_items(given)
    if not isinstance(given, (str, Path)):
        table = table_of(given)
        return as_items(given) if table is None else table_items(table, "", **columns)
    if is_store(given):
        return _rows_as_items(read_vectors(given))
    path = as_path(given)
    bare_id = not path.exists() and "/" not in str(given) and not path.suffix
    if (path / CARD).is_file() or bare_id or str(given).startswith("hf://"):
        return _rows_as_items(read_vectors(given))
    return read_items(path, **columns)


def _rows_as_items(vectors: Vectors) -> Items:
    items = as_items(vectors.data)
    items.ids, items.labels, items.name = vectors.ids, vectors.label_names(), vectors.dataset
    return items


def make_ready(encoder: Encoder, items: Items) -> None:
    """Fit an encoder that must be fitted and is not, on the items."""
    if not encoder.fitted:
        encoder.fit(items)


def sound_of(views: Sequence[Vectors], listed: str | Path | None, overwrite: bool) -> list[Vectors]:
    """Return the vectors whose numbers are all finite, and list the ids of the others in a file; None: all of them."""
    if listed is None:
        return [*views]
    check_list(listed, overwrite)
    kept: list[Vectors] = []
    bad: dict[str, None] = {}
    for view in views:
        sound = torch.cat([torch.isfinite(batch).all(1) for batch in view.rows.batches()])
        if not bool(sound.any()):
            raise AtlasError(f"None of the {len(view)} vectors of '{view.space.id}' is finite - nothing would be left")
        bad |= dict.fromkeys(view.ids[i] for i in (~sound).nonzero()[:, 0])
        kept.append(view if bool(sound.all()) else view.take(sound.nonzero()[:, 0]))
    write_list(listed, bad)
    return kept


def check_seed(seed: Seed) -> None:
    """Raise `AtlasError` if a seed is none that generators and cards can hold."""
    if not 0 <= seed < 2**63:
        raise AtlasError(f"A seed must be from 0 to 2**63 - 1, got {seed}")


def stored(kind: str, where: str | Path) -> Any:
    """Return the artefact of a reference, as the kind that a parameter of a verb has."""
    if kind == "head|space":
        return head_of(where)
    return vectors_of(where) if kind == "vectors" else artefact_of(where, *(CLASSES[k] for k in kind.split("|")))
