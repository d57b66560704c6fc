"""Checks of an artefact's folder: its card, its file of tensors, and whether they belong together."""

from __future__ import annotations

from pathlib import Path

from atlas.cards.folder import MODEL, read_card
from atlas.cards.kinds import Card
from atlas.errors import AtlasError, CardError
from atlas.storage.hashes import fresh_sha256
from atlas.storage.header import TensorFile


def problems(folder: Path) -> list[str]:
    """Return everything that is wrong with an artefact's card and file, in sentences that begin with the file."""
    try:
        card = read_card(folder)
        if card.sha256 and not (card.hub and not (folder / MODEL).exists()):
            check_file(folder, card)
    except AtlasError as error:
        return [str(error)]
    if not card.sha256 and (folder / MODEL).exists():
        return [f"{folder / MODEL}: the card does not list it"]
    return []


def check_tensors(folder: Path, card: Card) -> TensorFile:
    """Return the file of tensors; raise `CardError` unless it has the size, names, dtypes and shapes of the card."""
    file = TensorFile(folder / MODEL)
    if not file.path.is_file():
        raise CardError(f"{file.path}: the file is missing - the card lists {len(card.tensors)} tensors")
    infos, listed = file.infos, dict(card.tensors)
    if infos != listed:
        name = min(name for name in {*infos, *listed} if infos.get(name) != listed.get(name))
        here, there = (f"{i.dtype} {list(i.shape)}" if i else "not there" for i in (infos.get(name), listed.get(name)))
        raise CardError(f"{file.path} does not match its card: tensor '{name}' is {here}, the card says {there}")
    return file


def check_file(folder: Path, card: Card, digest: str = "") -> TensorFile:
    """Return the file of tensors; raise `CardError` unless it is the very one its card describes.

    Args:
        folder: the artefact.
        card: the card in it.
        digest: the sha256 of the file, where it is known; '' hashes it.
    """
    file = check_tensors(folder, card)
    digest = digest or fresh_sha256(file.path)
    if digest != card.sha256:
        raise CardError(
            f"{file.path} does not match its card: sha256 is {digest[:12]}..., the card says {card.sha256[:12]}..."
        )
    return file
