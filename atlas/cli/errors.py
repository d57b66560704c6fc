"""Every error as one sentence on stderr, and the exit status that goes with it."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from atlas.cli.output import say
from atlas.errors import AtlasError, AtlasWarning

# Ways to end a command that say why themselves, or need not.
STOPS = (SystemExit, click.ClickException, click.exceptions.Exit, click.Abort)


class Failure(click.ClickException):
    """One sentence; the exit status is 1."""

    def show(self, file: Any = None) -> None:
        """Print the sentence on stderr."""
        say(self.message)


class Interrupted(Failure):
    """Ctrl-C; the exit status is that of a shell's command that it stopped."""

    exit_code = 130


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn errors into a `Failure`, and warnings into lines on stderr."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", AtlasWarning)
            warnings.showwarning = functools.partial(_show_warning, set())
            yield
            if sys.stdout:
                sys.stdout.flush()
    except BaseException as error:
        # Where no plugin was looked for, none has ended the command: help looks for none, and must stay quick.
        if isinstance(error, STOPS) and "atlas.plugins.discovery" not in sys.modules:
            raise
        from atlas.plugins.discovery import culprit

        plugin = culprit(error)
        if isinstance(error, KeyboardInterrupt) and not plugin:
            raise Interrupted("Interrupted - nothing half-written was left") from None
        stopped = isinstance(error, STOPS) or (isinstance(error, OSError) and error.errno == errno.EPIPE)
        if os.environ.get("ATLAS_DEBUG") or (stopped and not plugin):
            raise
        raise Failure(f"Error: {sentence(error, plugin)}") from None


def sentence(error: BaseException, plugin: str) -> str:
    """Name the fault in one sentence, and the plugin in whose code it arose, if any."""
    text = " ".join(str(error).split())
    if isinstance(error, AtlasError):
        return text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return "There is not enough memory - use a smaller --batch-size, fewer rows, or another --device"
    kind = type(error).__name__
    if plugin:
        return f"Plugin '{plugin}' failed: {kind}: {text}".removesuffix(": ") + " - set ATLAS_DEBUG=1 to see where"
    if isinstance(error, OSError) and error.strerror:
        return f"'{error.filename}': {error.strerror}" if error.filename else error.strerror
    return f"Unexpected {kind}: {text or 'no message'} - set ATLAS_DEBUG=1 to see where, and please report it"


def _show_warning(
    shown: set[str], message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None
) -> None:
    # Warnings of other libraries are for developers of Atlas, not for its users.
    if issubclass(category, AtlasWarning):
        # A recipe may do the same thing many times; once is enough.
        if str(message) not in shown:
            shown.add(str(message))
            say(f"Warning: {message}")
    elif os.environ.get("ATLAS_DEBUG"):
        say(warnings.formatwarning(message, category, filename, lineno, line).rstrip())
