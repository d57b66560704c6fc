"""What is wrong with an artefact's folder: its card, its file of tensors, and whether they belong together."""

from __future__ import annotations

from pathlib import Path

from atlas.cards.folder import MODEL, read_card
from atlas.cards.kinds import Card
from atlas.errors import AtlasError, CardError


def problems(folder: Path) -> list[str]:
    """Return everything that is wrong with an artefact's card and file, in sentences that begin with the file."""
    try:
        card = read_card(folder)
    except AtlasError as error:
        return [str(error)]
    found = []
    if card.sha256 and not (card.hub and not (folder / MODEL).exists()):
        try:
            check_file(folder, card)
        except AtlasError as error:
            found.append(str(error))
    elif not card.sha256 and (folder / MODEL).exists():
        found.append(f"{folder / MODEL}: the card does not list it")
    return found


def check_file(folder: Path, card: Card, digest: str = "") -> None:
    """Raise `CardError` unless the file of tensors is the very one its card describes.

    Args:
        folder: the artefact.
        card: what is read from it.
        digest: the sha256 of the file, where it has just been computed; '' computes it.
    """
    from atlas.storage.files import sha256_file
    from atlas.storage.tensors import read_header

    path = folder / MODEL
    if not path.is_file():
        raise CardError(f"{path}: the file is missing - the card lists {len(card.tensors)} tensors")
    infos, _ = read_header(path)
    listed = dict(card.tensors)
    if infos != listed:
        name = min(name for name in {*infos, *listed} if infos.get(name) != listed.get(name))
        here, there = (f"{i.dtype} {list(i.shape)}" if i else "not there" for i in (infos.get(name), listed.get(name)))
        raise CardError(f"{path} does not match its card: tensor '{name}' is {here}, the card says {there}")
    digest = digest or sha256_file(path)
    if digest != card.sha256:
        raise CardError(
            f"{path} does not match its card: sha256 is {digest[:12]}..., the card says {card.sha256[:12]}..."
        )
