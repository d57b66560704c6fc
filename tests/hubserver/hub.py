"""State of the Hub: accounts, repositories, and the rules about who may do what."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import re
import secrets
import shutil
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cards
from .gitstore import FileEntry, GitStore
from .httpd import HttpError
from .storage import BlobStore
from .xet import XetStore

REPO_TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
URL_PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
NAME_RE = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,94}[A-Za-z0-9_])?$")

DEFAULT_TOKENS: dict[str, dict] = {
    "hf_test_write": {"user": "tester", "role": "write", "orgs": ["test-org"]},
    "hf_test_read": {"user": "tester", "role": "read", "orgs": ["test-org"]},
    "hf_other_write": {"user": "other", "role": "write"},
}

LFS_EXTENSIONS = (
    "7z arrow bin bz2 ckpt ftz gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth "
    "rar safetensors tar.* tar tflite tgz wasm xz zip zst"
)
DEFAULT_GITATTRIBUTES = (
    "".join(f"*.{ext} filter=lfs diff=lfs merge=lfs -text\n" for ext in LFS_EXTENSIONS.split())
    + "saved_model/**/* filter=lfs diff=lfs merge=lfs -text\n*tfevents* filter=lfs diff=lfs merge=lfs -text\n"
)


@dataclass
class Config:
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    storage_port: int = 0
    tokens: dict[str, dict] = field(default_factory=lambda: dict(DEFAULT_TOKENS))
    xet: bool = True
    lfs_threshold: int = 10 * 1024 * 1024
    max_file_size: int = 50 * 1000**3
    url_ttl: int = 3600
    page_size: int = 1000
    rate_limit: tuple[int, int] | None = None  # (requests, window in seconds)
    seed: int | None = None
    debug: bool = False
    verbose: bool = False


@dataclass(frozen=True)
class User:
    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


def now_iso(timestamp: float | None = None) -> str:
    when = datetime.datetime.fromtimestamp(time.time() if timestamp is None else timestamp, datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    tmp.write_text(json.dumps(data, indent=1))
    tmp.replace(path)


def glob_regex(pattern: str) -> str:
    """Shell glob -> regular expression, where only ``**`` crosses folders."""
    out, i = "", 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
        elif pattern.startswith("**", i):
            out, i = out + ".*", i + 2
        elif pattern[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif pattern[i] == "?":
            out, i = out + "[^/]", i + 1
        elif pattern[i] == "[" and "]" in pattern[i + 2 :]:
            end = pattern.index("]", i + 2)
            out, i = out + "[" + pattern[i + 1 : end].replace("!", "^", 1).replace("\\", "\\\\") + "]", end + 1
        else:
            out, i = out + re.escape(pattern[i]), i + 1
    return out


def pattern_matches(pattern: str, path: str) -> bool:
    """The part of the .gitignore/.gitattributes pattern language that is used in practice."""
    anchored = "/" in pattern.rstrip("/")
    regex = glob_regex(pattern.strip("/"))
    if not pattern.endswith("/") and re.fullmatch(regex, path if anchored else path.rpartition("/")[2]):
        return True
    parts = path.split("/")
    folders = ["/".join(parts[: i + 1]) if anchored else parts[i] for i in range(len(parts) - 1)]
    return any(re.fullmatch(regex, folder) for folder in folders)


class Repo:
    """A repository: a Git store plus the settings kept in ``hub.json`` next to it."""

    def __init__(self, hub: Hub, repo_type: str, repo_id: str) -> None:
        self.hub, self.type, self.id = hub, repo_type, repo_id
        self.path = hub.repo_path(repo_type, repo_id)
        self.git = GitStore(self.path)
        self.lock = self.git.lock
        self.meta: dict[str, Any] = {}
        if (self.path / "hub.json").is_file():
            self.meta = json.loads((self.path / "hub.json").read_text())

    def save(self) -> None:
        write_json(self.path / "hub.json", self.meta)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    @property
    def private(self) -> bool:
        return self.meta["visibility"] == "private"

    def url(self, base: str) -> str:
        return f"{base}/{URL_PREFIX[self.type]}{self.id}"

    # ------------------------------------------------------------ permissions

    def can_read(self, user: User | None) -> bool:
        return not self.private or (user is not None and user.owns(self.namespace))

    def can_write(self, user: User | None) -> bool:
        return user is not None and user.role != "read" and user.owns(self.namespace)

    def can_download(self, user: User | None) -> bool:
        if not self.can_read(user):
            return False
        if not self.meta.get("gated"):
            return True
        return user is not None and (
            user.owns(self.namespace) or self.meta.get("access", {}).get(user.name, {}).get("status") == "accepted"
        )

    # ------------------------------------------------------------------ files

    def read_text(self, files: dict[str, FileEntry], path: str) -> str | None:
        entry = files.get(path)
        if entry is None or entry.lfs_oid or entry.blob_size > 5_000_000:
            return None
        return self.git.read_blob(entry.blob).decode("utf-8", "replace")

    def is_lfs_path(self, files: dict[str, FileEntry], path: str) -> bool:
        tracked = False
        for line in (self.read_text(files, ".gitattributes") or "").splitlines():
            pattern, *attributes = line.split() or [""]
            if pattern and not pattern.startswith("#") and pattern_matches(pattern, path):
                for attribute in attributes:
                    if attribute.startswith("filter="):
                        tracked = attribute == "filter=lfs"
        return tracked

    def card(self, files: dict[str, FileEntry]) -> dict | None:
        text = self.read_text(files, "README.md")
        return cards.validate(text)[0] if text else None

    def safetensors(self, files: dict[str, FileEntry]) -> dict | None:
        """Parameter counts from the headers of the *.safetensors files of the repo root."""
        counts: dict[str, int] = {}
        for path, entry in files.items():
            if not path.endswith(".safetensors") or "/" in path:
                continue
            try:
                if entry.lfs_oid:
                    with self.hub.blobs.path(entry.lfs_oid).open("rb") as f:
                        (length,) = struct.unpack("<Q", f.read(8))
                        header = json.loads(f.read(length)) if length < 25_000_000 else {}
                else:
                    data = self.git.read_blob(entry.blob)
                    (length,) = struct.unpack("<Q", data[:8])
                    header = json.loads(data[8 : 8 + length])
                for name, tensor in header.items():
                    if name != "__metadata__":
                        n = 1
                        for dim in tensor["shape"]:
                            n *= dim
                        counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + n
            except (OSError, ValueError, KeyError, TypeError, struct.error):
                continue
        return {"parameters": counts, "total": sum(counts.values())} if counts else None

    # ---------------------------------------------------------------- changes

    def write_commit(
        self, ref: str, head: str, contents: dict[str, str], author: str, title: str, message: str, *parents: str
    ) -> str:
        """Commit ``{path: blob}`` on top of ``head`` and move ``ref`` (like the Hub, even if nothing changed)."""
        tree = self.git.write_tree(contents)
        oid = self.git.write_commit(tree, [head, *parents], author, title, message)
        self.git.update_ref(ref, oid)
        self.meta["lastModified"] = now_iso()
        self.save()
        return oid

    def new_discussion(self, user: User, title: str, text: str, is_pr: bool, base: str | None = None) -> dict:
        """Open a discussion or a pull request (``base``: the commit a pull request starts from)."""
        with self.lock:
            num = len(self.meta["discussions"]) + 1
            discussion: dict[str, Any] = {
                "num": num,
                "title": title,
                "author": user.name,
                "status": "draft" if is_pr and base is None else "open",
                "isPullRequest": is_pr,
                "createdAt": now_iso(),
                "events": [],
                "mergeCommitId": None,
                "base": None,
            }
            add_event(discussion, user, "comment", comment_data(text))
            if is_pr:
                discussion["base"] = base or self.git.resolve("main")
                self.git.update_ref(f"refs/pr/{num}", discussion["base"])
            self.meta["discussions"].append(discussion)
            self.save()
            return discussion


def comment_data(text: str) -> dict:
    return {"edited": False, "hidden": False, "latest": {"raw": text, "html": text, "updatedAt": now_iso()}}


def add_event(discussion: dict, user: User, kind: str, data: dict) -> dict:
    event = {
        "id": secrets.token_hex(12),
        "type": kind,
        "createdAt": now_iso(),
        "author": {"name": user.name, "type": "user"},
        "data": data,
    }
    discussion["events"].append(event)
    return event


class Hub:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = Path(config.data_dir)
        self.root.mkdir(parents=True, exist_ok=True)
        self.blobs = BlobStore(self.root / "lfs")
        self.xet = XetStore(self.root / "xet", self.blobs)
        self.lock = threading.RLock()
        self.storage_netloc = ""
        self._secret = self._load_secret()
        self._repos: dict[tuple[str, str], Repo] = {}
        self._rate: dict[str, list[float]] = {}
        self.collections: dict[str, dict] = {}
        self.tokens = {
            token: User(spec["user"], spec.get("role", "write"), tuple(spec.get("orgs", ())))
            for token, spec in config.tokens.items()
        }
        for plural, repo_type in REPO_TYPES.items():
            for meta in sorted((self.root / "repos" / plural).glob("*/*/hub.json")):
                repo_id = f"{meta.parent.parent.name}/{meta.parent.name.removesuffix('.git')}"
                self._repos[(repo_type, repo_id.lower())] = Repo(self, repo_type, repo_id)

    # -------------------------------------------------------------- signatures

    def _load_secret(self) -> bytes:
        path = self.root / "secret"
        if not path.is_file():
            path.write_text(secrets.token_hex(32))
            path.chmod(0o600)
        return path.read_text().encode()

    def sign(self, *parts: Any, ttl: int | None = None) -> str:
        expires = int(time.time()) + (self.config.url_ttl if ttl is None else ttl)
        digest = hmac.new(self._secret, "|".join(map(str, (*parts, expires))).encode(), hashlib.sha256).hexdigest()
        return f"{expires}-{digest[:32]}"

    def check_signature(self, signature: str | None, *parts: Any) -> None:
        expires, _, digest = (signature or "").partition("-")
        text = "|".join(map(str, (*parts, expires))).encode()
        good = hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]
        if not hmac.compare_digest(good, digest):
            raise HttpError(403, "Invalid signature")
        if int(expires) < time.time():
            raise HttpError(403, "Request has expired")

    # ---------------------------------------------------------------- accounts

    def authenticate(self, authorization: str | None) -> User | None:
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token in self.tokens:
            return self.tokens[token]
        raise HttpError(401, "Invalid credentials in Authorization header")

    def require_user(self, user: User | None) -> User:
        if user is None:
            raise HttpError(401, "Invalid username or password.")
        return user

    def check_rate(self, key: str) -> dict[str, str]:
        """Count a request; returns the rate limit headers or raises 429."""
        if self.config.rate_limit is None:
            return {}
        quota, window = self.config.rate_limit
        with self.lock:
            start, count = self._rate.get(key, [0.0, 0])
            if time.time() - start >= window:
                start, count = time.time(), 0
            self._rate[key] = [start, count + 1]
        reset = max(1, int(start + window - time.time() + 0.999))
        headers = {
            "RateLimit": f'"api";r={max(0, quota - count - 1)};t={reset}',
            "RateLimit-Policy": f'"fixed window";"api";q={quota};w={window}',
        }
        if count >= quota:
            headers["RateLimit"] = f'"api";r=0;t={reset}'
            headers["Retry-After"] = str(reset)
            raise HttpError(429, "Too many requests. We had to rate limit you.", headers=headers)
        return headers

    # ------------------------------------------------------------ repositories

    def repo_path(self, repo_type: str, repo_id: str) -> Path:
        return self.root / "repos" / f"{repo_type}s" / f"{repo_id}.git"

    def repos(self, repo_type: str) -> Iterator[Repo]:
        with self.lock:
            return iter([r for (kind, _), r in self._repos.items() if kind == repo_type])

    def find(self, repo_type: str, repo_id: str) -> Repo | None:
        return self._repos.get((repo_type, repo_id.lower()))

    def repo(self, repo_type: str, repo_id: str, user: User | None, write: bool = False) -> Repo:
        """The repository if ``user`` may see (or change) it; otherwise the error the Hub would give."""
        repo = self.find(repo_type, repo_id)
        if repo is None or not repo.can_read(user):
            if user is None:
                raise HttpError(401, "Invalid username or password.", "RepoNotFound")
            raise HttpError(404, "Repository not found", "RepoNotFound")
        if repo.meta.get("disabled") and not write:
            raise HttpError(403, "Access to this resource is disabled.")
        if write and not repo.can_write(user):
            if user is None:
                raise HttpError(401, "Invalid username or password.", "RepoNotFound")
            if user.role == "read" and user.owns(repo.namespace):
                raise HttpError(403, "Forbidden: this token has the role read and cannot be used to write")
            raise HttpError(403, "Forbidden: you don't have write access to this repository")
        return repo

    def check_namespace(self, user: User | None, namespace: str, what: str) -> None:
        user = self.require_user(user)
        if not user.owns(namespace):
            raise HttpError(403, f'You don\'t have the rights to create a {what} under the namespace "{namespace}"')
        if user.role == "read":
            raise HttpError(403, "Forbidden: this token has the role read and cannot be used to write")

    def create_repo(self, user: User, repo_type: str, repo_id: str, visibility: str, base: str, **extra: Any) -> Repo:
        _namespace, name = repo_id.split("/")
        if not NAME_RE.match(name) or ".." in name or "--" in name or name.endswith(".git"):
            raise HttpError(400, f"Invalid repo name: {repo_id}")
        with self.lock:
            existing = self.find(repo_type, repo_id)
            if existing is not None:
                raise HttpError(
                    409, f"You already created this {repo_type} repo: {existing.id}", url=existing.url(base)
                )
            repo = Repo(self, repo_type, repo_id)
            repo.git.init()
            repo.meta = {
                "_id": secrets.token_hex(12),
                "visibility": visibility,
                "gated": False,
                "disabled": False,
                "createdAt": now_iso(),
                "lastModified": now_iso(),
                "creator": user.name,
                "likes": 0,
                "downloads": 0,
                "access": {},
                "discussions": [],
                **extra,
            }
            files = {".gitattributes": repo.git.write_object("blob", DEFAULT_GITATTRIBUTES.encode())}
            if repo_type == "space":
                readme = f"---\ntitle: {name}\nsdk: {extra.get('sdk', 'static')}\n---\n"
                files["README.md"] = repo.git.write_object("blob", readme.encode())
            tree = repo.git.write_tree(files)
            repo.git.update_ref("refs/heads/main", repo.git.write_commit(tree, [], user.name, "initial commit"))
            repo.save()
            self._repos[(repo_type, repo_id.lower())] = repo
            return repo

    def delete_repo(self, repo: Repo) -> None:
        with self.lock, repo.lock:
            self._repos.pop((repo.type, repo.id.lower()), None)
            trash = repo.path.with_name(f".deleted-{uuid.uuid4().hex}")
            repo.path.replace(trash)
        shutil.rmtree(trash, ignore_errors=True)
