"""The house plan: a module imports only to its left, and the heavy libraries only where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import atlas

ROOT = Path(__file__).parent.parent
# From left to right.
_ORDER = """
_version errors types arrays options aggregator exporter base
environment hookspecs discovery plugins provenance scaffold cards plots files ids registry hub
items tables inputs moments linear chain layers network headmodel heads metrics vectors planes
anchors bare fitted artefacts finding evaluation stitching
verbs predictions summaries recipe steps runner pictures demo cli testing
"""
LAYERS = _ORDER.split()
# Within the package that talks to the Hub.
_ORDER_OF_HUB = """
xet client receiving cache card text picture target pulling __init__ evaluating measuring pushing mixin searching
locking verifying
"""
HUB = _ORDER_OF_HUB.split()
# What the author of an encoder may need beside the public names.
FOR_AUTHORS = [
    "arrays",
    "base",
    "cards",
    "errors",
    "files",
    "headmodel",
    "heads",
    "items",
    "network",
    "stitching",
    "testing",
    "types",
]
# What a plugin is; its tests and examples may look at anything.
BESIDE = {"tests", "examples", "benchmarks"}
PLUGINS = sorted(p for p in (ROOT / "plugins").rglob("*.py") if not BESIDE & {*p.relative_to(ROOT).parts})
MODULES = sorted(path for path in (ROOT / "atlas").rglob("*.py") if path.parent.name != "_registry")
_LIGHT = """
_version errors types arrays options aggregator exporter base
environment hookspecs discovery plugins provenance scaffold cards plots registry hub summaries
recipe cli __init__ __main__
"""
NO_TORCH = set(_LIGHT.split())
OWNERS = {"click": {"cli"}, "yaml": {"cards"}, "huggingface_hub": {"hub"}}


def name_of(path: Path) -> str:
    """Return the layer a file belongs to."""
    return path.relative_to(ROOT / "atlas").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return what a file imports when it is imported: not inside functions, nor for type checkers alone."""
    found = set()
    pending: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending += ast.iter_child_nodes(node)
    return found


def layers_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported(path)]
    return {part[1] for part in parts if part[0] == "atlas" and len(part) > 1 and part[1] in LAYERS}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_to_its_left(path):
    name = name_of(path)
    if name in ("__init__", "__main__"):
        return
    assert name in LAYERS, f"{name} has no place in the layers"
    right = [other for other in layers_imported(path) if LAYERS.index(other) > LAYERS.index(name)]
    assert not right


@pytest.mark.parametrize("path", sorted((ROOT / "atlas" / "hub").glob("*.py")), ids=lambda path: path.name)
def test_a_module_of_the_hub_imports_only_to_its_left(path):
    parts = [name.split(".") for name in imported(path)]
    others = [part[2] for part in parts if part[:2] == ["atlas", "hub"] and len(part) > 2 and part[2] in HUB]
    assert [other for other in others if HUB.index(other) >= HUB.index(path.stem)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_heavy_libraries_are_imported_only_where_they_belong(path):
    roots = {name.split(".")[0] for name in imported(path)}
    name = name_of(path)
    if name in NO_TORCH:
        assert not roots & {"torch", "numpy", "safetensors"}
    for library, owners in OWNERS.items():
        assert name in owners or library not in roots


def test_the_core_never_imports_a_plugin():
    assert [path for path in MODULES if "atlas_builtin" in path.read_text()] == []


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_plugins_import_public_names_or_modules_for_authors(path):
    names = {name.split(".")[1] for name in imported(path) if name.startswith("atlas.")}
    assert not names - {*atlas.__all__, *FOR_AUTHORS}


def test_every_public_name_is_there():
    assert [name for name in atlas.__all__ if not hasattr(atlas, name)] == []
    assert sorted(atlas._LAZY) == sorted(set(atlas.__all__) - {"__version__"})


def test_a_public_name_is_never_hidden_by_a_module():
    modules = {path.stem for path in MODULES}
    assert not modules & set(atlas.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'atlas' has no attribute 'aline'"):
        _ = atlas.aline
