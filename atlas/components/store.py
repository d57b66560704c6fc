"""The base of every store: where vectors lie, read and written in batches."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from atlas.cards.space import SPACE_KEY, Space
from atlas.components.options import Component
from atlas.errors import AtlasError, first_line, in_a_line

if TYPE_CHECKING:
    import numpy as np

# The two places of a store: the vectors in use, and those beside them that may take their place.
VECTORS, SHADOW = "vectors", "shadow"
METHODS = ("dim", "count", "read", "fetch", "begin", "put", "notes", "note", "switch", "drop", "metric_of")


@dataclass(frozen=True)
class Address:
    """A store's URL in parts: 'scheme://user:password@host:port/path?option=value'."""

    scheme: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Address:
        """Return the parts of a URL, in which '%20' stands for a blank."""
        try:
            parts = urlsplit(url)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            # Unlike `hostname`, in the letters that were given: it may be a folder, '%2Ftmp%2FX', where a socket lies.
            host = parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}").strip("[]")
            options = tuple(parse_qsl(parts.query, keep_blank_values=True))
            # In 'ann:12/3@host', the password looks like a port.
            readable = "#" not in url and (parts.port is None or "@" in parts.netloc or "@" not in url)
        except ValueError:
            readable = False
        if not readable:
            # Not Python's own message, which quotes a password with such a character.
            scheme = url.partition("://")[0]
            raise AtlasError(
                f"The URL of a store '{scheme}://...' cannot be read: its port must be a number, and in names, paths "
                "and passwords '#', '/', '?', '@' and other special characters are written as in '%23'"
            )
        return cls(parts.scheme, user, password, unquote(host), parts.port, unquote(parts.path), options)

    def __str__(self) -> str:
        """Return the URL as it may be shown and stored: without the password and the options."""
        user = f"{self.user}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        return in_a_line(f"{self.scheme}://{user}{self.host}{port}{self.path}")

    @property
    def file(self) -> Path | None:
        """The file or folder of a store on this machine: '///path', '//./path' or '//~/path'; None: it is elsewhere."""
        local = self.host in ("", ".", "..", "~")
        return Path(f"{self.host}{self.path}").expanduser() if local else None

    def hidden(self, text: str) -> str:
        """Return a text without the password."""
        return text.replace(self.password, "***") if self.password else text


@dataclass(frozen=True)
class Batch:
    """Rows of a store.

    Attributes:
        ids: n distinct texts.
        vectors: (n, d) float32, an array; a row without a vector is NaN.
        cursor: the place to read on from after these rows.
        marks: n texts, where each row came from: '' if it is native, else the map that made it; or none: all native.
        labels: n class names, '' where unknown; or none.
        other: n of whatever else `put` needs to write the row in another place; or none.
    """

    ids: Sequence[str]
    vectors: np.ndarray
    cursor: str = ""
    marks: Sequence[str] = ()
    labels: Sequence[str] = ()
    other: Sequence[Any] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def take(self, rows: Sequence[int], **changed: Any) -> Batch:
        """Return some of the rows, with other values in some fields."""
        columns = {name: getattr(self, name) for name in ("ids", "marks", "labels", "other")}
        kept = {name: [column[i] for i in rows] if len(column) else () for name, column in columns.items()}
        return Batch(**{**kept, "vectors": self.vectors[list(rows)], "cursor": self.cursor, **changed})


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that turns a driver's exceptions into one sentence, which names the store and no password."""

    @functools.wraps(method)
    def told(self: Store, *args: Any, **named: Any) -> Any:
        try:
            return method(self, *args, **named)
        except (AtlasError, NotImplementedError, MemoryError):
            raise
        except Exception as error:
            raise self.fail(f"failed: {type(error).__name__}: {first_line(error)}".removesuffix(": ")) from None

    return told


class Store(Component):
    """Where vectors lie, opened by a URL whose scheme is the name of the store.

    A store has two places: VECTORS, those in use, and SHADOW, which is made beside them, filled, and then exchanged
    with them or dropped. The vectors in use are never written to.

    A subclass implements the ten methods from `dim` to `drop`, `kept` if it does not keep vectors as they are put,
    `metric_of` if it knows how they are searched, and `close`. Whatever its driver raises in the ten and in `metric_of`
    becomes one sentence. The options of a store are those of its URL.
    """

    kind = "store"
    name: ClassVar[str] = ""
    # How many rows are best read and written at a time.
    rows: ClassVar[int] = 5000
    # Whether `switch` leaves out rows of the shadow that the vectors no longer have, and fails where it lacks a row.
    prunes: ClassVar[bool] = False
    address = Address()

    def __init_subclass__(cls, **about: Any) -> None:
        super().__init_subclass__(**about)
        for name in METHODS:
            if name in vars(cls):
                setattr(cls, name, _told(vars(cls)[name]))

    @classmethod
    def at(cls, address: Address) -> Self:
        """Return the store at an address, connected to nothing yet."""
        store = cls.from_config(cls.parse_config(address.options))
        store.address = address
        return store

    def dim(self, place: str) -> int:
        """Return the dimension of the vectors in a place, 0 if there is no such place."""
        raise NotImplementedError

    def count(self, place: str) -> int:
        """Return how many rows of a place have a vector."""
        raise NotImplementedError

    def read(self, place: str, after: str, size: int) -> Batch:
        """Return up to `size` rows after a cursor ('': from the first), always in the same order; none at the end."""
        raise NotImplementedError

    def fetch(self, place: str, ids: Sequence[str]) -> Batch:
        """Return the rows of some ids, in any order, without those that are not there."""
        raise NotImplementedError

    def begin(self, dim: int) -> None:
        """Make the shadow, empty, for vectors of a dimension."""
        raise NotImplementedError

    def put(self, batch: Batch) -> None:
        """Write rows to the shadow for good, in place of rows of the same ids; rows that were cut off come again."""
        raise NotImplementedError

    def notes(self, place: str) -> dict[str, str]:
        """Return the note that `note` wrote to a place."""
        raise NotImplementedError

    def note(self, place: str, notes: Mapping[str, str]) -> None:
        """Keep short texts by name with a place, in place of those before; they go with it when it is switched."""
        raise NotImplementedError

    def switch(self) -> None:
        """Exchange the vectors and the shadow, in one step."""
        raise NotImplementedError

    def drop(self) -> None:
        """Remove the shadow and all that was made for it."""
        raise NotImplementedError

    def kept(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors (n, d) as the store keeps them, for instance scaled to length 1."""
        return vectors

    def metric_of(self, place: str) -> str:
        """Return by which of `cosine`, `dot`, `l2` and `l1` a place is searched; '': unknown, several, or no place.

        A shadow that has no index of its own yet is searched as the vectors are, whose index it will get.
        """
        return ""

    def close(self) -> None:
        """Close any open connection; a later call opens it again."""

    def __del__(self) -> None:
        # Where a program ends, modules may be gone already, contextlib among them.
        try:  # noqa: SIM105
            self.close()
        except Exception:
            pass

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other runs from writing to the store meanwhile: here, those on this machine.

        Raises:
            AtlasError: another run is writing to it.
        """
        # One lock, however the path of a folder is spelled.
        where = self.address.file.resolve() if self.address.file else self.address
        name = hashlib.sha256(str(where).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"atlas-store-{name}.lock"
        opened = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            # Windows has none; a killed run lets go of its lock.
            with contextlib.suppress(ImportError):
                import fcntl

                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise self.busy() from None
            yield
        finally:
            os.close(opened)

    @contextlib.contextmanager
    def settled(self) -> Iterator[bool]:
        """Do the part of a switch that takes long, and keep everybody from writing to the vectors until it is done.

        Yields:
            Whether nobody writes meanwhile. Then the vectors are compared with those that were mapped once more.
        """
        yield False

    def busy(self) -> AtlasError:
        """Return the error for a store that another run is writing to."""
        return self.fail("is being written to by another run - wait for it to end")

    def fail(self, reason: str) -> AtlasError:
        """Return an error that names the store as its URL does, without the password."""
        return AtlasError(f"Store '{self.address}' {in_a_line(self.address.hidden(reason))}")

    def stamped(self, place: str = VECTORS) -> Space | None:
        """Return the space that is written down with a place, None if none is."""
        text = self.notes(place).get(SPACE_KEY, "")
        return Space.from_json(text) if text else None

    def stamp(self, space: Space, place: str = VECTORS) -> None:
        """Write a space down with a place."""
        self.note(place, {**self.notes(place), SPACE_KEY: space.to_json()})
