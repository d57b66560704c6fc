"""How far a migration is: a file beside the plan, which is written anew, whole, after every step."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atlas.cards.schema import build
from atlas.cards.yaml import dump_yaml, read_yaml
from atlas.errors import AtlasError
from atlas.migration.acting.plan import plain
from atlas.storage.files import whole_file
from atlas.storage.places import sync


@dataclass(frozen=True)
class Native:
    """Vectors of the new model that take the place of mapped ones.

    Attributes:
        vectors: where they are.
        digest: of ids and numbers.
        rows: how many.
        vector_column, id_column: those of a table; None: found by their names.
    """

    vectors: str
    digest: str
    rows: int
    vector_column: str | None = None
    id_column: str | None = None


@dataclass(frozen=True)
class Step:
    """A step that is done.

    Attributes:
        at: when, UTC.
        done: in words.
    """

    at: str
    done: str


@dataclass(frozen=True)
class Journal:
    """The steps that are done. The store alone knows where the vectors are; its notes go with them.

    Attributes:
        plan: digest of the plan.
        map: digest of the map that was fitted; '': none yet.
        work: digest of the treatment of the store's rows; '': not begun.
        natives: vectors that take the place of mapped ones.
        committed: digests of the works whose predecessors were deleted for good.
        kept: measured shares of the new model's figure, as text: "expected" of the map, and "found" of the vectors that
            were written.
        steps: those that are done.
    """

    plan: str
    map: str = ""
    work: str = ""
    natives: tuple[Native, ...] = ()
    committed: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, path: Path, plan: str) -> Journal:
        """Return the journal in a file, a new one if there is none; raise `AtlasError` if it is of another plan."""
        if not path.exists():
            return cls(plan)
        data = read_yaml(path)
        try:
            found = build(cls, data)
        except AtlasError as error:
            raise AtlasError(f"{path}: {error} - put the journal back as it was") from None
        if found.plan != plan:
            raise AtlasError(
                f"The plan has changed since '{path}' was begun - put it back as it was, or advise to a file of "
                "another name"
            )
        return found

    def write(self, path: Path, step: str, **changed: Any) -> Journal:
        """Write the journal with another step and other values to a file, and return it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        made = replace(self, steps=(*self.steps, Step(now, step)), **changed)
        with whole_file(path) as temporary:
            temporary.write_text(dump_yaml(plain(made)), encoding="utf-8")
            sync(temporary)
        return made


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time work on a plan, where the file system has locks; raise `AtlasError` for another one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import fcntl

            opened = os.open(path, os.O_RDONLY)
            stack.callback(os.close, opened)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AtlasError(f"'{path}' is being worked on by another run - wait for it to end") from None
        yield
