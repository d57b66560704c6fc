"""Printing: tables and JSON on stdout, notes on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import click

from atlas.errors import hidden, in_a_line
from atlas.progress import clear_bars

# Characters that Python calls unprintable, and that do no harm.
SPACES = "\n\t\u00a0\u3000"
# Where results are printed; None: on stdout.
_results: ContextVar[Any] = ContextVar("results", default=None)


def say(text: str) -> None:
    """Print one line on stderr, above a progress bar if one is shown; the password of a URL is left out."""
    clear_bars()
    click.echo(hidden(in_a_line(text, 2000)), err=True)


@contextlib.contextmanager
def results_alone() -> Iterator[None]:
    """Keep stdout for results: anything else that is printed meanwhile, such as by a plugin, goes to stderr."""
    # One command may run another.
    token = _results.set(_results.get() or sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)


class Working(click.Context):
    """The context of a command, whose stdout is for results."""

    def invoke(self, callback: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run the command."""
        with results_alone():
            return super().invoke(callback, *args, **kwargs)


def working(command: click.Command | None) -> click.Command | None:
    """Return a command, and all in it, such that its stdout is for results."""
    for one in getattr(command, "commands", {}).values():
        working(one)
    if command is not None:
        command.context_class = Working
    return command


def put(text: str) -> None:
    """Print a result of one line or more on stdout, without characters that move the cursor or cannot be seen."""
    clear_bars()
    shown = "".join(char if char in SPACES or char.isprintable() else "?" for char in text)
    click.echo(shown, file=_results.get())


def put_json(data: Any) -> None:
    """Print data as JSON on stdout; numbers that are not finite become null."""
    text = json.dumps(_finite(data), indent=2, ensure_ascii=False)
    put("".join(char if char in SPACES or char.isprintable() else json.dumps(char)[1:-1] for char in text))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def put_table(header: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "Nothing found") -> None:
    """Print rows under a header on stdout, or a sentence on stderr if there are none."""
    rows = list(rows)
    if rows:
        put(table(header, rows))
    else:
        say(empty)


def put_either(
    as_json: bool, data: Any, header: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "Nothing found"
) -> None:
    """Print data as JSON where that is asked for, and else the rows that stand for them."""
    if as_json:
        put_json(data)
    else:
        put_table(header, rows, empty)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return aligned text: numbers to the right, columns in which every cell is empty left out."""
    cells = [[cell(value) for value in row] for row in rows]
    kept = [i for i in range(len(header)) if any(row[i] for row in cells)]
    right = {i for i in kept if all(isinstance(row[i], (int, float)) or row[i] in (None, "") for row in rows)}
    lines = [list(header), *cells]
    width = {i: max(len(line[i]) for line in lines) for i in kept}
    return "\n".join(
        "  ".join(line[i].rjust(width[i]) if i in right else line[i].ljust(width[i]) for i in kept).rstrip()
        for line in lines
    )


def cell(value: Any) -> str:
    """Return a value as a table shows it: floats to 4 decimals, or 4 digits where they are small or large."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
    return in_a_line(value)
