"""What the arguments of commands and recipes stand for: encoders, heads and items, by name, id, folder or reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.artefacts.head import Head
from atlas.artefacts.loading import load, read_vectors
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import CARD
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, NotFoundError, unknown
from atlas.items.batches import Items, as_items
from atlas.items.files import read_items
from atlas.plugins.catalogue import components, create
from atlas.storage.files import as_path
from atlas.storage.registry import Registry


def find_encoder(name: str | Path | Encoder, config: Mapping[str, Any] | None = None) -> Encoder:
    """Return an encoder: a component's name with options, or the folder or registry id of a stored space."""
    if isinstance(name, Encoder):
        return name
    known = components(Encoder)
    if str(name) in known:
        return create(Encoder, str(name), config)
    try:
        stored = load(name, "space")
    except NotFoundError:
        if "/" in str(name) or str(name).startswith("."):
            raise
        ids = [entry.card.id for entry in Registry().list(kind="space")]
        raise AtlasError(unknown("encoder or space", name, [*known, *ids])) from None
    if config:
        raise AtlasError(f"Options are those of the stored space '{name}' - leave out {', '.join(sorted(config))}")
    return stored


def find_head(ref: str | Path | Head) -> Head:
    """Return a head: the folder, reference or registry id of one, or of a stored space whose encoder carries one."""
    if isinstance(ref, Head):
        return ref
    found = load(ref, ("head", "space"))
    return Head.of_encoder(found) if isinstance(found, Encoder) else found


def find_items(source: Any, **columns: str | None) -> Items:
    """Return the items of a path, of stored vectors (as arrays), or of a list, tensor or array."""
    if isinstance(source, Vectors):
        return _rows_as_items(source)
    if not isinstance(source, (str, Path)):
        return as_items(source)
    path = as_path(source)
    bare_id = not path.exists() and "/" not in str(source) and not path.suffix
    if (path / CARD).is_file() or bare_id or str(source).startswith("hf://"):
        return _rows_as_items(read_vectors(source))
    return read_items(path, **columns)


def _rows_as_items(vectors: Vectors) -> Items:
    labels = None
    if vectors.labels is not None:
        labels = [vectors.classes[i] if i >= 0 else "" for i in vectors.labels.tolist()]
    items = as_items(vectors.data)
    items.ids, items.labels, items.name = vectors.ids, labels, vectors.dataset
    return items


def make_ready(encoder: Encoder, items: Items) -> None:
    """Let an encoder learn from the items what it must, if it has not yet."""
    if not encoder.fitted:
        encoder.fit(items)
