"""Vectors through an alignment or an atlas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.artefact import Artefact
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.stores import is_store
from atlas.artefacts.vectors import Vectors, written
from atlas.cards.folder import BARE
from atlas.errors import AtlasError
from atlas.items.frames import replaced, table_of
from atlas.numerics.arrays import as_matrix
from atlas.progress import Progress, silent
from atlas.storage.files import check_target
from atlas.storage.rows import Rows
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import MappingLike, VectorsLike, artefact_of, vectors_of, views_of
from atlas.verbs.transfer import transfer


@overload
def apply(
    mapping: MappingLike,
    *vectors: Vectors | str | Path,
    out: str | Path | None = None,
    inverse: bool = False,
    confidence: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors: ...
@overload
def apply(
    mapping: MappingLike,
    *vectors: VectorsLike,
    out: str | Path | None = None,
    inverse: bool = False,
    confidence: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Any: ...
def apply(
    mapping: MappingLike,
    *vectors: VectorsLike,
    out: str | Path | None = None,
    inverse: bool = False,
    confidence: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors:
    """Map vectors through an alignment or an atlas.

    From the URL of a store into that of a store, they go batch by batch beside the vectors that are there, which
    `atlas stores switch` then puts them in place of. A run that was cut off is taken up where it was.

    Args:
        mapping: an alignment, which maps vectors of its source to its target, or an atlas, which maps those of its
            spaces to the shared one.
        *vectors: vectors of the source; for an atlas, of one or more of its spaces.
        out: folder for the vectors, a .npy, .safetensors or .parquet file, or the URL of a store, written batch by
            batch.
        inverse: run the alignment backwards: vectors of the target to the source.
        confidence: of each vector, also tell how far it is likely to be from the true one: `predicted_error`, a column
            or a tensor of what is written.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        overwrite: replace what is at `out`.
        progress: shows how far it is.

    Returns:
        The vectors, in memory if they are written nowhere; of an array or a table that an alignment maps, the same
        kind of array or table; for a store, a `Transfer`, which says what was written.
    """
    if out is not None and not is_store(out):
        check_target(out, overwrite, BARE)
        if confidence and Path(out).suffix == ".npy":
            raise AtlasError(f"'{out}' cannot hold predicted errors - write .parquet, .safetensors or a folder")
    found: Alignment | Atlas = artefact_of(mapping, Alignment, Atlas)  # type: ignore[assignment]
    if is_store(out):
        if confidence:
            raise AtlasError(f"'{out}' has no place for predicted errors - write .parquet, .safetensors or a folder")
        made: Any = transfer(*_to_store(found, vectors, inverse), str(out), progress=progress)
        return made
    columns = (vector_column, id_column)
    if isinstance(found, Atlas):
        if confidence:
            raise AtlasError(f"Atlas '{found.id}' cannot predict errors - apply one of its charts")
        return _apply_atlas(found, views_of(vectors, *columns), inverse, out, overwrite)
    if len(vectors) != 1:
        raise AtlasError(f"Alignment '{found.id}' maps one set of vectors, got {len(vectors)}")
    alignment, given = found.inverse() if inverse else found, vectors[0]
    if out is None and not isinstance(given, (Artefact, str, Path)):
        if confidence:
            raise AtlasError("Arrays and tables have no place for predicted errors - call confidence(), or give out")
        return _apply_in_python(alignment, given, *columns)
    view = vectors_of(given, *columns, name=alignment.source.id)
    # Filled as rows are mapped, before it is written.
    view = replace(view, predicted_error=torch.empty(len(view)) if confidence else None)
    return _apply_rows(alignment, view, out, overwrite, progress)


def _apply_atlas(atlas: Atlas, views: list[Vectors], inverse: bool, out: str | Path | None, overwrite: bool) -> Vectors:
    if inverse:
        raise AtlasError(f"Atlas '{atlas.id}' cannot be run backwards - invert one of its charts")
    for view in views:
        check_rows(view, f"Vectors of '{view.space.id}'")
    result = atlas(*views)
    if out is not None:
        result.save_pretrained(out, overwrite=overwrite)
    return result


def _apply_in_python(alignment: Alignment, given: Any, vector_column: str | None, id_column: str | None) -> Any:
    """Map an array, or the vectors in a table, and return what was given with the mapped ones."""
    table = table_of(given)
    if table is None:
        alignment.check_domain(Rows(as_matrix(given, "X")))
        return alignment(given)
    mapped = _apply_rows(
        alignment, vectors_of(given, vector_column, id_column, name=alignment.source.id), None, False, silent
    )
    names = table.vector_columns(vector_column, id_column)
    return replaced(given, names, mapped.data.numpy(), mapped.space)


def _to_store(found: Alignment | Atlas, vectors: Sequence[VectorsLike], inverse: bool) -> tuple[Alignment, str]:
    """Return what maps into a store, and the URL of the store that is read, or raise `AtlasError`."""
    if not isinstance(found, Alignment):
        raise AtlasError(f"Atlas '{found.id}' cannot map into a store - take out the chart of the space, and use that")
    if len(vectors) != 1 or not is_store(vectors[0]):
        raise AtlasError("What is mapped into a store is read from one - give one URL, often the one of --out (out)")
    return found.inverse() if inverse else found, str(vectors[0])


def _apply_rows(
    alignment: Alignment, vectors: Vectors, out: str | Path | None, overwrite: bool, progress: Progress
) -> Vectors:
    alignment.check_source(vectors.space)
    alignment.check_domain(vectors.rows)
    error = vectors.predicted_error
    if out is None:
        check_rows(vectors)
        found = alignment(vectors)
        return found if error is None else replace(found, predicted_error=alignment.confidence(vectors).float())
    if error is not None:
        alignment.confidence(vectors.data[:1])
    # Small enough for what a batch makes to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)

    def mapped() -> Iterator[Tensor]:
        done = 0
        for batch in progress(vectors.rows.batches(size), -(-len(vectors) // size), "Applying"):
            if not bool(torch.isfinite(batch.sum())):
                check_rows(vectors)
            if error is not None:
                error[done : done + len(batch)] = alignment.confidence(batch)
            done += len(batch)
            yield alignment.aligner.transform(batch)

    return written(out, vectors, mapped(), vectors.data.dtype, space=alignment.target, overwrite=overwrite)
