"""A lock file: the commits, hashes and plugin versions of everything a recipe takes from the Hub."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas._version import __version__
from atlas.cards.folder import CARD
from atlas.cards.yaml import dump_yaml, read_yaml
from atlas.errors import AtlasError, CardError
from atlas.hub.cache import SCHEME, Ref
from atlas.hub.pulling import LOCKS, Pulled, pull
from atlas.hub.pushing import texts_in
from atlas.plugins.discovery import installed
from atlas.storage.registry import Registry

LOCK = "atlas.lock"
_FORMAT = 1


@dataclass(frozen=True)
class Locked:
    """One reference and its meaning when it was locked.

    Attributes:
        ref: as it was written.
        commit: the commit it meant.
        card: sha256 of the card.
        sha256: of the tensors; '' if there are none.
        plugin: the distribution and version that made it.
    """

    ref: str
    commit: str
    card: str
    sha256: str = ""
    plugin: str = ""


def references(recipe: str | Path, values: Mapping[str, Any] | None = None) -> list[str]:
    """Return the inputs of a recipe from the Hub: 'hf://' references, and ids of registry entries that point there.

    Args:
        recipe: the YAML file.
        values: values to use in place of entries of its `values`.

    Raises:
        AtlasError: the recipe is malformed.
    """
    from atlas.recipes.reading import read_recipe

    entries = {entry.card.id: f"{SCHEME}{entry.card.hub}" for entry in Registry().entries() if entry.card.hub}
    # Of the jobs, not of the file: there, a reference may be put together from variables.
    texts = [text for job in read_recipe(recipe, values).jobs for _, text in texts_in(dict(job.arguments))]
    return sorted({ref for text in texts if (ref := entries.get(text, text)).startswith(SCHEME)})


def lock(refs: Iterable[str], path: str | Path = LOCK, *, token: str | bool | None = None) -> list[Locked]:
    """Pull references, and write down their commits.

    Args:
        refs: 'hf://owner/name[@revision]'.
        path: of the lock file; it is replaced.
        token: None for the one you are logged in with.
    """
    from atlas.storage.files import write_text

    locked = [_locked(ref, pull(ref, token=token)) for ref in dict.fromkeys(refs)]
    entries = [{name: value for name, value in asdict(one).items() if value} for one in locked]
    data = {"format": _FORMAT, "atlas": __version__, "plugins": plugins(), "entries": entries}
    write_text(Path(path), dump_yaml(data))
    return locked


def _locked(ref: str, pulled: Pulled) -> Locked:
    from atlas.storage.files import sha256_file

    return Locked(ref, pulled.commit, sha256_file(pulled.folder / CARD), pulled.card.sha256, pulled.card.plugin)


def plugins() -> list[str]:
    """Return the installed plugins and their versions, without importing any."""
    return sorted({plugin.source for plugin in installed() if plugin.version})


def read_lock(path: str | Path = LOCK) -> tuple[list[Locked], list[str]]:
    """Return the entries of a lock file, and the plugins it was written with.

    Raises:
        CardError: malformed, or of a newer format.
    """
    data = read_yaml(path)
    data = {"plugins": [], **data} if isinstance(data, dict) else {}
    if not isinstance(data.get("entries"), list) or not isinstance(data["plugins"], list):
        raise CardError(f"{path}: not a lock file - write one with 'atlas lock'")
    if data.get("format") != _FORMAT:
        raise CardError(f"{path}: format {data.get('format')!r} is not one this Atlas reads ({_FORMAT})")
    try:
        entries = [Locked(**{str(k): v for k, v in entry.items()}) for entry in data["entries"]]
    except (TypeError, AttributeError):
        raise CardError(f"{path}: an entry must have ref, commit and card") from None
    named = data["plugins"]
    texts = [value for one in entries for value in asdict(one).values()] + named
    if not all(isinstance(text, str) for text in texts):
        raise CardError(f"{path}: every field of an entry must be text")
    return entries, named


def pull_locked(path: str | Path = LOCK, *, token: str | bool | None = None) -> list[Pulled]:
    """Pull everything a lock file names, or fail with the differences.

    Raises:
        AtlasError: a card, a hash or the version of a plugin is not the one that was locked.
    """
    entries, named = read_lock(path)
    differences = [f"plugin {one} was locked, installed is {_installed(one)}" for one in named if one not in plugins()]
    pulled = []
    for entry in entries:
        found = pull(Ref.parse(entry.ref).at(entry.commit), token=token)
        now = _locked(entry.ref, found)
        for name in ("card", "sha256", "plugin"):
            if getattr(now, name) != getattr(entry, name):
                was, is_now = (str(getattr(one, name))[:24] or "none" for one in (entry, now))
                differences.append(f"'{entry.ref}': {name} was {was}, is {is_now}")
        pulled.append(found)
    if differences:
        raise AtlasError(f"{path} cannot be reproduced: {'; '.join(differences)}")
    return pulled


def _installed(plugin: str) -> str:
    name = plugin.split(" ")[0]
    return next((one.split(" ")[-1] for one in plugins() if one.split(" ")[0] == name), "none")


@contextlib.contextmanager
def locked(path: str | Path = LOCK) -> Iterator[None]:
    """Resolve every reference to the Hub as it was locked, once all that was locked is reproduced.

    Raises:
        AtlasError: it cannot be reproduced, or a reference is used that was not locked.
    """
    pull_locked(path)
    commits = {Ref.parse(entry.ref): entry.commit for entry in read_lock(path)[0]}

    def meaning(ref: Ref) -> Ref:
        if ref.pinned:
            return ref
        if ref not in commits:
            raise AtlasError(f"'{ref}' is not in {path} - lock it with 'atlas lock', and a recipe's --set")
        return ref.at(commits[ref])

    LOCKS.append(meaning)
    try:
        yield
    finally:
        LOCKS.remove(meaning)
