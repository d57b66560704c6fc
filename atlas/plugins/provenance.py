"""What a card says of the plugin that made an artefact, against the plugins that are installed."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator

from atlas.components.options import Component
from atlas.errors import AtlasError, AtlasWarning
from atlas.plugins.catalogue import components, plugins
from atlas.plugins.discovery import Plugin

# A card may come from anywhere, and what it says goes into a command that a user may copy.
_SOURCE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?) ([0-9][A-Za-z0-9.+!]*)")


@contextlib.contextmanager
def made_by(kind: type[Component], name: str, plugin: str) -> Iterator[None]:
    """Make a component from what is stored of it; if that fails because of its plugin, the message says so.

    Args:
        kind: of the component.
        name: of the component.
        plugin: distribution and version that made it, as its card says; '' if unknown.

    Raises:
        AtlasError: the plugin is missing, disabled, broken or too old, and what to do.
    """
    try:
        yield
    except Exception as error:
        if found := _explained(kind, name, plugin):
            raise AtlasError(found) from (None if isinstance(error, AtlasError) else error)
        raise


def _explained(kind: type[Component], name: str, plugin: str) -> str:
    """Say what about its plugin keeps a component from being made; '' if the plugin is not to blame."""
    label = f"{kind.kind.capitalize()} '{name}'"
    there = name in components(kind)
    matched = _SOURCE.fullmatch(plugin)
    if not matched:
        return ""
    distribution, version = matched.groups()
    installed = installed_plugin(distribution)
    if installed is None:
        get = f"atlas plugins install '{distribution}>={version}' (or pip install)"
        return "" if there else f"{label} is not installed - it comes with {plugin}: {get}"
    if older(installed.version, version):
        upgrade = f"pip install --upgrade '{distribution}>={version}'"
        return f"{label} was made with {plugin}, and {installed.version} is installed, which is too old - {upgrade}"
    if there:
        return ""
    if installed.broken:
        return f"{label} comes with {installed.source}, which could not be loaded: {installed.broken}"
    if installed.disabled:
        return f"{label} comes with {installed.source}, which is left out: {installed.disabled}"
    get = f"pip install '{distribution}=={version}'"
    return f"{label} is not in {installed.source} any more - it was made with {plugin}: {get}"


def warn_if_older(label: str, plugin: str) -> None:
    """Warn if the plugin that made something is newer than the one that is installed."""
    matched = _SOURCE.fullmatch(plugin)
    installed = installed_plugin(matched[1]) if matched else None
    if matched and installed and older(installed.version, matched[2]):
        text = f"{label} was made with {plugin}, and {installed.version} is installed - it may not map as it did there"
        warnings.warn(f"{text}: pip install --upgrade {matched[1]}", AtlasWarning, stacklevel=3)


def installed_plugin(distribution: str) -> Plugin | None:
    """Return an installed plugin of a distribution, whose name is compared as installers do; None if there is none."""
    wanted = _normal(distribution)
    return next((plugin for plugin in plugins() if _normal(plugin.distribution) == wanted), None)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def older(version: str, than: str) -> bool:
    """Whether a version is older than another, by the numbers of the release alone."""
    a, b = _release(version), _release(than)
    length = max(len(a), len(b))
    return a + [0] * (length - len(a)) < b + [0] * (length - len(b))


def _release(version: str) -> list[int]:
    matched = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return [int(number) for number in matched[1].split(".")] if matched else []
