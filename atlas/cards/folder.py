"""The folder of an artefact: a card, and the file of tensors beside it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from atlas.cards.kinds import Card
from atlas.cards.yaml import dump_yaml, parse_yaml, read_yaml
from atlas.errors import CardError, NotFoundError, located

CARD = "config.yaml"
MODEL = "model.safetensors"
# A repository, or its page; of two slashes, a path keeps one.
_REPOSITORY = re.compile(r"(?:https?:/+(?:huggingface|hf)\.co/)?([^/:]+/[^/:]+)(?:/tree/.*)?")

# Endings of bare files of vectors: a name that has one is a path, never an id.
BARE = (".npy", ".safetensors", ".parquet")


def spelled_out(text: str | Path) -> Path:
    """Return a path in which '~' is the user's home."""
    with contextlib.suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def hint_of_repository(text: str) -> str:
    """Return how a repository of the Hub is written, if a text, such as owner/name or a page, may mean one, else ''."""
    found = _REPOSITORY.fullmatch(text)
    return f" - a repository of the Hub is hf://{found[1]}" if found else ""


def read_card(folder: str | Path) -> Card:
    """Return the card of an artefact's folder.

    Raises:
        NotFoundError: no such folder, or no card in it.
        CardError: the card is malformed; the message begins with its path.
    """
    folder = spelled_out(folder)
    if folder.is_file():
        raise NotFoundError(
            f"'{folder}' is a file, not the folder of an artefact - vectors are read from {', '.join(BARE)}"
        )
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder '{folder}'{hint_of_repository(str(folder))}")
    if not (folder / CARD).is_file():
        raise NotFoundError(f"'{folder}' is not an artefact of Atlas: it has no {CARD}")
    data = read_yaml(folder / CARD)
    with located(folder / CARD, CardError):
        return Card.from_dict(data)


def dump_card(card: Card) -> str:
    """Return a card as the text of its file.

    Raises:
        CardError: the text could not be read again, as if a name held characters that cannot be printed.
    """
    try:
        text = dump_yaml(card.to_dict())
        again = Card.from_dict(parse_yaml(text, "as YAML"))
    except (CardError, UnicodeEncodeError) as error:
        raise CardError(f"The card of {card.kind} '{card.id}' cannot be stored: {error}") from None
    if again.to_dict() != card.to_dict():
        raise CardError(f"The card of {card.kind} '{card.id}' cannot be stored: it would not be read as it is")
    return text
