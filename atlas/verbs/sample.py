"""Vectors to anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.artefacts.anchors import Anchors
from atlas.artefacts.vectors import check_ids_meet
from atlas.cards.names import slug
from atlas.components.sampler import Sampler
from atlas.verbs.parameters.arguments import (
    SamplerLike,
    Seed,
    VectorsLike,
    check_seed,
    component_of,
    vectors_of,
    views_of,
)


def sample(
    sampler: SamplerLike,
    vectors: VectorsLike,
    n: int,
    *,
    seed: Seed = 0,
    also: Sequence[VectorsLike] = (),
    vector_column: str | None = None,
    id_column: str | None = None,
    id: str = "",
    **options: Any,
) -> Anchors:
    """Draw anchors from vectors.

    Anchors are the items on which spaces are aligned.

    Args:
        sampler: the method; `atlas samplers` lists them.
        vectors: vectors to draw from; those of the anchors are kept.
        n: how many anchors.
        seed: seed of the random choices.
        also: keep the anchors' vectors in this space, too.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        id: id of the anchors; by default made of data set, sampler, number and seed.
        **options: options of the sampler.
    """
    check_seed(seed)
    model = component_of(Sampler, sampler, options)
    columns = (vector_column, id_column)
    X = vectors_of(vectors, *columns)
    chosen = X.take(model.sample(X.data, n, seed=seed, labels=X.labels))
    name = id or slug(f"{X.dataset or X.space.id}-{model.name}-{n}-s{seed}")
    others = views_of(also, *columns, name="also")
    check_ids_meet(X, *others)
    about = {"sampler": model.name, "config": model.config(), "seed": seed}
    return Anchors.of(name, chosen.ids, chosen, *others, **about, drawn_in=X.space.id, dataset=X.dataset)
