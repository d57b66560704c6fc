"""The components that plugins provide, by name.

A plugin that fails is reported once, left out, and everything else works.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from atlas.components.kinds import KINDS
from atlas.components.options import Component
from atlas.errors import AtlasError, unknown
from atlas.plugins.discovery import Plugin, entry_points, import_plugin, left_out, misspelt

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TYPES = (bool, int, float, str, list, dict)
C = TypeVar("C", bound=Component)

_origins: dict[type[Component], str] = {}
_loading: list[str] = []
_lock = threading.RLock()


def plugins() -> tuple[Plugin, ...]:
    """Return every installed plugin, loaded or with the reason why not; nothing is printed.

    Raises:
        AtlasError: a plugin asked for components while it was being loaded.
    """
    # Another thread waits; the one that is loading may come back here.
    with _lock:
        if _loading:
            raise AtlasError("it asks for components when it is imported - do that inside a method")
        return _installed()


@functools.cache
def _installed() -> tuple[Plugin, ...]:
    found: list[Plugin] = []
    for entry, plugin in entry_points():
        plugin.disabled = left_out(plugin)
        if not plugin.disabled:
            _loading.append(plugin.name)
            try:
                returned = import_plugin(entry, plugin)
            finally:
                _loading.clear()
            _take(plugin, returned, found)
        found.append(plugin)
    for plugin in found:
        plugin.notes += _clashes(plugin, found)
    return tuple(found)


def _take(plugin: Plugin, returned: Mapping[str, list[Any]], earlier: Iterable[Plugin]) -> None:
    """Take the classes a plugin's hooks returned, or note why they cannot be taken."""
    try:
        classes = checked(returned)
        for kind, found in classes.items():
            _check_names(plugin, kind, [cls.name for cls in found], earlier)
    except AtlasError as error:
        plugin.broken = str(error)
        return
    plugin.classes = classes
    for found in classes.values():
        _origins.update(dict.fromkeys(found, plugin.source))


def checked(returned: Mapping[str, list[Any]]) -> dict[str, list[type[Component]]]:
    """Return the classes that hooks returned, by kind, or raise `AtlasError` if one is no well-formed component."""
    found = {}
    for kind, base in KINDS.items():
        classes = returned.get(f"register_{kind}s", [])
        for cls in classes:
            try:
                check_class(cls, base)
            except AtlasError:
                raise
            except Exception as error:
                raise AtlasError(f"{cls!r} cannot be read: {type(error).__name__}: {error}") from None
        if classes:
            found[kind] = classes
    return found


def _check_names(plugin: Plugin, kind: str, names: list[str], earlier: Iterable[Plugin]) -> None:
    """Raise `AtlasError` if a name is taken twice within a plugin, or is that of a component that comes with Atlas."""
    for name in names:
        if names.count(name) > 1:
            raise AtlasError(f"it has more than one {kind} '{name}' - give every class a name of its own")
        if not plugin.own and any(other.own and name in other.names(kind) for other in earlier):
            raise AtlasError(f"its {kind} '{name}' has the name of one that comes with Atlas - choose another name")


def _clashes(plugin: Plugin, found: Iterable[Plugin]) -> list[str]:
    """Say which names of a plugin others claim, too."""
    return [
        f"its {kind} '{cls.name}' is also claimed by plugin '{other.name}', so that neither can be used"
        for kind, classes in plugin.classes.items()
        for cls in classes
        for other in found
        for rival in other.classes.get(kind, ())
        if rival.name == cls.name and rival is not cls
    ]


def check_class(cls: Any, base: type[Component]) -> None:
    """Raise `AtlasError` unless a class is a dataclass of its kind, well named, with a help text for every option."""
    where = getattr(cls, "__qualname__", repr(cls))
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise AtlasError(f"{where} is not a subclass of atlas.{base.__name__}")
    if "__dataclass_fields__" not in vars(cls):
        raise AtlasError(f"{where} is not decorated with @dataclass")
    if not isinstance(cls.name, str) or not _NAME.fullmatch(cls.name):
        raise AtlasError(f"{where} has the name '{cls.name}' - use lower-case letters, digits and single '-'")
    if not (cls.__doc__ or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
        raise AtlasError(f"{where} has no docstring - write one sentence a user can choose by")
    for opt in cls.options():
        if not opt.help:
            raise AtlasError(f"Option '{opt.name}' of {where} has no help text - declare it with atlas.option()")
        if opt.type not in _TYPES:
            known = ", ".join(t.__name__ for t in _TYPES)
            raise AtlasError(f"Option '{opt.name}' of {where} is {opt.type_name}, but a card can hold {known}")


@functools.cache
def _report() -> None:
    """Say on stderr, once, what is wrong with the plugins that are installed."""
    said = [misspelt(plugins())]
    for plugin in plugins():
        if plugin.broken:
            said.append(f"plugin '{plugin.name}' was not loaded: {plugin.broken}")
        said += [f"plugin '{plugin.name}': {note}" for note in plugin.notes]
    for text in filter(None, said):
        print(f"Warning: {text}", file=sys.stderr)


def components(kind: type[C]) -> dict[str, list[type[C]]]:
    """Return every registered class of a kind by name, in order of name; more than one under a name is a clash."""
    with _lock:
        _report()
    found: dict[str, list[type[C]]] = {}
    for plugin in plugins():
        for cls in plugin.classes.get(kind.kind, ()):
            same = found.setdefault(cls.name, [])
            if cls not in same:
                same.append(cls)  # type: ignore[arg-type]
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
        claimed = f"{kind.kind.capitalize()} '{name}' is claimed by {claims}"
        raise AtlasError(f"{claimed} - uninstall one of them, or name one in ATLAS_DISABLE_PLUGINS")
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
