"""The plugin that made an artefact, by its card, against the installed plugins."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from atlas.components.options import Component
from atlas.errors import AtlasError, warn
from atlas.plugins.catalogue import components, plugins
from atlas.plugins.discovery import Plugin, installed

# A card may come from anywhere, and its text goes into a command that a user may copy.
_SOURCE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?) ([0-9][A-Za-z0-9.+!]*)")


@contextlib.contextmanager
def made_by(kind: type[Component], name: str, plugin: str) -> Iterator[None]:
    """Make a component; if its plugin makes that fail ('distribution version', or ''), say so and how to fix it."""
    try:
        yield
    except Exception as error:
        if found := _explained(kind, name, plugin):
            raise AtlasError(found) from (None if isinstance(error, AtlasError) else error)
        raise


def _explained(kind: type[Component], name: str, plugin: str) -> str:
    """Explain how its plugin keeps a component from being made; '' if the plugin is not to blame."""
    label = f"{kind.kind.capitalize()} '{name}'"
    there = name in components(kind)
    if not (said := recorded(plugin)):
        return ""
    distribution, version = said
    found = installed_plugin(distribution)
    if found is None:
        get = f"atlas plugins install '{distribution}>={version}' (or pip install)"
        return "" if there else f"{label} is not installed - it comes with {distribution} {version}: {get}"
    if older(found.version, version):
        upgrade = f"pip install --upgrade '{distribution}>={version}'"
        return f"{label} was made with {plugin}, and {found.version} is installed, which is too old - {upgrade}"
    if there:
        return ""
    if broken := next((one.broken for one in plugins() if one.name == found.name), ""):
        return f"{label} comes with {found.source}, which could not be loaded: {broken}"
    if found.disabled:
        return f"{label} comes with {found.source}, which is left out: {found.disabled}"
    get = f"pip install '{distribution}=={version}'"
    return f"{label} is not in {found.source} any more - it was made with {plugin}: {get}"


def warn_if_older(label: str, plugin: str) -> None:
    """Warn if the plugin that made something is newer than the one that is installed."""
    said = recorded(plugin)
    found = installed_plugin(said[0]) if said else None
    if said and found and older(found.version, said[1]):
        text = f"{label} was made with {plugin}, and {found.version} is installed - it may not map as it did there"
        warn(f"{text}: pip install --upgrade {said[0]}", 3)


def recorded(plugin: str) -> tuple[str, str] | None:
    """Return distribution and version from a card's text, such as 'latent-atlas-faiss 0.1.0'; None if malformed."""
    matched = _SOURCE.fullmatch(plugin)
    return (current_name(matched[1]), matched[2]) if matched else None


def current_name(distribution: str) -> str:
    """Return a name as installers compare it; the first plugins were called 'atlas-x', now 'latent-atlas-x'."""
    return re.sub("^atlas-", "latent-atlas-", canonicalize_name(distribution))


def installed_plugin(distribution: str) -> Plugin | None:
    """Return an installed plugin of a distribution, not loaded; None if there is none."""
    wanted = current_name(distribution)
    return next((plugin for plugin in installed() if current_name(plugin.distribution) == wanted), None)


def older(version: str, than: str) -> bool:
    """Whether a version is older than another; one that is no version is not."""
    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False
