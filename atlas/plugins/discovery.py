"""Which plugins are installed, by their metadata alone, and which of them are left out."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.components.options import Component

GROUP = "latent_atlas"
OWN = "latent-atlas"


@dataclass
class Plugin:
    """An installed plugin and the outcome of loading it.

    Attributes:
        entry: by which it was found; it names the plugin and its module.
        classes: its components, by kind.
        broken: why it was left out; '' if it was not.
        disabled: which setting left it out; '' if none.
        notes: its misdeeds while it was loaded, or clashes with other plugins.
        seconds: the time that loading it took.
    """

    entry: metadata.EntryPoint
    distribution: str = ""
    version: str = ""
    classes: Mapping[str, list[type[Component]]] = field(default_factory=dict)
    broken: str = ""
    disabled: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of its entry point."""
        return self.entry.name

    @property
    def own(self) -> bool:
        """Whether it comes with Atlas."""
        return self.distribution == OWN

    @property
    def source(self) -> str:
        """Distribution and version, as cards record them."""
        return f"{self.distribution} {self.version}".strip()

    def names(self, kind: str) -> list[str]:
        """Return the names of its components of a kind."""
        return [cls.name for cls in self.classes.get(kind, ())]

    def is_in(self, names: Iterable[str]) -> bool:
        """Whether its name or that of its distribution is among some names."""
        return bool({self.name, self.distribution} & set(names))


def installed() -> list[Plugin]:
    """Return the installed plugins, none of them loaded: those of Atlas first, then in order of name."""
    found = [_described(entry) for entry in metadata.entry_points(group=GROUP)]
    return sorted(found, key=lambda plugin: (not plugin.own, plugin.name, plugin.distribution))


def _described(entry: metadata.EntryPoint) -> Plugin:
    plugin = Plugin(entry)
    # The metadata of a distribution may be damaged; its name is then told by the import that fails.
    with contextlib.suppress(Exception):
        if entry.dist is not None:
            plugin.distribution, plugin.version = str(entry.dist.name), str(entry.dist.version)
    plugin.disabled = _left_out(plugin)
    return plugin


def _left_out(plugin: Plugin) -> str:
    """Say which setting leaves a plugin out; '' if none does."""
    wanted, unwanted = _names("ATLAS_PLUGINS"), _names("ATLAS_DISABLE_PLUGINS")
    if wanted is not None and not plugin.is_in(wanted):
        return "ATLAS_PLUGINS does not name it"
    return "ATLAS_DISABLE_PLUGINS names it" if plugin.is_in(unwanted or ()) else ""


def misspelt(plugins: Iterable[Plugin]) -> str:
    """Say which names in ATLAS_PLUGINS and ATLAS_DISABLE_PLUGINS are of no plugin; '' if all are of one."""
    known = list(plugins)
    for setting in ("ATLAS_PLUGINS", "ATLAS_DISABLE_PLUGINS"):
        for name in _names(setting) or ():
            if not any(plugin.is_in([name]) for plugin in known):
                return f"{setting} names '{name}', but installed are {', '.join(p.name for p in known) or 'none'}"
    return ""


def _names(setting: str) -> list[str] | None:
    text = os.environ.get(setting)
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def culprit(error: BaseException) -> str:
    """Return the name of the plugin, none of Atlas' own, in whose code an error arose; '' if it was in none's."""
    passed = [f"{frame.f_globals.get('__name__', '')}." for frame, _ in traceback.walk_tb(error.__traceback__)]
    # Ctrl-C, and a polite kill, are raised by their handlers, also in a plugin's code.
    if not isinstance(error, Exception) and "".join(passed[-1:]).startswith("atlas."):
        return ""
    found = [plugin for plugin in installed() if not plugin.own]
    modules = {f"{plugin.entry.value.partition(':')[0].strip()}.": plugin.name for plugin in found}
    return next((name for at in reversed(passed) for module, name in modules.items() if at.startswith(module)), "")
