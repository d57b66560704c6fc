"""Progress of long work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# The bars that are open, by the id of each: printing a line clears them first.
_open: dict[int, Any] = {}


class Progress(Protocol):
    """A display of progress: given batches of anything, it yields them and counts them."""

    def __call__(self, batches: Iterable[T], total: int, what: str) -> Iterable[T]:
        """Yield the batches; `total` batches are expected, `what` names the work."""


def silent(batches: Iterable[T], total: int, what: str) -> Iterable[T]:
    """Yield the batches and show nothing."""
    return batches


def bar(batches: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the batches and show a bar once it has taken a while: on a terminal's stderr, or in a notebook.

    HF_HUB_DISABLE_PROGRESS_BARS or TQDM_DISABLE set to 1 hides it, set to 0 shows it wherever stderr goes.
    """
    from tqdm.auto import tqdm

    how = {"desc": what, "total": total, "delay": 0.5, "leave": False, "dynamic_ncols": True}
    with tqdm(batches, disable=_hidden(), **how) as shown:
        _open[id(shown)] = shown
        try:
            yield from shown
        finally:
            del _open[id(shown)]


def _hidden() -> bool | None:
    """Return whether bars are hidden; None: unless they are on a terminal or in a notebook."""
    asked = [os.environ.get(name, "") for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")]
    said = [value.lower() not in ("0", "false", "no", "off") for value in asked if value]
    return not sys.stderr or (any(said) if said else None)


def note(text: str) -> None:
    """Show a few words after the bars that are open, such as the cost of the work so far."""
    for shown in _open.values():
        shown.set_postfix_str(text)


def clear_bars() -> None:
    """Make room for a line of text; the bars appear again when they next move."""
    for shown in _open.values():
        shown.clear()
