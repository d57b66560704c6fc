"""Artefacts of any kind, saved and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.anchors import Anchors
from atlas.artefacts.artefact import Artefact, opened, write
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.head import Head
from atlas.artefacts.moments import Moments
from atlas.artefacts.stores import is_store, read_store
from atlas.artefacts.vector_files import read_matrix, read_parquet
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import BARE, CARD
from atlas.cards.kinds import SpaceCard
from atlas.cards.names import slug
from atlas.cards.space import SPACE_KEY, Space
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.hub.pulling import locate
from atlas.items.files import named
from atlas.plugins.catalogue import create, provider
from atlas.plugins.provenance import made_by
from atlas.storage.files import as_path
from atlas.storage.header import TensorFile
from atlas.storage.item_ids import RowNumbers
from atlas.storage.rows import map_npy
from atlas.storage.tensors import load_tensors


def save(artefact: Artefact | Encoder, folder: str | Path, *, overwrite: bool = False, **about: str) -> None:
    """Write an artefact (or an encoder, as the card of its space) to a folder, whole or not at all.

    Args:
        artefact: what to write.
        folder: where to; its last part becomes the id of vectors and spaces.
        overwrite: replace what is there.
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
        ref: a folder, the id of a registry entry, or 'hf://owner/name[@revision]'.
        kind: what it must be; '' for anything.
        **hub: how to pull from the Hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        NotFoundError: nothing is there.
        CardError: the card is malformed, or the tensors are not the ones it describes.
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    card, file = opened(ref, tuple(k for k in kinds if k), **hub)
    return _LOADERS[card.kind](card, file)


_LOADERS: dict[str, Any] = {
    "space": _encoder_from,
    **{cls.kind: cls.from_card for cls in (Anchors, Vectors, Moments, Alignment, Head, Atlas)},
}


def read_vectors(ref: str | Path, *, vector_column: str | None = None, id_column: str | None = None) -> Vectors:
    """Return vectors: a folder, a registry id, a bare .npy, .safetensors or .parquet file, or the URL of a store.

    Args:
        ref: where they are.
        vector_column: the column of a .parquet file that holds the vectors; None: the only one that holds arrays.
        id_column: the column of a .parquet file that holds the ids; None: the one with a common name; '': none.
    """
    if is_store(ref):
        return read_store(ref)
    path = locate(ref, ["vectors"])
    bare = path.suffix in BARE and not path.is_dir()
    return read_bare(path, vector_column, id_column) if bare else load(path, "vectors")


def read_bare(path: str | Path, vector_column: str | None = None, id_column: str | None = None) -> Vectors:
    """Return the vectors of a bare .npy, .safetensors or .parquet file.

    Their space is the one that Atlas wrote into a .safetensors file; of any other only the dimension is known. Ids are
    the `id` column (.parquet) or the `ids` tensors (.safetensors), else row numbers. A .safetensors file holds one
    matrix of floating-point numbers, or one called `vectors`.
    """
    path = as_path(path)
    ids: Sequence[str] | None = None
    labels, written = None, ""
    if path.suffix == ".npy":
        rows = map_npy(path)
    elif path.suffix == ".safetensors":
        file = TensorFile(path)
        rows, ids, labels = read_matrix(file)
        written = file.metadata(SPACE_KEY)
    else:
        rows, ids = read_parquet(path, vector_column, id_column)
    if 0 in rows.tensor.shape:
        raise AtlasError(f"'{path}' has no vectors: its shape is {tuple(rows.tensor.shape)}")
    ids = RowNumbers(len(rows)) if ids is None else ids
    classes = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
    with named(path):
        space = Space.from_json(written) if written else Space(slug(path.stem), rows.tensor.shape[1])
        return Vectors.made(space, rows, ids, labels, classes=classes)
