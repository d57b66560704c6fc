"""What a plugin imports beside what installing it brings along."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?[^;]*(;.*)?")
# One that cannot be imported is then met, or the import is for type checkers alone.
_GUARDS = ("ImportError", "ModuleNotFoundError", "TYPE_CHECKING")


def undeclared(module: str, requirements: Iterable[str]) -> str:
    """Say what the modules of a plugin import that installing it does not bring along; '' if nothing.

    Args:
        module: what its entry point names; it can be imported.
        requirements: of its distribution, with those of its extras: "faiss-cpu>=1.15", or as its metadata has them.
    """
    own = module.partition(":")[0].partition(".")[0]
    brought, missing = _brought(requirements)
    known = metadata.packages_distributions()
    roots = {name.partition(".")[0] for file in _files(own) for name in _imports(ast.parse(file.read_text("utf-8")))}
    strange = []
    for root in sorted(roots - {own, "atlas", *sys.stdlib_module_names}):
        providers = {_canonical(name) for name in known.get(root, [root])}
        # What a requirement that is not installed here provides cannot be known.
        if not providers & brought and (root in known or not missing):
            strange.append(root)
    return f"It imports {', '.join(strange)}, which it does not require - add it to its dependencies" if strange else ""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _brought(requirements: Iterable[str]) -> tuple[set[str], bool]:
    """Return all distributions that come with some requirements, and whether one of these is not installed."""
    brought, missing = set(), False
    # Extras of the plugin itself are installed by whoever needs them; those of others only where they are asked for.
    pending = [(text, True, True) for text in requirements]
    while pending:
        text, extras, own = pending.pop()
        match = _REQUIREMENT.match(text)
        if match is None or _canonical(match[1]) in brought or ("extra" in (match[3] or "") and not extras):
            continue
        brought.add(_canonical(match[1]))
        try:
            pending += [(other, bool(match[2]), False) for other in metadata.requires(match[1]) or []]
        except metadata.PackageNotFoundError:
            missing = missing or own
    return brought, missing


def _files(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if folders:
        return [file for folder in folders for file in sorted(Path(folder).rglob("*.py"))]
    return [Path(spec.origin)] if spec and spec.origin else []


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that code imports, also inside functions, unless it goes on without them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, (ast.Try, ast.If)) and any(guard in _condition(node) for guard in _GUARDS):
            continue
        else:
            yield from _imports(node)


def _condition(node: ast.Try | ast.If) -> str:
    tests = [node.test] if isinstance(node, ast.If) else [handler.type for handler in node.handlers if handler.type]
    return " ".join(ast.unparse(test) for test in tests)
