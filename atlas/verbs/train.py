"""Labelled vectors to a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.artefacts.head import Head
from atlas.artefacts.sketches import sketch_of
from atlas.errors import AtlasError, warn
from atlas.models.heads import create_head
from atlas.verbs.parameters.arguments import HeadModelLike, Seed, VectorsLike, check_seed, vectors_of


def train(
    head: HeadModelLike,
    vectors: VectorsLike,
    *,
    seed: Seed = 0,
    vector_column: str | None = None,
    id_column: str | None = None,
    id: str = "",
    **options: Any,
) -> Head:
    """Train a head on labelled vectors.

    Args:
        head: the method; `atlas heads` lists them.
        vectors: vectors with labels; rows without one are left out.
        seed: seed of the random choices.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        id: id of the head; by default made of its space and name.
        **options: options of the head.
    """
    check_seed(seed)
    model = create_head(head, options) if isinstance(head, str) else head
    views = vectors_of(vectors, vector_column, id_column)
    if views.labels is None or not bool((views.labels >= 0).any()):
        advice = (
            "encode items with classes, or give labels: atlas.Vectors.of(X, labels=...), or a table's column 'label'"
        )
        raise AtlasError(f"Vectors of '{views.space.id}' have no labels - {advice}")
    known = views.labels >= 0
    if left_out := int((~known).sum()):
        text = f"{left_out:,} of {len(views):,} vectors have no label, which is missing or -1, and are left out"
        warn(text, 2)
    present, labels = views.labels[known].unique(return_inverse=True)
    views = views if bool(known.all()) else views.take(known.nonzero().flatten())
    classes = tuple(views.classes[i] for i in present.tolist())
    _tell_absent(views.classes, classes)
    model.fit(views.data, labels, classes=len(classes), seed=seed)
    about = {"classes": classes, "dataset": views.dataset, "fitted_on": sketch_of(views)}
    return Head.of(model, views.space, id, **about)


def _tell_absent(known: Sequence[str], present: Sequence[str]) -> None:
    """Warn of classes without rows; where labels were numbers, it may be that they count from 1."""
    absent = [name for name in known if name not in {*present}]
    if absent and list(known) != [str(i) for i in range(len(known))]:
        names = ", ".join(f"'{name}'" for name in absent[:5]) + ", ..." * (len(absent) > 5)
        warn(f"No vector is of class {names}, which the head will not know", 3)
