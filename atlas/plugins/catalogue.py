"""The components that plugins provide, by name.

A plugin that fails is reported once, left out, and everything else works.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from atlas.components.options import Component
from atlas.errors import AtlasError, unknown
from atlas.plugins.discovery import Plugin, installed, misspelt
from atlas.plugins.loading import NAME, load

C = TypeVar("C", bound=Component)

# By kind, the components of plugins in Atlas' own repository: one that is missing may only have to be installed.
SHIPPED: Mapping[str, Mapping[str, str]] = {
    "aligner": {name: name for name in ("bootstrap", "functional-maps", "gromov-wasserstein", "mean-shift", "minivec")}
    | {"bootstrap-anchors": "bootstrap"},
    "encoder": {
        **{name: name for name in ("onnx", "openai", "sentence-transformers", "static")},
        **{"onnx-text": "onnx", "transformers-image": "transformers", "transformers-text": "transformers"},
    },
    "engine": {"daft": "daft"},
    "exporter": {name: name for name in ("faiss", "onnx", "sentence-transformers")},
    "store": {name: name for name in ("chroma", "lance", "pgvector", "qdrant")},
}

_origins: dict[type[Component], str] = {}
_loading: list[Plugin] = []
_lock = threading.RLock()


def plugins(*, own: bool = False) -> tuple[Plugin, ...]:
    """Return every installed plugin, or only Atlas' own, loaded or with the reason why not; nothing is printed."""
    # Another thread waits; the one that is loading may come back here.
    with _lock:
        if own:
            return _loaded(True)
        if _loading:
            raise AtlasError("it asks for components of plugins when it is imported - do that inside a method")
        return (*_loaded(True), *_loaded(False))


@functools.cache
def _loaded(own: bool) -> tuple[Plugin, ...]:
    """Load the plugins that come with Atlas, or the others."""
    found = [plugin for plugin in installed() if plugin.own is own]
    for plugin in found:
        if not plugin.disabled:
            _load(plugin)
    _tell_clashes(found)
    return tuple(found)


def _load(plugin: Plugin) -> None:
    """Load a plugin, and leave it out if it is of others and has the name of a component that comes with Atlas."""
    _loading.append(plugin)
    try:
        load(plugin)
    finally:
        _loading.pop()
    for kind, classes in plugin.classes.items():
        _origins.update(dict.fromkeys(classes, plugin.source))
        for name in () if plugin.own else plugin.names(kind):
            if any(name in own.names(kind) for own in _loaded(True)):
                plugin.broken = f"its {kind} '{name}' has the name of one that comes with Atlas - choose another name"
    if plugin.broken:
        plugin.classes = {}


def _tell_clashes(found: Iterable[Plugin]) -> None:
    """Note of each plugin which of its names others claim, too."""
    claims: dict[tuple[str, str], list[tuple[Plugin, type[Component]]]] = {}
    for plugin in found:
        for kind, classes in plugin.classes.items():
            for cls in classes:
                claims.setdefault((kind, cls.name), []).append((plugin, cls))
    for (kind, name), claimed in claims.items():
        for plugin, cls in claimed if len(claimed) > 1 else ():
            plugin.notes += [
                f"its {kind} '{name}' is also claimed by plugin '{other.name}', so that neither can be used"
                for other, rival in claimed
                if rival is not cls
            ]


def faults() -> list[str]:
    """Return the faults of the installed plugins, a sentence each."""
    said = [misspelt(plugins())]
    for plugin in plugins():
        if plugin.broken:
            said.append(f"plugin '{plugin.name}' was not loaded: {plugin.broken}")
        said += [f"plugin '{plugin.name}': {note}" for note in plugin.notes]
    return [text for text in said if text]


@functools.cache
def _report() -> None:
    """Report on stderr, once, the faults of the installed plugins."""
    for text in faults():
        print(f"Warning: {text}", file=sys.stderr)


class Components(Mapping[str, list[type[C]]]):
    """The classes of a kind by name, in order of name; more than one under a name is a clash.

    A name of a component that comes with Atlas, which no other can have, imports no other plugin.
    """

    def __init__(self, kind: type[C]):
        self.kind = kind

    def __getitem__(self, name: str) -> list[type[C]]:
        # An unknown name is often the path of an artefact.
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise KeyError(name)
        return self._own.get(name) or self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all))

    def __len__(self) -> int:
        return len(self._all)

    @functools.cached_property
    def _own(self) -> dict[str, list[type[C]]]:
        return self._of(plugins(own=True))

    @functools.cached_property
    def _all(self) -> dict[str, list[type[C]]]:
        with _lock:
            _report()
        return self._of(plugins())

    def _of(self, found: Iterable[Plugin]) -> dict[str, list[type[C]]]:
        by_name: dict[str, list[Any]] = {}
        for cls in dict.fromkeys(cls for plugin in found for cls in plugin.classes.get(self.kind.kind, ())):
            by_name.setdefault(cls.name, []).append(cls)
        return by_name


def components(kind: type[C]) -> Components[C]:
    """Return every registered class of a kind by name."""
    return Components(kind)


def missing(kind: str, name: str, known: Iterable[str]) -> AtlasError:
    """Return the error of a name that no installed plugin provides."""
    if shipped := SHIPPED.get(kind, {}).get(name):
        plugin = f"latent-atlas-{shipped}"
        reasons = [p.broken or p.disabled for p in plugins() if p.distribution == plugin]
        remedy = f" is installed but not loaded: {reasons[0]}" if reasons else f" - run: atlas plugins install {plugin}"
        return AtlasError(
            f"{kind.capitalize()} '{name}' comes with plugin '{plugin}'{', which' * bool(reasons)}{remedy}"
        )
    return AtlasError(unknown(kind, name, known))


def component(kind: type[C], name: str) -> type[C]:
    """Return the class of a kind and name, or raise `AtlasError` if no plugin provides it, or more than one does."""
    found = components(kind).get(name)
    if not found:
        raise missing(kind.kind, name, components(kind))
    if len(found) > 1:
        claims = " and ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in found)
        claimed = f"{kind.kind.capitalize()} '{name}' is claimed by {claims}"
        raise AtlasError(f"{claimed} - uninstall one of them, or name one in ATLAS_DISABLE_PLUGINS")
    return found[0]


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
