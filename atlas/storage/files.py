"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from atlas.cards.folder import BARE, CARD, spelled_out
from atlas.errors import AtlasError, in_a_line
from atlas.storage.places import alone, bring_back, keep_others, remove, sync, take_place, temporary_name, tidy

# Endings that people give to files: no folder is called so by intention.
FILES = (
    *(*BARE, ".csv", ".jsonl", ".json", ".tsv", ".txt", ".npz", ".h5", ".hdf5", ".pt", ".pth", ".bin", ".pkl"),
    *(".yaml", ".yml", ".onnx", ".png", ".svg", ".pdf", ".md", ".html", ".zip", ".gz", ".tar", ".arrow", ".feather"),
)


def as_path(text: str | Path) -> Path:
    """Return the path a text means: '~' is the user's home, and files that a killed write put aside come back.

    Raises:
        AtlasError: no path could be like that, as if a name were too long, or it leads where nobody may look.
    """
    path = spelled_out(text)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        bring_back(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AtlasError(f"'{in_a_line(text, 80)}' cannot be a path here: {reason}") from None
    return path


def refuse_device(path: Path) -> None:
    """Raise `AtlasError` if a path leads to a source without an end, or one that waits for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise AtlasError(f"'{path}' is a device or a pipe - give a file or a folder")


def check_target(path: str | Path, overwrite: bool, files: Sequence[str] = ()) -> Path:
    """Return the path to write to, or raise `AtlasError` if nothing must be written there.

    A folder is replaced only if it is an artefact (it holds a card), whatever was asked for.

    Args:
        path: a folder, or a file of one of the endings.
        overwrite: whether an artefact or a file that is there may be replaced.
        files: the endings that make it a file.
    """
    path = as_path(path)
    if path.name in ("", ".."):
        raise AtlasError(f"'{path}' gives no name for the output - add one")
    if path.suffix.lower() in FILES and path.suffix not in files:
        ways = f"a name that ends in {', '.join(files)}, or in none of a file" if files else "a name without it"
        raise AtlasError(f"'{path}' ends in {path.suffix}, but the output is a folder - choose {ways}")
    if path.suffix in files:
        if path.is_dir():
            raise AtlasError(f"'{path}' is a folder, not a file - choose another name")
    elif path.is_symlink():
        raise AtlasError(f"'{path}' is a link, which is not followed - give the path of the folder itself")
    elif path.exists() and not path.is_dir():
        raise AtlasError(f"'{path}' is a file, not the folder of an artefact - choose another name")
    elif not path.exists() or not any(path.iterdir()):
        return path
    elif not (path / CARD).is_file():
        raise AtlasError(f"'{path}' is a folder of something else - choose another name")
    if path.exists() and not overwrite:
        raise AtlasError(f"'{path}' exists - choose another name, or pass --overwrite (overwrite=True) to replace it")
    return path


def check_list(path: str | Path, overwrite: bool) -> Path:
    """Return the path of a list of ids to write, or raise `AtlasError` if nothing must be written there."""
    if as_path(path).suffix != ".txt":
        raise AtlasError(f"'{path}' must end in .txt - it gets a list of ids, one a line")
    return check_target(path, overwrite, (".txt",))


def write_list(path: str | Path, ids: Iterable[str]) -> None:
    """Write ids to a file, one a line.

    One that a line cannot hold as it is, with a line break or another character that cannot be printed, or a quote at
    its beginning, is written as JSON does: each line that begins with a quote is read by `json.loads`.
    """
    lines = (one if one.isprintable() and not one.startswith('"') else json.dumps(one) for one in ids)
    write_text(as_path(path), "".join(f"{line}\n" for line in lines))


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
    # A component that makes the rows may change the working folder meanwhile.
    given, path = path, path.absolute()
    temporary = temporary_name(path)
    try:
        with explained(given):
            path.parent.mkdir(parents=True, exist_ok=True)
            tidy(path)
            yield temporary
            if path.exists():
                sync(temporary)
            temporary.replace(path)
    finally:
        remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, which appears whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def whole_folder(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if all goes well; otherwise leave nothing.

    It appears, or takes the place of the folder that is there, in one step: whenever the process is killed, the old
    artefact or the new one is whole. Files of other names stay. Without `overwrite`, an artefact that another process
    has put there meanwhile is not replaced.
    """
    given, path = path, path.absolute()
    temporary = temporary_name(path)
    try:
        with explained(given):
            tidy(path)
            temporary.mkdir(parents=True)
            yield temporary
            with alone(path.parent):
                if not overwrite:
                    check_target(path, overwrite)
                if path.is_dir():
                    sync(*temporary.iterdir())
                    keep_others(path, temporary)
                take_place(temporary, path)
    finally:
        remove(temporary)


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    buffer = bytearray(2**20)
    with explained(Path(path), "read"), Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def size(path: Path) -> int:
    """Return the size of a file in bytes; -1 if there is none."""
    return path.stat().st_size if path.is_file() else -1


def write_all(file: Any, data: memoryview | bytes) -> None:
    """Write all of some bytes to an unbuffered file, which may take less than it is given."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]
