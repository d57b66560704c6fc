"""Places of files and folders: temporary names, leftovers of killed writes, and exchanges in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.cards.folder import CARD, MODEL

_NAME = re.compile(r"\.(.+)\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.(tmp|old)")
# After so many seconds, a write on another computer that shares the folder is taken for dead.
LONGEST_WRITE = 7 * 24 * 3600


def temporary_name(path: Path, ending: str = "tmp") -> Path:
    """Return a hidden name beside a path, which tells the computer and the process that it is of."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.{ending}")


def leftovers(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield leftovers of killed writes in a folder, each with the path it was to become, or was."""
    with contextlib.suppress(OSError):
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith(".")):
            match, path = _NAME.fullmatch(name), folder / name
            if match and _ended(path, match[2], int(match[3])):
                yield path, folder / match[1]


def tidy(path: Path) -> None:
    """Remove leftovers of killed writes beside a path; files they had put aside come back first."""
    bring_back(path)
    for left, meant in leftovers(path.parent):
        if meant == path:
            remove(left)


def bring_back(path: Path) -> None:
    """Give a folder its name back, if a killed process had put it aside and put nothing in its place."""
    if path.name and not os.path.lexists(path):
        restored(path.parent, path)


def restored(folder: Path, *wanted: Path) -> list[str]:
    """Give those in a folder their names back that killed processes had put aside, and return the names.

    Args:
        folder: where to look.
        *wanted: the paths to give back; none: all.
    """
    found = []
    for left, meant in leftovers(folder):
        if left.suffix == ".old" and not os.path.lexists(meant) and (not wanted or meant in wanted):
            with contextlib.suppress(OSError):
                left.rename(meant)
                found.append(meant.name)
    return found


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be removed."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(*files: Path) -> None:
    """Wait until files are on the disk, where no power cut reaches them."""
    for file in files:
        with file.open("r+b") as opened:
            os.fsync(opened.fileno())


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time exchange the contents of a folder, where the file system has locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            opened = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, opened)
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def keep_others(old: Path, new: Path) -> None:
    """Let a folder have all that another one has beside card and tensors, under names that it has not itself."""
    for entry in os.scandir(old):
        there = new / entry.name
        if entry.name in (CARD, MODEL) or os.path.lexists(there):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.copytree(entry.path, there, symlinks=True, copy_function=_link)
        else:
            _link(entry.path, str(there))
    shutil.copymode(old, new)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def take_place(new: Path, path: Path) -> None:
    """Let a folder have a path in one step; an existing one is removed, or gets the name that the folder had."""
    try:
        new.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not exchange(new, path):
            _put_aside(new, path)


def exchange(a: Path, b: Path) -> bool:
    """Let two paths change places in one step, and return whether the system could."""
    libc: Any = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "renameat2"):  # Linux: AT_FDCWD, RENAME_EXCHANGE
        return libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) == 0
    if hasattr(libc, "renamex_np"):  # macOS: RENAME_SWAP
        return libc.renamex_np(os.fsencode(a), os.fsencode(b), 2) == 0
    return False


def _put_aside(new: Path, path: Path) -> None:
    """Let a folder have a path in two steps: a kill between them leaves files that `bring_back` finds."""
    aside = temporary_name(path, "old")
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    remove(aside)


def _host() -> str:
    name = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return f"{zlib.crc32(name.encode()):08x}"


def _ended(path: Path, host: str, process: int) -> bool:
    """Whether the process that a temporary name tells of runs no more, as far as can be known."""
    if host != _host() or os.name != "posix":
        return time.time() - path.stat().st_mtime > LONGEST_WRITE
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False
