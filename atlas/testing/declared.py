"""Imports of a plugin that its requirements do not cover."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# One that cannot be imported is then met, or the import is for type checkers alone.
_GUARDS = ("ImportError", "ModuleNotFoundError", "TYPE_CHECKING")


def undeclared(module: str, requirements: Iterable[str]) -> str:
    """Name the imports of a plugin's modules that installing it does not bring along; '' if none.

    Args:
        module: the module of its entry point; it can be imported.
        requirements: of its distribution, with those of its extras: "faiss-cpu>=1.15", or as its metadata has them.
    """
    own = module.partition(":")[0].partition(".")[0]
    # Its own extras are installed by those who need them; those of others only where they are asked for.
    required = list(_required(requirements, None))
    brought, known = _brought(required), metadata.packages_distributions()
    here = {canonicalize_name(name) for names in known.values() for name in names}
    missing = {name for name, _ in required} - here
    roots = {name.partition(".")[0] for file in _files(own) for name in _imports(_parsed(file))}
    strange = []
    for root in sorted(roots - {own, "atlas", *sys.stdlib_module_names}):
        providers = {canonicalize_name(name) for name in known.get(root, [root])}
        # The modules of a requirement that is not installed here cannot be known.
        if not providers & brought and (root in known or not missing):
            strange.append(root)
    return f"It imports {', '.join(strange)}, which it does not require - add it to its dependencies" if strange else ""


def _brought(requirements: Iterable[tuple[str, frozenset[str]]]) -> set[str]:
    """Return all distributions that come with some requirements, these among them."""
    pending = list(requirements)
    brought = set(pending)
    while pending:
        name, extras = pending.pop()
        with contextlib.suppress(metadata.PackageNotFoundError):
            new = set(_required(metadata.requires(name) or [], extras)) - brought
            pending += new
            brought |= new
    return {name for name, _ in brought}


def _required(texts: Iterable[str], extras: frozenset[str] | None) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the name, and the extras asked for, of each requirement that holds here with some extras; None for any."""
    for text in texts:
        with contextlib.suppress(InvalidRequirement):
            one = Requirement(text)
            marker = one.marker if extras is not None else None
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or [""]):
                yield canonicalize_name(one.name), frozenset(one.extras)


def _files(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if folders:
        return [file for folder in folders for file in sorted(Path(folder).rglob("*.py"))]
    return [Path(spec.origin)] if spec and spec.origin else []


def _parsed(file: Path) -> ast.AST:
    """Return the code of a file; none, where it is a template or the like."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


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
