"""How alike spaces are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.artefacts.moments import Moments
from atlas.artefacts.vectors import Vectors, paired
from atlas.errors import AtlasError
from atlas.metrics import Measure, find, running
from atlas.metrics.similarity import FROM_MOMENTS
from atlas.numerics.arrays import check_device
from atlas.verbs.evaluate import _labels
from atlas.verbs.moments import named
from atlas.verbs.parameters.arguments import MomentsLike, VectorsLike, moments_of, sound_of, views_of


@dataclass(frozen=True)
class Comparison:
    """How alike two spaces are by one metric.

    Attributes:
        metric: its name.
        a: id of the first space.
        b: id of the second; '' for a metric of one space.
        value: the figure.
        chance: the value of unrelated spaces; None where that is 0 or has no meaning.
        n: how many items both have.
        note: a caveat, if there is one.
    """

    metric: str
    a: str
    b: str
    value: float
    chance: float | None
    n: int
    note: str = ""


def compare(
    *vectors: VectorsLike,
    moments: MomentsLike | None = None,
    metrics: Sequence[str] = ("cka",),
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
) -> list[Comparison]:
    """Measure how similar spaces are.

    Each pair of spaces is compared, on the items that both have.

    Args:
        *vectors: vectors of two or more spaces (one will do for a metric of one space), paired by item id.
        moments: moments of two spaces, in place of vectors.
        metrics: metrics to measure, by default linear CKA; `atlas metrics` lists them.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out vectors that are missing or hold NaN or infinity, and list their ids in this .txt file, one
            a line; without it, the first of them ends the work.
        overwrite: replace an existing list of `skip_bad`.
        device: where to compute: cpu, cuda...; it must have float64.

    Raises:
        AtlasError: an unknown metric, one that needs a head or vectors, items that do not overlap, or no such device.
    """
    check_device(device, "float64")
    if moments is not None:
        if vectors:
            raise AtlasError("Vectors and moments cannot be compared at once - give one of them")
        return [_of_moments(measure, moments_of(moments)) for measure in map(find, metrics)]
    views = sound_of(views_of(vectors, vector_column, id_column), skip_bad, overwrite)
    found = []
    for measure in map(find, metrics):
        if measure.takes == "classes":
            raise AtlasError(f"Metric '{measure.name}' reads predictions - measure it with evaluate and a head")
        if measure.takes == "labelled":
            found += [_of_one(measure, view, device) for view in views]
        elif len(views) < 2:
            raise AtlasError(f"Metric '{measure.name}' compares spaces - give the vectors of two or more")
        else:
            found += [_of_two(measure, *pair, device) for pair in itertools.combinations(views, 2)]
    return found


def _of_one(measure: Measure, view: Vectors, device: str) -> Comparison:
    value = measure(view.data.to(device), _labels(view, measure.name))
    return Comparison(measure.name, view.space.id, "", value, None, len(view))


def _of_moments(measure: Measure, m: Moments) -> Comparison:
    if measure.name not in FROM_MOMENTS:
        raise AtlasError(
            f"Metric '{measure.name}' needs vectors - give them, or one of {', '.join(sorted(FROM_MOMENTS))}"
        )
    note = measure.caution(m.n, max(m.source.dim, m.target.dim))
    value = FROM_MOMENTS[measure.name](m.sums)
    return Comparison(measure.name, m.source.id, m.target.id, value, measure.by_chance(m.n), m.n, note)


def _of_two(measure: Measure, a: Vectors, b: Vectors, device: str) -> Comparison:
    x, y = paired(a, b)
    note = measure.caution(len(x), max(a.space.dim, b.space.dim))
    with named(x, y, [f"Vectors of '{view.space.id}'" for view in (x, y)]):
        value = _figure(measure, x, y, device)
    return Comparison(measure.name, a.space.id, b.space.id, value, measure.by_chance(len(x)), len(x), note)


def _figure(measure: Measure, x: Vectors, y: Vectors, device: str) -> float:
    figure = running(measure) if x.rows.batch_rows() < len(x) else None
    if figure is None:
        return measure(x.data.to(device), y.data.to(device))
    size = min(x.rows.batch_rows(), y.rows.batch_rows())
    for pair in zip(x.rows.batches(size), y.rows.batches(size), strict=True):
        figure.add(*(batch.to(device) for batch in pair))
    return figure.figure()[0]
