"""What modules declare where they are imported: help, defaults and limits as the pages say, and values that stay."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

import atlas
from atlas.cli import COMMANDS, main

DOCS = Path(__file__).parents[2] / "docs"
PACKAGES = ("artefacts", "cards", "storage", "hub", "sharing", "routes", "verbs", "plugins")
# Nothing is replaced, removed, published or taken for true unless somebody asks for it.
UNASKED = (
    *("again", "confidence", "create_pr", "done", "dry_run", "editable", "few", "force", "force_download", "inverse"),
    *("local_files_only", "many", "overwrite", "positional", "private", "read_back", "remove_all", "required"),
    *("reverse", "shares", "upgrade"),
)
# None have been counted.
COUNTS = ("downloads", "ids", "n_pairs", "n_public", "n_unpaired", "native", "pairs", "rows", "seconds", "total")
DEFAULTS: dict[str, set[Any]] = {
    **{name: {False} for name in UNASKED},
    **{name: {0} for name in COUNTS},
    **{"seed": {0}, "k": {10}, "batch_size": {256}, "tensors": {True}, "draws": {1000}},
}
# It places what was asked for.
OTHERS = {("whole_folder", "overwrite"): True}
# Each with the words of the pages.
LIMITS = {
    "cards.yaml.MAX_BYTES": (1_000_000, "A card has at most 1 MB"),
    "cards.yaml.MAX_DEPTH": (32, "nesting deeper than 32 levels"),
    "storage.hashes.LARGE": (32 * 2**20, "A file of 32 MB or more is hashed when it is first seen"),
    "hub.client.TRIES": (3, "a request is tried three times"),
    "hub.client.WAIT": (60, "does not answer a request over HTTP for a minute is given up"),
    "hub.client.LONGEST_PAUSE": (60, "over a minute is reported, not waited for"),
    "hub.client.MOST": (32 * 2**20, "no more than 32 MB of any other answer"),
    "artefacts.moments.PRIVATE": (10, "Fewer than 10 distinct rows for each dimension"),
    "plugins.loading.LIMIT": (30, "takes more than 30 seconds"),
}


@pytest.fixture(scope="module")
def modules() -> list[ModuleType]:
    """Every module of the packages that people meet."""
    found = []
    for package in PACKAGES:
        names = pkgutil.walk_packages([str(Path(atlas.__path__[0]) / package)], f"atlas.{package}.")
        found += [importlib.import_module(f"atlas.{package}"), *(importlib.import_module(one.name) for one in names)]
    return found


def own(modules: list[ModuleType], kind: Any) -> list[Any]:
    """Return what modules define of a kind, and not what they import."""
    return [one for m in modules for one in vars(m).values() if kind(one) and one.__module__ == m.__name__]


def help_pages() -> dict[str, str]:
    """Return what every command says of itself."""
    context, pages = click.Context(main), {}
    for name in (name for section in COMMANDS.values() for name in section):
        command = main.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else []
        for words in ([name], *([name, one] for one in inner)):
            said = CliRunner().invoke(main, [*words, "--help"], prog_name="atlas", terminal_width=100)
            pages[" ".join(words)] = said.stdout.rstrip()
    return pages


def test_the_page_of_commands_has_what_each_says_of_itself():
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"#{3,4} atlas ([a-z -]+)\n\n```text\n(.*?)\n```", text, re.DOTALL))
    assert written == help_pages()


def test_what_is_not_asked_for_is_as_everywhere(modules):
    found = defaultdict(set)
    functions = own(modules, inspect.isfunction)
    for cls in own(modules, inspect.isclass):
        functions += [f for f in map(inspect.unwrap, vars(cls).values()) if inspect.isfunction(f)]
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            value = parameter.default
            usual = not isinstance(value, (bool, int, float)) or OTHERS.get((function.__name__, name)) == value
            if name in DEFAULTS and not usual:
                found[name, value].add(f"{function.__module__}.{function.__qualname__}")
    wrong = {key: where for key, where in found.items() if key[1] not in DEFAULTS[key[0]]}
    assert wrong == {}


def test_what_is_stored_or_known_does_not_change(modules):
    classes = own(modules, lambda one: inspect.isclass(one) and dataclasses.is_dataclass(one))
    assert {cls.__name__ for cls in classes if not cls.__dataclass_params__.frozen} == {"Composed", "Plugin"}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_of_the_pages(name):
    value, words = LIMITS[name]
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(f"atlas.{module}"), constant) == value
    assert any(words in (DOCS / page).read_text(encoding="utf-8") for page in ("safety.md", "writing-plugins.md"))
