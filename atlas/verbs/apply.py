"""Vectors through an alignment or an atlas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.shards import joined, resumable, write_shards
from atlas.artefacts.vectors import Vectors, written
from atlas.cards.folder import BARE
from atlas.cards.names import sha256_of
from atlas.errors import AtlasError
from atlas.numerics.arrays import check_finite, hash_of
from atlas.progress import Progress, silent
from atlas.storage.files import check_target
from atlas.storage.remote import is_remote
from atlas.storage.rows import Parts, Rows
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import MappingLike, VectorsLike, artefact_of, vectors_of


def apply(
    mapping: MappingLike,
    *vectors: VectorsLike,
    out: str | Path | None = None,
    inverse: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors:
    """Map vectors through an alignment or an atlas.

    Args:
        mapping: an alignment, which maps vectors of its source to its target, or an atlas, which maps those of its
            spaces to the shared one.
        *vectors: vectors of the source; for an atlas, of one or more of its spaces.
        out: folder for the vectors, or a .npy, .safetensors or .parquet file, written batch by batch; of a set of
            shards, a folder of shards with the same names, in which a second run skips what is finished.
        inverse: run the alignment backwards: vectors of the target to the source.
        overwrite: replace what is at `out`.
        progress: shows how far it is.

    Returns:
        The vectors, in memory if they are written nowhere.
    """
    if out is not None and not resumable(out):
        check_target(out, overwrite, BARE)
    found: Alignment | Atlas = artefact_of(mapping, Alignment, Atlas)  # type: ignore[assignment]
    views = [vectors_of(given) for given in vectors]
    if isinstance(found, Atlas):
        if inverse:
            raise AtlasError(f"Atlas '{found.id}' cannot be run backwards - invert one of its charts")
        for view in views:
            check_finite(view.data, f"Vectors of '{view.space.id}'")
        result = found(*views)
        if out is not None:
            result.save_pretrained(out, overwrite=overwrite)
        return result
    stored = out is not None and is_remote(out)
    if all(view.rows.file for view in views) and (stored or len(views) > 1):
        views = [joined(views)]
    if len(views) != 1:
        raise AtlasError(f"Alignment '{found.id}' maps one set of vectors, got {len(views)}")
    if stored and not isinstance(views[0].rows, Parts):
        raise AtlasError(f"'{out}' is in a store, where shards alone are written - give .parquet files")
    return _apply_rows(found.inverse() if inverse else found, views[0], out, overwrite, progress)


def _apply_rows(
    alignment: Alignment, vectors: Vectors, out: str | Path | None, overwrite: bool, progress: Progress
) -> Vectors:
    if out is None:
        check_finite(vectors.data, "Vectors")
        return alignment(vectors)
    alignment.check_source(vectors.space)

    def mapped(rows: Rows, size: int) -> Iterator[Tensor]:
        for batch in rows.batches(size):
            if not bool(torch.isfinite(batch.sum())):
                check_rows(rows, f"'{rows.file}'" if rows.file else "Vectors")
            yield alignment.aligner.transform(batch)

    if isinstance(vectors.rows, Parts) and Path(out).suffix not in BARE:
        about = {name: alignment.card.to_dict().get(name) for name in ("method", "config", "source", "target")}
        key = sha256_of([about, hash_of(alignment.tensors())])
        how: dict[str, Any] = {"overwrite": overwrite, "progress": progress}
        return write_shards(out, vectors, key, mapped, alignment.target, **how)
    # Small enough for what a batch makes to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)
    batches = progress(mapped(vectors.rows, size), -(-len(vectors) // size), "Applying")
    return written(out, vectors, batches, vectors.rows.dtype, space=alignment.target, overwrite=overwrite)
