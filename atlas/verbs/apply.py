"""Vectors through an alignment or an atlas."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.artefact import Artefact
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.sources.shard_writing import resumable, write_shards
from atlas.artefacts.sources.shards import joined
from atlas.artefacts.sources.stores import is_store
from atlas.artefacts.sources.transfer import transfer
from atlas.artefacts.vectors import Vectors, written
from atlas.cards.folder import BARE
from atlas.cards.names import sha256_of
from atlas.components.engine import Executor
from atlas.errors import AtlasError
from atlas.items.frames import replaced, table_of
from atlas.numerics.arrays import as_matrix, hash_of, with_numbers
from atlas.progress import Progress, silent
from atlas.storage.files import check_list, check_target
from atlas.storage.remote import is_remote
from atlas.storage.rows import Parts, Rows
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import (
    EngineLike,
    MappingLike,
    VectorsLike,
    artefact_of,
    engine_of,
    lies_somewhere,
    sound_of,
    vectors_of,
    views_of,
)

NO_SHARDS = "An engine writes shards to a folder, as an alignment maps them - give shards and a folder, or leave it out"


@overload
def apply(
    mapping: MappingLike,
    *vectors: Vectors | str | Path,
    out: str | Path | None = None,
    inverse: bool = False,
    confidence: bool = False,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    read_back: bool = False,
    overwrite: bool = False,
    engine: EngineLike | None = None,
    device: str | None = None,
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
    skip_bad: str | Path | None = None,
    read_back: bool = False,
    overwrite: bool = False,
    engine: EngineLike | None = None,
    device: str | None = None,
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
    skip_bad: str | Path | None = None,
    read_back: bool = False,
    overwrite: bool = False,
    engine: EngineLike | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> Vectors:
    """Map vectors through an alignment or an atlas.

    From one store to another, or within one, they are written batch by batch beside the existing vectors, and
    `atlas stores switch` exchanges the two. An interrupted run continues where it stopped.

    Args:
        mapping: an alignment, which maps vectors of its source to its target, or an atlas, which maps those of its
            spaces to the shared one.
        *vectors: vectors of the source; for an atlas, of one or more of its spaces.
        out: folder for the vectors, a .npy, .safetensors or .parquet file, or the URL of a store, written batch by
            batch; of a set of shards, a folder of shards with the same names, in which a second run skips those that
            are finished.
        inverse: run the alignment backwards: vectors of the target to the source.
        confidence: predict the distance of each mapped vector from the true one, too: `predicted_error`, a column or a
            tensor of the output.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out vectors that are missing or hold NaN or infinity, and list their ids in this .txt file, one
            a line; without it, the first of them ends the work.
        read_back: verify all rows written to a store in the end, not a sample of them.
        overwrite: replace an existing `out`.
        engine: works on shards side by side: a name, with options as in daft:workers=2 (`atlas engines` lists them); in
            Python also an executor of `concurrent.futures`. The bytes are the same.
        device: where an alignment computes: cpu, cuda, mps...; by default where it is, which is the CPU at first.
        progress: shows how far it is.

    Returns:
        The vectors, in memory if they are written nowhere; of an array or a table that an alignment maps, the same
        kind of array or table; for a store, a `Transfer`, which counts the rows written.
    """
    found: Alignment | Atlas = artefact_of(mapping, Alignment, Atlas)  # type: ignore[assignment]
    _check_asked(found, out, confidence, skip_bad, overwrite)
    worker = engine_of(engine)
    if worker is not None and (isinstance(found, Atlas) or out is None or is_store(out) or Path(out).suffix in BARE):
        raise AtlasError(NO_SHARDS)
    columns = (vector_column, id_column)
    if is_store(out):
        made: Any = transfer(
            *_to_store(found, vectors, inverse, device), str(out), read_back=read_back, progress=progress
        )
        return made
    if read_back:
        raise AtlasError("Rows are read back from a store alone - leave out read_back")
    if isinstance(found, Atlas):
        if device is not None:
            raise AtlasError(f"Atlas '{found.id}' maps on the CPU alone - apply one of its charts, or leave out device")
        return _apply_atlas(found, views_of(vectors, *columns), inverse, out, overwrite)
    alignment = _run(found, inverse, device)
    in_memory = len(vectors) == 1 and out is None and skip_bad is None
    if in_memory and not (isinstance(vectors[0], Artefact) or lies_somewhere(vectors[0])):
        if confidence:
            raise AtlasError("Arrays and tables have no place for predicted errors - call confidence(), or give out")
        return _apply_in_python(alignment, vectors[0], *columns)
    views = [vectors_of(given, *columns, name=alignment.source.id) for given in vectors]
    stored = out is not None and is_remote(out)
    if all(view.rows.file for view in views) and (stored or len(views) > 1):
        views = [joined(views)]
    if len(views) != 1:
        raise AtlasError(f"Alignment '{found.id}' maps one set of vectors, got {len(views)}")
    view = sound_of(views, skip_bad, overwrite)[0]
    if stored and not isinstance(view.rows, Parts):
        raise AtlasError(f"'{out}' is in a store, where shards alone are written - give files")
    return _apply_rows(alignment, view, out, overwrite, progress, confidence, worker)


def _check_asked(
    found: Alignment | Atlas, out: str | Path | None, confidence: bool, skip_bad: str | Path | None, overwrite: bool
) -> None:
    """Raise `AtlasError` if the output cannot be written, or arguments do not go together."""
    if out is not None and not is_store(out) and not resumable(out):
        check_target(out, overwrite, BARE)
    if skip_bad is not None:
        if is_store(out) or isinstance(found, Atlas):
            raise AtlasError("Vectors are skipped where an alignment maps files or arrays - leave out skip_bad")
        check_list(skip_bad, overwrite)
    if confidence and isinstance(found, Atlas):
        raise AtlasError(f"Atlas '{found.id}' cannot predict errors - apply one of its charts")
    if confidence and out is not None and (is_store(out) or Path(out).suffix == ".npy"):
        raise AtlasError(f"'{out}' cannot hold predicted errors - write .parquet, .safetensors or a folder")


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
    """Map an array, or the vectors in a table, and return the same kind with the mapped ones."""
    table = table_of(given)
    if table is None:
        if getattr(given, "is_meta", False):
            with_numbers(given, "X")
        made = alignment(given)
        # One vector, or none, is no sample of where vectors lie.
        if alignment.domain is not None and made.ndim == 2 and len(made):
            alignment.check_domain(Rows(as_matrix(given, "X")))
        return made
    names = table.vector_columns(vector_column, id_column)
    if not len(given):
        return replaced(given, names, np.empty((0, alignment.target.dim), np.float32), alignment.target)
    # Nothing is paired, so that rows may well have no ids.
    own = "" if id_column is None and table.ids(None) is None else id_column
    view = vectors_of(given, vector_column, own, name=alignment.source.id)
    mapped = _apply_rows(alignment, view, None, False, silent)
    return replaced(given, names, mapped.data.numpy(), mapped.space)


def _run(alignment: Alignment, inverse: bool, device: str | None) -> Alignment:
    """Return an alignment, or the one back, on the device where it is to compute."""
    made = alignment.inverse() if inverse else alignment
    return made if device is None else made.to(device)


def _to_store(
    found: Alignment | Atlas, vectors: Sequence[VectorsLike], inverse: bool, device: str | None
) -> tuple[Alignment, str]:
    """Return the transfer into a store, and the URL of the store that is read, or raise `AtlasError`."""
    if not isinstance(found, Alignment):
        raise AtlasError(f"Atlas '{found.id}' cannot map into a store - take out the chart of the space, and use that")
    if len(vectors) != 1 or not is_store(vectors[0]):
        raise AtlasError("A store is filled from a store - give one URL to read from, often the one of --out (out)")
    return _run(found, inverse, device), str(vectors[0])


def _apply_rows(
    alignment: Alignment,
    vectors: Vectors,
    out: str | Path | None,
    overwrite: bool,
    progress: Progress,
    confidence: bool = False,
    engine: Executor | None = None,
) -> Vectors:
    alignment.check_source(vectors.space)
    alignment.check_domain(vectors.rows)
    known = functools.partial(_known, alignment, confidence)
    if out is None:
        check_rows(vectors)
        return replace(alignment(vectors), predicted_error=known(vectors).predicted_error)
    mapped = functools.partial(_mapped, alignment)
    if isinstance(vectors.rows, Parts) and Path(out).suffix not in BARE:
        if confidence and any(str(part.file).endswith(".npy") for part in vectors.rows.parts):
            raise AtlasError("Shards of .npy cannot hold predicted errors - write one .parquet or .safetensors file")
        about = {name: alignment.card.to_dict().get(name) for name in ("method", "config", "source", "target")}
        key = sha256_of([about, hash_of(alignment.tensors()), *(["confidence"] if confidence else [])])
        how: dict[str, Any] = {"overwrite": overwrite, "engine": engine, "progress": progress}
        return write_shards(out, vectors, key, mapped, alignment.target, known, **how)
    if engine is not None:
        raise AtlasError(NO_SHARDS)
    # Small enough for a batch's output to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)
    batches = progress(mapped(vectors, vectors.rows.batches(size)), -(-len(vectors) // size), "Applying")
    return written(out, known(vectors), batches, vectors.rows.dtype, space=alignment.target, overwrite=overwrite)


def _known(alignment: Alignment, confidence: bool, view: Vectors) -> Vectors:
    """Return vectors with their predicted errors, if these are asked for; none of those of an earlier map."""
    errors = [alignment.confidence(batch).float() for batch in view.rows.batches()] if confidence else []
    return replace(view, predicted_error=torch.cat(errors) if errors else None)


def _mapped(alignment: Alignment, view: Vectors, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    for batch in batches:
        if not bool(torch.isfinite(batch.sum())):
            check_rows(view, f"'{view.rows.file}'" if view.rows.file else "Vectors")
        yield alignment.aligner.transform(batch)
