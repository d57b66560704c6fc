"""Hashes of large files that are known already, so that a file is hashed once for as long as nobody touches it.

Known hashes lie in one small file in the user's cache, as Git keeps an index: a file is the one that was hashed as
long as its size, its times of change and its inode are the same. Without that file, or with a damaged one, files are
hashed again.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from atlas.cards.folder import spelled_out
from atlas.errors import AtlasError
from atlas.storage.files import sha256_file, whole_file

# Bytes from which on a file is noted. Hashing a smaller one is as quick as looking it up, and hashing this one takes
# longer than a tick of a file system's clock, so that a later change changes its times, too.
LARGE = 32 * 2**20
# Files that are noted; the oldest are forgotten.
MOST = 1000


def known_sha256(path: Path) -> str:
    """Return the sha256 that a file had and must still have; '' if it is not known."""
    noted = _noted().get(os.path.realpath(path)) if (mark := _mark(path)) else None
    return str(noted[-1]) if isinstance(noted, list) and noted[:-1] == mark else ""


def fresh_sha256(path: Path) -> str:
    """Return the sha256 of a file, hashed anew, and note it."""
    before = _mark(path)
    digest = sha256_file(path)
    if before == _mark(path):
        note_sha256(path, digest)
    return digest


def note_sha256(path: Path, digest: str) -> None:
    """Note the sha256 of a file, if it is a large one: of one that was just written, or just hashed."""
    if mark := _mark(path):
        noted = {**_noted(), os.path.realpath(path): [*mark, digest]}
        with contextlib.suppress(AtlasError), whole_file(notes()) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(dict([*noted.items()][-MOST:])), encoding="utf-8")


def notes() -> Path:
    """Return the file of known hashes."""
    cache = spelled_out(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    # Who has no home has no notes.
    return (cache if cache.is_absolute() else Path(os.devnull)) / "latent-atlas" / "hashes.json"


def _mark(path: Path) -> list[int]:
    """Return the values that change when a file does; nothing for one that is small or not there."""
    with contextlib.suppress(OSError):
        state = path.stat()
        if state.st_size >= LARGE:
            return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    return []


def _noted() -> dict[str, Any]:
    """Return the known hashes, unless somebody else wrote them or could have."""
    with contextlib.suppress(OSError, ValueError, RecursionError), notes().open("rb") as file:
        state = os.fstat(file.fileno())
        if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
            return {}
        found = json.loads(file.read(MOST * 10_000))
        return found if isinstance(found, dict) else {}
    return {}
