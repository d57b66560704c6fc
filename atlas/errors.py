"""Errors, in words a user can act on.

Every mistake of a user raises `AtlasError` with one sentence: the mistake, with the value, then " - " and the remedy.
The command line prints that sentence and exits with status 1.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import warnings
from collections.abc import Iterable, Iterator

# The password in a URL; as a path, a URL loses a slash.
_PASSWORD = re.compile(r"(:/{1,2}[^/\s:@']*):[^/\s@']+@")
# Letters and marks to Python, of which nothing is drawn: fillers, selectors of variants, a joiner, an empty pattern.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class AtlasError(ValueError):
    """A mistake the user can correct; its text is the message. Most are values that do not fit: a `ValueError`."""


class AtlasWarning(UserWarning):
    """Something that is probably a mistake but does not stop the work; the command line prints it on stderr."""


class CardError(AtlasError):
    """A card that is malformed, or that its tensors do not match."""


class NotFoundError(AtlasError):
    """A name, file or artefact that is not there."""


class NotFiniteError(AtlasError):
    """Rows that hold NaN or infinity, which some functions can leave out."""


class SpaceMismatchError(AtlasError):
    """Two things that do not live in the same space."""


def unknown(what: str, name: object, known: Iterable[object]) -> str:
    """Say that a name is unknown, with the nearest known one first.

    Args:
        what: the kind of thing, such as "aligner" or "option of aligner 'ridge'".
        name: the name that was given.
        known: the names that exist.
    """
    choices = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"did you mean '{near[0]}'? known: " if near else "known: "
    what, of, owner = what.partition(" of ")
    return f"Unknown {what} '{name}'{of}{owner} - {hint}{', '.join(choices) or 'none'}"


def check_known(what: str, name: object, known: Iterable[object]) -> None:
    """Raise `AtlasError` if a name is none of those that are known."""
    if name not in known:
        raise AtlasError(unknown(what, name, known))


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, as part of a sentence."""
    return str(error).partition("\n")[0].rstrip(". ")


@contextlib.contextmanager
def located(where: object, kind: type[AtlasError] = AtlasError) -> Iterator[None]:
    """Say where an error of Atlas arose, as an error of a kind."""
    try:
        yield
    except AtlasError as error:
        raise kind(f"{where}: {error}") from None


@contextlib.contextmanager
def reported(problem: str, *causes: type[Exception], kind: type[AtlasError] = AtlasError) -> Iterator[None]:
    """Turn exceptions of others into one sentence, a problem and the reason they give; errors of Atlas stay."""
    try:
        yield
    except AtlasError:
        raise
    except causes as error:
        raise kind(f"{problem}: {first_line(error)}") from None


@contextlib.contextmanager
def needed(what: str, library: str, extra: str) -> Iterator[None]:
    """Say of an import that fails who needs the library, and how to install it."""
    try:
        yield
    except ImportError:
        raise AtlasError(f"{what} {library} - pip install 'latent-atlas[{extra}]'") from None


def warn(text: str, level: int = 1) -> None:
    """Warn a user, of a line so many calls above."""
    warnings.warn(text, AtlasWarning, stacklevel=level + 1)


def hidden(text: str) -> str:
    """Return a text without the passwords of URLs in it."""
    return _PASSWORD.sub(r"\1:***@", text)


def unquoted(value: object) -> str:
    """Return the advice to write a number without quotes, if a text would have been one."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return " - write it without quotes"


def in_a_line(text: object, limit: int = 1000) -> str:
    """Return text of others as one line that can be printed: every character can be seen, and there are not too many.

    Args:
        text: the text to print.
        limit: how many characters are kept.
    """
    plain = " ".join(str(text).split())
    plain = plain if len(plain) <= limit else plain[: limit - 3] + "..."
    return "".join(char if char.isprintable() and not _UNSEEN.match(char) else "?" for char in plain)
