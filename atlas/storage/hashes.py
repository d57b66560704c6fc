"""Hashes of large files that are known already, so that a file is hashed once for as long as nobody touches it.

Known hashes lie in one small file in the user's cache, as Git keeps an index: a file is the one that was hashed as
long as its size, its times of change and its inode are the same.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from atlas.storage.files import sha256_file
from atlas.storage.notes import read_notes, write_notes

# Bytes from which on a file is noted. Hashing a smaller one is as quick as looking it up, and hashing this one takes
# longer than a tick of a file system's clock, so that a later change changes its times, too.
LARGE = 32 * 2**20
# Files that are noted; the oldest are forgotten.
MOST = 1000
NOTES = "hashes"


def known_sha256(path: Path) -> str:
    """Return the sha256 that a file had and must still have; '' if it is not known."""
    noted = read_notes(NOTES).get(os.path.realpath(path)) if (mark := mark_of(path)) else None
    return str(noted[-1]) if isinstance(noted, list) and noted[:-1] == mark else ""


def fresh_sha256(path: Path) -> str:
    """Return the sha256 of a file, hashed anew, and note it."""
    before = mark_of(path)
    digest = sha256_file(path)
    if before == mark_of(path):
        note_sha256(path, digest, before)
    return digest


def note_sha256(path: Path, digest: str, mark: list[int]) -> None:
    """Note the sha256 of a file that has a mark, if it is a large one: of one that was just written, or just hashed."""
    if mark:
        noted = {**read_notes(NOTES), os.path.realpath(path): [*mark, digest]}
        write_notes(NOTES, dict([*noted.items()][-MOST:]))


def mark_of(path: Path) -> list[int]:
    """Return the values that change when a file does; nothing for one that is small or not there."""
    with contextlib.suppress(OSError):
        state = path.stat()
        if state.st_size >= LARGE:
            return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    return []
