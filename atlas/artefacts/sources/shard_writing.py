"""Shards written one by one, each whole or not at all; those that an earlier run finished stay."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.sources.shards import joined, read_bare
from atlas.artefacts.vectors import Vectors, write_file
from atlas.cards.folder import BARE
from atlas.cards.space import Space
from atlas.components.engine import Executor, Seen, each
from atlas.errors import AtlasError
from atlas.progress import Progress, silent
from atlas.storage.files import as_path, explained
from atlas.storage.item_ids import RowNumbers
from atlas.storage.parquet import ParquetRows
from atlas.storage.places import sync
from atlas.storage.remote import beside, is_remote, name_of, names_in, read_text, state, whole
from atlas.storage.rows import Parts, Rows

# In a folder of shards that were written one by one: the stamps of their inputs, and the lock of the run at work.
STAMPS = ".shards"


def resumable(out: str | Path) -> bool:
    """Whether something is a place for shards alone: a store, or a folder of shards that were written one by one."""
    return is_remote(out) or (as_path(out) / STAMPS).is_dir()


def write_shards(
    out: str | Path,
    vectors: Vectors,
    key: str,
    made: Callable[[Vectors, Iterable[Tensor]], Iterable[Tensor]],
    space: Space,
    completed: Callable[[Vectors], Vectors],
    *,
    overwrite: bool = False,
    engine: Executor | None = None,
    progress: Progress = silent,
) -> Vectors:
    """Write a file for each shard of a set, under its name, whole or not at all, and return them as one set.

    Shards that an earlier run finished stay: a stamp records a shard's inputs, and the state of its file.

    Args:
        out: a folder, or the URL of one.
        vectors: a set of shards.
        key: a hash of the work, different for any other work on the same shards.
        made: returns the output of a shard, given it and the batches of its rows.
        space: of the output.
        completed: returns a shard with whatever else is written beside its vectors.
        overwrite: replace files that other work has left.
        engine: works on the shards; None: this process, one after another. For one, `made` and `completed` can be
            pickled.
        progress: shows how far it is.

    Raises:
        AtlasError: files of others are there, two shards have one name, or another run is at work.
    """
    assert isinstance(vectors.rows, Parts)
    size = vectors.rows.batch_rows()
    parts = [
        Shard(name_of(part.file or ""), part.file or "", part, -(-len(part) // size)) for part in vectors.rows.parts
    ]
    work = _Writing(key, vectors.space, space, made, completed, size)
    how: dict[str, Any] = {"overwrite": overwrite, "engine": engine, "progress": progress}
    written = write_each(out, parts, key, work, "Applying", **how)
    return replace(written, card=replace(written.card, space=space, dataset=vectors.dataset))


@dataclass(frozen=True)
class Shard:
    """A file that is to be written from another one.

    Attributes:
        name: of the file written, in the folder of all.
        source: the file that is read.
        given: given to the work, after the path of the file to write; small enough to be sent to other processes.
        size: how many batches it has.
    """

    name: str
    source: str | Path
    given: Any
    size: int = 1


def write_each(
    out: str | Path,
    shards: Sequence[Shard],
    key: str,
    work: Callable[..., Any],
    what: str,
    *,
    overwrite: bool = False,
    engine: Executor | None = None,
    progress: Progress = silent,
) -> Vectors:
    """Do the work of each shard that no earlier run has finished, and return all of them as one set.

    Args:
        out: a folder, or the URL of one.
        shards: the shards to be written.
        key: a hash of the work, different for any other work on the same shards.
        work: writes a shard by `write_shard`, given the path of the file and `given`.
        what: the name of the work, for the progress bar.
        overwrite: as for `write_shards`, and so are the others.
    """
    out = out if is_remote(out) else as_path(out)
    targets = dict(zip(_targets(out, shards), shards, strict=True))
    with _alone(out):
        todo = {target: one for target, one in targets.items() if not _finished(target, one.source, key, overwrite)}
        items = [(target, one.given) for target, one in todo.items()]
        for _ in each(work, items, [one.size for one in todo.values()], engine, progress, what):
            pass
    written = joined([read_bare(target) for target in targets])
    written.rows.kept = len(targets) - len(todo)  # type: ignore[attr-defined]
    return written


@dataclass(frozen=True)
class _Writing:
    """The work on one shard, in any process."""

    key: str
    source: Space
    target: Space
    made: Callable[[Vectors, Iterable[Tensor]], Iterable[Tensor]]
    completed: Callable[[Vectors], Vectors]
    size: int

    def __call__(self, shard: tuple[str | Path, Rows], seen: Seen = iter) -> None:
        target, part = shard
        view = self.completed(_view(self.source, part))
        batches = self.made(view, seen(view.rows.batches(self.size)))
        write_shard(target, view, batches, view.rows.dtype, self.target, self.key, part.file or "")


def _view(space: Space, part: Rows) -> Vectors:
    """Return the vectors of a shard: of a table, all other columns are carried along, and nothing else is needed."""
    if isinstance(part, ParquetRows):
        return Vectors.made(space, part, RowNumbers(len(part)))
    assert part.file is not None
    return read_bare(part.file)


def write_shard(
    target: str | Path,
    view: Vectors,
    batches: Iterable[Tensor],
    dtype: torch.dtype,
    space: Space,
    key: str,
    source: str | Path,
) -> None:
    """Write a file of vectors and its stamp; arguments as for `write_file` and of its `Shard`."""
    stamp = {"key": key, "input": state(source)}
    with whole(target) as temporary:
        write_file(temporary, Path(target).suffix, view, batches, dtype, space)
        if Path(target).suffix == ".npy":
            with whole(f"{target}.space.json") as noted:
                noted.write_text(f"{space.to_json()}\n", encoding="utf-8")
        if not is_remote(target):
            sync(temporary)
            # Before the file has its name: there is no moment in which it is finished, and not known to be.
            _stamp(target, {**stamp, "output": state(temporary)})
    if is_remote(target):
        _stamp(target, {**stamp, "output": state(target)})


def _place(target: str | Path) -> str | Path:
    """Return where the stamp of a shard lies."""
    folder = str(target).rpartition("/")[0] if is_remote(target) else Path(target).parent
    return beside(folder, STAMPS, f"{name_of(target)}.json")


def _stamp(target: str | Path, stamp: dict[str, Any]) -> None:
    with whole(_place(target)) as temporary:
        temporary.write_text(json.dumps(stamp), encoding="utf-8")


def _finished(target: str | Path, source: str | Path, key: str, overwrite: bool) -> bool:
    """Whether a shard was written by the same work on the same input; raise where it is of other work."""
    there = state(target)
    if there is None:
        return False
    try:
        stamp = json.loads(read_text(_place(target)))
    except (ValueError, RecursionError):
        stamp = None
    stamp = stamp if isinstance(stamp, dict) else {}
    mine = stamp.get("output") == there and stamp.get("key") == key
    if not mine and not overwrite:
        raise AtlasError(
            f"'{target}' exists and is no result of this map or encoder - choose another folder, or pass --overwrite "
            "(overwrite=True) to replace it"
        )
    return mine and stamp.get("input") == state(source)


def _targets(out: str | Path, shards: Sequence[Shard]) -> list[str | Path]:
    """Return where the shards are written, or raise `AtlasError` if they cannot be."""
    names = [one.name for one in shards]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise AtlasError(f"Two of the shards are called '{twice}', and each is written under its name - rename one")
    strange = [name for name in names_in(out) if Path(name).suffix in BARE and name not in set(names)]
    if strange:
        raise AtlasError(f"'{out}' holds '{min(strange)}', which is none of these shards - choose another folder")
    targets = [beside(out, name) for name in names]
    same = [t for t, one in zip(targets, shards, strict=True) if _whereabouts(t) == _whereabouts(one.source)]
    if same:
        raise AtlasError(f"'{same[0]}' is read, and would be written to - choose another folder")
    return targets


def _whereabouts(where: str | Path) -> str:
    return str(where) if is_remote(where) else str(Path(where).resolve())


@contextlib.contextmanager
def _alone(out: str | Path) -> Iterator[None]:
    """Let one run at a time write shards to a folder, where the file system has locks; a store has none."""
    with contextlib.ExitStack() as stack:
        if not is_remote(out):
            lock = Path(out, STAMPS, "lock")
            with explained(lock):
                lock.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(lock.open("a"))
            with contextlib.suppress(ImportError):
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise AtlasError(f"'{out}' is being written by another run - wait for it, or stop it") from None
        yield
