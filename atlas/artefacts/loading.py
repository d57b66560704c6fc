"""Artefacts of any kind, saved and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.anchors import Anchors
from atlas.artefacts.artefact import Artefact, opened, reference, write
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.head import Head
from atlas.artefacts.moments import Moments
from atlas.artefacts.sources import shards
from atlas.artefacts.sources.shards import read_bare
from atlas.artefacts.sources.stores import is_store, read_store
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import BARE, CARD
from atlas.cards.kinds import SpaceCard
from atlas.cards.names import slug
from atlas.components.encoder import Encoder
from atlas.hub.pulling import locate
from atlas.plugins.catalogue import create, provider
from atlas.plugins.provenance import made_by
from atlas.storage.header import TensorFile
from atlas.storage.tensors import load_tensors


def save(artefact: Artefact | Encoder, folder: str | Path, *, overwrite: bool = False, **about: str) -> None:
    """Write an artefact (or an encoder, as the card of its space) to a folder, whole or not at all.

    Args:
        artefact: the artefact to write.
        folder: where to; its last part becomes the id of vectors and spaces.
        overwrite: replace an existing one.
        **about: license and description, to write on the card.

    Raises:
        AtlasError: something is there and `overwrite` was not asked for, or the file cannot be written.
    """
    if isinstance(artefact, Encoder):
        card = space_card(artefact, artefact.stored_id or slug(Path(folder).name), **about)
        write(card, artefact.state_dict(), folder, overwrite=overwrite)
    else:
        artefact.with_card(**about).save_pretrained(folder, overwrite=overwrite)


def space_card(encoder: Encoder, id: str, **fields: Any) -> SpaceCard:
    """Return the card of the space an encoder makes."""
    about: dict[str, Any] = {"config": encoder.config(), "takes": encoder.takes, "plugin": provider(type(encoder))}
    return SpaceCard(id, space=encoder.space(id), **about, **fields)


def _encoder_from(card: SpaceCard, file: TensorFile) -> Encoder:
    with made_by(Encoder, card.space.encoder, card.plugin):
        encoder = create(Encoder, card.space.encoder, card.config)
        if card.tensors:
            encoder.load_state_dict(load_tensors(file))
    encoder.stored_id = card.space.id
    card.space.require(encoder.space(card.id), f"{file.path.with_name(CARD)}: the card is of", "the weights")
    return encoder


def load(ref: str | Path, kind: str | Sequence[str] = "", **hub: Any) -> Any:
    """Load an artefact: `Alignment`, `Anchors`, `Atlas`, `Head`, `Moments`, `Vectors`, or, for a space, its `Encoder`.

    Args:
        ref: a folder, the id of a registry entry, or a repository on the Hub: 'hf://owner/name[@revision]', or
            'owner/name' where there is no such folder.
        kind: the kind it must be; '' for any.
        **hub: how to pull from the Hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        NotFoundError: nothing is there.
        CardError: the card is malformed, or the tensors are not the ones it describes.
    """
    return loaded(reference(ref, hub.get("revision")), (kind,) if isinstance(kind, str) else kind, **hub)


def loaded(ref: str | Path, kinds: Sequence[str] = (), **hub: Any) -> Any:
    """Load an artefact, as `load` does, from a place that is on the Hub only if it begins with 'hf://'."""
    card, file = opened(ref, tuple(kind for kind in kinds if kind), **hub)
    return _LOADERS[card.kind](card, file)


_LOADERS: dict[str, Any] = {
    "space": _encoder_from,
    **{cls.kind: cls.from_card for cls in (Anchors, Vectors, Moments, Alignment, Head, Atlas)},
}


def read_vectors(
    ref: str | Path | Sequence[str | Path], *, vector_column: str | None = None, id_column: str | None = None
) -> Vectors:
    """Return vectors: a folder, a registry id, a bare file, a set of shards, or the URL of a store of vectors.

    A bare file is a .npy, .safetensors or .parquet file. A set of shards is a folder of such files, a pattern with `*`,
    or a list; or objects in a store that fsspec knows, such as s3://bucket/folder. Those of a folder or a pattern stand
    in the natural order of their names: part-2 before part-10.

    Args:
        ref: where they are.
        vector_column: the column of .parquet files that holds the vectors; None: the only one that holds arrays.
        id_column: the column of .parquet files that holds the ids; None: the one with a common name; '': none.
    """
    if isinstance(ref, (str, Path)) and is_store(ref):
        return read_store(ref)
    if (found := shards.read(ref, vector_column, id_column)) is not None:
        return found
    assert isinstance(ref, (str, Path))
    path = locate(ref, ["vectors"])
    bare = path.suffix in BARE and not path.is_dir()
    return read_bare(path, vector_column, id_column) if bare else loaded(path, ["vectors"])
