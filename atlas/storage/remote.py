"""Files here, and objects in stores that fsspec knows: s3://, gs://, memory://, hf://datasets/... by the same calls."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.cards.folder import hint_of_repository
from atlas.errors import AtlasError, NotFoundError, first_line, hidden
from atlas.storage.files import as_path, whole_file

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)
# A repository of a model on the Hub is no store of files: it is pulled, and checked.
_ARTEFACT = re.compile(r"hf://(?!datasets/[^/]+/[^/]+/)")

# Bytes asked of a store at a time, which answers late and then fast, and bytes read ahead, enough for a header.
# The 5 or 50 MB of fsspec would be thrown away whenever another column is read.
ASKED, AHEAD = 2**23, 2**16

# Where stores say which version of an object this is.
_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "created")


def is_remote(where: str | Path) -> bool:
    """Whether a text is the URL of an object, or of a folder of objects."""
    return isinstance(where, str) and bool(_URL.fullmatch(where)) and not _ARTEFACT.match(where)


def name_of(where: str | Path) -> str:
    """Return the last part of a path or URL, or raise `AtlasError` where it could be no name of a file."""
    name = str(where).rstrip("/").rpartition("/")[2] if is_remote(where) else Path(where).name
    if name in ("", ".", "..") or not name.isprintable() or re.search(r"[\\/:]", name):
        raise AtlasError(f"{name!r} is no name of a file - rename it")
    return name


def beside(folder: str | Path, *names: str) -> str | Path:
    """Return the path or URL of something in a folder."""
    return "/".join([str(folder).rstrip("/"), *names]) if is_remote(folder) else Path(folder, *names)


@contextlib.contextmanager
def reached(where: str | Path) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URL, and the path there; failures of any kind become `AtlasError`."""
    shown = hidden(str(where))
    if hint := hint_of_repository(str(where)):
        raise AtlasError(f"'{shown}' is a page of the web, not an object{hint}")
    try:
        from fsspec.core import url_to_fs

        yield url_to_fs(where)
    except AtlasError:
        raise
    except FileNotFoundError:
        raise NotFoundError(f"There is no object '{shown}'") from None
    except ImportError as error:
        raise AtlasError(f"'{shown}' cannot be reached: {hidden(first_line(error))}") from None
    except Exception as error:
        if "Protocol not known" in str(error):
            scheme = str(where).partition("://")[0]
            # No name of a plugin is made of it: anybody may have taken that.
            raise AtlasError(
                f"'{shown}' cannot be reached: '{scheme}://' is unknown - `atlas stores` lists those known"
            ) from None
        raise AtlasError(f"'{shown}' cannot be reached: {type(error).__name__}: {hidden(first_line(error))}") from None


@contextlib.contextmanager
def opened(where: str | Path) -> Iterator[Any]:
    """Yield a readable form of any place: the path of a file, or an open object."""
    if not is_remote(where):
        yield str(where)
        return
    with reached(where) as (system, path), system.open(path, "rb", block_size=AHEAD) as file:
        yield file


def state(where: str | Path) -> list[Any] | None:
    """Return the values that change when a file is written anew: its size, and its time or its store's tag."""
    if is_remote(where):
        try:
            with reached(where) as (system, path):
                found = system.info(path)
                return [found["size"], next((str(found[key]) for key in _VERSIONS if found.get(key)), "")]
        except NotFoundError:
            return None
    try:
        found = Path(where).stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def names_in(folder: str | Path) -> list[str]:
    """Return the names in a folder, if it exists, except those that begin with '.' or '_'."""
    if is_remote(folder):
        try:
            with reached(folder) as (system, path):
                system.invalidate_cache()
                found = [str(name).rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False)]
        except NotFoundError:
            found = []
    else:
        found = [entry.name for entry in Path(folder).iterdir()] if Path(folder).is_dir() else []
    return [name for name in found if not name.startswith((".", "_"))]


def matching(pattern: str) -> list[str | Path]:
    """Return the files whose paths match a pattern, but for hidden ones; '**' stands for any folders."""
    found: list[str | Path]
    if is_remote(pattern):
        with reached(pattern) as (system, path):
            system.invalidate_cache()
            found = [system.unstrip_protocol(str(name)) for name in system.glob(path)]
    else:
        local = as_path(pattern)
        found = list(Path(local.anchor).glob(str(local.relative_to(local.anchor))))
    return [file for file in found if not Path(file).name.startswith((".", "_"))]


@contextlib.contextmanager
def whole(where: str | Path) -> Iterator[Path]:
    """Yield a temporary path, and publish the file written there as a file or an object, whole or not at all."""
    if not is_remote(where):
        with whole_file(Path(where)) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, name_of(where))
        yield temporary
        with reached(where) as (system, path):
            system.put_file(str(temporary), path)


def read_text(where: str | Path) -> str:
    """Return a short text, '' if there is none."""
    try:
        if not is_remote(where):
            return Path(where).read_text(encoding="utf-8")
        with reached(where) as (system, path):
            return system.cat_file(path, end=1_000_000).decode()
    except (OSError, UnicodeError, NotFoundError):
        return ""
