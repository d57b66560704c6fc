"""Modules that re-export names of others, each loaded on first use."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

_faces: dict[str, Callable[[str], Any]] = {}


def public(name: str) -> Any:
    """Return a public name of Atlas, for a package below its home: the face `atlas` has registered itself here."""
    return _faces["atlas"](name)


def lazy(module: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a module that has the names its stub, the .pyi file beside it, imports.

    Args:
        module: name of the module.
        file: its file.
    """

    @functools.cache
    def homes() -> dict[str, str]:
        # Not needed by a command that uses no public name.
        import ast

        stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
        return {alias.name: str(n.module) for n in stub.body if isinstance(n, ast.ImportFrom) for alias in n.names}

    def get(name: str) -> Any:
        if name == "__all__":
            return sorted(homes())
        if (name.startswith("__") and name.endswith("__")) or name not in homes():
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        home = importlib.import_module(homes()[name])
        return getattr(home, name) if hasattr(home, name) else importlib.import_module(f"{home.__name__}.{name}")

    _faces[module] = get
    return get, lambda: sorted(homes())
