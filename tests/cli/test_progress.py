"""A bar on a terminal, out of the way of every line that is printed, and nothing elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from atlas.cli.output import put, say
from atlas.progress import bar, note


class Terminal(io.StringIO):
    """A stderr that is a terminal, and keeps what it is told."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    """Let a second pass whenever the bar looks at the clock."""
    clock = iter(range(10_000))
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def on_terminal(monkeypatch):
    """Return a function that puts a terminal in the place of stderr; pytest replaces it after its fixtures ran."""

    def put_there() -> Terminal:
        found = Terminal()
        monkeypatch.setattr(sys, "stderr", found)
        return found

    return put_there


def test_a_bar_is_shown_on_a_terminal_and_cleared(on_terminal):
    terminal = on_terminal()
    assert list(bar("abcd", 4, "Applying")) == list("abcd")
    said = terminal.getvalue()
    assert "\rApplying:  50%" in said and "2/4" in said
    assert said.endswith("\r") and not said.rsplit("\r", 2)[1].strip()


def test_a_note_stands_beside_the_bar_and_nowhere_else(on_terminal):
    terminal = on_terminal()
    note("before")
    for _ in bar("abcd", 4, "Encoding"):
        note("12 tokens")
    assert "12 tokens" in terminal.getvalue() and "before" not in terminal.getvalue()


@pytest.mark.parametrize("name", ["HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"])
def test_it_is_hidden_on_demand(on_terminal, monkeypatch, name):
    terminal = on_terminal()
    monkeypatch.setenv(name, "1")
    assert list(bar("abcd", 4, "Applying")) == list("abcd")
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("name", ["HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"])
def test_it_is_shown_elsewhere_only_on_demand(capsys, monkeypatch, name):
    assert list(bar(range(1000), 1000, "Applying")) == list(range(1000))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(name, "0")
    assert list(bar(range(1000), 1000, "Applying")) == list(range(1000))
    assert "Applying:" in capsys.readouterr().err


def test_what_is_quick_shows_no_bar(on_terminal, monkeypatch):
    terminal = on_terminal()
    monkeypatch.setattr("tqdm.std.time", lambda: 0.0)
    assert list(bar("abcd", 4, "Applying")) == list("abcd")
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("tell", [say, put])
def test_a_line_is_printed_on_a_line_of_its_own(on_terminal, monkeypatch, tell):
    terminal = on_terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for letter in bar("abcd", 4, "Applying"):
        tell(f"line {letter}")
    lines = [line.rsplit("\r", 1)[-1] for line in terminal.getvalue().split("\n")]
    assert lines == ["line a", "line b", "line c", "line d", ""]


def test_a_bar_that_is_left_early_is_gone(on_terminal):
    terminal = on_terminal()
    batches = bar("abcd", 4, "Applying")
    next(batches)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    before = terminal.getvalue()
    say("done")
    assert terminal.getvalue() == before + "done\n"
