"""Vectors through an alignment or an atlas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.vectors import Vectors, written
from atlas.cards.folder import BARE
from atlas.errors import AtlasError
from atlas.numerics.arrays import check_finite
from atlas.progress import Progress, silent
from atlas.storage.files import check_target
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import MappingLike, VectorsLike, artefact_of, vectors_of


def apply(
    mapping: MappingLike,
    *vectors: VectorsLike,
    out: str | Path | None = None,
    inverse: bool = False,
    confidence: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors:
    """Map vectors through an alignment or an atlas.

    Args:
        mapping: an alignment, which maps vectors of its source to its target, or an atlas, which maps those of its
            spaces to the shared one.
        *vectors: vectors of the source; for an atlas, of one or more of its spaces.
        out: folder for the vectors, or a .npy, .safetensors or .parquet file, written batch by batch.
        inverse: run the alignment backwards: vectors of the target to the source.
        confidence: of each vector, also tell how far it is likely to be from the true one: `predicted_error`, a column
            or a tensor of what is written.
        overwrite: replace what is at `out`.
        progress: shows how far it is.

    Returns:
        The vectors, in memory if they are written nowhere.
    """
    if out is not None:
        check_target(out, overwrite, BARE)
        if confidence and Path(out).suffix == ".npy":
            raise AtlasError(f"'{out}' cannot hold predicted errors - write .parquet, .safetensors or a folder")
    found: Alignment | Atlas = artefact_of(mapping, Alignment, Atlas)  # type: ignore[assignment]
    views = [vectors_of(given) for given in vectors]
    if isinstance(found, Atlas):
        if inverse or confidence:
            what = "be run backwards - invert" if inverse else "tell how sure it is - apply"
            raise AtlasError(f"Atlas '{found.id}' cannot {what} one of its charts")
        for view in views:
            check_finite(view.data, f"Vectors of '{view.space.id}'")
        result = found(*views)
        if out is not None:
            result.save_pretrained(out, overwrite=overwrite)
        return result
    if len(views) != 1:
        raise AtlasError(f"Alignment '{found.id}' maps one set of vectors, got {len(views)}")
    alignment = found.inverse() if inverse else found
    alignment.source.require(views[0].space, f"Alignment '{alignment.id}' maps from", "the vectors")
    alignment.check_domain(views[0].rows)
    # Filled as rows are mapped, before it is written.
    error = torch.empty(len(views[0])) if confidence else None
    return _apply_rows(alignment, replace(views[0], predicted_error=error), out, overwrite, progress)


def _apply_rows(
    alignment: Alignment, vectors: Vectors, out: str | Path | None, overwrite: bool, progress: Progress
) -> Vectors:
    error = vectors.predicted_error
    if out is None:
        check_finite(vectors.data, "Vectors")
        known = None if error is None else alignment.confidence(vectors).float()
        return replace(alignment(vectors), predicted_error=known)
    if error is not None:
        alignment.confidence(vectors.data[:1])
    # Small enough for what a batch makes to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)

    def mapped() -> Iterator[Tensor]:
        done = 0
        for batch in progress(vectors.rows.batches(size), -(-len(vectors) // size), "Applying"):
            if not bool(torch.isfinite(batch.sum())):
                check_rows(vectors.rows, "Vectors")
            if error is not None:
                error[done : done + len(batch)] = alignment.confidence(batch)
            done += len(batch)
            yield alignment.aligner.transform(batch)

    return written(out, vectors, mapped(), vectors.data.dtype, space=alignment.target, overwrite=overwrite)
