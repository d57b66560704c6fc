"""Folders of artefacts: finding, listing and checking them by their cards, without reading tensors.

A registry is any folder; every folder below it that holds a card is an entry. Cards alone are read here, so that
listing needs neither torch nor plugins.
"""

from __future__ import annotations

import builtins
import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from atlas.cards.folder import BARE, CARD, read_card
from atlas.cards.kinds import Card
from atlas.errors import AtlasError, NotFoundError, unknown
from atlas.storage.checks import problems
from atlas.storage.files import as_path
from atlas.storage.places import leftovers, restored

FOLDERS = {
    "space": "spaces",
    "anchors": "anchors",
    "vectors": "vectors",
    "moments": "moments",
    "alignment": "alignments",
    "head": "heads",
    "atlas": "atlases",
}

_first: ContextVar[tuple[Path, ...]] = ContextVar("_first", default=())


@contextlib.contextmanager
def searched_first(folders: Iterable[str | Path]) -> Iterator[None]:
    """Make every `Registry()` look in these folders before it looks elsewhere."""
    token = _first.set(tuple(map(as_path, folders)))
    try:
        yield
    finally:
        _first.reset(token)


@dataclass(frozen=True)
class Entry:
    """One artefact of a registry: its card, and the folder it lies in."""

    card: Card
    folder: Path

    @property
    def owner(self) -> str:
        """Who published it; '' for an artefact of one's own."""
        return self.card.hub.partition("/")[0]

    @property
    def name(self) -> str:
        """Its name: the id, after its owner's name and '/' where it has one."""
        return f"{self.owner}/{self.card.id}" if self.owner else self.card.id

    @property
    def spaces(self) -> dict[str, str]:
        """The ids of the spaces a card names: source and target, or those its vectors are in."""
        card = self.card
        return {name: getattr(card, name).id for name in ("source", "target", "space") if hasattr(card, name)}


def shipped() -> Path:
    """Return the registry that comes with Atlas: beside the package, or in the checkout it runs from."""
    package = Path(__file__).parents[1]
    installed = package / "_registry"
    return installed if installed.is_dir() else package.parent / "registry"


def _cached(folder: Path) -> bool:
    """Whether a folder is that of a repository in the Hub's cache, each commit of which holds a card of its own."""
    return folder.name.startswith(("models--", "datasets--", "spaces--")) and (folder / "snapshots").is_dir()


class Registry:
    """One or more folders of artefacts; where two hold the same id, the first folder wins."""

    def __init__(self, *folders: str | Path) -> None:
        """Open folders, in order of precedence; none: those in ATLAS_REGISTRY, then the one shipped with Atlas."""
        if not folders:
            given = [part for part in os.environ.get("ATLAS_REGISTRY", "").split(os.pathsep) if part]
            folders = (*_first.get(), *given, shipped())
        self.folders = [as_path(folder) for folder in folders]
        # Entries that the last listing left out.
        self.unreadable: list[Path] = []

    def artefacts(self) -> Iterator[Path]:
        """Yield the folders that hold a card, in order of registry and of name."""
        for folder in self.folders:
            if not folder.is_dir():
                raise NotFoundError(
                    f"'{folder}' is a file, not a folder" if folder.exists() else f"There is no folder '{folder}'"
                )
            for root, names, files in os.walk(folder):
                back = restored(Path(root)) if any(name.endswith(".old") for name in names) else []
                # Temporary folders of a write in progress, and whatever else is hidden, are not entries.
                shown = {name for name in [*names, *back] if not name.startswith(".")}
                names[:] = sorted(name for name in shown if not _cached(Path(root, name)))
                if CARD in files:
                    names[:] = []
                    yield Path(root)

    def entries(self, folders: Iterable[Path] | None = None) -> Iterator[Entry]:
        """Yield every entry, or those of some folders, whose card can be read; `check` tells of the others."""
        seen = set()
        self.unreadable = []
        for folder in self.artefacts() if folders is None else folders:
            try:
                entry = Entry(read_card(folder), folder)
            except AtlasError:
                self.unreadable.append(folder)
                continue
            key = (entry.card.kind, entry.name)
            if key not in seen:
                seen.add(key)
                yield entry

    def list(self, query: str = "", *, kind: str = "", source: str = "", target: str = "") -> list[Entry]:
        """Return the entries that match everything asked for.

        Args:
            query: words that must all occur in the id, description, method, or ids of spaces.
            kind: one of space, anchors, vectors, moments, alignment, head, atlas.
            source: id of the space an alignment maps from.
            target: id of the space an alignment maps to.
        """
        if kind and kind not in FOLDERS:
            raise AtlasError(unknown("kind", kind, FOLDERS))
        found = []
        for entry in self.entries():
            wanted = {"source": source, "target": target}
            if kind and entry.card.kind != kind:
                continue
            if any(value and entry.spaces.get(name) != value for name, value in wanted.items()):
                continue
            if all(word in _text(entry) for word in query.lower().split()):
                found.append(entry)
        return found

    def find(self, id: str, kinds: Sequence[str] = ()) -> Path:
        """Return the folder of an artefact by its id.

        Args:
            id: of the artefact, or owner/id.
            kinds: the kinds that will do; none: any.

        Raises:
            NotFoundError: no entry of that id; the message names the nearest.
            AtlasError: entries of several kinds or owners in one folder have the id.
        """
        for folder in self.folders:
            matches = Registry(folder).of_id(id, kinds)
            if len(matches) > 1:
                found = ", ".join(f"{entry.card.kind} '{entry.name}' in '{entry.folder}'" for entry in matches)
                raise AtlasError(f"'{id}' is the id of several artefacts: {found} - give the folder, or owner/id")
            if matches:
                return matches[0].folder
        known = {entry.name for entry in self.entries() if not kinds or entry.card.kind in kinds}
        near = difflib.get_close_matches(id, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see 'atlas list'"
        what = " or ".join(kinds) or "artefact"
        raise NotFoundError(f"There is no folder '{id}', and no {what} of that id in the registry - {hint}")

    def of_id(self, id: str, kinds: Sequence[str] = ()) -> builtins.list[Entry]:
        """Return the entries of an id, or owner/id, of these kinds or of any."""
        bare = id.rpartition("/")[2]

        def right(entry: Entry) -> bool:
            return id in (entry.name, entry.card.id) and (not kinds or entry.card.kind in kinds)

        # Artefacts nearly always lie in a folder of their own id: few cards need to be read.
        folders = (f for f in self.artefacts() if f.name.rpartition("--")[2] == bare)
        named = [entry for entry in self.entries(folders) if right(entry)]
        return named if len(named) == 1 else [entry for entry in self.entries() if right(entry)]

    def check(self) -> dict[Path, builtins.list[str]]:
        """Return every artefact's folder with all that is wrong with it; an empty list is a sound artefact."""
        found: dict[Path, list[str]] = {}
        first: dict[tuple[str, str], Path] = {}
        for folder in self.artefacts():
            found[folder] = problems(folder)
            with contextlib.suppress(AtlasError):
                entry = Entry(read_card(folder), folder)
                other = first.setdefault((entry.card.kind, entry.name), folder)
                if other != folder:
                    found[folder].append(f"{folder / CARD}: {entry.card.kind} '{entry.name}' is in '{other}' too")
        for left, meant in self._left_behind():
            found.setdefault(meant, []).append(f"{left}: left by a write that was killed - remove it")
        return found

    def _left_behind(self) -> Iterator[tuple[Path, Path]]:
        for folder in self.folders:
            for root, names, _ in os.walk(folder):
                names[:] = [name for name in names if not name.startswith(".")]
                yield from leftovers(Path(root))


def _text(entry: Entry) -> str:
    card = entry.card
    method = [getattr(card, name, "") for name in ("aligner", "head", "aggregator", "sampler", "dataset")]
    return " ".join([card.id, card.kind, card.description, *method, *entry.spaces.values()]).lower()


def find_local(ref: str | Path, kinds: Sequence[str] = ()) -> Path:
    """Return the folder or file a reference means: a path if one is there or it looks like one, else a registry id.

    A text like a path that is none may be owner/id.
    """
    text, path = str(ref), as_path(ref)
    if isinstance(ref, Path) or text.startswith((".", "~", "/")) or path.suffix in BARE or path.exists():
        return path
    if "/" not in text:
        return Registry().find(text, kinds)
    with contextlib.suppress(NotFoundError):
        return Registry().find(text, kinds)
    return path
