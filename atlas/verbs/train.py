"""Labelled vectors to a head."""

from __future__ import annotations

from typing import Any

from atlas.artefacts.head import Head
from atlas.artefacts.vectors import Vectors
from atlas.errors import AtlasError
from atlas.models.heads import HeadModel, create_head
from atlas.verbs.sample import check_seed


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
    model = head if isinstance(head, HeadModel) else create_head(head, options)
    if vectors.labels is None:
        raise AtlasError(f"Vectors of '{vectors.space.id}' have no labels - encode a folder with class subfolders")
    known = vectors.labels >= 0
    X, y = (vectors.data, vectors.labels) if bool(known.all()) else (vectors.data[known], vectors.labels[known])
    model.fit(X, y, classes=len(vectors.classes), seed=seed)
    return Head.of(model, vectors.space, id, classes=vectors.classes, dataset=vectors.dataset)
