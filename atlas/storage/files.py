"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.cards.folder import BARE, CARD, MODEL
from atlas.errors import AtlasError

# Endings of what is written as one file.
FILES = (*BARE, ".csv", ".jsonl")


def check_target(path: str | Path, overwrite: bool) -> Path:
    """Return the path to write to, or raise `AtlasError` if something is there that must not be replaced.

    What becomes of it is told by its ending: a file for those of bare files and of tables, else a folder. A folder is
    replaced only if it is an artefact (it holds a card), whatever was asked for.
    """
    path = Path(path)
    if not path.exists():
        return path
    if path.suffix in FILES:
        if path.is_dir():
            raise AtlasError(f"'{path}' is a folder, not a file - choose another name")
    elif not path.is_dir():
        raise AtlasError(f"'{path}' is a file, not the folder of an artefact - choose another name")
    elif not any(path.iterdir()):
        return path
    elif not (path / CARD).is_file():
        raise AtlasError(f"'{path}' is a folder of something else - choose another name")
    if not overwrite:
        raise AtlasError(f"'{path}' exists - choose another name, or pass --overwrite (overwrite=True) to replace it")
    return path


@contextlib.contextmanager
def explained(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn an `OSError` into an `AtlasError` that names the path and the reason."""
    try:
        yield
    except OSError as error:
        advice = " - free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        # Libraries in C put words of their own before the reason.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AtlasError(f"'{path}' cannot be {doing}: {reason}{advice}") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, and rename it to `path` if all goes well; otherwise leave nothing."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files become those of `path` if all goes well; otherwise leave nothing.

    A new folder appears in one rename. In a folder that exists, its files are replaced one by one, the card last, and
    files of other names stay: until the card is there, its sha256 refuses the tensors beside it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explained(path):
            temporary.mkdir(parents=True)
            yield temporary
            if path.is_dir():
                if not (temporary / MODEL).exists():
                    (path / MODEL).unlink(missing_ok=True)
                for file in sorted(temporary.iterdir(), key=lambda file: file.name == CARD):
                    file.replace(path / file.name)
            else:
                temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    buffer = bytearray(2**20)
    with explained(Path(path), "read"), Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def write_all(file: Any, data: memoryview | bytes) -> None:
    """Write all of some bytes to an unbuffered file, which may take less than it is given."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]
