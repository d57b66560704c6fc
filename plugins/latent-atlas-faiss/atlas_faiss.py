"""Keep querying a faiss index after changing the embedding model: an affine alignment in front of the index."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import atlas

# How many stored vectors are looked at, and how far from 1 the length of one may be that was scaled to 1.
LOOK_AT = 1000
UNIT = 1e-3


@dataclass
class Faiss(atlas.Exporter):
    """Put the map in front of an existing faiss index, so that vectors of the source search it.

    It writes an `IndexPreTransform`: the map, then the index's own transforms. The old index is read from its
    file without being loaded, and stays as it is.
    """

    name = "faiss"
    writes = (".faiss", ".index")
    affine = True

    index: str = atlas.option(help="Path of the index to search, which holds vectors of the target")
    normalize: bool | None = atlas.option(
        None, help="Scale mapped vectors to length 1; none: do so where those in the index have length 1"
    )

    def target(self, path: Path, overwrite: bool) -> Path:
        """Return the path to write to, which must not be that of the old index."""
        if path.exists() and Path(self.index).exists() and path.samefile(self.index):
            raise self.fail(f"leaves the old index '{self.index}' as it is - choose another name to write to")
        return super().target(path, overwrite)

    def _export(self, model: atlas.Alignment, path: Path) -> None:
        import faiss

        index = read(self.index)
        warn_of_shared_lists(index, self.index)
        made = mapped_index(model, index, self.normalize, what=f"'{self.index}'")
        # Opened here first, as Python explains better than faiss why a file cannot be made.
        path.touch()
        try:
            faiss.write_index(made, str(path))
        except RuntimeError as error:
            raise self.fail(f"could not write the index: {reason(error)}") from None


def mapped_index(alignment: atlas.Alignment, index: Any, normalize: bool | None = None, what: str = "The index") -> Any:
    """Return an index that takes vectors of the alignment's source and searches another index, of its target.

    Vectors that are added to it go through the map, too, into the index given, which is neither copied nor changed.

    Args:
        alignment: an affine map.
        index: a faiss index of `alignment.target.dim` dimensions; where it is an `IndexPreTransform`, its own
            transforms come after the map.
        normalize: scale mapped vectors to length 1; None: if those in the index have length 1.
        what: the index's name in messages.

    Returns:
        A `faiss.IndexPreTransform`.

    Raises:
        AtlasError: a map that is not affine, an index of another dimension, or one of which cannot be told whether its
            vectors were scaled to length 1.
    """
    import faiss
    from faiss.class_wrappers import add_to_referenced_objects

    check(alignment, index, what)
    core, chain = taken_apart(index)
    before = [linear_transform(alignment)]
    if is_unit(index, what) if normalize is None else normalize:
        before.append(faiss.NormalizationTransform(index.d, 2.0))
    made = faiss.IndexPreTransform(core)
    for transform in reversed([*before, *chain]):
        made.prepend_transform(transform)
    made.metric_arg = index.metric_arg
    # The binding keeps its arguments alive, but not the arrays they were taken from.
    add_to_referenced_objects(made, index)
    return made


def check(alignment: atlas.Alignment, index: Any, what: str) -> None:
    """Raise `AtlasError` unless the alignment can be put in front of the index."""
    import faiss

    if not alignment.aligner.affine:
        raise atlas.AtlasError(f"Alignment '{alignment.id}' is not affine, and faiss applies only maps that are")
    if not isinstance(index, faiss.Index):
        raise atlas.AtlasError(f"{what} must be a faiss index of vectors, got {type(index).__name__}")
    if index.d != alignment.target.dim:
        made = f"alignment '{alignment.id}' makes vectors of {alignment.target.dim}"
        raise atlas.AtlasError(
            f"{what} holds vectors of {index.d} dimensions, and {made} - give the index of '{alignment.target.id}'"
        )


def linear_transform(alignment: atlas.Alignment) -> Any:
    """Return an affine alignment as a `faiss.LinearTransform`, which acts from the left: y = A x + b."""
    import faiss

    tensors = alignment.tensors()
    weight, bias = tensors["weight"].numpy(), tensors["bias"].numpy()
    made = faiss.LinearTransform(*weight.shape, True)
    faiss.copy_array_to_vector(weight.T.ravel(), made.A)
    faiss.copy_array_to_vector(bias, made.b)
    made.is_trained = True
    # Of a rotation, faiss knows the way back, and can reconstruct vectors.
    made.set_is_orthonormal()
    return made


def taken_apart(index: Any) -> tuple[Any, list[Any]]:
    """Return the searched part of an index, and its transforms before that, in order."""
    import faiss

    index = faiss.downcast_index(index)
    if not isinstance(index, faiss.IndexPreTransform):
        return index, []
    chain = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]
    return faiss.downcast_index(index.index), chain


def is_unit(index: Any, what: str = "The index") -> bool:
    """Whether the vectors in an index, of which it shows a thousand, have length 1.

    An index that scales vectors itself needs no scaled ones, so the answer is no. Codes blur lengths: where vectors are
    kept as codes, lengths that are neither 1 nor well above it leave the question open.

    Raises:
        AtlasError: it cannot be told.
    """
    import faiss

    _, chain = taken_apart(index)
    if chain and isinstance(chain[0], faiss.NormalizationTransform):
        return False
    rows, exact = (np.empty((0, 1)), False) if chain else stored(index)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    lengths = lengths[lengths > 0]
    if len(lengths):
        if np.abs(lengths - 1).max() < UNIT:
            return True
        if exact or lengths.mean() > 2:
            return False
    raise atlas.AtlasError(
        f"{what} does not show whether its vectors were scaled to length 1 - give option 'normalize', true if they were"
    )


def stored(index: Any) -> tuple[Any, bool]:
    """Return some of the vectors in an index (n, d), none where they cannot be told, and whether they are exact."""
    import faiss

    index = faiss.downcast_index(index)
    for inner in ("index", "refine_index", "storage"):
        if hasattr(index, inner):
            return stored(getattr(index, inner))
    exact = isinstance(index, (faiss.IndexFlat, faiss.IndexIVFFlat))
    # Kinds that are known to tell: some that cannot end the process when they are asked.
    with contextlib.suppress(RuntimeError):
        if isinstance(index, (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)):
            return rows_of_lists(index), exact
        if isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer, faiss.IndexPQ)):
            return index.reconstruct_n(0, min(LOOK_AT, index.ntotal)), exact
    return np.empty((0, 1)), False


def rows_of_lists(index: Any) -> Any:
    """Return some of the vectors in an inverted file (n, d), whatever their ids are."""
    import faiss

    rows = np.zeros((min(LOOK_AT, index.ntotal), index.d), dtype=np.float32)
    places = ((i, j) for i in range(index.nlist) for j in range(index.invlists.list_size(i)))
    for row, (number, offset) in zip(rows, places, strict=False):
        index.reconstruct_from_offset(number, offset, faiss.swig_ptr(row))
    return rows


def read(path: str) -> Any:
    """Return the index in a file, which is mapped into memory where faiss can, not loaded.

    Raises:
        AtlasError: there is no such file, or it is no index of vectors.
    """
    import faiss

    if not Path(path).is_file():
        raise atlas.AtlasError(f"There is no index '{path}' - give option 'index' the path of a faiss index")
    try:
        with Path(path).open("rb") as file:
            binary = file.read(2) == b"IB"
    except OSError as error:
        raise atlas.AtlasError(f"'{path}' cannot be read: {error.strerror}") from None
    if binary:
        raise atlas.AtlasError(f"'{path}' is an index of bits, which no alignment maps to - give one of vectors")
    try:
        with no_more_than(Path(path).stat().st_size):
            return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
    except (RuntimeError, MemoryError) as error:
        raise atlas.AtlasError(f"'{path}' is not an index that faiss can read: {reason(error)}") from None


def warn_of_shared_lists(index: Any, path: str) -> None:
    """Warn where an index file only names another one, which holds its lists: the output names that one, too."""
    import faiss

    found = faiss.try_extract_index_ivf(index)
    lists = None if found is None else faiss.downcast_InvertedLists(found.invlists)
    if lists is not None and hasattr(lists, "filename"):
        warnings.warn(
            f"'{path}' keeps its lists in '{lists.filename}', and the new index shares that file"
            " - search the new index, but add nothing to it",
            atlas.AtlasWarning,
            stacklevel=2,
        )


@contextlib.contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """Let faiss refuse an array larger than the file it is read from, in place of asking for the memory."""
    import faiss

    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(size)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def reason(error: Exception) -> str:
    """Return the reason in an error of faiss, which begins with the C++ function and its file."""
    said = re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", str(error), flags=re.DOTALL)
    return " ".join(said.split()) or type(error).__name__


@atlas.hookimpl
def register_exporters():
    """Return the exporters of this plugin."""
    return [Faiss]
