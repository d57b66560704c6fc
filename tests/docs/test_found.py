"""SKILL.md and llms.txt say what the program and the docs are now; cog keeps the list of commands."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from atlas.cards.yaml import parse_yaml
from atlas.cli import COMMANDS, main

DOCS = Path(__file__).parents[2] / "docs"
SKILL = (DOCS / "SKILL.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found():
    sys.path.insert(0, str(DOCS))
    import found

    return found


def test_llms_txt_is_current(found):
    assert (DOCS / "llms.txt").read_text(encoding="utf-8") == found.llms(), "cog -r docs/SKILL.md"


def test_every_page_of_llms_txt_is_there_and_has_a_sentence(found):
    lines = re.findall(r"^- \[([^\]]+)\]\(([^)]+)\)(: .+)?$", found.llms(), re.MULTILINE)
    assert len(lines) > 25
    assert all((DOCS / page).is_file() for _, page, _ in lines)
    assert sum(not said for *_, said in lines) <= 2


def test_the_skill_has_a_name_and_says_when_to_use_it():
    _, head, _ = SKILL.split("---\n", 2)
    about = parse_yaml(head, "SKILL.md")
    assert set(about) == {"name", "description"}
    assert re.fullmatch("[a-z0-9-]{1,64}", about["name"]) and 50 < len(about["description"]) <= 1024
    assert "Use when" in about["description"]


def test_the_skill_lists_every_command():
    listed = re.findall(r"^- `atlas ([\w-]+)`", SKILL, re.MULTILINE)
    assert listed == [name for section in COMMANDS.values() for name in section]


def test_the_commands_of_the_skill_have_these_options():
    lines = [line for block in re.findall(r"```bash\n(.*?)```", SKILL, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        _, name, *words = shlex.split(line)
        command = main.get_command(click.Context(main), name)
        options = {opt for param in command.params for opt in param.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
