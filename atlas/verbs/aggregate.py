"""Vectors of several spaces to an atlas; an atlas with more spaces, and taken apart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.sketches import sketch_of
from atlas.artefacts.vectors import check_ids_meet
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.aggregator import Aggregator
from atlas.storage.item_ids import hash_ids
from atlas.verbs.parameters.arguments import (
    AggregatorLike,
    AnchorsLike,
    AtlasLike,
    VectorsLike,
    anchors_of,
    artefact_of,
    component_of,
    views_of,
)


def aggregate(
    aggregator: AggregatorLike,
    *vectors: VectorsLike,
    anchors: AnchorsLike | None = None,
    vector_column: str | None = None,
    id_column: str | None = None,
    id: str = "",
    **options: Any,
) -> Atlas:
    """Fit an atlas of several spaces.

    An atlas is a map of each space into a shared one, and the rule that combines them.

    Args:
        aggregator: the method; `atlas aggregators` lists them.
        *vectors: vectors of two or more spaces.
        anchors: fit on these items alone; by default on all items that the method can use: those in all spaces, for
            some methods those in two or more.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        id: id of the atlas; by default made of its spaces and method.
        **options: options of the aggregator.
    """
    model = component_of(Aggregator, aggregator, options)
    views = views_of(vectors, vector_column, id_column)
    names = [v.space.id for v in views]
    if len(set(names)) != len(names):
        raise model.fail(f"needs vectors of different spaces, got {', '.join(names)}")
    if not model.alone:
        check_ids_meet(*views)
    counts = Counter(item for v in views for item in v.ids)
    least = 1 if model.alone else 2 if model.partial else len(views)
    shared = [item for item, count in counts.items() if count >= least]
    only, name = anchors_of(anchors)
    order = shared if only is None else list(only)
    if not order:
        where = "two" if model.partial else "all"
        raise model.fail(f"found no item that is in {where} of the spaces - give anchors encoded in all of them")
    number = {item: i for i, item in enumerate(order)}
    views = [
        v.take(torch.tensor([i for i, item in enumerate(v.ids) if item in number], dtype=torch.int64)) for v in views
    ]
    items = {v.space.id: torch.tensor([number[item] for item in v.ids]) for v in views}
    model.fit({v.space.id: v.data for v in views}, items)
    identity = {"anchors": hash_ids(order), **model.identity()}
    made_by = str(identity.pop("encoder", model.name))
    space = Space(slug(id or f"{model.name}-{identity['anchors'][:8]}"), model.dim, made_by, identity)
    atlas_id = id or slug(f"{'-'.join(names)}__{model.name}"[:96])
    spaces = [v.space for v in views]
    about: dict[str, Any] = {"anchors": name, "dataset": views[0].dataset, "fitted_on": sketch_of(*views)}
    about["n_items"] = tuple(map(len, views))
    return Atlas.of(model, space, spaces, order, id=atlas_id, **about)


def extend(
    atlas: AtlasLike,
    *vectors: VectorsLike,
    vector_column: str | None = None,
    id_column: str | None = None,
    id: str = "",
) -> Atlas:
    """Add spaces to an atlas.

    The maps it holds already, and the shared space, are untouched. Figures that were measured on the old atlas are
    dropped.

    Args:
        atlas: the atlas to extend.
        *vectors: vectors of one or more new spaces, of items the atlas was fitted on.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        id: id of the extended atlas; by default that of the old one and those of the spaces.
    """
    made = old = artefact_of(atlas, Atlas)
    for view in views_of(vectors, vector_column, id_column):
        made = made.add(view)
    return made.with_card(id=id or made.id, parts=old.as_parts())


def chart(atlas: AtlasLike, space: str, *, id: str = "") -> Alignment:
    """Take one map out of an atlas.

    It is an alignment of its own, from one space to the shared one. `atlas compose A B --inverse B` with two of them
    maps one space to the other, through the shared one.

    Args:
        atlas: the atlas to take it out of.
        space: id of the space.
        id: id of the alignment; by default made of those of the atlas and the space.
    """
    made = artefact_of(atlas, Atlas).chart(space)
    return made.with_card(id=id or made.id)
