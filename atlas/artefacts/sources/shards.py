"""Bare files of vectors, alone and as the shards of a set, which is read as one."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Collection, Iterator, Sequence
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
from atlas.artefacts.vectors import Vectors, encode_labels
from atlas.cards.folder import BARE, CARD
from atlas.cards.names import slug
from atlas.cards.space import SPACE_KEY, Space
from atlas.errors import AtlasError, SpaceMismatchError
from atlas.items.files import named
from atlas.storage.files import as_path, refuse_device
from atlas.storage.item_ids import RowNumbers, StoredIds
from atlas.storage.remote import beside, is_remote, matching, names_in, read_text
from atlas.storage.rows import Parts, Rows, map_npy

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


def matrix_of(path: Path) -> Rows:
    """Return the matrix of a bare file, whatever space it says it is of."""
    return _parts(path, None, "", "")[0]


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
        files = shard_files(ref)
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


def shard_files(ref: str | Path, kinds: Collection[str] = BARE) -> list[str | Path] | None:
    """Return the shards in a folder or of a pattern in their natural order; None if it is no reference to a set.

    Args:
        ref: a folder, a pattern or a URL.
        kinds: the endings of the files.
    """
    if _PATTERN.search(str(ref)) and not as_path(ref).exists():
        found = [file for file in matching(str(ref)) if Path(file).suffix in kinds]
    elif is_remote(ref) or (as_path(ref).is_dir() and not (as_path(ref) / CARD).is_file()):
        folder = ref if is_remote(ref) else as_path(ref)
        found = [beside(folder, name) for name in names_in(folder) if Path(name).suffix in kinds]
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
    what = f"Vectors of '{space.id}'"
    ids = RowNumbers(len(rows)) if numbered else StoredIds(len(rows), lists, what, rows.place)
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
