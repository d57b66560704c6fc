"""Vectors through an alignment or an atlas."""

from __future__ import annotations

from collections.abc import Iterator
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


def apply(
    mapping: Alignment | Atlas,
    *vectors: Vectors,
    out: str | Path | None = None,
    inverse: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors:
    """Map vectors of the source to the target, or, through an atlas, vectors of several spaces to the shared one.

    Args:
        mapping: an alignment, or an atlas.
        *vectors: of the source (of the target, if `inverse`); of any of its spaces for an atlas.
        out: where to write the result, batch by batch; None: it is kept in memory.
        inverse: run the alignment backwards.
        overwrite: replace what is at `out`.
        progress: shows how far it is.
    """
    if out is not None:
        check_target(out, overwrite, BARE)
    if isinstance(mapping, Atlas):
        if inverse:
            raise AtlasError(f"Atlas '{mapping.id}' cannot be run backwards - invert one of its charts")
        for view in vectors:
            check_finite(view.data, f"Vectors of '{view.space.id}'")
        result = mapping(*vectors)
        if out is not None:
            result.save_pretrained(out, overwrite=overwrite)
        return result
    if len(vectors) != 1:
        raise AtlasError(f"Alignment '{mapping.id}' maps one set of vectors, got {len(vectors)}")
    return _apply_rows(mapping.inverse() if inverse else mapping, vectors[0], out, overwrite, progress)


def _apply_rows(
    alignment: Alignment, vectors: Vectors, out: str | Path | None, overwrite: bool, progress: Progress
) -> Vectors:
    if out is None:
        check_finite(vectors.data, "Vectors")
        return alignment(vectors)
    alignment.source.require(vectors.space, f"Alignment '{alignment.id}' maps from", "the vectors")
    # Small enough for what a batch makes to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)

    def mapped() -> Iterator[Tensor]:
        for batch in progress(vectors.rows.batches(size), -(-len(vectors) // size), "Applying"):
            if not bool(torch.isfinite(batch.sum())):
                check_rows(vectors.rows, "Vectors")
            yield alignment.aligner.transform(batch)

    return written(out, vectors, mapped(), vectors.data.dtype, space=alignment.target, overwrite=overwrite)
