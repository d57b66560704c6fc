"""Bare files of vectors, alone and as the shards of a set, which is read as one and written shard by shard."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.sources.vector_files import (
    npy_in_store,
    read_matrix,
    read_parquet,
    tensor_file,
    text_beside,
)
from atlas.artefacts.vectors import Vectors, encode_labels, write_file
from atlas.cards.folder import BARE, CARD
from atlas.cards.names import slug
from atlas.cards.space import SPACE_KEY, Space
from atlas.components.engine import Executor, Seen, each
from atlas.errors import AtlasError, SpaceMismatchError
from atlas.items.files import named
from atlas.progress import Progress, silent
from atlas.storage.files import as_path, explained, refuse_device
from atlas.storage.item_ids import RowNumbers, StoredIds
from atlas.storage.parquet import ParquetRows
from atlas.storage.places import sync
from atlas.storage.remote import beside, is_remote, matching, name_of, names_in, read_text, state, whole
from atlas.storage.rows import Parts, Rows, map_npy

# In a folder of shards that were written one by one: the stamps of their inputs, and the lock of the run at work.
STAMPS = ".shards"
_PATTERN = re.compile(r"[*?\[]")


def read_bare(
    path: str | Path, vector_column: str | None = None, id_column: str | None = None, label_column: str = "label"
) -> Vectors:
    """Return the vectors of a bare .npy, .safetensors or .parquet file; the last may be the URL of an object.

    Their space is the one that Atlas wrote into a .safetensors or .parquet file; of any other only the dimension is
    known. Ids are a column `id` or the like (.parquet) or the `ids` tensors (.safetensors), else row numbers; labels a
    column `label` or the tensor `labels`. A .safetensors file holds one matrix of floating-point numbers, or one called
    `vectors`.

    Args:
        path: the file.
        vector_column: the column of a .parquet file that holds the vectors; None: the only one that holds arrays.
        id_column: the column of a .parquet file that holds the ids; None: the one with a common name; '': none.
        label_column: the column of a .parquet file that holds the labels, if it is there.
    """
    where = path if is_remote(path) else as_path(path)
    if isinstance(where, Path):
        refuse_device(where)
    rows, ids, labels, classes, carried = _parts(where, vector_column, id_column, label_column)
    if not len(rows) or not rows.dim:
        raise NoVectorsError(f"'{where}' has no vectors: its shape is ({len(rows)}, {rows.dim})")
    rows.file = where
    ids = RowNumbers(len(rows)) if ids is None else ids
    with named(where):
        space = Space.from_json(carried) if carried else Space(slug(Path(where).stem), rows.dim)
        return Vectors.made(space, rows, ids, labels, classes=classes)


class NoVectorsError(AtlasError):
    """A file of vectors holds none, as some shards of large sets do."""


def _parts(where: str | Path, *columns: Any) -> tuple[Rows, Sequence[str] | None, Tensor | None, tuple[str, ...], str]:
    """Return rows, ids, labels and classes of a bare file, and the text of the space it carries."""
    ending = Path(where).suffix
    if ending == ".parquet":
        table, ids, coded, carried = read_parquet(where, *columns)
        if coded is None:
            return table, ids, None, (), carried
        numbers, classes = encode_labels(coded[1], ())
        return table, ids, None if numbers is None else numbers[coded[0]], classes, carried
    if ending == ".npy" and is_remote(where):
        return npy_in_store(str(where)), None, None, (), read_text(f"{where}.space.json")
    if ending == ".npy":
        return map_npy(Path(where)), None, None, (), text_beside(Path(where))
    file = tensor_file(where)
    rows, ids, labels = read_matrix(file)
    classes = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
    return rows, ids, labels, classes, file.metadata(SPACE_KEY)


def read(ref: str | Path | Sequence[str | Path], *columns: Any) -> Vectors | None:
    """Return the vectors of a set of shards, or of an object in a store; None if it is no such reference.

    Args:
        ref: a folder, a pattern, a URL or a list.
        *columns: of .parquet files, as `read_bare` takes them.
    """
    if isinstance(ref, (str, Path)):
        if is_remote(ref) and Path(ref).suffix in BARE and not _PATTERN.search(str(ref)):
            return read_bare(ref, *columns)
        files = _files(ref)
        name = Path(_PATTERN.split(str(ref))[0]).name
    else:
        files, name = list(ref), Path(ref[0]).parent.name if ref else ""
    if not files:
        if files is None:
            return None
        raise AtlasError(f"'{ref}' names no .npy, .safetensors or .parquet files")
    found = []
    for file in files:
        with contextlib.suppress(NoVectorsError):
            found.append(read_bare(file, *columns))
    if not found:
        raise AtlasError(f"None of the {len(files)} files of '{ref}' has vectors")
    return joined(found, name)


def _files(ref: str | Path) -> list[str | Path] | None:
    """Return the shards in a folder or of a pattern in their natural order; None if it is no reference to a set."""
    if _PATTERN.search(str(ref)) and not as_path(ref).exists():
        found = [file for file in matching(str(ref)) if Path(file).suffix in BARE]
    elif is_remote(ref) or (as_path(ref).is_dir() and not (as_path(ref) / CARD).is_file()):
        folder = ref if is_remote(ref) else as_path(ref)
        found = [beside(folder, name) for name in names_in(folder) if Path(name).suffix in BARE]
        if not found and not is_remote(ref):
            return None
    else:
        return None
    endings = sorted({Path(file).suffix for file in found})
    if len(endings) > 1:
        raise AtlasError(f"'{ref}' holds {' and '.join(endings)} files - name those of one set, as in '*{endings[0]}'")
    return sorted(found, key=lambda file: _natural(str(file)))


def _natural(text: str) -> list[Any]:
    """Return the sort key of texts, by which part-2 comes before part-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", text)]


def joined(views: Sequence[Vectors], name: str = "") -> Vectors:
    """Return the vectors of several files as one set.

    Raises:
        AtlasError: they are of several spaces or dimensions, or some have ids and others none.
    """
    rows = Parts([view.rows for view in views])
    numbered = [view for view in views if view.numbered]
    if numbered and len(numbered) < len(views):
        other = next(view for view in views if not view.numbered)
        raise AtlasError(
            f"'{numbered[0].rows.file}' has no ids, and '{other.rows.file}', of the same set, has - give ids to all"
        )
    where = [view.ids if isinstance(view.ids, StoredIds) else view.rows.file or "" for view in views]
    lists = functools.partial(_lists, where)
    space = _space(views, name)
    ids = RowNumbers(len(rows)) if numbered else StoredIds(len(rows), lists, f"Vectors of '{space.id}'")
    classes = sorted({name for view in views for name in view.classes}, key=_natural)
    number = {name: i for i, name in enumerate(classes)}
    labels = [
        torch.full((len(view),), -1)
        if view.labels is None
        else torch.tensor([*(number[name] for name in view.classes), -1])[view.labels]
        for view in views
    ]
    known = torch.cat(labels) if any(view.labels is not None for view in views) else None
    return Vectors.made(space, rows, ids, known, classes=tuple(classes))


def _lists(parts: Sequence[StoredIds | str | Path]) -> Iterator[Sequence[str]]:
    """Yield the ids of shards in lists; those of a .safetensors file are read from it, and not kept."""
    for part in parts:
        if isinstance(part, StoredIds):
            yield from part.lists()
        else:
            yield read_matrix(tensor_file(part))[1] or []


def _space(views: Sequence[Vectors], name: str) -> Space:
    """Return the space of shards: the one that all carry, or one of their dimension."""
    first = next((view for view in views if view.space.known), views[0])
    for view in views:
        if first.space.known and not view.space.same(first.space):
            raise SpaceMismatchError(
                f"'{view.rows.file}' is of space '{view.space.id}', and '{first.rows.file}', of the same set, of "
                f"'{first.space.id}': {first.space.difference(view.space)}"
            )
    carried = all(view.space == first.space for view in views)
    bare = not first.space.known and first.space.id == slug(Path(str(first.rows.file)).stem)
    return first.space if carried and not bare else Space(slug(name), first.space.dim)


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
    out = out if is_remote(out) else as_path(out)
    parts = dict(zip(_targets(out, vectors.rows), vectors.rows.parts, strict=True))
    with _alone(out):
        todo = {target: part for target, part in parts.items() if not _finished(target, part.file, key, overwrite)}
        size = vectors.rows.batch_rows()
        work = _Writing(key, vectors.space, space, made, completed, size)
        sizes = [-(-len(part) // size) for part in todo.values()]
        for _ in each(work, list(todo.items()), sizes, engine, progress, "Applying"):
            pass
    written = joined([read_bare(target) for target in parts])
    written.rows.kept = len(parts) - len(todo)  # type: ignore[attr-defined]
    return replace(written, card=replace(written.card, space=space, dataset=vectors.dataset))


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
        _write_shard(target, view, batches, self.target, {"key": self.key, "input": state(part.file or "")})


def _view(space: Space, part: Rows) -> Vectors:
    """Return the vectors of a shard: of a table, all other columns are carried along, and nothing else is needed."""
    if isinstance(part, ParquetRows):
        return Vectors.made(space, part, RowNumbers(len(part)))
    assert part.file is not None
    return read_bare(part.file)


def _write_shard(
    target: str | Path, view: Vectors, batches: Iterable[Tensor], space: Space, stamp: dict[str, Any]
) -> None:
    with whole(target) as temporary:
        write_file(temporary, Path(target).suffix, view, batches, view.rows.dtype, space)
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


def _finished(target: str | Path, source: str | Path | None, key: str, overwrite: bool) -> bool:
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
            f"'{target}' exists and is no result of this map - choose another folder, or pass --overwrite "
            "(overwrite=True) to replace it"
        )
    assert source is not None
    return mine and stamp.get("input") == state(source)


def _targets(out: str | Path, rows: Parts) -> list[str | Path]:
    """Return where the shards are written, or raise `AtlasError` if they cannot be."""
    if not is_remote(out):
        path = Path(out)
        if path.exists() and not path.is_dir():
            raise AtlasError(f"'{out}' is a file, and a set of shards is written to a folder - choose another name")
        if path.is_dir() and any(path.iterdir()) and not (path / STAMPS).is_dir():
            raise AtlasError(f"'{out}' is a folder of something else - choose another name")
    names = [name_of(part.file or "") for part in rows.parts]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise AtlasError(f"Two of the shards are called '{twice}', and each is written under its name - rename one")
    strange = [name for name in names_in(out) if Path(name).suffix in BARE and name not in set(names)]
    if strange:
        raise AtlasError(f"'{out}' holds '{min(strange)}', which is none of these shards - choose another folder")
    targets = [beside(out, name) for name in names]
    same = [t for t, p in zip(targets, rows.parts, strict=True) if _whereabouts(t) == _whereabouts(p.file or "")]
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
