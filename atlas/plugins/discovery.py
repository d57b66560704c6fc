"""Which plugins are installed, and importing one without letting it hurt anything else."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy

from atlas.components.options import Component
from atlas.errors import AtlasError
from atlas.plugins import hooks

GROUP = "latent_atlas"
OWN = "latent-atlas"
# Seconds after which a plugin's import is worth a word.
SLOW = 3.0
HOOKS = [name for name in vars(hooks) if name.startswith("register_")]


@dataclass
class Plugin:
    """An installed plugin and what became of it.

    Attributes:
        name: of its entry point.
        module: what the entry point names.
        classes: what it provides, by kind.
        broken: why it was left out; '' if it was not.
        disabled: which setting left it out; '' if none.
        notes: what it should not have done, or what is wrong with it beside others.
        seconds: what loading it took.
    """

    name: str
    module: str = ""
    distribution: str = ""
    version: str = ""
    classes: Mapping[str, list[type[Component]]] = field(default_factory=dict)
    broken: str = ""
    disabled: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

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


def entry_points() -> list[tuple[metadata.EntryPoint, Plugin]]:
    """Return the installed plugins, none of them loaded: those of Atlas first, then in order of name."""
    found = [(entry, _described(entry)) for entry in metadata.entry_points(group=GROUP)]
    return sorted(found, key=lambda pair: (not pair[1].own, pair[1].name, pair[1].distribution))


def _described(entry: metadata.EntryPoint) -> Plugin:
    plugin = Plugin(entry.name, entry.value)
    # The metadata of a distribution may be damaged; its name is then told by the import that fails.
    with contextlib.suppress(Exception):
        if entry.dist is not None:
            plugin.distribution, plugin.version = str(entry.dist.name), str(entry.dist.version)
    return plugin


def left_out(plugin: Plugin) -> str:
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


def import_plugin(entry: metadata.EntryPoint, plugin: Plugin) -> dict[str, list[Any]]:
    """Import a plugin and return what each of its hooks returns; note in the plugin why that cannot be had."""
    with _watched(plugin):
        try:
            return call_hooks(entry.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() is no Exception.
            plugin.broken = _reason(error)
    return {}


def call_hooks(plugin: object) -> dict[str, list[Any]]:
    """Return what each hook of a plugin, a module or any object, returns.

    A plugin has a manager of its own, so that nothing in it can get in the way of another.

    Raises:
        AtlasError: no hook, a wrapper, or something else than a list.
        Exception: whatever pluggy finds wrong with the hooks, and whatever they raise.
    """
    manager = pluggy.PluginManager("atlas")
    manager.add_hookspecs(hooks)
    manager.register(plugin)
    # Otherwise a misspelt hook, such as register_aligner, is silently ignored.
    manager.check_pending()
    found = {}
    for name in HOOKS:
        for hook in getattr(manager.hook, name).get_hookimpls():
            if hook.hookwrapper or hook.wrapper:
                raise AtlasError(f"{name}() is a wrapper - return a list of classes")
            returned = hook.function()
            if isinstance(returned, (str, type)) or not hasattr(returned, "__iter__"):
                raise AtlasError(f"{name}() must return a list of classes, got {returned!r}")
            found[name] = list(returned)
    if not found:
        raise AtlasError(f"it has no hook - write one of {', '.join(HOOKS)} and decorate it with @atlas.hookimpl")
    return found


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it calls sys.exit() when it is imported"
    text = " ".join(str(error).split())
    return text if isinstance(error, AtlasError) else f"{type(error).__name__}: {text}".removesuffix(": ")


@contextlib.contextmanager
def _watched(plugin: Plugin) -> Iterator[None]:
    """Keep what an import prints off stdout, and note what it printed, what it warned of, and if it took long."""
    before, begin = set(sys.modules), time.perf_counter()
    said = io.StringIO()
    with _descriptor_kept(), contextlib.redirect_stdout(said), warnings.catch_warnings(record=True) as warned:
        # Not an error, whatever the settings: a warning must not decide which plugins there are.
        warnings.simplefilter("default")
        yield
    plugin.seconds = time.perf_counter() - begin
    if text := " ".join(said.getvalue().split()):
        plugin.notes.append(f"it prints when it is imported: '{text[:60]}'")
    for warning in warned:
        if issubclass(warning.category, UserWarning):
            plugin.notes.append(f"it warns when it is imported: '{' '.join(str(warning.message).split())[:60]}'")
    new = heavy(set(sys.modules) - before, plugin.module)
    # Atlas itself needs torch, and whoever is first to import it is not to blame.
    if plugin.seconds > SLOW and "torch" not in new and not plugin.own:
        what = f", importing {', '.join(new[:3])}" if new else ""
        plugin.notes.append(f"it took {plugin.seconds:.0f} s to load{what} - such imports belong inside methods")


@contextlib.contextmanager
def _descriptor_kept() -> Iterator[None]:
    """Send to stderr what anything but Python's own print writes to stdout: libraries in C, other programs."""
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def heavy(modules: Iterable[str], own: str = "") -> list[str]:
    """Return the libraries that modules belong to, largest first, but for Python's own and one's own."""
    roots = Counter(name.partition(".")[0] for name in modules)
    ours = {"atlas", own.partition(":")[0].partition(".")[0]}
    return [root for root, _ in roots.most_common() if root not in sys.stdlib_module_names and root not in ours]
