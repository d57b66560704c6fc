"""A minimal Git object store in plain Python.

Every Hub repository is a real bare Git repository on disk (loose objects, loose refs), so commit
hashes, blob hashes and tree hashes are the ones Git computes, and ``git fsck``/``git log`` can be run
on the data directory to check the server from the outside.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHA_RE = re.compile(r"^[0-9a-f]{40}$")
SHORT_SHA_RE = re.compile(r"^[0-9a-f]{5,40}$")
POINTER_VERSION = b"version https://git-lfs.github.com/spec/v1\n"


class RevisionNotFoundError(Exception):
    """The branch, tag or commit does not exist."""


class InvalidReferenceError(Exception):
    """The name cannot be used as a branch or tag name."""


@dataclass(frozen=True)
class FileEntry:
    """One file of a commit. ``lfs_oid``/``lfs_size`` are set when the blob is a Git LFS pointer."""

    path: str
    blob: str
    blob_size: int
    lfs_oid: str | None = None
    lfs_size: int | None = None

    @property
    def size(self) -> int:
        return self.lfs_size if self.lfs_size is not None else self.blob_size

    @property
    def content_id(self) -> str:
        """What the Hub client compares local files to: sha256 for LFS files, Git blob hash otherwise."""
        return self.lfs_oid or self.blob


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: str
    timestamp: int
    title: str
    message: str


def blob_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def make_pointer(oid: str, size: int) -> bytes:
    return POINTER_VERSION + f"oid sha256:{oid}\nsize {size}\n".encode()


def parse_pointer(data: bytes) -> tuple[str, int] | None:
    if not data.startswith(POINTER_VERSION) or len(data) > 1024:
        return None
    match = re.search(rb"^oid sha256:([0-9a-f]{64})\nsize (\d+)\n?$", data[len(POINTER_VERSION) :], re.M)
    return (match.group(1).decode(), int(match.group(2))) if match else None


def check_ref_name(name: str) -> None:
    """The subset of ``git check-ref-format`` that matters here."""
    bad = (
        not name
        or name.startswith(("/", "-", "refs/"))
        or name.endswith(("/", ".", ".lock"))
        or ".." in name
        or "//" in name
        or "@{" in name
        or any(part.startswith(".") for part in name.split("/"))
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]", name)
    )
    if bad:
        raise InvalidReferenceError(name)


class GitStore:
    """One bare repository."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.lock = threading.RLock()
        self._files_cache: dict[str, dict[str, FileEntry]] = {}

    # ------------------------------------------------------------------ setup

    def init(self) -> None:
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        (self.path / "HEAD").write_text("ref: refs/heads/main\n")
        (self.path / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tfilemode = false\n\tbare = true\n")

    # ---------------------------------------------------------------- objects

    def _object_path(self, sha: str) -> Path:
        return self.path / "objects" / sha[:2] / sha[2:]

    def write_object(self, kind: str, data: bytes) -> str:
        raw = f"{kind} {len(data)}".encode() + b"\0" + data
        sha = hashlib.sha1(raw).hexdigest()
        target = self._object_path(sha)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            tmp = target.with_name(f"tmp_{uuid.uuid4().hex}")
            tmp.write_bytes(zlib.compress(raw, 1))
            tmp.replace(target)
        return sha

    def read_object(self, sha: str) -> tuple[str, bytes]:
        try:
            raw = zlib.decompress(self._object_path(sha).read_bytes())
        except FileNotFoundError:
            raise RevisionNotFoundError(sha) from None
        header, _, data = raw.partition(b"\0")
        return header.split(b" ")[0].decode(), data

    def read_blob(self, sha: str) -> bytes:
        return self.read_object(sha)[1]

    # ------------------------------------------------------------------ trees

    def write_tree(self, files: dict[str, str]) -> str:
        """Write nested tree objects for ``{path: blob sha}`` and return the root tree hash."""
        root: dict = {}
        for path, blob in files.items():
            node = root
            *parents, name = path.split("/")
            for part in parents:
                node = node.setdefault(part, {})
            node[name] = blob

        def write(node: dict) -> str:
            entries = []
            for name, value in node.items():
                is_dir = isinstance(value, dict)
                sha = write(value) if is_dir else value
                sort_key = name.encode() + (b"/" if is_dir else b"")
                entries.append((sort_key, b"40000" if is_dir else b"100644", name.encode(), bytes.fromhex(sha)))
            data = b"".join(mode + b" " + name + b"\0" + sha for _, mode, name, sha in sorted(entries))
            return self.write_object("tree", data)

        return write(root)

    def _walk_tree(self, tree: str, prefix: str = "") -> Iterator[tuple[str, bool, str]]:
        _, data = self.read_object(tree)
        pos = 0
        while pos < len(data):
            space = data.index(b" ", pos)
            nul = data.index(b"\0", space)
            is_dir = data[pos:space] == b"40000"
            name = prefix + data[space + 1 : nul].decode()
            sha = data[nul + 1 : nul + 21].hex()
            pos = nul + 21
            yield name, is_dir, sha
            if is_dir:
                yield from self._walk_tree(sha, name + "/")

    def files(self, commit_sha: str) -> dict[str, FileEntry]:
        """All files of a commit, by path (sorted)."""
        cached = self._files_cache.get(commit_sha)
        if cached is not None:
            return cached
        result = {}
        for name, is_dir, sha in self._walk_tree(self.commit(commit_sha).tree):
            if is_dir:
                continue
            data = self.read_blob(sha)
            pointer = parse_pointer(data)
            oid, size = pointer if pointer else (None, None)
            result[name] = FileEntry(name, sha, len(data), oid, size)
        result = dict(sorted(result.items()))
        if len(self._files_cache) > 256:
            self._files_cache.clear()
        self._files_cache[commit_sha] = result
        return result

    def folders(self, commit_sha: str) -> dict[str, str]:
        """All folders of a commit: ``{path: tree sha}``."""
        return {n: sha for n, is_dir, sha in self._walk_tree(self.commit(commit_sha).tree) if is_dir}

    # ---------------------------------------------------------------- commits

    def write_commit(
        self, tree: str, parents: list[str], author: str, title: str, message: str = "", timestamp: int | None = None
    ) -> str:
        when = int(time.time()) if timestamp is None else timestamp
        email = f"{author}@users.noreply.hub.local"
        body = title + (f"\n\n{message}" if message else "") + "\n"
        lines = [f"tree {tree}"]
        lines += [f"parent {p}" for p in parents]
        lines += [f"author {author} <{email}> {when} +0000", f"committer {author} <{email}> {when} +0000", "", body]
        return self.write_object("commit", "\n".join(lines).encode())

    def commit(self, sha: str) -> Commit:
        kind, data = self.read_object(sha)
        if kind != "commit":
            raise RevisionNotFoundError(sha)
        head, _, body = data.decode("utf-8", "replace").partition("\n\n")
        tree, parents, author, when = "", [], "", 0
        for line in head.split("\n"):
            key, _, value = line.partition(" ")
            if key == "tree":
                tree = value
            elif key == "parent":
                parents.append(value)
            elif key == "author":
                match = re.match(r"(.*) <.*> (\d+) [+-]\d{4}$", value)
                if match:
                    author, when = match.group(1), int(match.group(2))
        title, _, message = body.partition("\n")
        return Commit(sha, tree, tuple(parents), author, when, title, message.strip("\n"))

    def log(self, sha: str) -> Iterator[Commit]:
        """First-parent history, newest first."""
        current: str | None = sha
        while current:
            commit = self.commit(current)
            yield commit
            current = commit.parents[0] if commit.parents else None

    def last_commits(self, sha: str, paths: list[str]) -> dict[str, Commit]:
        """For each file or folder path, the last commit that changed it."""

        def state(commit_sha: str) -> dict[str, str]:
            known = {p: e.blob for p, e in self.files(commit_sha).items()}
            known.update(self.folders(commit_sha))
            return known

        pending, result = set(paths), {}
        history = list(self.log(sha))
        states = None
        for index, commit in enumerate(history):
            if not pending:
                break
            current = states if states is not None else state(commit.sha)
            previous = state(history[index + 1].sha) if index + 1 < len(history) else {}
            for path in [p for p in pending if current.get(p) != previous.get(p)]:
                result[path] = commit
                pending.discard(path)
            states = previous
        return result

    # ------------------------------------------------------------------- refs

    def _ref_path(self, ref: str) -> Path:
        return self.path / ref

    def read_ref(self, ref: str) -> str | None:
        path = self._ref_path(ref)
        return path.read_text().strip() if path.is_file() else None

    def list_refs(self, prefix: str) -> dict[str, str]:
        """``{ref: sha}`` for all refs under e.g. ``refs/heads/``."""
        base = self.path / prefix
        found = {}
        if base.is_dir():
            for file in sorted(p for p in base.rglob("*") if p.is_file()):
                found[str(file.relative_to(self.path))] = file.read_text().strip()
        return found

    def update_ref(self, ref: str, sha: str) -> None:
        with self.lock:
            path = self._ref_path(ref)
            path.parent.mkdir(parents=True, exist_ok=True)
            tmp = path.with_name(f"{path.name}.{uuid.uuid4().hex}.lock")
            tmp.write_text(sha + "\n")
            tmp.replace(path)

    def delete_ref(self, ref: str) -> None:
        with self.lock:
            path = self._ref_path(ref)
            path.unlink()
            for parent in path.parents:  # refs/heads/a/b: drop empty "a", so that a branch "a" can be created later
                if parent.name in ("heads", "tags", "pr", "refs") or any(parent.iterdir()):
                    break
                parent.rmdir()

    def peel(self, sha: str) -> str:
        """Follow annotated tags to the commit."""
        kind, data = self.read_object(sha)
        while kind == "tag":
            sha = data.split(b"\n")[0].split(b" ")[1].decode()
            kind, data = self.read_object(sha)
        return sha

    def branch_ref(self, revision: str) -> str:
        """The ref a commit to ``revision`` would move: a branch or a pull request ref."""
        for ref in (f"refs/heads/{revision}", revision):
            if ref.startswith(("refs/heads/", "refs/pr/")) and self.read_ref(ref):
                return ref
        raise RevisionNotFoundError(revision)

    def resolve(self, revision: str) -> str:
        """Branch, tag, full ref, commit hash or unambiguous short hash -> commit hash."""
        candidates = [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        if revision.startswith("refs/"):
            candidates.append(revision)
        for ref in candidates:
            if ".." not in ref and (sha := self.read_ref(ref)):
                return self.peel(sha)
        if SHA_RE.match(revision) and self._object_path(revision).exists():
            return self.commit(revision).sha
        if SHORT_SHA_RE.match(revision):
            matches = []
            for file in (self.path / "objects" / revision[:2]).glob(f"{revision[2:]}*"):
                sha = revision[:2] + file.name
                if SHA_RE.match(sha) and self.read_object(sha)[0] == "commit":
                    matches.append(sha)
            if len(matches) == 1:
                return matches[0]
        raise RevisionNotFoundError(revision)

    def create_tag(self, tag: str, target: str, tagger: str, message: str | None) -> None:
        sha = target
        if message:
            stamp = f"{tagger} <{tagger}@users.noreply.hub.local> {int(time.time())} +0000"
            text = f"object {target}\ntype commit\ntag {tag}\ntagger {stamp}\n\n{message}\n"
            sha = self.write_object("tag", text.encode())
        self.update_ref(f"refs/tags/{tag}", sha)
