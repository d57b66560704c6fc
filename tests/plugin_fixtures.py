"""Plugins that are installed for the length of a test.

A test module that needs them says `pytest_plugins = ["plugin_fixtures"]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugintools import look_again, write_plugin

Planting = Callable[..., str]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planting]:
    """Install plugins for the length of a test: `plant(name, code)`."""
    folder = tmp_path / "planted-site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def planting(name: str, code: str, **about: str) -> str:
        module = write_plugin(folder, name, code, **about)
        look_again()
        return module

    look_again()
    yield planting
    monkeypatch.undo()
    for module in [name for name in set(sys.modules) - before if name.startswith("planted_plugin_")]:
        del sys.modules[module]
    look_again()
