"""Vectors of several spaces to an atlas, and an atlas with more spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from atlas.artefacts.anchors import Anchors
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.vectors import Vectors
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.aggregator import Aggregator
from atlas.plugins.catalogue import create
from atlas.storage.item_ids import hash_ids


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
    identity = {"anchors": hash_ids(order), **model.identity()}
    made_by = str(identity.pop("encoder", model.name))
    space = Space(slug(id or f"{model.name}-{identity['anchors'][:8]}"), model.dim, made_by, identity)
    name = anchors.id if isinstance(anchors, Anchors) else ""
    atlas_id = id or slug(f"{'-'.join(names)}__{model.name}"[:96])
    spaces = [v.space for v in vectors]
    return Atlas.of(model, space, spaces, order, id=atlas_id, anchors=name, dataset=vectors[0].dataset)


def extend(atlas: Atlas, *vectors: Vectors, id: str = "") -> Atlas:
    """Add a chart to an atlas for each set of vectors; the others, and the shared space, are untouched.

    Args:
        atlas: what to extend.
        *vectors: one for each new space, of items the atlas was fitted on.
        id: of the new atlas; '' keeps the id.
    """
    for view in vectors:
        atlas = atlas.add(view)
    return atlas.with_card(id=id or atlas.id)
