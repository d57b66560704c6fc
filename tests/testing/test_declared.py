"""A plugin that imports what it does not require is told so, and no other is."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from atlas.testing.declared import undeclared

_count = itertools.count()


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a module that can be imported, and return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(code):
        name = f"declared_plugin_{next(_count)}"
        (tmp_path / f"{name}.py").write_text(code)
        return name

    return write


@pytest.mark.parametrize(
    ("code", "requirements"),
    [
        ("import json, atlas\nfrom os import path", []),
        ("import numpy\nfrom torch import nn", ["latent-atlas>=0.1.0"]),
        ("def f():\n    import yaml", ["PyYAML"]),
        ("import scipy.linalg", ['scipy>=1.12 ; extra == "fast"']),
        ("try:\n    import nowhere\nexcept ImportError:\n    nowhere = None", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere", []),
        ("from . import other", []),
        ("import nowhere", ["some-distribution-that-is-not-here"]),
        ("import not_here", ["not-here>=2"]),
        ("import hatchling", ["Latent_Atlas [dev]"]),
        ("{{ a template }}", []),
    ],
)
def test_what_installing_brings_along_may_be_imported(written, code, requirements):
    assert undeclared(written(code), requirements) == ""


@pytest.mark.parametrize(
    ("code", "requirements", "strange"),
    [
        ("import nowhere.deep", ["latent-atlas"], "nowhere"),
        ("def f():\n    import numpy\n    import yaml", [], "numpy, yaml"),
        ("import hatchling", ["latent-atlas>=0.1.0"], "hatchling"),
        ("import scipy", ["numpy"], "scipy"),
        ("import scipy", ["no requirement at all", "numpy"], "scipy"),
    ],
)
def test_what_it_does_not_bring_along_is_named(written, code, requirements, strange):
    said = f"It imports {strange}, which it does not require - add it to its dependencies"
    assert undeclared(written(f"{code}\n") + ":plugin", requirements) == said


def test_all_modules_of_a_package_are_looked_at(tmp_path, monkeypatch):
    (tmp_path / "declared_package" / "deep").mkdir(parents=True)
    (tmp_path / "declared_package" / "__init__.py").write_text("")
    Path(tmp_path / "declared_package" / "deep" / "one.py").write_text("import nowhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "imports nowhere" in undeclared("declared_package.deep", [])
