"""What the command line does, one function for each verb, for use from Python and from recipes.

Names of components stand for components with the options given; ids and folders stand for what is stored there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from atlas.arrays import check_finite, not_finite
from atlas.artefacts import Alignment, Anchors, Atlas, Head, read_vectors
from atlas.base import Aggregator, Aligner, Encoder, Exporter, Sampler
from atlas.chain import Composed
from atlas.errors import AtlasError, unknown
from atlas.files import Rows, check_target
from atlas.finding import find_encoder, find_items, make_ready
from atlas.heads import HEADS, HeadModel
from atlas.plugins import create
from atlas.stitching import Stitched
from atlas.types import Space, slug
from atlas.vectors import Vectors, encode_labels, paired, seeds, writer

T = TypeVar("T")


class Progress(Protocol):
    """What shows how far long work has come: given batches of anything, it yields them and counts them."""

    def __call__(self, batches: Iterable[T], total: int, what: str) -> Iterable[T]:
        """Yield the batches; `total` batches are expected, `what` says what is done to them."""


def silent(batches: Iterable[T], total: int, what: str) -> Iterable[T]:
    """Yield the batches and show nothing."""
    return batches


def encode(
    encoder: str | Path | Encoder,
    items: Any,
    *,
    out: str | Path | None = None,
    id: str | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Vectors:
    """Turn items into vectors.

    Args:
        encoder: a component, its name (with `options`), or a stored space.
        items: a path, stored vectors, or a list, tensor or array.
        out: where to write the vectors, batch by batch; None: they are kept in memory.
        id: of the space, if it is not stored under one.
        batch_size: items in a batch.
        device: where to compute.
        overwrite: replace what is at `out`.
        progress: shows how far it is.
        **options: of the encoder.

    Returns:
        Vectors with the items' ids and labels.
    """
    if out is not None:
        check_target(out, overwrite)
    model = find_encoder(encoder, options)
    items = find_items(items)
    make_ready(model, items)
    batches = progress(
        model.encode(items, batch_size=batch_size, device=device), -(-len(items) // batch_size), "Encoding"
    )
    labels, classes = encode_labels(items.labels, ())
    if out is None:
        data = torch.cat(list(batches))
        space = model.space(id)
        return Vectors(space, Rows(data), items.ids, labels, classes, items.name)
    iterator = iter(batches)
    first = next(iterator)
    space = model.space(id)
    like = Vectors(
        space, Rows(first.new_empty(1, 1).expand(len(items), space.dim)), items.ids, labels, classes, items.name
    )
    with writer(out, like, len(items), first.dtype, overwrite=overwrite) as write:
        write(first)
        for batch in iterator:
            write(batch)
    return read_vectors(out)


def sample(sampler: str | Sampler, vectors: Vectors, n: int, *, seed: int = 0, id: str = "", **options: Any) -> Anchors:
    """Draw anchors from vectors, and keep their vectors.

    Args:
        sampler: a component, or its name with `options`.
        vectors: to draw from.
        n: how many.
        seed: of the random choices.
        id: of the anchors; '' makes one of data set, sampler, number and seed.
        **options: of the sampler.
    """
    check_seed(seed)
    model = sampler if isinstance(sampler, Sampler) else create(Sampler, sampler, options)
    rows = model.sample(vectors.data, n, seed=seed, labels=vectors.labels)
    chosen = vectors.take(rows)
    name = id or slug(f"{vectors.dataset or vectors.space.id}-{model.name}-{n}-s{seed}")
    return Anchors(
        name,
        chosen.ids,
        {vectors.space.id: chosen.data},
        (vectors.space,),
        model.name,
        model.config(),
        seed,
        vectors.space.id,
        vectors.dataset,
    )


def check_seed(seed: int) -> int:
    """Return a seed, or raise `AtlasError` if it is none that generators and cards can hold."""
    if not 0 <= seed < 2**63:
        raise AtlasError(f"A seed must be from 0 to 2**63 - 1, got {seed}")
    return seed


def fit(
    aligner: str | Aligner,
    *,
    source: Vectors,
    target: Vectors | None = None,
    anchors: Anchors | Sequence[str] | None = None,
    id: str = "",
    progress: Progress = silent,
    **options: Any,
) -> Alignment:
    """Fit a map from one space to another.

    Args:
        aligner: a component, or its name with `options`.
        source: vectors of the space to map from.
        target: vectors of the space to map to; rows are paired with the source's by item id. None for an aligner that
            fits on the source alone, such as 'relative'.
        anchors: the items to fit on, all of which must be in both; None: every item both have. For an aligner that fits
            on seeds, these are the pairs it knows, and all other rows of either are given to it without a partner.
        id: of the alignment; '' makes one of its spaces and method.
        progress: shows how far it is.
        **options: of the aligner.

    Raises:
        AtlasError: items that do not overlap, anchors that are missing, or a fit the method cannot do.
    """
    model = aligner if isinstance(aligner, Aligner) else create(Aligner, aligner, options)
    only = None if anchors is None else anchors.ids if isinstance(anchors, Anchors) else list(anchors)
    name = anchors.id if isinstance(anchors, Anchors) else ""
    if model.fits_on == "source":
        if target is not None:
            raise model.fail("fits on the source alone - leave out the target, and fit the target's half by itself")
        return _fit_half(model, source if only is None else source.of_items(only), anchors, name, id)
    if target is None:
        raise model.fail("needs the vectors of both spaces - give a target")
    seen = _fit_both(model, source, target, only, progress)
    dataset = source.dataset if source.dataset == target.dataset else ""
    return Alignment.of(model, source.space, target.space, id, **seen, anchors=name, dataset=dataset)


def _fit_both(
    model: Aligner, source: Vectors, target: Vectors, only: Sequence[str] | None, progress: Progress
) -> dict[str, int]:
    """Fit an aligner that needs the vectors of both spaces, and return how many with and without a partner it saw."""
    if model.fits_on == "seeds":
        known = seeds(source, target, only)
        model.fit(source.data, target.data, known)
        pairs = len(known)
    else:
        if model.fits_on == "pairs" or only is not None:
            source, target = paired(source, target, only)
        fit_rows(model, source.rows, target.rows, progress)
        pairs = len(source) if model.fits_on == "pairs" else 0
    return {"n_pairs": pairs, "n_unpaired": len(source) + len(target) - 2 * pairs}


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


def _fit_half(model: Aligner, chosen: Vectors, anchors: Any, name: str, id: str) -> Alignment:
    """Fit an aligner that needs the source alone: its target is the space that the anchors define."""
    ids = chosen.ids if isinstance(chosen.ids, list) else list(chosen.ids)
    model.fit(chosen.data)
    items = anchors.fingerprint if isinstance(anchors, Anchors) else Anchors("items", ids).fingerprint
    identity = {"anchors": items, **model.coordinates()}
    target = Space(slug(f"{model.name}-{name or items[:8]}"), model.d_target, model.name, identity)
    return Alignment.of(model, chosen.space, target, id, n_pairs=len(chosen), anchors=name, dataset=chosen.dataset)


def apply(
    mapping: Alignment | Atlas,
    *vectors: Vectors,
    out: str | Path | None = None,
    inverse: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Vectors:
    """Map vectors of the source to the target, or, through an atlas, vectors of several spaces to the shared one.

    Args:
        mapping: an alignment, or an atlas.
        *vectors: of the source (of the target, if `inverse`); of any of its spaces for an atlas.
        out: where to write the result, batch by batch; None: it is kept in memory.
        inverse: run the alignment backwards.
        overwrite: replace what is at `out`.
        progress: shows how far it is.
    """
    if out is not None:
        check_target(out, overwrite)
    if isinstance(mapping, Atlas):
        if inverse:
            raise AtlasError(f"Atlas '{mapping.id}' cannot be run backwards - invert one of its charts")
        for view in vectors:
            check_finite(view.data, f"Vectors of '{view.space.id}'")
        result = mapping(*vectors)
        if out is not None:
            result.save_pretrained(out, overwrite=overwrite)
        return result
    if len(vectors) != 1:
        raise AtlasError(f"Alignment '{mapping.id}' maps one set of vectors, got {len(vectors)}")
    return _apply_rows(mapping.inverse() if inverse else mapping, vectors[0], out, overwrite, progress)


def _apply_rows(
    alignment: Alignment, vectors: Vectors, out: str | Path | None, overwrite: bool, progress: Progress
) -> Vectors:
    if out is None:
        check_finite(vectors.data, "Vectors")
        return alignment(vectors)
    alignment.source.require(vectors.space, f"Alignment '{alignment.id}' maps from", "the vectors")
    # Small enough for what a batch makes to be in the cache still when it is written.
    size = max(256, vectors.rows.batch_rows() // 16)
    dtype = vectors.data.dtype
    with writer(out, vectors, len(vectors), dtype, space=alignment.target, overwrite=overwrite) as write:
        for batch in progress(vectors.rows.batches(size), -(-len(vectors) // size), "Applying"):
            if not bool(torch.isfinite(batch.sum())):
                check_rows(vectors.rows, "Vectors")
            write(alignment.aligner.transform(batch))
    return read_vectors(out)


def compose(*alignments: Alignment, id: str = "") -> Alignment:
    """Apply alignments one after another, as one: each must reach the space the next one maps from."""
    if not alignments:
        raise AtlasError("Composing needs at least one alignment, got none")
    for first, second in itertools.pairwise(alignments):
        second.source.require(first.target, f"Alignment '{second.id}' maps from", f"the vectors '{first.id}' makes")
    aligner = Composed.of([(alignment.aligner, False) for alignment in alignments])
    pairs = min(alignment.n_pairs for alignment in alignments)
    names = {alignment.anchors for alignment in alignments}
    anchors = names.pop() if len(names) == 1 else ""
    return Alignment.of(aligner, alignments[0].source, alignments[-1].target, id, n_pairs=pairs, anchors=anchors)


def aggregate(
    aggregator: str | Aggregator,
    *vectors: Vectors,
    anchors: Anchors | Sequence[str] | None = None,
    id: str = "",
    **options: Any,
) -> Atlas:
    """Fit an atlas: one chart into a shared space for each set of vectors.

    Args:
        aggregator: a component, or its name with `options`.
        *vectors: one for each space.
        anchors: the items to fit on; None: every item that the method can make use of, which for most must be in all
            spaces, or in two of them.
        id: of the atlas; '' makes one of the method and its spaces.
        **options: of the aggregator.
    """
    model = aggregator if isinstance(aggregator, Aggregator) else create(Aggregator, aggregator, options)
    names = [v.space.id for v in vectors]
    if len(set(names)) != len(names):
        raise model.fail(f"needs vectors of different spaces, got {', '.join(names)}")
    counts: dict[str, int] = {}
    for item in (item for v in vectors for item in v.ids):
        counts[item] = counts.get(item, 0) + 1
    least = 1 if model.alone else 2 if model.partial else len(vectors)
    shared = [item for item, count in counts.items() if count >= least]
    order = shared if anchors is None else list(anchors.ids if isinstance(anchors, Anchors) else anchors)
    if not order:
        where = "two" if model.partial else "all"
        raise model.fail(f"found no item that is in {where} of the spaces - give anchors encoded in all of them")
    number = {item: i for i, item in enumerate(order)}
    rows = {v.space.id: [i for i, item in enumerate(v.ids) if item in number] for v in vectors}
    views = {v.space.id: v.data[rows[v.space.id]] for v in vectors}
    items = {v.space.id: torch.tensor([number[v.ids[i]] for i in rows[v.space.id]]) for v in vectors}
    model.fit(views, items)
    identity = {"anchors": Anchors("items", order).fingerprint, **model.identity()}
    made_by = str(identity.pop("encoder", model.name))
    space = Space(slug(id or f"{model.name}-{identity['anchors'][:8]}"), model.dim, made_by, identity)
    name = anchors.id if isinstance(anchors, Anchors) else ""
    atlas_id = id or slug(f"{'-'.join(names)}__{model.name}"[:96])
    return Atlas(atlas_id, space, tuple(v.space for v in vectors), model, order, name, vectors[0].dataset)


def extend(atlas: Atlas, *vectors: Vectors, id: str = "") -> Atlas:
    """Add a chart to an atlas for each set of vectors; the others, and the shared space, are untouched.

    Args:
        atlas: what to extend.
        *vectors: one for each new space, of items the atlas was fitted on.
        id: of the new atlas; '' keeps the id.
    """
    for view in vectors:
        atlas = atlas.add(view)
    return replace(atlas, id=id or atlas.id)


def export(
    exporter: str | Exporter,
    model: Alignment | Stitched,
    out: str | Path,
    /,
    *,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write an alignment, or a stitched model, in the form that another program reads, and return where it is.

    Args:
        exporter: a component, or its name with `options`.
        model: an alignment, or what `atlas.stitch` returns.
        out: the file or the folder.
        overwrite: replace a file that is there.
        **options: of the exporter.
    """
    made = exporter if isinstance(exporter, Exporter) else create(Exporter, exporter, options)
    return made.export(model, out, overwrite=overwrite)


def train(head: str | HeadModel, vectors: Vectors, *, id: str = "", seed: int = 0, **options: Any) -> Head:
    """Train a head on labelled vectors.

    Args:
        head: a head, or its name with `options`: linear, network, nearest-mean or knn.
        vectors: with labels; rows without one are left out.
        id: of the head; '' makes one of space and head.
        seed: of the random choices, for a head that makes any.
        **options: of the head.
    """
    check_seed(seed)
    model = head if isinstance(head, HeadModel) else head_model(head, options)
    if vectors.labels is None:
        raise AtlasError(f"Vectors of '{vectors.space.id}' have no labels - encode a folder with class subfolders")
    known = vectors.labels >= 0
    X, y = (vectors.data, vectors.labels) if bool(known.all()) else (vectors.data[known], vectors.labels[known])
    model.fit(X, y, classes=len(vectors.classes), seed=seed)
    name = id or slug(f"{vectors.space.id}__{model.name}")
    return Head(name, vectors.space, model, vectors.classes, vectors.dataset)


def head_model(name: str, options: Mapping[str, Any] | None = None) -> HeadModel:
    """Return an unfitted head by name, with its options."""
    if name not in HEADS:
        raise AtlasError(unknown("head", name, HEADS))
    return HEADS[name].from_config(options or {})
