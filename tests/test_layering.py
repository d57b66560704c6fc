"""The house plan: a package imports only those below it, no circle anywhere, and no room grows too large.

Every import counts, also one inside a function and one for type checkers alone.
"""

from __future__ import annotations

import ast
import functools
import importlib
import statistics
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import atlas

ROOT = Path(__file__).parent.parent
# From the ground up; packages of one floor do not know each other.
FLOORS = [
    ["_version", "errors", "faces", "progress"],
    ["cards"],
    ["numerics"],
    ["storage"],
    ["hub", "items", "metrics"],
    ["components"],
    ["models", "plugins"],
    ["artefacts"],
    ["langchain", "llama_index", "pictures", "routes", "sklearn", "testing"],
    ["verbs"],
    ["demo", "migration", "recipes", "sharing", "site"],
    ["cli"],
]
FLOOR = {package: number for number, floor in enumerate(FLOORS) for package in floor}
# Modules that hand on the names of others, and what they are for stands in their stubs.
FACES = ["atlas", "atlas.authors"]
STARTERS = ["atlas.__main__"]
# What a plugin is; its tests and examples may look at anything.
BESIDE = {"tests", "examples", "benchmarks"}
# Beside the standard library, what some packages alone may import.
OWNERS = {
    "click": {"cli"},
    "yaml": {"cards"},
    "huggingface_hub": {"hub"},
    "jinja2": {"demo", "hub", "site"},
    "pluggy": {"plugins"},
    "sklearn": {"sklearn"},
    "langchain_core": {"langchain"},
    "llama_index": {"llama_index"},
}


def module_of(path: Path) -> str:
    """Return the dotted name of a file of Atlas or of a plugin."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "plugins":
        parts = parts[1:] if parts[1] == "atlas_builtin" else parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(p): p for p in sorted((ROOT / "atlas").rglob("*.py")) if p.parent.name != "_registry"}
PLUGINS = {
    module_of(p): p for p in sorted((ROOT / "plugins").rglob("*.py")) if not BESIDE & {*p.relative_to(ROOT).parts}
}
ALL = {**MODULES, **PLUGINS}


@functools.cache
def imported(path: Path, *, lazily: bool = True) -> frozenset[str]:
    """Return the dotted names a file imports; not `lazily`: only those it imports when it is imported."""
    found: set[str] = set()
    pending: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif not lazily and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif lazily or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending += ast.iter_child_nodes(node)
    return frozenset(found)


def modules_imported(path: Path) -> set[str]:
    """Return the modules of Atlas and of plugins that a file imports."""
    found = set()
    for name in imported(path):
        while name and name not in ALL:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"", module_of(path)}


def package_of(module: str) -> str:
    """Return the package of Atlas a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def test_every_package_has_a_floor_and_there_are_at_most_twelve():
    packages = {package_of(module) for module in MODULES if module not in [*FACES, *STARTERS]} - {""}
    assert packages <= set(FLOOR)
    assert len(FLOORS) <= 12


@pytest.mark.parametrize("module", [m for m in MODULES if m not in [*FACES, *STARTERS]])
def test_a_package_imports_only_those_below_it(module):
    own = package_of(module)
    others = {package_of(other) or other for other in modules_imported(MODULES[module])} - {own}
    assert [other for other in sorted(others) if FLOOR.get(other, 99) >= FLOOR[own]] == []


def test_there_is_no_circle_of_modules():
    # A face is no part of a circle: it hands on what its package holds.
    graph = {module: modules_imported(path) - {module} for module, path in ALL.items() if path.name != "__init__.py"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_libraries_are_imported_only_where_they_belong(module):
    roots = {name.split(".")[0] for name in imported(MODULES[module])}
    for library, owners in OWNERS.items():
        assert package_of(module) in owners or library not in roots


def test_the_core_never_imports_a_plugin():
    assert [module for module, path in MODULES.items() if "atlas_builtin" in path.read_text()] == []


@pytest.mark.parametrize("module", PLUGINS)
def test_a_plugin_imports_public_names_alone(module):
    names = {name for name in imported(PLUGINS[module]) if name.split(".")[0] == "atlas"}
    public = {"atlas", *(f"atlas.{name}" for name in [*atlas.__all__, "metrics", "testing"])}
    assert [
        n for n in names if n not in public and not n.startswith(("atlas.authors.", "atlas.metrics.", "atlas.testing."))
    ] == []


def functions() -> Iterator[tuple[str, int]]:
    """Yield every function of Atlas, and how many lines it has without its docstring."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                yield f"{module}.{node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    lengths = dict(functions())
    assert [name for name, length in lengths.items() if length > 40] == []
    assert statistics.median(lengths.values()) <= 6


def test_nothing_strays_into_the_top_level():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kept = {name.partition("/")[0] for name in listed.splitlines()}
    folders, files = {"atlas", "plugins", "registry", "tests", "docs"}, {"pyproject.toml", "README.md"}
    beside = {"LICENSE", "CITATION.cff", "SECURITY.md"}
    assert {name for name in kept if not name.startswith(".")} == folders | files | beside


def test_files_and_folders_are_small():
    assert [module for module, path in MODULES.items() if len(path.read_text().splitlines()) > 400] == []
    folders = {path.parent for path in MODULES.values()}
    assert [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > 14] == []


@pytest.mark.parametrize("face", FACES)
def test_every_name_of_a_face_is_there(face):
    module = importlib.import_module(face)
    assert module.__all__
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_a_public_name_is_never_hidden_by_a_module():
    assert not {package_of(module) for module in MODULES} & set(atlas.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'atlas' has no attribute 'aline'"):
        _ = atlas.aline
