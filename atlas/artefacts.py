"""What Atlas stores, saved and loaded."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.anchors import Anchors
from atlas.bare import read_bare, vectors_from
from atlas.base import Encoder
from atlas.cards import BARE, CARD, dump_card, read_card
from atlas.errors import AtlasError
from atlas.files import MODEL, check_target, load_tensors, save_tensors, sha256_file, whole_folder
from atlas.fitted import Alignment, Atlas, Head, Stored
from atlas.hub import SCHEME, locate
from atlas.plugins import create, provider
from atlas.provenance import made_by
from atlas.registry import check_file
from atlas.types import Card, SpaceCard, slug
from atlas.vectors import Vectors


def save(artefact: Any, folder: str | Path, *, overwrite: bool = False, **about: str) -> None:
    """Write an artefact (or an encoder, as the card of its space) to a folder, whole or not at all.

    Args:
        artefact: what to write.
        folder: where to; its last part becomes the id of vectors and spaces.
        overwrite: replace what is there.
        **about: license and description, to write on the card.

    Raises:
        AtlasError: something is there and `overwrite` was not asked for, or the file cannot be written.
    """
    if not isinstance(artefact, Encoder):
        artefact = replace(artefact, **about)
    if isinstance(artefact, Vectors):
        return artefact.save_pretrained(folder, overwrite=overwrite)
    path = check_target(folder, overwrite)
    if isinstance(artefact, Encoder):
        id = artefact.stored_id or slug(path.name)
        card_of, tensors = functools.partial(_encoder_card, artefact, id, **about), artefact.state_dict()
    else:
        card_of, tensors = artefact.card, artefact.tensors()
    with whole_folder(path) as temporary:
        stored: dict[str, Any] = {}
        if tensors:
            stored["tensors"] = save_tensors(temporary / MODEL, tensors)
            stored["sha256"] = sha256_file(temporary / MODEL)
        (temporary / CARD).write_text(dump_card(card_of(**stored)), encoding="utf-8")


def _encoder_card(encoder: Encoder, id: str, **fields: Any) -> SpaceCard:
    return SpaceCard(id=id, space=encoder.space(id), config=encoder.config(), plugin=provider(type(encoder)), **fields)


def _encoder_from(card: SpaceCard, folder: Path) -> Encoder:
    with made_by(Encoder, card.space.encoder, card.plugin):
        encoder = create(Encoder, card.space.encoder, card.config)
        if card.tensors:
            encoder.load_state_dict(load_tensors(folder / MODEL))
    encoder.stored_id = card.space.id
    card.space.require(encoder.space(card.id), f"{folder / CARD}: the card is of", "the weights")
    return encoder


def load(ref: str | Path, kind: str | Sequence[str] = "", **hub: Any) -> Any:
    """Load an artefact: `Alignment`, `Anchors`, `Atlas`, `Head`, `Vectors`, or, for a space, its `Encoder`.

    Args:
        ref: a folder, the id of a registry entry, or 'hf://owner/name[@revision]'.
        kind: what it must be; '' for anything.
        **hub: how to pull from the Hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        NotFoundError: nothing is there.
        CardError: the card is malformed, or the tensors are not the ones it describes.
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    kinds = tuple(k for k in kinds if k)
    folder = locate(ref, kinds, **{**hub, "tensors": True})
    card = read_card(folder)
    if kinds and card.kind not in kinds:
        raise AtlasError(f"'{folder}' is of kind {card.kind} - expected {' or '.join(kinds)}")
    # What a reference to the Hub means was checked by the pull above, in this very call.
    if card.sha256 and not str(ref).startswith(SCHEME):
        check_file(folder, card)
    return _LOADERS[card.kind](card, folder)


_LOADERS: dict[str, Any] = {
    "space": _encoder_from,
    "anchors": Anchors.from_card,
    "vectors": vectors_from,
    "alignment": Alignment.from_card,
    "head": Head.from_card,
    "atlas": Atlas.from_card,
}


def read_vectors(ref: str | Path) -> Vectors:
    """Return vectors: a folder, a registry id, or a bare .npy, .safetensors or .parquet file."""
    path = locate(ref, ["vectors"])
    return read_bare(path) if path.suffix in BARE and not path.is_dir() else load(path, "vectors")


__all__ = [
    "Alignment",
    "Anchors",
    "Atlas",
    "Card",
    "Head",
    "Stored",
    "Vectors",
    "load",
    "locate",
    "read_vectors",
    "save",
]
