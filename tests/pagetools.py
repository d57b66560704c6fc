"""Running a page from top to bottom, and comparing what its commands print with what it says they do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from atlas.cli import main

BLOCK = re.compile(r"^```(python|console|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_page(page: Path | str) -> int:
    """Run the Python and `$ atlas` lines of a page, or of its text, in the working folder; return how many blocks ran.

    A block of YAML that begins with `# NAME` is written to that file.
    """
    names: dict[str, object] = {}
    blocks = BLOCK.findall(page.read_text() if isinstance(page, Path) else page)
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, "a page", "exec"), names)
        elif kind == "console":
            run_commands(text)
        elif name := re.match(r"# (\S+)\n", text):
            Path(name[1]).write_text(text)
    return sum(kind != "yaml" for kind, _ in blocks)


def run_commands(text: str) -> None:
    """Run commands but those that install, and find each line that is shown below one in what it prints."""
    for command in re.findall(r"^\$ (.*\n(?:(?!\$ ).*\n)*)", text.replace("\\\n", " "), re.MULTILINE):
        line, *shown = command.splitlines()
        words = shlex.split(line, comments=True)
        if words[0] != "atlas" or words[1:3] == ["plugins", "install"]:
            continue
        result = CliRunner().invoke(main, words[1:])
        status = 1 if shown and shown[0].startswith("Error: ") else 0
        assert result.exit_code == status, f"{line}\n{result.output}"
        printed = [one.split() for one in result.output.splitlines()]
        for expected in shown:
            assert expected.split() in printed or expected == "...", f"{line}\n{expected}\n{result.output}"
