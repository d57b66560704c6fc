"""What the docs say is generated or run."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from pagetools import run_page

from atlas.plugins import hooks

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")])
# Pages whose commands and code are run from top to bottom, in a folder of their own.
RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "docs" / "recipes.md"]
LINK = re.compile(r"\]\(([^)#: ]*)(?:#([^)]*))?\)")
ADDRESS = re.compile(r"https?:[^\s)\"'`<>|]+")


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_command_and_all_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


OWN = (ROOT / "docs" / "own-vectors.md").read_text().split("\n## ")
# What a section may need that Atlas does not.
OPTIONAL = ("datasets", "pandas", "polars", "pyarrow", "scipy", "sklearn")


@pytest.mark.parametrize("section", OWN[1:], ids=lambda section: section.partition("\n")[0])
def test_every_section_on_vectors_of_ones_own_runs_after_the_first(section, tmp_path, monkeypatch):
    for library in OPTIONAL:
        if f"import {library}" in section or f"from {library}" in section:
            pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    numpy = next(part for part in OWN if part.startswith("numpy"))
    run_page("\n".join([OWN[0], *([numpy] if section != numpy else []), section]))


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"\]\([^)]*\)|[^\w\- ]", "", title) for title in re.findall(r"^#+ (.*)", text, re.MULTILINE)]
    return {title.lower().strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for link, anchor in LINK.findall(re.sub(r"<!--.*?-->|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)):
        to = page.parent / link if link else page
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            broken.append(f"{link}#{anchor}")
    assert not broken


def test_addresses_are_written_one_way_and_numbers_of_papers_are_such():
    text = "\n".join(page.read_text() for page in [*PAGES, ROOT / "CITATION.cff"])
    found = {address.rstrip(".,;:") for address in ADDRESS.findall(text)}
    bare = [re.sub(r"^https?://(www\.)?|/$", "", address) for address in found]
    assert len(set(bare)) == len(found)
    numbers = re.findall(r"arxiv(?:\.org/abs/|:) ?([\w./-]*\w)", text, re.IGNORECASE)
    assert len(numbers) > 4 and [n for n in numbers if not re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", n)] == []


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
