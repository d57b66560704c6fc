"""Items to vectors."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.loading import save
from atlas.artefacts.vectors import Vectors, encode_labels, written
from atlas.cards.folder import BARE
from atlas.cards.names import slug
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.items.batches import Items
from atlas.progress import Progress, silent
from atlas.storage.files import check_list, check_target
from atlas.storage.rows import Rows
from atlas.verbs.parameters.arguments import (
    BatchSize,
    EncoderLike,
    ItemsLike,
    encoder_of,
    items_of,
    make_ready,
    write_list,
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
    progress: Progress = silent,
    **options: Any,
) -> Vectors:
    """Turn items into vectors.

    Args:
        encoder: a component (`atlas encoders` lists them), or a stored space: its folder, or its id in a registry.
        input: a folder of images (subfolders name the classes), a .txt, .csv, .tsv, .jsonl or .parquet file of texts, a
            .npy or .safetensors file of arrays, or stored vectors.
        out: folder for the vectors, or a .npy, .safetensors or .parquet file, written batch by batch.
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
        progress: shows how far it is.
        **options: options of the encoder.

    Returns:
        The vectors, with ids and labels of the items; in memory if they are written nowhere.
    """
    if out is not None:
        check_target(out, overwrite, BARE)
    if save_space is not None:
        check_target(save_space, overwrite)
    if skip_bad is not None:
        check_list(skip_bad, overwrite)
    id = slug(Path(save_space).name) if save_space and not id else id
    model = encoder_of(encoder, options)
    items = items_of(input, text_column=text_column, label_column=label_column, id_column=id_column)
    items = items if skip_bad is None else _sound(items, skip_bad)
    make_ready(model, items)
    batches = progress(
        model.encode(items, batch_size=batch_size, device=device), -(-len(items) // batch_size), "Encoding"
    )
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
