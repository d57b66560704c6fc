"""The worked examples of the docs are whole modules whose tests pass."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

pytest_plugins = ["plugin_fixtures"]
PAGE = Path(__file__).parents[2] / "docs" / "plugin-examples.md"
SECTIONS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "text"), SECTIONS, ids=[title for title, _ in SECTIONS])
def test_a_worked_example_keeps_its_promises(title, text, tmp_path, plant):
    code, tests = BLOCK.findall(text)
    module = importlib.import_module(plant("example", code))
    exec(compile(tests, str(PAGE), "exec"), vars(module))
    found = [function for name, function in inspect.getmembers(module) if name.startswith("test_")]
    assert found
    for function in found:
        folder = tmp_path / function.__name__
        folder.mkdir()
        function(folder) if inspect.signature(function).parameters else function()


def test_there_is_an_example_of_every_kind_that_the_tutorial_leaves_out():
    hooks = re.findall(r"def register_(\w+)s\(", PAGE.read_text())
    assert hooks == ["encoder", "sampler", "aggregator", "exporter", "store"]
