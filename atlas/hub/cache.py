"""Repositories on the Hub, and the part of the client's cache that holds their downloads."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atlas.cards.folder import CARD, MODEL
from atlas.cards.yaml import MAX_BYTES
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.hub.client import clean, client, complaint, endpoint, patiently
from atlas.hub.receiving import receive
from atlas.storage.places import temporary_name, tidy

SCHEME = "hf://"
# The folder of a repository, and the files in it, of moments that are published beside a map.
INSIDE = "moments"
MOMENTS = (f"{INSIDE}/{CARD}", f"{INSIDE}/{MODEL}")
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Ref:
    """A repository on the Hub, at a branch, tag or commit."""

    repo: str
    revision: str = "main"

    def __post_init__(self) -> None:
        if not _REPO.fullmatch(self.repo) or "--" in self.repo or ".." in self.repo:
            raise AtlasError(f"{self.repo!r} is not a repository of the Hub - write owner/name")
        if not _REVISION.fullmatch(self.revision) or ".." in self.revision or "//" in self.revision:
            raise AtlasError(f"{self.revision!r} is not the name of a branch, tag or commit")

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + ("" if self.revision == "main" else f"@{self.revision}")

    @classmethod
    def parse(cls, text: str | Ref, revision: str | None = None) -> Ref:
        """Return the repository of 'hf://owner/name[@revision]' or 'owner/name[@revision]'.

        Args:
            text: the reference.
            revision: wins if the text names none.

        Raises:
            AtlasError: malformed, or two different revisions.
        """
        if isinstance(text, Ref):
            return text
        repo, at, named = text.removeprefix(SCHEME).partition("@")
        if at and revision and revision != named:
            raise AtlasError(f"'{text}' names revision '{named}', but revision '{revision}' was asked for")
        if at and not named:
            raise AtlasError(f"'{text}' ends in '@' - add a branch, tag or commit")
        return cls(repo.rstrip("/"), named or revision or "main")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return bool(_COMMIT.fullmatch(self.revision))

    def at(self, commit: str) -> Ref:
        """Return the same repository at a commit."""
        return replace(self, revision=commit)


@dataclass(frozen=True)
class Listed:
    """A file as the Hub lists it: its size in bytes, and the hash its content must have."""

    size: int
    blob: str
    sha256: str = ""

    @property
    def digest(self) -> str:
        """The hash its content must have: sha256 for large files, that of a Git blob for others."""
        return self.sha256 or self.blob

    def fits(self, path: Path) -> bool:
        """Whether a file has the size and the hash."""
        try:
            size = path.stat().st_size
            return size == self.size and digest_of(path, size, self.sha256) == self.digest
        except FileNotFoundError:
            return False  # purged by another process in this moment


def digest_of(path: Path, size: int, sha256: str) -> str:
    """Return the sha256 of a file, or, where none is expected, the hash Git gives a blob of that content."""
    digest = hashlib.sha256() if sha256 else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def listed(rows: Sequence[Any], names: Sequence[str]) -> dict[str, Listed]:
    """Return the client's listing of files, those of other names left out.

    Raises:
        AtlasError: a size or a hash is none.
    """
    return {row.path: _listed(row) for row in rows if hasattr(row, "blob_id") and row.path in names}


def _listed(row: Any) -> Listed:
    size, sha256 = (row.lfs["size"], row.lfs["sha256"]) if row.lfs else (row.size, "")
    sound = _is(_COMMIT, row.blob_id) and (not row.lfs or _is(_SHA256, sha256))
    if not sound or type(size) is not int or size < 0:
        named = clean(f"{size!r}, {sha256 or row.blob_id!r}", limit=160)
        raise AtlasError(f"{endpoint()} lists {row.path} with a size or hash that is none ({named}) - is it a Hub?")
    return Listed(size, row.blob_id, sha256)


def _is(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and bool(pattern.fullmatch(text))


def commit_of(text: object, ref: Ref) -> str:
    """Return a commit that a server has named; raise `AtlasError` if it is none."""
    if not _is(_COMMIT, text):
        raise AtlasError(f"{endpoint()} answered without a commit for '{ref}' - is it a Hub?")
    return str(text)


def cached(folder: Path) -> str:
    """Return the reference of a folder in the client's cache, hf://owner/name@commit; '' for any other folder."""
    from huggingface_hub import constants

    folder, root = folder.resolve(), Path(constants.HF_HUB_CACHE).resolve()
    if root not in folder.parents:
        return ""
    found = re.match(r"models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})", folder.relative_to(root).as_posix())
    return f"{SCHEME}{found[1]}/{found[2]}@{found[3]}" if found else SCHEME


class Cache:
    """The part of the client's cache that belongs to one repository."""

    def __init__(self, ref: Ref, folder: str | Path | None = None) -> None:
        from huggingface_hub import constants

        self.ref = ref
        self.root = Path(folder or constants.HF_HUB_CACHE)
        self.folder = self.root / f"models--{ref.repo.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit's files."""
        return self.folder / "snapshots" / _checked(commit)

    def blob(self, expected: Listed) -> Path:
        """Return where the content of a file lies, whatever commits hold it under whatever name."""
        return self.folder / "blobs" / _checked(expected.digest)

    def arriving(self, expected: Listed) -> contextlib.AbstractContextManager[Path]:
        """Give a temporary path for a file's content; anything left there is removed at the end."""
        return _placed(self.blob(expected))

    def show(self, expected: Listed, commit: str, name: str) -> None:
        """Let a commit have a file whose content is there: a link, or the file itself where links are not to be had."""
        from huggingface_hub import constants

        blob, path = self.blob(expected), self.snapshot(commit) / name
        with _placed(path) as temporary:
            try:
                if constants.HF_HUB_DISABLE_SYMLINKS:
                    raise OSError("links are switched off")
                temporary.symlink_to(os.path.relpath(blob, path.parent))
            except OSError:
                blob.replace(temporary)
            temporary.replace(path)

    def commit(self) -> str:
        """Return the commit that the revision meant when it was last pulled; '' if it never was."""
        if self.ref.pinned:
            return self.ref.revision
        try:
            text = (self.folder / "refs" / self.ref.revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""
        return text if _COMMIT.fullmatch(text) else ""

    def remember(self, commit: str) -> None:
        """Record the commit of the revision, once all of it has been checked."""
        if not self.ref.pinned:
            path = self.folder / "refs" / self.ref.revision
            try:
                with _placed(path) as temporary:
                    temporary.write_text(commit, encoding="ascii")
                    temporary.replace(path)
            except OSError as error:
                raise AtlasError(complaint(error, str(self.ref))) from None

    def purge(self, path: Path) -> None:
        """Remove a damaged file from the cache, and the content it links to."""
        blob = path.resolve()
        path.unlink(missing_ok=True)
        if self.folder.resolve() in blob.parents:
            blob.unlink(missing_ok=True)


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside a path, and remove it at the end; leftovers of killed pulls are removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path)
    temporary = temporary_name(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _checked(text: str) -> str:
    """Return a commit or a hash that is to become part of a path; raise `AtlasError` if it is none."""
    if not _COMMIT.fullmatch(text) and not _SHA256.fullmatch(text):
        raise AtlasError(f"{clean(text, limit=80)!r} is not a hash")
    return text


class Source:
    """One repository on the Hub, as it is read."""

    def __init__(self, ref: Ref, cache: Cache, token: str | bool | None = None, force: bool = False) -> None:
        self.ref, self.cache, self.force = ref, cache, force
        self.token = token
        self.api = client(token)
        self._listings: dict[str, dict[str, Listed]] = {}

    def commit(self) -> str:
        """Return the commit that the revision means now."""
        if self.ref.pinned:
            return self.ref.revision
        info = self._ask(lambda: self.api.model_info(self.ref.repo, revision=self.ref.revision, expand=["sha"]))
        return commit_of(info.sha, self.ref)

    def listing(self, commit: str) -> dict[str, Listed]:
        """Return the card and the tensors as the Hub lists them, and those of moments beside them."""
        if commit not in self._listings:
            names = [CARD, MODEL, *MOMENTS]
            rows = self._ask(lambda: self.api.get_paths_info(self.ref.repo, names, revision=commit))
            self._listings[commit] = listed(rows, names)
        return self._listings[commit]

    def fetch(self, commit: str, name: str) -> Path:
        """Download one file, unless the cache has it, and return the folder it lies in; its hash is that listed."""
        expected = self.listing(commit).get(name)
        if expected is None:
            raise NotFoundError(f"'{self.ref}' is not an artefact of Atlas: it has no {name}")
        if Path(name).name == CARD and expected.size > MAX_BYTES:
            raise CardError(f"{self.ref}: {name} of {expected.size} bytes is too large - the limit is {MAX_BYTES}")
        self._check_room(expected)
        folder = self.cache.snapshot(commit)
        if not expected.fits(folder / name):
            self.cache.purge(folder / name)
        elif not self.force:
            return folder
        for _ in range(2):
            try:
                if self._download(commit, name, expected):
                    return folder
            except OSError as error:
                raise AtlasError(complaint(error, str(self.ref))) from None
        raise AtlasError(
            f"{name} of '{self.ref}' arrived damaged twice: its hash is not the one {endpoint()} lists; "
            "nothing of it was kept - try again, or over another connection"
        )

    def _ask(self, call: Callable[[], Any], most: int = 0) -> Any:
        return patiently(call, self.ref, self.token, most=most)

    def _download(self, commit: str, name: str, expected: Listed) -> bool:
        """Bring one file into the cache, and return whether it has the hash that is listed: no other comes there."""
        blob = self.cache.blob(expected)
        if self.force or not expected.fits(blob):
            with self.cache.arriving(expected) as path:
                self._receive(commit, name, expected, path)
                if not expected.fits(path):
                    return False
                path.replace(blob)
        self.cache.show(expected, commit, name)
        return True

    def _receive(self, commit: str, name: str, expected: Listed, path: Path) -> None:
        """Bring one file to a path; where a connection is lost, go on from there as long as that leads any further."""
        what = (self.ref.repo, commit, name, expected.digest, expected.size, path, self.token)
        had = -1
        while (have := path.stat().st_size if path.exists() else 0) > had:
            had = have
            try:
                return self._ask(lambda: receive(*what), most=expected.size)
            except AtlasError as error:
                lost = error
        raise lost

    def _check_room(self, expected: Listed) -> None:
        with contextlib.suppress(OSError):
            existing = next(p for p in [self.cache.root, *self.cache.root.parents] if p.exists())
            free = shutil.disk_usage(existing).free
            if expected.size > free:
                raise AtlasError(
                    f"'{self.ref}' needs {expected.size / 1e6:.1f} MB, '{existing}' has {free / 1e6:.1f} MB free - "
                    "free some space, or set HF_HOME to another disk"
                )
