"""What the docs say is generated or run."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from atlas.cli import main
from atlas.plugins import hooks

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# Pages whose commands and code are run from top to bottom, in a folder of their own.
RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "docs" / "recipes.md"]
BLOCK = re.compile(r"^```(python|console|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#: ]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_command_and_all_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            exec(compile(text, str(page), "exec"), names)
        elif kind == "console":
            run_commands(text)
        elif name := re.match(r"# (\S+)\n", text):
            Path(name[1]).write_text(text)


OWN = (ROOT / "docs" / "own-vectors.md").read_text().split("\n## ")
# What a section may need that Atlas does not.
OPTIONAL = ("datasets", "pandas", "polars", "pyarrow", "scipy", "sklearn")


@pytest.mark.parametrize("section", OWN[1:], ids=lambda section: section.partition("\n")[0])
def test_every_section_on_vectors_of_ones_own_runs_after_the_first(section, tmp_path, monkeypatch):
    for library in OPTIONAL:
        if f"import {library}" in section or f"from {library}" in section:
            pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    numpy = next(part for part in OWN if part.startswith("numpy"))
    for kind, text in BLOCK.findall("\n".join([OWN[0], *([numpy] if section != numpy else []), section])):
        if kind == "python":
            exec(compile(text, "own-vectors.md", "exec"), names)
        else:
            run_commands(text)


def run_commands(text):
    """Run the `$ atlas ...` lines of a console block; any other command is the reader's shell and is left alone."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line[2:], comments=True) if line.startswith("$ ") else []
        if words[:1] == ["atlas"]:
            result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
            assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = [link for link, _ in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


def test_every_hook_is_documented_with_its_arguments():
    text = (ROOT / "docs" / "hooks.md").read_text()
    for name, function in inspect.getmembers(hooks, inspect.isfunction):
        if name.startswith("register_"):
            arguments = ", ".join(inspect.signature(function).parameters)
            assert f"## {name}({arguments})" in text


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [
        page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and f"({page.name})" not in index
    ]
    assert not missing


def test_the_journeys_name_modules_and_functions_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Four journeys")[2]
    modules = re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text)
    assert len(modules) > 20
    assert [module for module in modules if not (ROOT / "atlas" / module).is_file()] == []
    for name, module in re.findall(r"`([A-Za-z_]+)` in `([a-z_/]+\.py)`", text):
        assert hasattr(importlib.import_module(f"atlas.{module[:-3].replace('/', '.')}"), name), f"{name} in {module}"


def test_the_picture_of_the_house_is_current():
    sys.path.insert(0, str(ROOT / "docs"))
    house = importlib.import_module("house")
    assert house.PICTURE.read_text() == house.svg(), "run: python docs/house.py"
