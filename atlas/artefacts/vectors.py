"""Vectors of one space: in memory, and written to a folder or a bare file batch by batch."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.artefact import Artefact, OnCard
from atlas.artefacts.sources.vector_files import (
    ERROR,
    bare_file,
    read_error,
    read_matrix,
    read_parquet,
    write_parquet,
)
from atlas.cards.folder import BARE, CARD, MODEL, dump_card
from atlas.cards.kinds import VectorsCard
from atlas.cards.names import slug
from atlas.cards.schema import shown
from atlas.cards.space import SPACE_KEY, Space
from atlas.errors import AtlasError, CardError
from atlas.items.frames import table_of
from atlas.numerics.arrays import as_matrix, with_numbers
from atlas.storage.files import check_target, whole_folder
from atlas.storage.hashes import mark_of, note_sha256
from atlas.storage.header import TensorFile
from atlas.storage.item_ids import RowNumbers, SomeRows, StoredIds, check_ids, ids_of, match, pack_ids, shown_apart
from atlas.storage.rows import Rows
from atlas.storage.writers import Matrix

# The name of vectors that were given none.
UNNAMED = "unnamed"


@dataclass(frozen=True)
class Vectors(Artefact):
    """Rows of one space, with the id of the item each row encodes and, if known, its class.

    Attributes:
        rows: (n, d), in memory or in a file.
        ids: n distinct texts, by which rows of different spaces are paired.
        labels: (n,) int64 numbers into `classes`, -1 where unknown; or None.
        space: their space; that of a bare file has no encoder.
        classes: names of the classes.
        dataset: the data set of the items.
        predicted_error: (n,) how far each row, which was mapped, is likely to be from the true one; or None.
    """

    kind = "vectors"
    space = OnCard[Space]()
    classes = OnCard[tuple[str, ...]]()

    card: VectorsCard
    rows: Rows
    ids: Sequence[str]
    labels: Tensor | None = None
    predicted_error: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ids", check_ids(self.ids, len(self.rows), f"Vectors of '{self.space.id}'"))
        if self.rows.dim != self.space.dim:
            shape = (len(self.rows), self.rows.dim)
            raise AtlasError(f"Vectors of '{self.space.id}' must have {self.space.dim} dimensions, got shape {shape}")
        if self.labels is not None and len(self.labels) != len(self.rows):
            raise AtlasError(f"Vectors of '{self.space.id}' have {len(self.rows)} rows but {len(self.labels)} labels")

    @classmethod
    def made(cls, space: Space, rows: Rows, ids: Sequence[str], labels: Tensor | None = None, **fields: Any) -> Vectors:
        """Return vectors of rows and ids as they are stored; `classes` and other fields of the card by their names."""
        return cls(VectorsCard(space.id, space=space, n=len(rows), **fields), rows, ids, labels)

    @classmethod
    def of(
        cls,
        data: Any,
        space: Space | str = UNNAMED,
        *,
        ids: Sequence[str] | None = None,
        labels: Any = None,
        classes: Sequence[str] = (),
        dataset: str = "",
        vector_column: str | None = None,
        id_column: str | None = None,
        label_column: str | None = None,
    ) -> Vectors:
        """Return vectors from an array, or from a table with a column of them.

        Args:
            data: (n, d): a tensor, an array (of numpy, of scipy's sparse ones, or a memory map, which is not copied), a
                sequence of rows; or a frame of pandas or polars, an Arrow table, a Hugging Face dataset.
            space: their space; a name alone stands for a space of which nothing but the dimension is known.
            ids: one text, whole number or UUID for each row; None: those of a table, else row numbers.
            labels: one class name, or one number into `classes`, for each row; '', None, NaN or -1: unknown.
            classes: names of the classes, if the labels are numbers.
            dataset: the data set of the items.
            vector_column: the column of a table that holds the vectors; None: the only one that holds arrays. A table
                of floating-point numbers alone has one column for each dimension.
            id_column: the column that holds the ids; None: the one with a common name, such as id, else an index of
                pandas that was set; '': none.
            label_column: the column that holds the classes; None: the one with a common name; '': none.
        """
        table = table_of(data)
        if table is not None:
            columns = table.vector_columns(vector_column, id_column, label_column)
            if ids is None:
                ids = table.ids(id_column)
                if ids is None and id_column is None:
                    table.warn_numbered(*columns)
            labels = table.classes(label_column) if labels is None else labels
            data, carried = table.vectors(columns), table.space(columns[0])
            space = Space.from_json(carried) if carried and space == UNNAMED else space
        X = with_numbers(as_matrix(data, "Vectors"), "Vectors")
        known = space if isinstance(space, Space) else Space(slug(space), X.shape[1])
        numbers, names = encode_labels(labels, classes)
        ids = RowNumbers(len(X)) if ids is None else ids_of(_listed(ids, "Ids"))
        return cls.made(known, Rows(X), ids, numbers, classes=names, dataset=dataset)

    @property
    def numbered(self) -> bool:
        """Whether the ids are numbers of rows, made up where none were given."""
        return isinstance(self.ids, (RowNumbers, SomeRows))

    @property
    def data(self) -> Tensor:
        """The matrix (n, d)."""
        return self.rows.tensor

    def __repr__(self) -> str:
        """Return a description of one line."""
        about = f", {len(self.classes)} classes" if self.labels is not None else ""
        return f"<Vectors '{self.id}': {len(self)} x {self.space.dim}{about}>"

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def take(self, index: Tensor, ids: Sequence[str] | None = None) -> Vectors:
        """Return the rows of an index, in its order; with these ids in place of their own, if they are given."""
        if ids is None:
            if isinstance(self.ids, StoredIds):
                ids = self.ids.pick(index)
            else:
                ids = (SomeRows if self.numbered else list)(map(self.ids.__getitem__, index.tolist()))
        labels = None if self.labels is None else self.labels[index]
        error = None if self.predicted_error is None else self.predicted_error[index]
        return Vectors(replace(self.card, n=len(ids)), self.rows.pick(index), ids, labels, error)

    def in_space(self, space: Space, data: Tensor) -> Vectors:
        """Return other vectors (n, d) of the same items, in another space."""
        return replace(self, card=replace(self.card, space=space), rows=Rows(data), predicted_error=None)

    def of_items(self, ids: Sequence[str], what: str = "the anchors") -> Vectors:
        """Return the rows of these items, in their order; raise `AtlasError` if any is missing."""
        return self if ids == self.ids else self.take(self.numbers_of(ids, what))

    def numbers_of(self, ids: Sequence[str], what: str = "the anchors") -> Tensor:
        """Return the numbers of the rows of these items, in their order; raise `AtlasError` if any is missing."""
        pairs = match(ids, self.ids)
        found = torch.arange(len(self)) if pairs is None else pairs[1]
        if len(found) < len(ids):
            have = set(self.ids)
            missing, _, advice = shown_apart([next(i for i in ids if i not in have)], self.ids)
            raise AtlasError(
                f"Vectors of '{self.space.id}' hold {len(found)} of the {len(ids)} items of {what}, "
                f"the first missing is {missing} - {advice}"
            )
        return found

    def label_names(self) -> list[str] | None:
        """Return the class of each row by its name, '' where unknown; None if there are no labels."""
        return None if self.labels is None else [self.classes[i] if i >= 0 else "" for i in self.labels.tolist()]

    def tensors(self) -> dict[str, Tensor]:
        """Return the columns beside the matrix: ids, labels and predicted errors."""
        beside = {"labels": self.labels, ERROR: self.predicted_error}
        return {**pack_ids(self.ids), **{name: t for name, t in beside.items() if t is not None}}

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder (card and tensors), or a bare file if the name ends in .npy, .safetensors or .parquet."""
        written(folder, self, self.rows.batches(), self.rows.dtype, overwrite=overwrite)

    @classmethod
    def from_card(cls, card: VectorsCard, file: TensorFile) -> Vectors:
        """Return the vectors of a card and its file, which has been checked; the matrix is read as it is used."""
        infos = file.infos
        if "vectors" not in infos or len(infos["vectors"].shape) != 2 or infos["vectors"].shape[0] != card.n:
            raise CardError(f"{file.path}: must hold a matrix 'vectors' of {card.n} rows")
        rows, ids, labels = read_matrix(file)
        if labels is not None and int(labels.max()) >= len(card.classes):
            raise CardError(
                f"{file.path}: labels go up to {int(labels.max())}, the card lists {len(card.classes)} classes"
            )
        found = RowNumbers(card.n) if ids is None else ids
        return cls(card, rows, found, labels, read_error(file, card.n))


def encode_labels(labels: Any, classes: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return labels as numbers, -1 where unknown, and the names of their classes, by alphabet if they are made here.

    A label that is '', None, NaN, masked or -1 is unknown. Numbers without names are their own names: all from 0 to the
    largest, or, where that is far above the number of rows, those that are there.
    """
    if labels is None:
        return None, tuple(classes)
    if getattr(labels, "ndim", 1) != 1 or not hasattr(labels, "__iter__"):
        got = f"shape {tuple(labels.shape)}" if hasattr(labels, "shape") else shown(labels)
        raise AtlasError(f"Labels must be one for each row, got {got}")
    given: list[Any] = [label if type(label) is int else _label(label) for label in _listed(labels, "Labels")]
    if any(isinstance(label, str) for label in given):
        found = tuple(classes) or tuple(sorted({label for label in given if isinstance(label, str)}))
        number: dict[str | int, int] = {-1: -1, **{name: i for i, name in enumerate(found)}}
        for label in given:
            if label not in number:
                raise AtlasError(f"Label {label!r} is none of the classes {', '.join(map(repr, found))}")
        return torch.tensor([number[label] for label in given], dtype=torch.int64), found
    if (most := max(given, default=-1)) >= 2**63:
        raise AtlasError(f"Labels must be below 2**63, got {most}")
    if (least := min(given, default=-1)) < -1 or most >= (len(classes) or most + 1):
        allowed = f"from -1 to {len(classes) - 1}" if classes else "-1 or more"
        raise AtlasError(f"Labels must be {allowed}, got {least} to {most}")
    numbers = torch.tensor(given, dtype=torch.int64)
    if classes or most < 2 * len(given):
        return numbers, tuple(classes) or tuple(str(i) for i in range(most + 1))
    present, numbers = numbers.unique(return_inverse=True)
    unknown = int((present == -1).sum())
    return numbers - unknown, tuple(str(i) for i in present[unknown:].tolist())


def _listed(values: Any, what: str) -> list[Any]:
    """Return the values of a tensor, an array, a column of a table or a sequence as plain ones."""
    if isinstance(values, set | frozenset):
        raise AtlasError(
            f"{what} must be in the order of the rows, which a {type(values).__name__} has not - give a list"
        )
    how = next((name for name in ("tolist", "to_pylist") if hasattr(values, name)), "__iter__")
    return list(getattr(values, how)())


def _label(label: Any) -> str | int:
    """Return a class as a text or a number, -1 if it is missing; a missing one is NA in pandas, NaN in numpy."""
    if label is None or type(label).__name__ == "NAType" or label == "" or label != label:
        return -1
    if isinstance(label, float) and label.is_integer():
        return int(label)
    try:
        return label if isinstance(label, str) else operator.index(label)
    except TypeError:
        raise AtlasError(f"Labels must be texts or whole numbers, got {shown(label)}") from None


def check_ids_meet(*views: Vectors, numbers: bool = False) -> None:
    """Raise `AtlasError` where pairing by id would pair rows in silence that need not be of one item.

    Numbers of rows, made up where there are no ids, mean nothing beside ids that were given; of two sets that have
    none, the rows are each other's partners only if there are as many.

    Args:
        *views: vectors whose rows are to be paired.
        numbers: whether rows are asked for by number, so that there may be more of them on one side.
    """
    first, *others = sorted(views, key=lambda view: not view.numbered)
    for other in others:
        if not first.numbered or first.ids == other.ids:
            continue
        if not other.numbered:
            raise AtlasError(
                f"Vectors of '{first.space.id}' have row numbers for ids, those of '{other.space.id}' ids of their own "
                f"('{other.ids[0]}'...): no pair is known - give ids for both or for neither: --id-column NAME for a "
                "table, atlas.Vectors.of(X, ids=...) in Python"
            )
        if not numbers and isinstance(first.ids, RowNumbers) and isinstance(other.ids, RowNumbers):
            raise AtlasError(
                f"Vectors of '{first.space.id}' are {len(first)}, those of '{other.space.id}' {len(other)}, and "
                "neither have ids, so that no pair is known - give the same items, row by row, or ids for both"
            )


def paired(source: Vectors, target: Vectors, only: Sequence[str] | None = None) -> tuple[Vectors, Vectors]:
    """Return two sets of vectors with the same items, row by row.

    Args:
        source: vectors of one space.
        target: vectors of another.
        only: ids to restrict both to, each of which must be in both; None: whatever both have.

    Raises:
        AtlasError: fewer than two items in common; the message says how many each has.
    """
    if only is not None:
        check_ids_meet(source, target, numbers=True)
        return source.of_items(only), target.of_items(only)
    index = _shared(source, target)
    X = source if index is None or len(index[0]) == len(source) else source.take(index[0])
    return X, target if index is None else target.take(index[1], X.ids)


def seeds(source: Vectors, target: Vectors, only: Sequence[str] | None = None) -> Tensor:
    """Return the numbers (s, 2) of the rows of source and target that are of one item; arguments as for `paired`."""
    if only is not None:
        check_ids_meet(source, target, numbers=True)
        return torch.stack([source.numbers_of(only), target.numbers_of(only)], 1)
    index = _shared(source, target)
    return torch.arange(len(source))[:, None].expand(-1, 2) if index is None else torch.stack(index, 1)


def _shared(source: Vectors, target: Vectors) -> tuple[Tensor, Tensor] | None:
    """Return the rows of the items that both have, None where they are the same; raise where they are too few."""
    check_ids_meet(source, target)
    index = match(source.ids, target.ids)
    if index is not None and len(index[0]) < 2:
        a, b, advice = shown_apart(source.ids, target.ids)
        raise AtlasError(
            f"Only {len(index[0])} of {len(source)} and {len(target)} items are in both, rows are paired by item id "
            f"({a} in the source, {b} in the target) - {advice}"
        )
    return index


def written(
    target: str | Path,
    like: Vectors,
    batches: Iterable[Tensor],
    dtype: torch.dtype,
    *,
    space: Space | None = None,
    overwrite: bool = False,
) -> Vectors:
    """Write vectors batch by batch, and return them as they lie there; the file or folder appears whole or not at all.

    Nothing is read back, except from .parquet files, which are compressed.

    Args:
        target: a folder, or a name that ends in .npy, .safetensors or .parquet.
        like: vectors whose ids, labels, classes and data set the new ones have.
        batches: of rows, as many in all as `like` has.
        dtype: of the rows.
        space: of the new vectors; None: that of `like`.
        overwrite: replace an existing one.
    """
    path = check_target(target, overwrite, BARE)
    card = replace(like.card, space=space or like.space, hub="")
    if path.suffix in BARE:
        with bare_file(path, card.space, overwrite) as temporary:
            bare = write_file(temporary, path.suffix, like, batches, dtype, card.space)
        return replace(like, card=card, rows=bare.rows(path) if bare else read_parquet(path)[0])
    card = replace(card, id=slug(path.name))
    # A card that cannot be stored is reported before the work, not after it.
    dump_card(card)
    matrix = Matrix(dtype, (len(like), card.space.dim), like.tensors())
    with whole_folder(path, overwrite) as folder:
        digest = hashlib.sha256()
        matrix.write(folder / MODEL, batches, digest)
        stored = replace(card, sha256=digest.hexdigest(), tensors=matrix.infos)
        (folder / CARD).write_text(dump_card(stored), encoding="utf-8")
        # Another process may have put its own file there by the time that this one is noted.
        mark = mark_of(folder / MODEL)
    note_sha256(path / MODEL, stored.sha256, mark)
    return replace(like, card=card, rows=matrix.rows(path / MODEL))


def write_file(
    path: Path, ending: str, like: Vectors, batches: Iterable[Tensor], dtype: torch.dtype, space: Space
) -> Matrix | None:
    """Write vectors to a bare file, and return the matrix in it; None for a .parquet file, which is compressed.

    Args:
        path: the file, whatever it is called.
        ending: its format: .npy, .safetensors or .parquet.
        like: vectors whose ids, labels and other columns the new ones have.
        batches: of rows, as many in all as `like` has.
        dtype: of the rows.
        space: of the new vectors.
    """
    if ending == ".parquet":
        write_parquet(path, batches, dtype, space, like.rows, like.ids, like.label_names(), like.predicted_error)
        return None
    matrix = Matrix(
        dtype,
        (len(like), space.dim),
        None if ending == ".npy" else like.tensors(),
        {SPACE_KEY: space.to_json()},
    )
    matrix.write(path, batches)
    return matrix
