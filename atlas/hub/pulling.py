"""From the Hub to a folder that can be trusted.

Everything downloaded is hostile until it has been checked: the card is read strictly before a tensor is asked for, and
every file must be the one the Hub lists, and the one the card describes, before its folder is handed out. The client
itself checks only sizes, and keeps a damaged file in its cache for ever.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Card
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.hub.cache import INSIDE, SCHEME, Cache, Listed, Ref, Source, digest_of
from atlas.hub.client import clean, offline
from atlas.storage.checks import check_file
from atlas.storage.hashes import known_sha256
from atlas.storage.header import MAX_HEADER, SIZES, size_of
from atlas.storage.registry import find_local

# References and their commits, while a lock file holds.
LOCKS: list[Callable[[Ref], Ref]] = []


@dataclass(frozen=True)
class Pulled:
    """The result of a pull: its reference, its commit, and the folder that holds it."""

    ref: Ref
    commit: str
    folder: Path
    card: Card

    @property
    def pinned(self) -> str:
        """The reference that will always mean this commit."""
        return str(self.ref.at(self.commit))


def pull(
    ref: str | Ref,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    tensors: bool = True,
    inside: str = "",
) -> Pulled:
    """Download an artefact into the Hub's cache, check it, and return its folder.

    A branch or tag is looked up once; a commit that has been pulled before is not looked up at all. Only the card and
    the tensors are downloaded.

    Args:
        ref: 'hf://owner/name[@revision]'.
        revision: a branch, tag or commit, if the reference names none.
        token: for private repositories; None: the one you are logged in with; False: none.
        cache_dir: where to keep it; None: the Hub's cache.
        local_files_only: use earlier pulls, and no network.
        force_download: download it again.
        tensors: False for the card alone.
        inside: the folder of the repository that the artefact lies in; '': the repository itself.

    Raises:
        NotFoundError: not there, or, offline, not pulled before.
        CardError: the artefact is malformed or does not match its card.
        AtlasError: it could not be had; the message gives the reason and the remedy.
    """
    where = Ref.parse(ref, revision)
    for meaning in LOCKS:
        where = meaning(where)
    cache = Cache(where, cache_dir)
    if local_files_only or offline():
        return _cached(where, cache, tensors, inside)
    if where.pinned and not force_download:
        with contextlib.suppress(AtlasError):
            return _cached(where, cache, tensors, inside)
    source = Source(where, cache, token, force_download)
    commit = source.commit()
    card_name, name = (str(PurePosixPath(inside, file)) for file in (CARD, MODEL))
    folder = source.fetch(commit, card_name) / inside
    card = checked_card(folder, where.at(commit))
    if tensors and card.sha256:
        expected = _check_listed(source.listing(commit).get(name), card, where.at(commit))
        source.fetch(commit, name)
        # `fetch` has just hashed this very file and compared it with the listing: a large one is not hashed again.
        _checked(folder, card, where.at(commit), expected.sha256)
    cache.remember(commit)
    return Pulled(where, commit, folder, card)


def _cached(ref: Ref, cache: Cache, tensors: bool, inside: str = "") -> Pulled:
    """Return an earlier pull, checked again, without any network."""
    commit = cache.commit()
    if not commit or not (cache.snapshot(commit) / inside / CARD).is_file():
        raise NotFoundError(f"'{ref}' has not been pulled to this computer - pull it once while online")
    folder = cache.snapshot(commit) / inside
    _check_blob(folder / CARD, ref)
    card = checked_card(folder, ref.at(commit))
    if tensors and card.sha256:
        if not (folder / MODEL).is_file():
            raise NotFoundError(f"Of '{ref}' only the card was pulled - pull it once while online")
        _checked(folder, card, ref.at(commit), known_sha256(folder / MODEL))
    return Pulled(ref, commit, folder, card)


def _check_blob(path: Path, ref: Ref) -> None:
    # Where the file system has links, the client names a file's content after its hash.
    blob = path.resolve()
    if blob == path or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return
    if digest_of(blob, blob.stat().st_size, blob.name[40:]) != blob.name:
        raise CardError(f"The card of '{ref}' was damaged in the cache - pull it again while online")


def checked_card(folder: Path, ref: Ref) -> Card:
    """Return a downloaded card; raise `CardError` if it is malformed."""
    with _named(folder, ref):
        return read_card(folder)


def _checked(folder: Path, card: Card, ref: Ref, digest: str = "") -> None:
    with _named(folder, ref):
        check_file(folder, card, digest)


@contextlib.contextmanager
def _named(folder: Path, ref: Ref) -> Iterator[None]:
    """Let messages about a file in the cache name the reference instead of the cache's path."""
    try:
        yield
    except CardError as error:
        raise CardError(clean(str(error).replace(f"{folder}{os.sep}", f"{ref}: "), limit=500)) from None


def _check_listed(expected: Listed | None, card: Card, ref: Ref) -> Listed:
    """Return the Hub's listing of a file of tensors, or refuse the file by it, before any download."""
    if expected is None:
        raise CardError(f"{ref}: there is no {MODEL} - the card lists {len(card.tensors)} tensors")
    size = 0
    for name, info in card.tensors.items():
        if info.dtype not in SIZES or len(info.shape) > 16:
            what = f"{info.dtype} {list(info.shape)[:17]}"
            raise CardError(f"{ref}: tensor {name!r} is {what}, which Atlas does not read")
        size += size_of(info)
    if not size <= expected.size <= size + MAX_HEADER + 8:
        raise CardError(f"{ref}: {MODEL} has {expected.size} bytes, the card lists tensors of {size}")
    if expected.sha256 and expected.sha256 != card.sha256:
        here, there = expected.sha256[:12], card.sha256[:12]
        raise CardError(f"{ref}: {MODEL} does not match its card: sha256 is {here}..., the card says {there}...")
    return expected


def copy(pulled: Pulled, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Copy a pulled artefact to a folder of its own, whole or not at all; its card records the commit.

    Moments that were published beside an alignment come, too, in a folder of that name.
    """
    from atlas.storage.files import check_target, explained, whole_folder

    path = check_target(folder, overwrite)
    beside = None
    with contextlib.suppress(NotFoundError):
        beside = pull(pulled.pinned, inside=INSIDE) if pulled.card.kind == "alignment" else None
    with whole_folder(path, overwrite) as temporary, explained(path):
        _copy(pulled, temporary)
        if beside:
            (temporary / INSIDE).mkdir()
            _copy(beside, temporary / INSIDE)
    return path


def _copy(pulled: Pulled, folder: Path) -> None:
    card = replace(pulled.card, hub=f"{pulled.ref.repo}@{pulled.commit}")
    if card.sha256:
        shutil.copyfile(pulled.folder / MODEL, folder / MODEL)
        check_file(folder, card)
    (folder / CARD).write_text(dump_card(card), encoding="utf-8")


def locate(ref: str | Path, kinds: Sequence[str] = (), **keywords: Any) -> Path:
    """Return the folder or file a reference means, pulled from the Hub where it is there.

    Args:
        ref: a path, the id of a registry entry, or 'hf://owner/name[@revision]'.
        kinds: the kinds of registry entries that will do; none: any.
        **keywords: of `pull`.
    """
    if str(ref).startswith(SCHEME):
        return pull(str(ref), **keywords).folder
    folder = find_local(ref, kinds)
    alone = keywords.get("tensors") is False
    if alone or (folder / MODEL).exists() or not (folder / CARD).is_file():
        return folder
    card = read_card(folder)
    if not card.hub or not card.sha256:
        return folder
    pulled = pull(card.hub, **keywords)
    if replace(pulled.card, hub="") != replace(card, hub=""):
        raise CardError(f"{folder / CARD}: the card at {pulled.pinned} is another - rebuild the registry: atlas index")
    return pulled.folder
