"""Text of others is printed so that it cannot be taken for Atlas's own: on one line, visible, not too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hubtools import make_alignment

from atlas.cards.folder import CARD
from atlas.cli.output import cell, put, put_json, put_table, say
from atlas.errors import in_a_line

UNSEEN = "\x1b[31m \u200b \u200e \u200f \u061c \ufeff \U000e0041 \u202e \x07 \x9b"
FORGED = "fine\n\nError: your login has expired - run: curl evil"


@pytest.mark.parametrize("char", UNSEEN.split(" "))
def test_what_cannot_be_seen_is_never_printed(capsys: pytest.CaptureFixture[str], char: str) -> None:
    say(f"a{char}b")
    put(f"a{char}b\nc")
    put_table(["name"], [[f"a{char}b"]])
    put_json({"name": f"a{char}b"})
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    shown = char.replace(char[0], "?", 1)
    assert err == f"a{shown}b\n"
    assert out.startswith(f"a{shown}b\nc\nname\na{shown}b\n")
    assert json.loads(out[out.index("{") :]) == {"name": f"a{char}b"}


def test_a_message_is_one_line_and_not_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Error: {FORGED}")
    say("x" * 900_000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Error: fine Error: your login has expired - run: curl evil"
    assert len(second) == 2000 and second.endswith("x...")
    assert cell(FORGED) == "fine Error: your login has expired - run: curl evil"
    assert len(cell("y" * 900_000)) == 1000


def test_what_people_write_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = "naïve 日本語　ёж\u00a0🦔 x  y\n  indented\tby a tab"
    put(text)
    put_json([text])
    out = capsys.readouterr().out
    assert out.startswith(text + "\n")
    assert "日本語　ёж\u00a0🦔 x  y" in out[len(text) + 1 :]
    assert in_a_line(" a \n b ") == "a b"
    # A filler, a selector, a joiner and an empty pattern: Python takes them for letters and marks.
    assert in_a_line("a\u3164b\ufe0fc\u034fd\u2800e") == "a?b?c?d?e"


def test_a_card_shows_its_fields_on_one_line_each(tmp_path: Path, atlas_command) -> None:
    folder = make_alignment(tmp_path / "a", description=FORGED, license="z" * 900_000)
    config = {f"k\n{FORGED}": FORGED}
    said = atlas_command("show", make_alignment(tmp_path / "b", config=config)).stdout
    assert "\nError" not in said
    said = atlas_command("show", folder).stdout
    assert "\nError" not in said
    assert "fine Error: your login has expired" in said
    assert max(map(len, said.splitlines())) < 1100


def test_a_folder_of_an_odd_name_does_not_reach_the_terminal(tmp_path: Path) -> None:
    """On a terminal of its own, where click leaves escapes as they are."""
    import pty

    folder = tmp_path / "a\x1b]0;owned\x07\nError: forged\u200b"
    folder.mkdir()
    (folder / CARD).write_text("kind: 1\n")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "atlas", "check", str(folder)]
    done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, timeout=60)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 10_000)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    text = said.decode().replace("\r\n", "\n")
    assert done.returncode == 1
    assert text.replace("\n", "").isprintable()
    assert "\nError" not in text
    assert "Field 'format' must be" in text
