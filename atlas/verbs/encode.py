"""Items to vectors."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import torch

from atlas.artefacts.vectors import Vectors, encode_labels, written
from atlas.cards.folder import BARE
from atlas.components.encoder import Encoder
from atlas.progress import Progress, silent
from atlas.storage.files import check_target
from atlas.storage.rows import Rows
from atlas.verbs.arguments import find_encoder, find_items, make_ready


def encode(
    encoder: str | Path | Encoder,
    items: Any,
    *,
    out: str | Path | None = None,
    id: str | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Vectors:
    """Turn items into vectors.

    Args:
        encoder: a component, its name (with `options`), or a stored space.
        items: a path, stored vectors, or a list, tensor or array.
        out: where to write the vectors, batch by batch; None: they are kept in memory.
        id: of the space, if it is not stored under one.
        batch_size: items in a batch.
        device: where to compute.
        overwrite: replace what is at `out`.
        progress: shows how far it is.
        **options: of the encoder.

    Returns:
        Vectors with the items' ids and labels.
    """
    if out is not None:
        check_target(out, overwrite, BARE)
    model = find_encoder(encoder, options)
    items = find_items(items)
    make_ready(model, items)
    batches = progress(
        model.encode(items, batch_size=batch_size, device=device), -(-len(items) // batch_size), "Encoding"
    )
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
