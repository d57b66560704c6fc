"""One search over indexes of several models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.vectors import Vectors
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError, SpaceMismatchError, warn
from atlas.metrics.nearest import nearest
from atlas.numerics.arrays import check_finite
from atlas.progress import Progress, silent
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import MappingLike, VectorsLike, artefact_of, vectors_of

MERGES = ("cosine", "rank")
# Of reciprocal rank fusion, as its authors have it: G. Cormack et al., SIGIR 2009.
RANKS = 60


@dataclass(frozen=True)
class Answer:
    """The results of a query.

    Attributes:
        query: its id.
        ids: of the documents, best first.
        scores: of these: cosines; through a calibrated map those to expect of true vectors; sums of reciprocal ranks
            where several indexes are merged by rank.
        indexes: which index each is from, counted from 0.
        chance: that the first is that of the true vectors; None where no calibrated map says so.
    """

    query: str
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    indexes: tuple[int, ...]
    chance: float | None = None


@dataclass(frozen=True)
class Way:
    """How queries and an index are brought into one space; None: as they are.

    Attributes:
        queries: maps the queries.
        index: maps the index.
        made: the alignment that does either.
        role: which of the two is mapped, "queries" or "index".
    """

    queries: Aligner | None = None
    index: Aligner | None = None
    made: Alignment | None = None
    role: str = ""


def search(
    mapping: MappingLike | Sequence[MappingLike],
    queries: VectorsLike,
    indexes: VectorsLike | Mapping[str, VectorsLike] | Sequence[Vectors],
    *,
    k: int = 10,
    merge: str = "cosine",
    progress: Progress = silent,
) -> list[Answer]:
    """Search one index or several, of the queries' own model or of others, through maps between them.

    An alignment maps the queries where they are of its source, and the index, batch by batch, where that is. An atlas
    maps both into its shared space. An index of the queries' own model is searched as it is.

    Args:
        mapping: an alignment, an atlas, or several of them.
        queries: vectors of one model, (n, d), or one vector (d,).
        indexes: vectors to search; of several indexes, a list, or a mapping from the ids of their spaces.
        k: results for each query.
        merge: how results of several indexes come together: by "cosine", which holds where these are of one space, or
            by "rank", which takes as much from each. A document that is in several counts once.
        progress: shows how far it is.

    Returns:
        The answers, one for each query, in order.

    Raises:
        SpaceMismatchError: no map leads from the queries to an index, or back.
        AtlasError: vectors that hold NaN or infinity, or k below 1.
    """
    if k < 1:
        raise AtlasError(f"A search needs a k of at least 1, got {k}")
    if merge not in MERGES:
        raise AtlasError(f"Results are merged by {' or by '.join(MERGES)}, got '{merge}'")
    shape = getattr(queries, "shape", (1, 1))
    if 0 in shape[:1]:
        return []
    given: Any = queries
    listed = mapping if isinstance(mapping, (list, tuple)) else [mapping]
    maps = [artefact_of(one, Alignment, Atlas) for one in listed]
    asked, views = vectors_of(given[None] if len(shape) == 1 else given, name="source"), [*_views(indexes)]
    if not views:
        raise AtlasError("There is no index to search - give one or more")
    check_rows(asked, "The set of queries")
    ways = [_way(maps, asked.space, view.space, len(views) > 1) for view in views]
    if len(views) > 1 and merge == "cosine" and any(way.role == "queries" for way in ways):
        warn(
            "Queries are mapped into an index's own space, whose cosines are not those of the other indexes - give "
            "maps from the indexes' models to the queries', or merge by rank",
            2,
        )
    # A margin needs two.
    deep = max(k, 2)
    found = [_found(*one, asked, deep) for one in progress(zip(ways, views, strict=True), len(views), "Searching")]
    if len(views) == 1:
        return _of_one(ways[0], asked, views[0], *found[0], k)
    return [Answer(str(query), *_merged(i, views, found, k, merge)) for i, query in enumerate(asked.ids)]


def _views(indexes: Any) -> Iterator[Vectors]:
    """Yield the vectors of indexes; those whose space is not known are of the one that a mapping names."""
    if isinstance(indexes, Mapping):
        for name, given in indexes.items():
            view = vectors_of(given, name=name)
            yield view if view.space.known else view.in_space(replace(view.space, id=name), view.data)
    elif isinstance(indexes, (list, tuple)) and all(isinstance(one, (Vectors, str, Path)) for one in indexes):
        yield from (vectors_of(one, name="target") for one in indexes)
    else:
        yield vectors_of(indexes, name="target")


def _way(maps: Sequence[Alignment | Atlas], queries: Space, index: Space, several: bool) -> Way:
    """Return how queries and an index come together, by the first of some maps that can do it."""
    if queries.same(index) and not (several and isinstance(maps[0], Atlas)):
        return Way()
    # Spaces of which no more is known than the dimension count only where none is named.
    for fits, made in itertools.product((Space.same, Space.matches), maps):
        if isinstance(made, Atlas):
            sides = [chart_of(made, space) for space in (queries, index)]
            if all(sides):
                return Way(*(made.chart(side).aligner for side in sides))  # type: ignore[arg-type]
        elif fits(made.source, queries) and fits(made.target, index):
            return Way(queries=made.aligner, made=made, role="queries")
        elif fits(made.source, index) and fits(made.target, queries):
            return Way(index=made.aligner, made=made, role="index")
    # Beside indexes that are mapped to the queries' model, one that no map starts from may be of that model itself.
    into = several and any(isinstance(made, Alignment) and made.target.matches(queries) for made in maps)
    if into and queries.matches(index):
        return Way()
    known = ", ".join(f"'{made.id}'" for made in maps)
    raise SpaceMismatchError(
        f"None of {known} leads from the queries, of '{queries.id}' ({queries.dim} dimensions), to the index, of "
        f"'{index.id}' ({index.dim} dimensions), or back - fit one, or name the spaces of vectors that do not say "
        "them: {space: index}"
    )


def chart_of(atlas: Atlas, space: Space) -> str:
    """Return the id of the chart of a space, '' if there is none."""
    return next((c.id for c in atlas.charts if c.id == space.id or (space.known and c.matches(space))), "")


def _found(way: Way, index: Vectors, queries: Vectors, k: int) -> tuple[Tensor, Tensor]:
    """Return the cosines and rows (n, k) of the results of queries in an index."""
    Q = queries.data.float()
    return nearest(Q if way.queries is None else way.queries.transform(Q), _rows(way, index), k)


def _rows(way: Way, index: Vectors) -> Iterator[Tensor]:
    """Yield the vectors of an index, mapped if they must be, batch by batch."""
    done = 0
    for batch in index.rows.batches():
        check_finite(batch, f"The index of '{index.space.id}'", done)
        done += len(batch)
        yield batch if way.index is None else way.index.transform(batch.float())


def _of_one(way: Way, queries: Vectors, index: Vectors, scores: Tensor, rows: Tensor, k: int) -> list[Answer]:
    """Return the answers of a single index; through a calibrated map, with the scores and the chance to expect."""
    known = None if way.made is None else way.made.calibration.get(way.role)
    chances = [None] * len(scores) if known is None else known.chance(scores).tolist()
    scores = scores if known is None else known.scores(scores)
    return [
        Answer(query, tuple(index.ids[row] for row in found), tuple(values), (0,) * len(found), chance)
        for query, found, values, chance in zip(
            queries.ids, rows[:, :k].tolist(), scores[:, :k].tolist(), chances, strict=True
        )
    ]


def _merged(
    query: int, views: Sequence[Vectors], found: Sequence[tuple[Tensor, Tensor]], k: int, merge: str
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[int, ...]]:
    """Return ids, scores and indexes of the results of a query, by its number, in several indexes."""
    best: dict[tuple[str, int], tuple[float, int]] = {}
    for number, (view, (scores, rows)) in enumerate(zip(views, found, strict=True)):
        for place, (score, row) in enumerate(zip(scores[query].tolist(), rows[query].tolist(), strict=True), 1):
            # Numbers of rows, which stand for ids that were not given, are of one index.
            key = (view.ids[row], number if view.numbered else -1)
            before, first = best.get(key, (0.0 if merge == "rank" else -2.0, number))
            best[key] = (
                (before + 1 / (RANKS + place), first) if merge == "rank" else max((score, number), (before, first))
            )
    ordered = sorted(best.items(), key=lambda one: -one[1][0])[:k]
    return (
        tuple(id for (id, _), _ in ordered),
        tuple(score for _, (score, _) in ordered),
        tuple(number for _, (_, number) in ordered),
    )
