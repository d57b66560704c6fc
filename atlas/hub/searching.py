"""Finding artefacts on the Hub by the tags that a push writes, and rebuilding a registry from them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Card
from atlas.cards.names import current
from atlas.errors import AtlasError, NotFoundError, unknown
from atlas.hub.cache import Ref
from atlas.hub.client import clean, client, endpoint, host, offline, patiently
from atlas.hub.collections import rows
from atlas.hub.model_card import LIBRARY, TAG
from atlas.hub.pulling import Pulled, pull
from atlas.storage.files import write_text
from atlas.storage.registry import FOLDERS

LIMIT = 1000
_FIELDS = ["cardData", "downloads", "lastModified", "private", "sha", "tags"]


@dataclass(frozen=True)
class Found:
    """An artefact on the Hub, as its tags and metadata describe it; nothing of it has been downloaded or checked.

    `overlap` names those of its metrics that were measured on items it was fitted on.
    """

    repo: str
    commit: str
    kind: str = ""
    source: str = ""
    target: str = ""
    method: str = ""
    private: bool = False
    downloads: int = 0
    modified: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    overlap: tuple[str, ...] = ()
    license: str = ""
    pairs: int = 0


def search(
    query: str = "",
    *,
    kind: str = "",
    source: str = "",
    target: str = "",
    method: str = "",
    author: str = "",
    license: str = "",
    pairs: int = 0,
    least: Mapping[str, float] = MappingProxyType({}),
    collection: str = "",
    sort: str = "downloads",
    limit: int | None = None,
    token: str | bool | None = None,
) -> list[Found]:
    """Return the artefacts on the Hub that match everything asked for, best first; private ones you may see included.

    Args:
        query: words that must all occur in the name or the tags.
        kind: one of space, anchors, vectors, moments, alignment, head, atlas.
        source: id of the space an alignment maps from.
        target: id of the space an alignment maps to.
        method: name of the aligner, head, aggregator or sampler.
        author: user or organisation.
        license: id of the licence, such as mit.
        pairs: how many pairs an alignment was fitted on, at least.
        least: metrics, and the least value of each; a figure of items that were fitted on does not count.
        collection: name of a collection on the Hub, owner/title-and-number.
        sort: downloads, modified, or the name of a metric such as jaccard@10.
        limit: how many are returned, at most.
        token: None for the one you are logged in with.
    """
    if kind and kind not in FOLDERS:
        raise AtlasError(unknown("kind", kind, FOLDERS))
    if offline():
        raise AtlasError("The Hub cannot be searched while HF_HUB_OFFLINE is set - unset it")
    wanted = {"kind": kind, "source": source, "target": target, "method": method}
    tags = [LIBRARY, *(f"{TAG}{name}:{value}" for name, value in wanted.items() if value)]
    api = client(token)
    listing = {"filter": tags, "author": author or None, "expand": _FIELDS, "limit": LIMIT}
    if collection:
        of = f"{author}/" if author else ""
        held = rows(collection, _FIELDS, token=token)
        found = [_found(row) for row in held if {*tags} <= {*(row.tags or [])} and str(row.id).startswith(of)]
    else:
        found = patiently(lambda: [_found(row) for row in api.list_models(**listing)], endpoint(), token)
    words = query.lower().split()
    kept = [one for one in found if one.kind and all(word in _text(one) for word in words)]
    kept = [one for one in kept if license in ("", one.license) and one.pairs >= pairs and _reaches(one, least)]
    return sorted(kept, key=_order(sort))[:limit]


def readable(found: Iterable[Found], token: str | bool | None = None) -> Iterator[tuple[Found, Pulled]]:
    """Yield those artefacts whose cards can be read, each with its card, which is all that is downloaded."""
    for one in found:
        with contextlib.suppress(AtlasError):
            yield one, pull(f"{one.repo}@{one.commit}", tensors=False, token=token)


def _reaches(one: Found, least: Mapping[str, float]) -> bool:
    return all(
        current(name) not in one.overlap and one.metrics.get(current(name), float("-inf")) >= value
        for name, value in least.items()
    )


def _order(sort: str) -> Any:
    if sort == "downloads":
        return lambda one: (-one.downloads, one.repo)
    if sort == "modified":
        # Sorting is stable in the name where two were modified in the same moment.
        return lambda one: ([-ord(char) for char in one.modified], one.repo)
    name = current(sort)
    return lambda one: (name in one.overlap, -one.metrics.get(name, float("-inf")), one.repo)


def _text(one: Found) -> str:
    return " ".join([one.repo, one.kind, one.source, one.target, one.method]).lower()


def _found(row: Any) -> Found:
    """Return the fields of a row of a listing; all of it was written by others."""
    named: dict[str, str] = {}
    for tag in row.tags or []:
        if str(tag).startswith(TAG):
            name, _, value = str(tag).removeprefix(TAG).partition(":")
            named[name] = f"{named[name]}, {clean(value)}" if name in named else clean(value, limit=100)
    data = row.card_data.to_dict() if row.card_data else {}
    best = _metrics(data.get("model-index"))
    return Found(
        repo=clean(row.id),
        commit=clean(row.sha or ""),
        kind=named.get("kind", ""),
        source=named.get("source", named.get("space", "")),
        target=named.get("target", ""),
        method=named.get("method", ""),
        private=bool(row.private),
        downloads=int(row.downloads or 0),
        modified=row.last_modified.isoformat() if row.last_modified else "",
        metrics={name: -value for name, (_, value) in best.items()},
        overlap=tuple(name for name, (overlap, _) in best.items() if overlap),
        license=clean(data.get("license_name") or data.get("license") or "", limit=100),
        pairs=int(named["pairs"]) if re.fullmatch("[0-9]{1,15}", named.get("pairs", "")) else 0,
    )


def _metrics(index: Any) -> dict[str, tuple[bool, float]]:
    """Return of each metric of a model index whether its best figure is of items fitted on, and minus that figure.

    A figure that is not comes first; others may have put there whatever they like.
    """
    best: dict[str, tuple[bool, float]] = {}
    for model in index if isinstance(index, list) else []:
        for result in model.get("results", []) if isinstance(model, dict) else []:
            for metric in result.get("metrics", []) if isinstance(result, dict) else []:
                name, value = (metric.get("type"), metric.get("value")) if isinstance(metric, dict) else (None, None)
                if isinstance(name, str) and isinstance(value, (int, float)):
                    args, name = metric.get("args"), current(clean(name))
                    found = (isinstance(args, dict) and bool(args.get("overlap")), -float(value))
                    best[name] = min(found, best.get(name, found))
    return best


@dataclass(frozen=True)
class Indexed:
    """The outcome of an update: entries written and removed, and repositories left as they were with the reason."""

    written: tuple[Path, ...]
    removed: tuple[Path, ...]
    skipped: Mapping[str, str]


def index(author: str, folder: str | Path, *, remove_all: bool = False, token: str | bool | None = None) -> Indexed:
    """Rebuild the entries of a registry that stand for an author's artefacts on the Hub.

    Each entry is a card that points to a commit; tensors are pulled when they are used. One whose id another owner has
    in the registry lies beside that, as owner--id, and is found as owner/id. Entries of repositories that
    the Hub says are gone are removed, once the others are written; entries that hold tensors, those of others, and
    those whose repository could not be read are left alone.

    Args:
        author: user or organisation.
        folder: of the registry.
        remove_all: remove all entries of the author even if the Hub lists nothing.
        token: None for the one you are logged in with.

    Raises:
        AtlasError: the Hub cannot be searched, or it lists nothing of an author who has entries.
    """
    root = Path(folder)
    listed = sorted(search(author=author, token=token), key=lambda one: one.repo)
    entries = _entries(root, author)
    if entries and not listed and not remove_all:
        raise AtlasError(
            f"{host()} lists nothing of '{author}', whose entries in '{root}' are {len(entries)} - log in if they are "
            "private; to remove them all, pass --remove-all (remove_all=True)"
        )
    wanted: dict[Path, Card] = {}
    skipped: dict[str, str] = {}
    for one in listed:
        try:
            found = pull(f"{one.repo}@{one.commit}", tensors=False, token=token)
            # The commit that was pulled: a listing may name a branch in its place.
            card = replace(found.card, hub=f"{found.ref.repo}@{found.commit}")
        except AtlasError as error:
            skipped[one.repo] = str(error)
            continue
        entry = root / FOLDERS[card.kind] / card.id
        if not wanted.get(entry) and _other(entry, author):
            entry = entry.with_name(f"{found.ref.repo.partition('/')[0]}--{card.id}")
        taken = wanted.get(entry) or _other(entry, author)
        if taken:
            skipped[one.repo] = f"{card.kind} '{card.id}' is that of '{taken.hub or entry}' already"
        else:
            wanted[entry] = card
    for entry, card in wanted.items():
        write_text(entry / CARD, dump_card(card))
    read = {one.repo for one in listed} - {*skipped}
    left = {entry: repo for entry, repo in entries.items() if entry not in wanted and repo not in skipped}
    removed = tuple(entry for entry, repo in left.items() if repo in read or _gone(repo, token, skipped))
    for entry in removed:
        _remove(entry)
    return Indexed(tuple(wanted), removed, skipped)


def _entries(root: Path, author: str) -> dict[Path, str]:
    """Return the entries that stand for repositories of an author, and these."""
    from atlas.storage.registry import Registry

    cards = {entry.folder: entry.card.hub for entry in Registry(root).entries()} if root.is_dir() else {}
    mine = {folder: hub.partition("@")[0] for folder, hub in cards.items() if hub.startswith(f"{author}/")}
    return {folder: repo for folder, repo in mine.items() if not (folder / MODEL).exists()}


def _gone(repo: str, token: str | bool | None, skipped: dict[str, str]) -> bool:
    """Whether the Hub says that an unlisted repository does not exist; note any other answer."""
    try:
        patiently(lambda: client(token).model_info(repo, expand=["sha"]), Ref(repo), token)
        skipped[repo] = "the Hub has it, but does not list it as an artefact of Atlas"
    except NotFoundError:
        return True
    except AtlasError as error:
        skipped[repo] = str(error)
    return False


def _remove(entry: Path) -> None:
    """Remove an entry's card, and its folder where nothing else is in it."""
    (entry / CARD).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        entry.rmdir()


def _other(entry: Path, author: str) -> Card | None:
    """Return the card of an entry that is not ours to replace."""
    if not (entry / CARD).exists():
        return None
    card = read_card(entry)
    return card if (entry / MODEL).exists() or not card.hub.startswith(f"{author}/") else None
