"""A push's own figures of an artefact: metrics on held-out vectors, and how few pairs would do."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atlas.cards.kinds import AlignmentCard, Card, Metric, merged
from atlas.cards.sketch import Sketch
from atlas.errors import AtlasError
from atlas.hub.cache import SCHEME
from atlas.hub.pulling import pull
from atlas.metrics import METRICS
from atlas.sharing.parts import figures, load_parts, parts
from atlas.sharing.picture import png

CURVE, PICTURE = "curve.csv", "picture.png"
# How many pairs the curve is drawn at, below all of them, and how often each number is drawn.
SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
DRAWS = 3


@dataclass(frozen=True)
class Point:
    """The method's figure with fewer pairs: the mean over some draws of that many, the lowest and the highest."""

    pairs: int
    draws: int
    mean: float
    low: float
    high: float


def measured(
    folder: Path, card: Card, evaluated_on: Sequence[str], fitted_on: Sequence[str], token: str | bool | None
) -> tuple[Card, dict[str, bytes]]:
    """Return an artefact's card with figures measured now, and the curve and the picture to publish beside it.

    Args:
        folder: the alignment, head or atlas.
        card: its card.
        evaluated_on: references to the Hub of the data it is measured on; their present commits are written into the
            card.
        fitted_on: vectors of the source and the target that an alignment was fitted on; none: no curve.
        token: None for the one you are logged in with.

    Raises:
        AtlasError: it cannot be measured on these, others cannot reach them, or it was fitted on them.
    """
    evaluation, found = _reached(card, evaluated_on, token)
    known: Sequence[Metric] = getattr(card, "metrics", ())
    names = measurable(known, found)
    if names and "head" in found and "accuracy" not in names:
        names = ["accuracy", *names]
    measures = figures(folder, card, found, names)
    # Figures of as many items of the same data set are of the same part of it.
    alike = {(one.name, one.dataset, one.n) for one in measures}
    splits = {one.split for one in known if (one.name, one.dataset, one.n) in alike}
    measures = [replace(one, split=splits.copy().pop() if len(splits) == 1 else "") for one in measures]
    card = replace(card, metrics=merged(known, measures), evaluation=evaluation)  # type: ignore[call-arg]
    return card, _drawn(card, measures, found, fitted_on) if isinstance(card, AlignmentCard) else {}


def measurable(known: Sequence[Metric], found: Mapping[str, Any]) -> list[str]:
    """Return the names of figures that the data allow: an accuracy needs a head, and others an index."""
    names = [one.name for one in known if one.name.partition("@")[0] in METRICS]
    return list(dict.fromkeys(name for name in names if name != "accuracy" or "head" in found))


def _drawn(
    card: AlignmentCard, measures: Sequence[Metric], views: dict[str, Any], fitted_on: Sequence[str]
) -> dict[str, bytes]:
    """Return the learning curve of an alignment and its picture."""
    from atlas.artefacts.loading import read_vectors

    points: list[Point] = []
    metric = _chosen(measures)
    if fitted_on:
        pairs = [read_vectors(ref) for ref in fitted_on]
        ids = fitted_items(card, pairs)
        _check_apart(ids, pairs[0].dataset, views["source"])
        points = list(curve(card, pairs, ids, views, metric.name))
    made = {CURVE: table(points, metric.name).encode()} if points else {}
    if picture := png(measures, points, metric):
        made[PICTURE] = picture
    return made


def _reached(card: Card, refs: Sequence[str], token: str | bool | None) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the pinned references of the data an artefact is measured on, and the artefacts there, by role."""
    for ref in refs:
        if not ref.startswith(SCHEME):
            raise AtlasError(f"'{ref}' cannot be reached by others - push it, and give its hf:// reference")
    # The cards alone first: a mismatch is reported before anything large is downloaded.
    named = parts(card, [pull(ref, token=token, tensors=False).card.kind for ref in refs])
    pulled = {part: pull(ref, token=token) for part, ref in zip(named, refs, strict=True)}
    pinned = {part: one.pinned for part, one in pulled.items()}
    return pinned, load_parts({part: one.folder for part, one in pulled.items()})


def fitted_items(card: AlignmentCard, views: Sequence[Any]) -> list[str]:
    """Return the items of paired vectors that an alignment was fitted on, as far as its card or its anchors tell.

    Raises:
        AtlasError: it was fitted on some of them, and neither says on which.
    """
    from atlas.artefacts.loading import load
    from atlas.artefacts.sketches import fitted_rows
    from atlas.artefacts.vectors import paired

    X = paired(*views)[0]
    if len(X) == card.n_pairs or not card.fitted_on:
        return list(X.ids)
    if Sketch.parse(card.fitted_on).exact:
        known = fitted_rows(card.fitted_on, X)
        return [item for item, fitted in zip(X.ids, known, strict=True) if fitted]
    with contextlib.suppress(AtlasError):
        drawn = set(load(card.anchors, "anchors").ids)
        return [item for item in X.ids if item in drawn]
    if card.n_unpaired:
        return list(X.ids)
    raise AtlasError(
        f"Alignment '{card.id}' was fitted on {card.n_pairs:,} pairs, of the {len(X):,} given, and it is not known on "
        "which - give vectors of those alone"
    )


def _check_apart(ids: Sequence[str], dataset: str, held_out: Any) -> None:
    # Rows of bare files are only numbered, so their ids say nothing without a data set.
    both = set(ids) & set(held_out.ids)
    if both and dataset and dataset == held_out.dataset:
        raise AtlasError(
            f"{len(both)} of the {len(held_out):,} items it is evaluated on are among those it was fitted on, such as "
            f"{min(both)!r} - evaluate on others"
        )


def _chosen(measured: Sequence[Metric]) -> Metric:
    """Return the figure that a curve shows best."""
    named = {figure.name: figure for figure in measured}
    return next(
        (named[name] for name in ("accuracy", "jaccard@10", "self-recall@1", "cosine") if name in named), measured[0]
    )


def curve(
    card: AlignmentCard, fitted: Sequence[Any], ids: Sequence[str], views: dict[str, Any], metric: str
) -> Iterator[Point]:
    """Fit the same method on growing random subsets of the pairs, and measure each on the same held-out items.

    Args:
        card: names the method and its options.
        fitted: vectors of the source and the target.
        ids: the items of them to draw from.
        views: source, target and head to measure on.
        metric: the metric to measure.

    Raises:
        AtlasError: the method cannot be fitted again.
    """
    import torch

    from atlas.artefacts.vectors import paired
    from atlas.verbs.evaluate import evaluate
    from atlas.verbs.fit import fit

    X, Y = paired(*fitted)
    card.source.require(X.space, f"Alignment '{card.id}' maps from", "the vectors it was fitted on")
    card.target.require(Y.space, f"Alignment '{card.id}' maps to", "the vectors it was fitted on")
    generator = torch.Generator().manual_seed(0)
    most = min(len(ids), card.n_pairs or len(ids))
    for size in [*(s for s in SIZES if s < most), most]:
        values = []
        for _ in range(1 if size == len(ids) else DRAWS):
            rows = torch.randperm(len(ids), generator=generator)[:size].sort().values
            try:
                # As anchors, not cut down to these rows: a method that fits on seeds looks at all others, too.
                some = [ids[row] for row in rows.tolist()]
                made = fit(card.aligner, source=fitted[0], target=fitted[1], anchors=some, **card.config)
            except AtlasError:
                if size == most:
                    raise
                continue  # fewer pairs than this method needs
            values.append(evaluate(made, metrics=[metric], **views)[0].value)
        if values:
            yield Point(size, len(values), statistics.fmean(values), min(values), max(values))


def table(points: Sequence[Point], metric: str) -> str:
    """Return a curve as CSV."""
    rows = [f"{p.pairs},{p.draws},{p.mean:.4f},{p.low:.4f},{p.high:.4f}" for p in points]
    return "\n".join([f"pairs,draws,{metric},lowest,highest", *rows, ""])
