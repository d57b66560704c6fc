"""Vectors of two spaces, or their moments, to an alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.moments import Moments, are_many
from atlas.artefacts.sketches import Sketching, sketch_of
from atlas.artefacts.vectors import Vectors, paired, seeds
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.components.linear import LinearAligner
from atlas.errors import AtlasError
from atlas.numerics.arrays import check_device
from atlas.numerics.domain import Domain
from atlas.progress import Progress, silent
from atlas.storage.item_ids import hash_ids
from atlas.verbs.moments import check_rows as check_rows
from atlas.verbs.moments import moments as counted
from atlas.verbs.moments import named, summed
from atlas.verbs.parameters.arguments import (
    AlignerLike,
    AnchorsLike,
    MomentsLike,
    VectorsLike,
    anchors_of,
    component_of,
    moments_of,
    sound_of,
    vectors_of,
)


def fit(
    aligner: AlignerLike,
    *,
    source: VectorsLike | None = None,
    target: VectorsLike | None = None,
    anchors: AnchorsLike | None = None,
    moments: MomentsLike | None = None,
    reverse: bool = False,
    confidence: bool | None = None,
    vector_column: str | None = None,
    id_column: str | None = None,
    skip_bad: str | Path | None = None,
    overwrite: bool = False,
    id: str = "",
    device: str = "cpu",
    progress: Progress = silent,
    **options: Any,
) -> Alignment:
    """Fit a map from one space to another.

    Rows are paired by item id. A method that fits on the source alone, such as `relative`, takes no target. One that
    fits on a few pairs and many unpaired vectors takes the anchors, or all common items, as pairs, and every other
    vector as unpaired. A linear method can be fitted from moments instead, or from moments and further pairs.

    Args:
        aligner: the method; `atlas aligners` lists them.
        source: vectors of the space to map from.
        target: vectors of the space to map to, of the same items.
        anchors: fit on these items alone, all of which must be in both; by default on all that both have.
        moments: moments of the two spaces, or an alignment on the Hub that has them beside it; source and target, if
            they are given, too, add pairs of other items.
        reverse: with moments: fit the map from their target to their source; further pairs are still named as in the
            moments.
        confidence: keep the mean and the spread of the pairs, from which apply, evaluate and confidence predict the
            errors of the map; by default only if that costs nothing and there are at least 10 pairs for each dimension,
            since fewer could be reconstructed from it.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        skip_bad: leave out vectors that are missing or hold NaN or infinity, and list their ids in this .txt file, one
            a line; without it, the first of them ends the work.
        overwrite: replace an existing list of `skip_bad`.
        id: id of the alignment; by default made of its spaces and method.
        device: where to sum up the rows, for methods that fit from moments; others fit on the CPU alone.
        progress: shows how far it is.
        **options: options of the aligner.

    Raises:
        AtlasError: items that do not overlap, anchors that are missing, a fit the method cannot do, or no such device.
    """
    model = component_of(Aligner, aligner, options)
    if device != "cpu" and not model.streaming:
        raise model.fail(f"fits on the CPU alone, got device '{device}' - leave out device")
    check_device(device)
    if moments is not None:
        pairs = {"source": source, "target": target, "anchors": anchors}
        how: dict[str, Any] = {"skip_bad": skip_bad, "overwrite": overwrite, "device": device, "progress": progress}
        known = _with_pairs(moments_of(moments), pairs, vector_column=vector_column, id_column=id_column, **how)
        return _fit_moments(model, known.reversed() if reverse else known, confidence, id)
    if reverse:
        raise AtlasError(
            "Only moments can be reversed - give the target's vectors as source, and the source's as target"
        )
    if source is None:
        raise AtlasError("There is nothing to fit on - give source and target, or moments")
    only, name = anchors_of(anchors)
    X = vectors_of(source, vector_column, id_column, name="source")
    if model.fits_on == "source":
        if target is not None:
            raise model.fail("fits on the source alone - leave out the target, and fit the target's half by itself")
        [X] = sound_of([X], skip_bad, overwrite)
        return _fit_half(model, X if only is None else X.of_items(only), name, id)
    if target is None:
        raise model.fail("needs the vectors of both spaces - give a target")
    X, Y = sound_of([X, vectors_of(target, vector_column, id_column, name="target")], skip_bad, overwrite)
    seen = _fit_both(model, X, Y, only, progress, bool(confidence), device)
    dataset = X.dataset if X.dataset == Y.dataset else ""
    domain = domain_of(model, confidence)
    return Alignment.of(model, X.space, Y.space, id, domain, **seen, anchors=name, dataset=dataset)


def _with_pairs(known: Moments, pairs: Mapping[str, Any], **how: Any) -> Moments:
    """Return moments with those of further pairs added, if there are any."""
    if all(value is None for value in pairs.values()):
        return known
    if pairs["source"] is None or pairs["target"] is None:
        raise AtlasError("Pairs that are added to moments need the vectors of both spaces - give source and target")
    return known + counted(**pairs, **how)


def _fit_moments(model: Aligner, known: Moments, confidence: bool | None, id: str) -> Alignment:
    """Fit an aligner from moments alone."""
    if not isinstance(model, LinearAligner) or not model.streaming:
        raise model.fail("needs rows, not moments - give source and target, or take a linear method")
    model.fit_moments(known.sums).state_dict()
    domain = domain_of(model, confidence, known.n_public)
    about = {"n_pairs": known.n, "anchors": known.anchors, "dataset": known.dataset}
    return Alignment.of(model, known.source, known.target, id, domain, **about)


def domain_of(model: Aligner, wanted: bool | None, n_public: int = 0) -> Domain | None:
    """Return the domain of a fit, None where it is not wanted, or (unless it is) not known or of few pairs.

    Args:
        model: the fitted aligner.
        wanted: whether it is; None: where it costs nothing and gives nothing away.
        n_public: how many pairs are in moments that have been published.
    """
    m = model.moments if isinstance(model, LinearAligner) else None
    if wanted and m is None:
        raise model.fail("is not fitted from moments, by which its domain would be known - leave out confidence")
    if wanted is False or m is None or m.xx is None or m.xy is None:
        return None
    # Public data give nothing away.
    fresh = m.n_distinct if m.n == n_public else min(m.n_distinct, m.n - n_public)
    if not wanted and not are_many(fresh, *m.shape):
        return None
    return Domain.of(m, model.state["weight"], model.state["bias"], fresh)


def _fit_both(
    model: Aligner,
    source: Vectors,
    target: Vectors,
    only: Sequence[str] | None,
    progress: Progress,
    confidence: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    """Fit an aligner that needs the vectors of both spaces, and return the fields of its card about those it saw."""
    unpaired, sketching = len(source) + len(target), None
    if model.fits_on == "seeds":
        known = seeds(source, target, only)
        model.fit(source.data, target.data, known)
        pairs = len(known)
    else:
        if model.fits_on == "pairs" or only is not None:
            source, target = paired(source, target, only)
        if model.fits_on == "pairs":
            sketching = Sketching(source)
            source = sketching.view
        if confidence and isinstance(model, LinearAligner) and model.streaming:
            needs = {*model.needed(source.space.dim, target.space.dim), "xy", "xx"}
            model.fit_moments(summed(source, target, needs, progress, device=device)).state_dict()
        else:
            fit_rows(model, source, target, progress, device)
        pairs = len(source) if model.fits_on == "pairs" else 0
        # Those that are no anchors were not asked for.
        unpaired = unpaired if only is None else len(source) + len(target)
    fitted_on = sketching.sketch().text() if sketching else sketch_of(source, target)
    return {"n_pairs": pairs, "n_unpaired": unpaired - 2 * pairs, "fitted_on": fitted_on}


def fit_rows(
    model: Aligner, source: Vectors, target: Vectors, progress: Progress = silent, device: str = "cpu"
) -> Aligner:
    """Fit on paired vectors, batch by batch, each brought to a device, if the aligner can."""
    X, Y = source.rows, target.rows
    size = min(X.batch_rows(), Y.batch_rows())
    with named(source, target):
        if not model.streaming:
            return model.fit(X.tensor, Y.tensor)
        model.forget()
        pairs = zip(X.batches(size), Y.batches(size), strict=True)
        for x, y in progress(pairs, -(-len(X) // size), "Fitting"):
            model.partial_fit(x.to(device), y.to(device))
    model.state_dict()
    return model


def _fit_half(model: Aligner, chosen: Vectors, name: str, id: str) -> Alignment:
    """Fit an aligner that needs the source alone: its target is the space that the anchors define."""
    model.fit(chosen.data)
    items = hash_ids(chosen.ids)
    identity = {"anchors": items, **model.coordinates()}
    target = Space(slug(f"{model.name}-{name or items[:8]}"), model.d_target, model.name, identity)
    about: dict[str, Any] = {
        "n_pairs": len(chosen),
        "anchors": name,
        "dataset": chosen.dataset,
        "fitted_on": sketch_of(chosen),
    }
    return Alignment.of(model, chosen.space, target, id, **about)
