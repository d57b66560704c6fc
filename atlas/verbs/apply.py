"""Vectors through an alignment or an atlas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
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
from atlas.progress import Progress, silent
from atlas.storage.files import as_path, check_target, whole_file
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import MappingLike, VectorsLike, artefact_of, vectors_of, views_of
from atlas.verbs.transfer import transfer

# What a list of ids may be called.
LISTS = (".txt",)


@overload
def apply(
    mapping: MappingLike,
    *vectors: Vectors | str | Path,
    out: str | Path | None = None,
    inverse: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors: ...
@overload
def apply(
    mapping: MappingLike,
    *vectors: VectorsLike,
    out: str | Path | None = None,
    inverse: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Any: ...
def apply(
    mapping: MappingLike,
    *vectors: VectorsLike,
    out: str | Path | None = None,
    inverse: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
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
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out vectors that are missing or hold NaN or infinity, and list their ids in this .txt file, one
            a line; without it, the first of them ends the work.
        overwrite: replace what is at `out`.
        progress: shows how far it is.

    Returns:
        The vectors, in memory if they are written nowhere; of an array or a table that an alignment maps, the same
        kind of array or table; for a store, a `Transfer`, which says what was written.
    """
    if out is not None and not is_store(out):
        check_target(out, overwrite, BARE)
    found: Alignment | Atlas = artefact_of(mapping, Alignment, Atlas)  # type: ignore[assignment]
    if is_store(out):
        made: Any = transfer(*_to_store(found, vectors, inverse), str(out), progress=progress)
        return made
    columns = (vector_column, id_column)
    if skip_bad is not None:
        check_target(skip_bad, overwrite, LISTS)
    if isinstance(found, Atlas):
        if skip_bad is not None:
            raise AtlasError(f"Atlas '{found.id}' skips no vectors - map those of each space first, with its chart")
        return _apply_atlas(found, views_of(vectors, *columns), inverse, out, overwrite)
    if len(vectors) != 1:
        raise AtlasError(f"Alignment '{found.id}' maps one set of vectors, got {len(vectors)}")
    alignment, given = found.inverse() if inverse else found, vectors[0]
    if out is None and skip_bad is None and not isinstance(given, (Artefact, str, Path)):
        return _apply_in_python(alignment, given, *columns)
    view = vectors_of(given, *columns, name=alignment.source.id)
    return _apply_rows(alignment, view if skip_bad is None else _sound(view, skip_bad), out, overwrite, progress)


def _sound(vectors: Vectors, listed: str | Path) -> Vectors:
    """Return the vectors whose numbers are all finite, and list the ids of the others in a file."""
    sound = torch.cat([torch.isfinite(batch).all(1) for batch in vectors.rows.batches()])
    if not bool(sound.any()):
        raise AtlasError(
            f"None of the {len(vectors)} vectors of '{vectors.space.id}' is finite - nothing would be left"
        )
    with whole_file(as_path(listed)) as temporary:
        temporary.write_text("".join(f"{vectors.ids[i]}\n" for i in (~sound).nonzero()[:, 0]), encoding="utf-8")
    return vectors if bool(sound.all()) else vectors.take(sound.nonzero()[:, 0])


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
        return alignment(given)
    names = table.vector_columns(vector_column, id_column)
    if not len(given):
        return replaced(given, names, np.empty((0, alignment.target.dim), np.float32), alignment.target)
    # Nothing is paired, so that rows may well have no ids.
    own = "" if id_column is None and table.ids(None) is None else id_column
    view = vectors_of(given, vector_column, own, name=alignment.source.id)
    mapped = _apply_rows(alignment, view, None, False, silent)
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
    if out is None:
        check_rows(vectors)
        return alignment(vectors)
    alignment.check_source(vectors.space)
    # Small enough for what a batch makes to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)

    def mapped() -> Iterator[Tensor]:
        for batch in progress(vectors.rows.batches(size), -(-len(vectors) // size), "Applying"):
            if not bool(torch.isfinite(batch.sum())):
                check_rows(vectors)
            yield alignment.aligner.transform(batch)

    return written(out, vectors, mapped(), vectors.data.dtype, space=alignment.target, overwrite=overwrite)
