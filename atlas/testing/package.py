"""Checking a whole plugin: how it behaves when it is imported, and every promise of every component it provides."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from atlas.components.options import Component
from atlas.errors import AtlasError, reported, unknown
from atlas.plugins.catalogue import plugins
from atlas.plugins.discovery import GROUP, Plugin, installed
from atlas.plugins.loading import LIMIT, load
from atlas.testing.declared import undeclared
from atlas.testing.promises import chosen

_DECLARED = "Installing it brings along all its imports"


@dataclass(frozen=True)
class Found:
    """One checked promise: its subject, its text, and how it is broken, '' if it is kept.

    `skipped` says why it could not be looked at.
    """

    what: str
    promise: str
    broken: str = ""
    skipped: str = ""


def check_package(package: str, options: Sequence[tuple[str, str]] = ()) -> list[Found]:
    """Check a plugin: the folder of its project, or its name or that of its distribution if it is installed.

    Args:
        package: which.
        options: names and texts, as given with `-o`; each component takes those that it has.

    Raises:
        AtlasError: there is no such plugin, or none of its components has one of the options, or of such a type.
    """
    entries, paths, requirements = _entries(package)
    found: list[Found] = []
    loaded: list[Plugin] = []
    for entry in entries:
        quiet = import_is_quiet(entry, paths)
        found += quiet
        if not quiet[0].broken:
            with _on_path(paths):
                found.append(Found(f"plugin {entry.name}", _DECLARED, undeclared(entry.value, requirements)))
                loaded.append(Plugin(entry))
                load(loaded[-1])
    _refuse_unknown(options, loaded)
    for plugin in loaded:
        with _on_path(paths):
            found += _components(plugin, options)
    return found


def _refuse_unknown(options: Sequence[tuple[str, str]], loaded: Sequence[Plugin]) -> None:
    known = {
        opt.name for plugin in loaded for classes in plugin.classes.values() for c in classes for opt in c.options()
    }
    for name, _ in options:
        if loaded and name.replace("-", "_") not in known:
            raise AtlasError(unknown("option of the components of this plugin", name, known))


def _entries(package: str) -> tuple[list[metadata.EntryPoint], list[str], list[str]]:
    """Return the entry points of a plugin, the folders to import them from, and its requirements."""
    folder = Path(package)
    if folder.is_dir():
        if not (folder / "pyproject.toml").exists():
            raise AtlasError(f"There is no pyproject.toml in '{package}' - give the folder or the name of a plugin")
        with reported(f"'{folder / 'pyproject.toml'}' cannot be read", ValueError):
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        table = project.get("entry-points", {}).get(GROUP, {})
        if not table:
            raise AtlasError(f"'{folder / 'pyproject.toml'}' names no plugin - add [project.entry-points.{GROUP}]")
        entries = [metadata.EntryPoint(name, value, GROUP) for name, value in table.items()]
        paths = [str(path) for path in (folder.absolute(), (folder / "src").absolute()) if path.is_dir()]
        extras = project.get("optional-dependencies", {}).values()
        return entries, paths, [*project.get("dependencies", []), *itertools.chain.from_iterable(extras)]
    known = installed()
    entries = [plugin.entry for plugin in known if plugin.is_in([package])]
    if not entries:
        hint = " - for a folder, give its path" if os.sep not in package else ""
        raise AtlasError(unknown("plugin", package, [plugin.name for plugin in known]) + hint)
    distribution = next(plugin.distribution for plugin in known if plugin.is_in([package]))
    return entries, [], (metadata.requires(distribution) or []) if distribution else []


@contextlib.contextmanager
def _on_path(paths: list[str]) -> Iterator[None]:
    sys.path[:0] = paths
    try:
        yield
    finally:
        for path in paths:
            sys.path.remove(path)


def import_is_quiet(entry: metadata.EntryPoint, paths: list[str]) -> list[Found]:
    """Import a plugin in a new process, and name its effects on the rest of the process."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        inherited = os.environ.get("PYTHONPATH")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *([inherited] if inherited else [])])}
        command = [sys.executable, "-m", "atlas.testing.imports", entry.name, entry.value, str(report)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, check=False, timeout=2 * LIMIT
            )
        except subprocess.TimeoutExpired:
            slow = f"Importing it takes more than {LIMIT:g} s"
            return [Found(f"plugin {entry.name}", "It can be imported", slow)]
        if not report.exists():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return [Found(f"plugin {entry.name}", "It can be imported", f"Importing it ends the program: {last}")]
        said = json.loads(report.read_text())
    return [Found(f"plugin {entry.name}", promise, broken) for promise, broken in said]


def _components(plugin: Plugin, options: Sequence[tuple[str, str]]) -> list[Found]:
    """Return the findings on every component of a plugin."""
    what = f"plugin {plugin.name}"
    if plugin.broken:
        return [Found(what, "Its hooks return well-formed classes", plugin.broken)]
    found = [Found(what, "Its hooks return well-formed classes")]
    for kind, provided in plugin.classes.items():
        found += [_name_is_free(plugin.entry, kind, cls) for cls in provided]
        for cls in provided:
            found += _contract(kind, cls, chosen(cls, options))
    return found


def _name_is_free(entry: metadata.EntryPoint, kind: str, cls: type[Component]) -> Found:
    rivals = [p for p in plugins() if p.name != entry.name and cls.name in p.names(kind)]
    broken = f"Plugin '{rivals[0].name}' has one of this name, too - neither could be used" if rivals else ""
    return Found(f"{kind} {cls.name}", "No other plugin that is installed has one of this name", broken)


def _contract(kind: str, cls: type[Component], config: Mapping[str, Any]) -> list[Found]:
    """Return the findings of every check on a component with some options, the others at their defaults."""
    from atlas.testing import CHECKS

    what = f"{kind} {cls.name}"
    required = [opt.name for opt in cls.options() if opt.default is MISSING and opt.name not in config]
    takes = getattr(cls, "takes", "") if kind == "exporter" else ""
    if required or takes or kind == "store":
        reason = f"it takes {takes} alone -" if takes else "only its author knows how to make one -"
        reason = f"option '{required[0]}' has no default - set it with -o, or" if required else reason
        skipped = f"{reason} in its tests, call atlas.testing.check_{kind}()"
        return [Found(what, "It keeps the promises of its kind", skipped=skipped)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        found = [_one(what, check, cls, config) for check in CHECKS[kind]]
    printed = said.getvalue().split("\n")[0][:60]
    quiet = f"It prints '{printed}' - a program that reads results from stdout would read that" if printed else ""
    return [*found, Found(what, "It prints nothing", quiet)]


def _one(what: str, check: Callable[[Any], None], cls: type[Component], config: Mapping[str, Any]) -> Found:
    promise = " ".join((check.__doc__ or check.__name__).split()).removesuffix(".")
    try:
        check(cls.from_config(config))
    except (AssertionError, AtlasError) as error:
        return Found(what, promise, " ".join(str(error).split()) or "It raises AssertionError")
    except Exception as error:
        return Found(what, promise, f"It raises {type(error).__name__}: {' '.join(str(error).split())}")
    return Found(what, promise)
