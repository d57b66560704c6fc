"""Paired vectors to moments, and moments to one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from atlas.artefacts.moments import Moments
from atlas.artefacts.vectors import Vectors, paired
from atlas.components.engine import Executor, Seen, each
from atlas.errors import AtlasError
from atlas.numerics import moments as numerics
from atlas.numerics.arrays import check_device, is_finite, not_finite
from atlas.progress import Progress, silent
from atlas.storage.rows import Parts, Rows
from atlas.verbs.parameters.arguments import (
    AnchorsLike,
    EngineLike,
    MomentsLike,
    VectorsLike,
    anchors_of,
    engine_of,
    moments_of,
    sound_of,
    vectors_of,
)

# All that a linear method may ask for.
ALL = ("xy", "xx", "yy", "rows")


def moments(
    *,
    source: VectorsLike,
    target: VectorsLike,
    anchors: AnchorsLike | None = None,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    overwrite: bool = False,
    id: str = "",
    engine: EngineLike | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Moments:
    """Sum up the paired vectors of two spaces.

    Count, means and second moments of the vectors of the items that both have: any linear method can be fitted from
    them, in either direction, and they are read batch by batch. Moments of disjoint sets of items, such as shards or
    those of two parties, can be merged.

    Args:
        source: vectors of one space.
        target: vectors of another, of the same items.
        anchors: count these items alone, all of which must be in both.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out vectors that are missing or hold NaN or infinity, and list their ids in this .txt file, one
            a line; without it, the first of them ends the work.
        overwrite: replace an existing list of `skip_bad`.
        id: id of the moments; by default made of their spaces.
        engine: works on shards side by side, which hold the same items in the same order: a name, with options as in
            daft:workers=2 (`atlas engines` lists them); in Python also an executor of `concurrent.futures`.
        device: where to compute: cpu, cuda, mps...
        progress: shows how far it is.

    Raises:
        AtlasError: items that do not overlap, anchors that are missing, or no such device.
    """
    check_device(device)
    only, name = anchors_of(anchors)
    X = vectors_of(source, vector_column, id_column, name="source")
    Y = vectors_of(target, vector_column, id_column, name="target")
    X, Y = sound_of([X, Y], skip_bad, overwrite)
    X, Y = paired(X, Y, only)
    dataset = X.dataset if X.dataset == Y.dataset else ""
    sums = summed(X, Y, ALL, progress, exact=True, engine=engine_of(engine), device=device)
    return Moments.of(sums, X.space, Y.space, id, anchors=name, dataset=dataset)


def summed(
    source: Vectors,
    target: Vectors,
    needs: Collection[str],
    progress: Progress = silent,
    *,
    exact: bool = False,
    engine: Executor | None = None,
    device: str = "cpu",
) -> numerics.Moments:
    """Return the moments of vectors that are paired row by row, read batch by batch.

    Those of shards are summed up for each shard of the source, and merged in their order, so that they are the same to
    the bit whatever engine works on them.
    """
    X, Y = source.rows, target.rows
    shards: list[tuple[Rows, Rows]] = [(X, Y)]
    if isinstance(X, Parts) and isinstance(Y, Parts):
        begins = [0, *X.ends[:-1].tolist()]
        shards = [(part, Y.between(start, start + len(part))) for part, start in zip(X.parts, begins, strict=True)]
    elif engine is not None:
        raise AtlasError("An engine sums up shards, of the same items in the same order on both sides - leave it out")
    total = numerics.Moments.empty(source.space.dim, target.space.dim, needs)
    sizes = [-(-len(x) // _batch_rows(x, y)) for x, y in shards]
    with named(source, target):
        for part in each(_Summing(frozenset(needs), exact, device), shards, sizes, engine, progress, "Summing up"):
            total = total + part
    return total


def _batch_rows(X: Rows, Y: Rows) -> int:
    return min(X.batch_rows(), Y.batch_rows())


@dataclass(frozen=True)
class _Summing:
    """The work on one pair of shards, in any process."""

    needs: frozenset[str]
    exact: bool
    device: str

    def __call__(self, shards: tuple[Rows, Rows], seen: Seen = iter) -> numerics.Moments:
        X, Y = shards
        size = _batch_rows(X, Y)
        total = numerics.Moments.empty(X.dim, Y.dim, self.needs)
        for x, y in seen(zip(X.batches(size), Y.batches(size), strict=True)):
            # Once there are too many distinct rows to count, more batches change nothing.
            wanted = self.needs - ({"rows"} if total.rows is None else set())
            total = total + numerics.Moments.of(x.to(self.device), y.to(self.device), wanted, exact=self.exact)
        return total


@contextlib.contextmanager
def named(source: Vectors, target: Vectors, names: Sequence[str] = ("The source", "The target")) -> Iterator[None]:
    """Say of both sides, where something is wrong, all that is not finite in them."""
    try:
        yield
    except AtlasError:
        check_rows(source, names[0])
        check_rows(target, names[1])
        raise


def check_rows(vectors: Vectors, what: str = "Vectors") -> None:
    """Raise `AtlasError` if vectors hold NaN or infinity: how many values in all, and the first row that has one."""
    count, first, done = 0, -1, 0
    for batch in vectors.rows.batches():
        if not is_finite(batch):
            bad = ~torch.isfinite(batch)
            first = done + int(bad.any(1).nonzero()[0]) if first < 0 else first
            count += int(bad.sum())
        done += len(batch)
    if count:
        id = "" if vectors.numbered else vectors.ids[first]
        raise not_finite(what, count, vectors.rows.place(first), id=id)


def merge(*moments: MomentsLike, id: str = "") -> Moments:
    """Merge moments of disjoint sets of items.

    The result is that of all items at once. A pair that is in several of them counts several times; a warning
    says so where the moments still hold hashes of their rows.

    Args:
        *moments: two or more, of the same two spaces.
        id: id of the result; by default that of the first.

    Raises:
        SpaceMismatchError: they are of different spaces.
        AtlasError: two of them are of the same items.
    """
    if not moments:
        raise AtlasError("Merging needs moments of at least one set of items, got none")
    parts = [moments_of(given) for given in moments]
    for one, other in itertools.combinations((part.sums for part in parts), 2):
        if one.n == other.n > 0 and torch.equal(one.mean_x, other.mean_x) and torch.equal(one.ssx, other.ssx):
            raise AtlasError(f"Two of the moments are of the same {one.n:,} items - give each set of items once")
    merged: Moments = sum(parts)  # type: ignore[assignment]
    return replace(merged, card=replace(merged.card, id=id or merged.id))
