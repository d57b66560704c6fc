"""Finding plugins, and the components they provide, by name.

A plugin that fails is reported once, left out, and everything else works.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, TypeVar

import pluggy

from atlas import hookspecs
from atlas.base import KINDS, Component
from atlas.errors import AtlasError, unknown

GROUP = "latent_atlas"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
C = TypeVar("C", bound=Component)

broken: dict[str, str] = {}
_origins: dict[type[Component], str] = {}


def plural(kind: str) -> str:
    """Return the plural of a kind, as hooks and listings spell it."""
    return kind + "s"


@functools.cache
def manager() -> pluggy.PluginManager:
    """Return the plugin manager, with every plugin of the entry-point group loaded that could be."""
    pm = pluggy.PluginManager("atlas")
    pm.add_hookspecs(hookspecs)
    broken.clear()
    for entry in entry_points():
        load_plugin(pm, entry)
    return pm


def entry_points() -> list[metadata.EntryPoint]:
    """Return the installed plugins, by name; only those in ATLAS_PLUGINS (separated by commas) if that is set."""
    entries = sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name)
    if "ATLAS_PLUGINS" not in os.environ:
        return entries
    wanted = {name.strip() for name in os.environ["ATLAS_PLUGINS"].split(",") if name.strip()}
    return [entry for entry in entries if entry.name in wanted]


def load_plugin(pm: pluggy.PluginManager, entry: metadata.EntryPoint) -> None:
    """Load one plugin, or note in `broken` why it could not be, with one warning on stderr."""
    plugin = None
    try:
        plugin = entry.load()
        pm.register(plugin, name=entry.name)
        # Otherwise a misspelt hook, such as register_aligner, is silently ignored.
        pm.check_pending()
        check_classes(pm, plugin, origin(entry))
    except (Exception, SystemExit) as error:
        if plugin is not None and pm.is_registered(plugin):
            # Otherwise the next plugin gets the blame.
            pm.unregister(plugin)
        broken[entry.name] = f"{type(error).__name__}: {error}"
        print(f"Warning: plugin '{entry.name}' was not loaded: {broken[entry.name]}", file=sys.stderr)


def origin(entry: metadata.EntryPoint) -> str:
    """Return the distribution and version an entry point comes from."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""


def check_classes(pm: pluggy.PluginManager, plugin: object, source: str = "") -> None:
    """Raise `AtlasError` if a plugin returns anything that is not a well-formed component class."""
    for kind, base in KINDS.items():
        hook = getattr(pm.hook, f"register_{plural(kind)}")
        for impl in hook.get_hookimpls():
            if impl.plugin is plugin:
                for cls in impl.function():
                    check_class(cls, base)
                    _origins[cls] = source


def check_class(cls: Any, base: type[Component]) -> None:
    """Raise `AtlasError` unless a class is a dataclass of its kind, well named, with a help text for every option."""
    where = getattr(cls, "__qualname__", repr(cls))
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise AtlasError(f"{where} is not a subclass of atlas.{base.__name__}")
    if "__dataclass_fields__" not in vars(cls):
        raise AtlasError(f"{where} is not decorated with @dataclass")
    if not _NAME.fullmatch(cls.name):
        raise AtlasError(f"{where} has the name '{cls.name}' - use lower-case letters, digits and single '-'")
    if not (cls.__doc__ or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
        raise AtlasError(f"{where} has no docstring - write one sentence a user can choose by")
    for opt in cls.options():
        if not opt.help:
            raise AtlasError(f"Option '{opt.name}' of {where} has no help text - declare it with atlas.option()")


def components(kind: type[C]) -> dict[str, list[type[C]]]:
    """Return every registered class of a kind by name, in order of name; more than one under a name is a clash."""
    found: dict[str, list[type[C]]] = {}
    for classes in getattr(manager().hook, f"register_{plural(kind.kind)}")():
        for cls in classes:
            found.setdefault(cls.name, []).append(cls)
    return dict(sorted(found.items()))


def component(kind: type[C], name: str) -> type[C]:
    """Return the class of a kind and name.

    Raises:
        AtlasError: no plugin provides it, or more than one does.
    """
    found = components(kind)
    if name not in found:
        raise AtlasError(unknown(kind.kind, name, found))
    if len(found[name]) > 1:
        claims = " and ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in found[name])
        raise AtlasError(f"{kind.kind.capitalize()} '{name}' is claimed by {claims} - uninstall one of them")
    return found[name][0]


def create(kind: type[C], name: str, config: Mapping[str, Any] | None = None, /, **options: Any) -> C:
    """Return a component of a kind by name: `create(Aligner, "procrustes", scale=True)`."""
    return component(kind, name).from_config({**(config or {}), **options})


def provider(cls: type[Component]) -> str:
    """Return the distribution and version a component class comes from, as cards record it; '' if it has none."""
    return _origins.get(cls, "")


def describe(classes: Iterable[type[Component]]) -> list[dict[str, Any]]:
    """Return name, sentence, provider and options of component classes, as listings print them."""
    return [
        {
            "name": cls.name,
            "summary": " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split()),
            "plugin": provider(cls),
            "options": [
                {
                    "name": opt.name,
                    "type": opt.type_name,
                    "default": None if opt.default is dataclasses.MISSING else opt.default,
                    "required": opt.default is dataclasses.MISSING,
                    "help": opt.help,
                    **({"choices": list(opt.choices)} if opt.choices else {}),
                }
                for opt in cls.options()
            ],
        }
        for cls in classes
    ]
