"""Figures with their bounds: an alignment beside its ceiling and its floor; heads and atlases.

The ceiling is the target's own vectors; the floor is no alignment at all, the source's vectors padded with zeros or cut
to the target's dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.artefact import Artefact
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.head import Head
from atlas.artefacts.sketches import count_fitted
from atlas.artefacts.vectors import Vectors, paired
from atlas.cards.kinds import Metric
from atlas.errors import AtlasError
from atlas.metrics import Measure, Running, agreement, find, interval, running, wilson
from atlas.metrics.pairs import working
from atlas.metrics.retrieval import ranks
from atlas.numerics.arrays import check_device, is_finite
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import (
    EncoderLike,
    HeadLike,
    MeasuredLike,
    VectorsLike,
    artefact_of,
    head_of,
    sound_of,
    vectors_of,
    views_of,
)
from atlas.verbs.serving.mteb import scored

DEFAULT = ("cosine", "r2", "self-recall@1", "self-recall@10", "mrr", "jaccard@10")
# Above so many rows, metrics that compare each with all others are measured only if they are asked for.
MOST = 200_000

Reader: TypeAlias = Callable[[Tensor, Tensor, slice], tuple[Any, Any]]
# The data each kind of artefact is measured on.
NEEDS = {
    "alignment": "vectors of its source and of its target, and perhaps a head of the target",
    "head": "vectors of its space",
    "atlas": "vectors of one or more of its spaces, and a head of the shared one",
}
# The arguments that give it.
OPTIONS = {"alignment": "--source and --target", "head": "--vectors", "atlas": "--vectors and --head"}


def evaluate(
    artefact: MeasuredLike,
    *,
    source: VectorsLike | None = None,
    target: VectorsLike | None = None,
    vectors: VectorsLike | Sequence[VectorsLike] = (),
    head: HeadLike | None = None,
    metrics: Sequence[str] | None = None,
    split: str = "",
    mteb: Sequence[str | Any] = (),
    queries: EncoderLike | None = None,
    documents: EncoderLike | None = None,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
) -> tuple[Metric, ...]:
    """Measure an alignment, a head or an atlas.

    The vectors should not be those it was fitted on. Each figure of an alignment stands beside the same figure for the
    target's own vectors, and for no alignment at all: the source's vectors cut or padded with zeros to the target's
    dimension. Of a head or an atlas, the accuracy is measured, beside that of always naming the commonest class.

    Args:
        artefact: the artefact to measure.
        source: for an alignment: vectors of the space it maps from.
        target: for an alignment: vectors of the space it maps to, of the same items.
        vectors: for a head: vectors of the space it reads; for an atlas: of one or more of its spaces.
        head: for an alignment: measure the accuracy of this head of the target, too; for an atlas: a head of the shared
            space.
        metrics: metrics of an alignment; by default cosine, R2, up to 200,000 rows also how often a mapped row finds
            its partner (self-recall, mrr) and the share of its neighbours that it keeps (jaccard), and accuracy if
            there is a head.
        split: the part of the data set, for the card.
        mteb: for an alignment: tasks of retrieval of mteb, by name, or in Python your own; the source's encoder encodes
            queries, which are mapped, and the target's encoder documents.
        queries: with mteb: the encoder of the source; by default the one its space is stored with.
        documents: with mteb: the encoder of the target; by default the one its space is stored with.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out vectors that are missing or hold NaN or infinity, and list their ids in this .txt file, one
            a line; without it, the first of them ends the work.
        overwrite: replace an existing list of `skip_bad`.
        device: where to map, predict and measure: cpu, cuda...; it must have float64.

    Returns:
        One figure for each metric. A mean over rows has a 95 % interval if it is a share of rows, or there are at least
        30 of them. Beside it, where there is one, stands the figure of the target's own vectors (`native`), and that of
        no alignment or no vectors (`floor`).

    Raises:
        SpaceMismatchError: vectors or a head of another space.
        AtlasError: an unknown metric, items that do not overlap, labels that are missing, a head that is no classifier,
            data of the wrong kind for the artefact, or no such device.
    """
    check_device(device, "float64")
    found: Alignment | Head | Atlas = artefact_of(artefact, Alignment, Head, Atlas)  # type: ignore[assignment]
    columns = (vector_column, id_column)
    views = views_of(vectors if isinstance(vectors, (list, tuple)) else [vectors], *columns)
    reader = None if head is None else head_of(head)
    counts = {"source": source is not None, "target": target is not None, "vectors": len(views), "head": bool(reader)}
    tasks = [*mteb] if isinstance(mteb, (list, tuple)) else [mteb]
    whole = _of_tasks(found, tasks, queries, documents, device)
    if whole and not any(counts.values()):
        return whole
    _check_given(found, counts, metrics)
    if isinstance(found, Alignment) and source is not None and target is not None:
        sides = [vectors_of(source, *columns, name="source"), vectors_of(target, *columns, name="target")]
        X, Y = sound_of(sides, skip_bad, overwrite)
        return (*_of_alignment(found.to(device), X, Y, reader, metrics, split, device), *whole)
    views = sound_of(views, skip_bad, overwrite)
    read = found(*views) if isinstance(found, Atlas) else views[0]
    reader = found if isinstance(found, Head) else reader
    assert reader is not None
    figure = _of_head(reader, read, split, device)
    return (replace(figure, overlap=_fitted([found, reader], figure.n, read, *views)),)


def _of_tasks(
    found: Artefact, tasks: list[Any], queries: EncoderLike | None, documents: EncoderLike | None, device: str
) -> tuple[Metric, ...]:
    """Return the figures on tasks of mteb, none for no task."""
    if not tasks:
        if queries is not None or documents is not None:
            raise AtlasError("Encoders of queries and documents are for tasks of mteb - give --mteb TASK, too")
        return ()
    if not isinstance(found, Alignment):
        raise AtlasError(f"Tasks of mteb measure an alignment, and '{found.id}' is of kind {found.kind}")
    return tuple(scored(found, tasks, queries, documents, device))


def _fitted(made: Iterable[Artefact | None], n: int, *views: Vectors) -> int | None:
    """Return how many of n items any of the artefacts was fitted on; None where no card records them."""
    counts = [count_fitted(one.card.fitted_on, *views) for one in made if one is not None]
    return max((min(n, count) for count in counts if count is not None), default=None)


def _check_given(measured: Artefact, given: Mapping[str, int], metrics: Sequence[str] | None) -> None:
    """Raise `AtlasError` unless the data fit the kind of artefact."""
    kind, about = measured.kind, f"{measured.kind.capitalize()} '{measured.id}'"
    names = {name for name, count in given.items() if count}
    fits = {
        "alignment": names - {"head"} == {"source", "target"},
        "head": names == {"vectors"} and given["vectors"] == 1,
        "atlas": names == {"vectors", "head"},
    }
    if not fits[kind]:
        raise AtlasError(f"{about} is measured on {NEEDS[kind]} - give {OPTIONS[kind]}")
    if kind != "alignment" and set(metrics or ()) - {"accuracy"}:
        raise AtlasError(f"{about} is measured by its accuracy alone, got {', '.join(metrics or ())}")


def _of_alignment(
    alignment: Alignment,
    source: Vectors,
    target: Vectors,
    head: Head | None,
    metrics: Sequence[str] | None,
    split: str,
    device: str,
) -> tuple[Metric, ...]:
    alignment.source.require(source.space, f"Alignment '{alignment.id}' maps from", "the source vectors")
    alignment.target.require(target.space, f"Alignment '{alignment.id}' maps to", "the target vectors")
    if head is not None:
        head.space.require(alignment.target, f"Head '{head.id}' reads", f"the vectors alignment '{alignment.id}' makes")
    source, target = paired(source, target)
    alignment.check_domain(source.rows)
    measures = [find(name) for name in metrics or _default_metrics(head, len(source))]
    labelled = target if target.labels is not None else source
    readers = {measure.name: _reader(measure, head, labelled) for measure in measures}
    large = source.rows.batch_rows() < len(source)
    found = _by_batches(alignment, source, target, measures if large else [], readers, device)
    if len(found) < len(measures):
        check_rows(source, "The source")
        views = _views(alignment, source.data.to(device), target.data.to(device))
    else:
        views = {}
    fitted = _fitted([alignment], len(source), source, target)
    with_head = fitted if head is None else _fitted([alignment, head], len(source), source, target)
    figures = []
    about: dict[str, Any] = {"dataset": source.dataset, "split": split, "n": len(source)}
    ranked: dict[str, dict[str, Tensor]] = {view: {} for view in views}
    for measure in measures:
        read = readers[measure.name]
        values = found.get(measure.name) or {
            view: _figure(measure, *read(X, views["native"], slice(None)), ranked[view]) for view, X in views.items()
        }
        rows = values["value"][1]
        low, high = (None, None) if rows is None else interval(rows, measure.shares)
        found_in = {**about, **{view: figure for view, (figure, _) in values.items()}}
        overlap = with_head if measure.takes == "classes" else fitted
        figures.append(Metric(measure.name, low=low, high=high, overlap=overlap, **found_in))
    return tuple(figures)


def _views(alignment: Alignment, X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """Return the rows measured beside the true ones: the mapped ones, these themselves, and those not mapped."""
    X, Y = working(X), working(Y)
    return {"value": alignment.aligner.transform(X), "native": Y, "floor": cut_or_padded(X, Y.shape[1])}


def _by_batches(
    alignment: Alignment,
    source: Vectors,
    target: Vectors,
    measures: Sequence[Measure],
    readers: Mapping[str, Reader],
    device: str,
) -> dict[str, dict[str, tuple[float, Tensor | None]]]:
    """Return the figures of the metrics that need not see all rows at once, of each view."""
    figures: dict[str, dict[str, Running]] = {}
    for measure in measures:
        each = {view: one for view in ("value", "native", "floor") if (one := running(measure, view == "value"))}
        figures |= {measure.name: each} if each else {}
    # A metric makes several copies of a batch, in float64.
    size, done = max(256, min(source.rows.batch_rows(), target.rows.batch_rows()) // 4), 0
    pairs = zip(source.rows.batches(size), target.rows.batches(size), strict=True) if figures else ()
    for x, y in pairs:
        if not is_finite(x):
            check_rows(source, "The source")
        views = _views(alignment, x.to(device), y.to(device))
        for name, each in figures.items():
            for view, figure in each.items():
                figure.add(*readers[name](views[view], views["native"], slice(done, done + len(x))))
        done += len(x)
    return {name: {view: figure.figure() for view, figure in each.items()} for name, each in figures.items()}


def _of_head(head: Head, vectors: Vectors, split: str, device: str) -> Metric:
    """Return the accuracy of a classifier on labelled vectors, those of unknown class left out.

    Its floor is the accuracy of always naming the commonest class.
    """
    if not head.classes:
        raise AtlasError(f"Head '{head.id}' is no classifier - there is no accuracy to measure")
    head.space.require(vectors.space, f"Head '{head.id}' reads", "the vectors")
    truth = class_numbers(head, vectors)
    if not bool(((truth >= 0) & (truth < len(head.classes))).any()):
        there = [vectors.classes[i] for i in _labels(vectors, "accuracy").unique().tolist() if i >= 0]
        theirs, ours = (", ".join(names[:5]) + ", ..." * (len(names) > 5) for names in (there, head.classes))
        raise AtlasError(f"Head '{head.id}' knows none of the vectors' classes ({theirs}) - its own are {ours}")
    predicted = [head.model.predict(batch.to(device)) for batch in vectors.rows.batches()]
    rows = agreement.correct(torch.cat(predicted), truth)
    low, high = wilson(rows)
    # Only a class that the head knows could be named.
    floor = float(truth[truth >= 0].bincount()[: len(head.classes)].max()) / len(rows)
    about: dict[str, Any] = {"dataset": vectors.dataset, "split": split, "n": len(rows)}
    return Metric("accuracy", float(rows.mean()), low=low, high=high, floor=floor, **about)


def _figure(measure: Measure, X: Any, Y: Any, ranked: dict[str, Tensor]) -> tuple[float, Tensor | None]:
    """Return a figure, and the values for each row that it is the mean of, if it is one; keep ranks for the next."""
    if measure.ranked and not ranked:
        ranked["found"] = ranks(X, Y)
    rows = measure.per_row(X, Y, **(ranked if measure.ranked else {}))
    return (measure(X, Y), None) if rows is None else (float(rows.mean()), rows)


def _default_metrics(head: Head | None, n: int) -> list[str]:
    chosen = DEFAULT if n <= MOST else ("cosine", "r2")
    named = [name for name in chosen if "@" not in name or int(name.partition("@")[2]) <= n]
    return ["accuracy", *named] if head is not None else named


def cut_or_padded(X: Tensor, d: int) -> Tensor:
    """Return vectors (n, d_source) as (n, d): dimensions cut off, or zeros added."""
    return X[:, :d] if X.shape[1] >= d else pad(X, (0, d - X.shape[1]))


def _reader(measure: Measure, head: Head | None, labelled: Vectors) -> Reader:
    """Return the function that turns mapped and true vectors, and their row numbers, into a metric's two inputs."""
    if measure.takes == "classes":
        if head is None:
            raise AtlasError(f"Metric '{measure.name}' needs a head of the target - give one, or leave the metric out")
        truth = class_numbers(head, labelled)
        return lambda X, Y, rows: (head.model.predict(X), truth[rows])
    if measure.takes == "labelled":
        labels = _labels(labelled, measure.name)
        return lambda X, Y, rows: (X, labels[rows])
    return lambda X, Y, rows: (X, Y)


def _labels(vectors: Vectors, what: str) -> Tensor:
    if vectors.labels is None:
        raise AtlasError(f"'{what}' needs labels, and the vectors have none - encode items with classes")
    return vectors.labels


def class_numbers(head: Head, vectors: Vectors) -> Tensor:
    """Return the label of each row as a number of the head's classes, (n,) int64.

    A class the head does not know gets a number of its own, so that it counts as missed; -1 stays unknown.
    """
    number = {name: i for i, name in enumerate(head.classes)}
    renumber = [number.get(name, len(number)) for name in vectors.classes]
    return torch.tensor([*renumber, -1])[_labels(vectors, "accuracy")]
