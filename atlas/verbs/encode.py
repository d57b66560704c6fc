"""Items to vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.loading import save
from atlas.artefacts.sources.shard_writing import Shard, resumable, write_each, write_shard
from atlas.artefacts.sources.shards import shard_files
from atlas.artefacts.vectors import Vectors, encode_labels, written
from atlas.cards.folder import BARE
from atlas.cards.names import sha256_of, slug
from atlas.cards.space import Space
from atlas.components.encoder import Encoder
from atlas.components.engine import Seen
from atlas.errors import AtlasError
from atlas.items.batches import Items
from atlas.items.files import SETS, named, read_items
from atlas.progress import Progress, silent
from atlas.storage.files import as_path, check_list, check_target, write_list
from atlas.storage.item_ids import RowNumbers, SomeRows
from atlas.storage.remote import is_remote, names_in
from atlas.storage.rows import Rows
from atlas.verbs.parameters.arguments import (
    BatchSize,
    EncoderLike,
    EngineLike,
    ItemsLike,
    encoder_of,
    engine_of,
    items_of,
    make_ready,
)


def encode(
    encoder: EncoderLike,
    input: ItemsLike,
    *,
    out: str | Path | None = None,
    id: str | None = None,
    save_space: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    batch_size: BatchSize = 256,
    device: str = "cpu",
    overwrite: bool = False,
    engine: EngineLike | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Vectors:
    """Turn items into vectors.

    A set of files, such as a folder of .jsonl or a pattern in quotes, becomes a folder of shards, one for each file; a
    second run skips those that are finished.

    Args:
        encoder: a component (`atlas encoders` lists them), or a stored space: its folder, or its id in a registry.
        input: a folder of images (subfolders name the classes), a .txt, .csv, .tsv, .jsonl or .parquet file of texts, a
            .npy or .safetensors file of arrays, or stored vectors; or a folder or a pattern of such files, all of one
            kind.
        out: folder for the vectors, or a .npy, .safetensors or .parquet file, written batch by batch; of a set of
            files, a folder of .parquet shards.
        id: id of the space; by default that of the stored space, or one made of the options.
        save_space: store the encoder in this folder, too.
        text_column: column that holds the items; the one with a common name unless given.
        label_column: column that holds the classes; the one with a common name unless given, '' for none.
        id_column: column that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out empty texts, images that cannot be read, and arrays that hold NaN or infinity, and list
            their ids in this .txt file, one a line; images are read once more for that.
        batch_size: items in a batch.
        device: where to compute: cpu, cuda, mps...
        overwrite: replace an existing `out`.
        engine: works on the files of a set side by side: a name, with options as in daft:workers=2 (`atlas engines`
            lists them); in Python also an executor of `concurrent.futures`.
        progress: shows how far it is.
        **options: options of the encoder.

    Returns:
        The vectors, with ids and labels of the items; in memory if they are written nowhere.
    """
    files = _files(input)
    if out is not None and (files is None or not resumable(out)):
        check_target(out, overwrite, BARE)
    if save_space is not None:
        check_target(save_space, overwrite)
    if skip_bad is not None:
        check_list(skip_bad, overwrite)
    id = slug(Path(save_space).name) if save_space and not id else id
    model = encoder_of(encoder, options)
    columns = {"text_column": text_column, "label_column": label_column, "id_column": id_column}
    worker = engine_of(engine)
    if files is not None:
        _check_set(input, model, out, skip_bad)
        space = model.space(id)
        work = _Encoding(model, space, columns, batch_size, device, sha256_of([space.to_json(), columns]))
        made = work.on(files, str(out), overwrite=overwrite, engine=worker, progress=progress)
    elif worker is not None:
        raise AtlasError("An engine encodes a set of files side by side - give a folder or a pattern, or leave it out")
    else:
        items = items_of(input, **columns)
        items = items if skip_bad is None else _sound(items, skip_bad)
        make_ready(model, items)
        count = -(-len(items) // batch_size)
        batches = progress(model.encode(items, batch_size=batch_size, device=device), count, "Encoding")
        made = _written(model, items, batches, id, out, overwrite)
    if save_space:
        model.stored_id = made.space.id
        save(model, save_space, overwrite=overwrite)
    return made


def _sound(items: Items, listed: str | Path) -> Items:
    """Return the items that mean something, and list the ids of the others in a file."""
    bad = items.bad()
    if len(bad) == len(items):
        raise AtlasError(f"None of the {len(items)} items can be encoded - nothing would be left")
    write_list(listed, [items.ids[row] for row in bad])
    left_out = set(bad)
    return items.take([row for row in range(len(items)) if row not in left_out]) if bad else items


def _written(
    model: Encoder, items: Items, batches: Iterable[Tensor], id: str | None, out: str | Path | None, overwrite: bool
) -> Vectors:
    """Return the vectors, written to `out` batch by batch if it is given."""
    labels, classes = encode_labels(items.labels, ())
    if out is None:
        data = torch.cat(list(batches))
        space = model.space(id)
        return Vectors.made(space, Rows(data), items.ids, labels, classes=classes, dataset=items.name)
    iterator = iter(batches)
    first = next(iterator)
    space = model.space(id)
    shape = Rows(first.new_empty(1, 1).expand(len(items), space.dim))
    like = Vectors.made(space, shape, items.ids, labels, classes=classes, dataset=items.name)
    return written(out, like, chain([first], iterator), first.dtype, overwrite=overwrite)


def _files(input: ItemsLike) -> Sequence[str | Path] | None:
    """Return the files of a set, in their order; None if the input is no folder of files of one kind, nor a pattern."""
    if not isinstance(input, (str, Path)) or is_remote(input):
        return None
    if as_path(input).is_dir():
        kinds = {Path(name).suffix for name in names_in(as_path(input))}
        if len(kinds) != 1 or not kinds <= SETS:
            return None
    return shard_files(input, SETS) or None


def _check_set(input: ItemsLike, model: Encoder, out: str | Path | None, skip_bad: str | Path | None) -> None:
    """Raise `AtlasError` if a set of files cannot be encoded one by one."""
    if out is None or Path(out).suffix in BARE:
        raise AtlasError(f"'{input}' is a set of files, which become a folder of shards - give that as --out (out)")
    if skip_bad is not None:
        raise AtlasError(f"'{input}' is a set of files, of which no items are left out - leave out skip_bad")
    if not model.fitted:
        advice = "encode one of the files with --save-space (save_space), and give the stored space"
        raise model.fail(f"is fitted on items, and '{input}' is a set of files - {advice}")


@dataclass(frozen=True)
class _Encoding:
    """The work on one file of a set, in any process."""

    model: Encoder
    space: Space
    columns: Mapping[str, str | None]
    batch_size: int
    device: str
    key: str

    def on(self, files: Sequence[str | Path], out: str, **how: Any) -> Vectors:
        """Return the vectors of a set of files, written to a folder; the rest as for `write_each`."""
        shards = [Shard(f"{Path(file).stem}.parquet", file, file) for file in files]
        made = write_each(out, shards, self.key, self, "Encoding", **how)
        return replace(made, card=replace(made.card, space=self.space))

    def __call__(self, shard: tuple[str | Path, str | Path], seen: Seen = iter) -> None:
        target, source = shard
        for file in seen([source]):
            items = read_items(file, **self.columns)
            numbered = isinstance(items.ids, (RowNumbers, SomeRows)) or Path(file).suffix == ".txt"
            ids = RowNumbers(len(items)) if numbered else items.ids
            labels, classes = encode_labels(items.labels, ())
            shape = Rows(torch.empty(1, 1).expand(len(items), self.space.dim))
            like = Vectors.made(self.space, shape, ids, labels, classes=classes)
            with named(file):
                batches = self.model.encode(items, batch_size=self.batch_size, device=self.device)
                first = next(batches)
                write_shard(target, like, chain([first], batches), first.dtype, self.space, self.key, file)
