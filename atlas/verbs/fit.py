"""Vectors of two spaces to an alignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.sketches import sketch_of
from atlas.artefacts.vectors import Vectors, paired, seeds
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError
from atlas.numerics.arrays import not_finite
from atlas.progress import Progress, silent
from atlas.storage.item_ids import hash_ids
from atlas.storage.rows import Rows
from atlas.verbs.parameters.arguments import AlignerLike, AnchorsLike, VectorsLike, anchors_of, component_of, vectors_of


def fit(
    aligner: AlignerLike,
    *,
    source: VectorsLike,
    target: VectorsLike | None = None,
    anchors: AnchorsLike | None = None,
    id: str = "",
    progress: Progress = silent,
    **options: Any,
) -> Alignment:
    """Fit a map from one space to another.

    Rows are paired by item id. A method that fits on the source alone, such as `relative`, takes no target. One that
    fits on seeds takes the items of the anchors, or all that both have, as pairs, and all other vectors of either side
    without a partner.

    Args:
        aligner: the method; `atlas aligners` lists them.
        source: vectors of the space to map from.
        target: vectors of the space to map to, of the same items.
        anchors: fit on these items alone, all of which must be in both; by default on all that both have.
        id: id of the alignment; by default made of its spaces and method.
        progress: shows how far it is.
        **options: options of the aligner.

    Raises:
        AtlasError: items that do not overlap, anchors that are missing, or a fit the method cannot do.
    """
    model = component_of(Aligner, aligner, options)
    only, name = anchors_of(anchors)
    X = vectors_of(source)
    if model.fits_on == "source":
        if target is not None:
            raise model.fail("fits on the source alone - leave out the target, and fit the target's half by itself")
        return _fit_half(model, X if only is None else X.of_items(only), name, id)
    if target is None:
        raise model.fail("needs the vectors of both spaces - give a target")
    Y = vectors_of(target)
    seen = _fit_both(model, X, Y, only, progress)
    dataset = X.dataset if X.dataset == Y.dataset else ""
    return Alignment.of(model, X.space, Y.space, id, **seen, anchors=name, dataset=dataset)


def _fit_both(
    model: Aligner, source: Vectors, target: Vectors, only: Sequence[str] | None, progress: Progress
) -> dict[str, Any]:
    """Fit an aligner that needs the vectors of both spaces, and return what its card says of those it saw."""
    if model.fits_on == "seeds":
        known = seeds(source, target, only)
        model.fit(source.data, target.data, known)
        pairs = len(known)
    else:
        if model.fits_on == "pairs" or only is not None:
            source, target = paired(source, target, only)
        fit_rows(model, source.rows, target.rows, progress)
        pairs = len(source) if model.fits_on == "pairs" else 0
    fitted_on = sketch_of(source) if model.fits_on == "pairs" else sketch_of(source, target)
    return {"n_pairs": pairs, "n_unpaired": len(source) + len(target) - 2 * pairs, "fitted_on": fitted_on}


def fit_rows(model: Aligner, X: Rows, Y: Rows, progress: Progress = silent) -> Aligner:
    """Fit on two matrices, batch by batch if the aligner can."""
    if not model.streaming:
        return model.fit(X.tensor, Y.tensor)
    size = min(X.batch_rows(), Y.batch_rows())
    model.forget()
    pairs = zip(X.batches(size), Y.batches(size), strict=True)
    try:
        for x, y in progress(pairs, -(-len(X) // size), "Fitting"):
            model.partial_fit(x, y)
    except AtlasError:
        check_rows(X, "The source")
        check_rows(Y, "The target")
        raise
    model.state_dict()
    return model


def check_rows(rows: Rows, what: str) -> None:
    """Raise `AtlasError` if a matrix holds NaN or infinity: how many values in all, and the first row that has one."""
    count, first, done = 0, -1, 0
    for batch in rows.batches():
        bad = ~torch.isfinite(batch)
        if bool(bad.any()):
            first = done + int(bad.any(1).nonzero()[0]) if first < 0 else first
            count += int(bad.sum())
        done += len(batch)
    if count:
        raise not_finite(what, count, first)


def _fit_half(model: Aligner, chosen: Vectors, name: str, id: str) -> Alignment:
    """Fit an aligner that needs the source alone: its target is the space that the anchors define."""
    model.fit(chosen.data)
    items = hash_ids(chosen.ids)
    identity = {"anchors": items, **model.coordinates()}
    target = Space(slug(f"{model.name}-{name or items[:8]}"), model.d_target, model.name, identity)
    about = {"n_pairs": len(chosen), "anchors": name, "dataset": chosen.dataset, "fitted_on": sketch_of(chosen)}
    return Alignment.of(model, chosen.space, target, id, **about)
