"""The confidence of a map's results, learned from the queries of a plan."""

from __future__ import annotations

import contextlib

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.vectors import Vectors
from atlas.cards.space import Space
from atlas.errors import AtlasError
from atlas.migration.acting.plan import Plan
from atlas.numerics.calibration import FEWEST
from atlas.verbs.serving.calibrate import calibrate


def calibrated(plan: Plan, made: Alignment) -> Alignment:
    """Return the map with the confidence of its results, by thirds on its card, where the queries can show it."""
    inputs, bridged = plan.inputs, plan.way == "bridge"
    queries = inputs.vectors("queries_new")
    if len(queries) < FEWEST or (bridged and not inputs.queries_old):
        return made
    old = inputs.vectors("old")
    # A model may encode queries with another prompt than documents, in a space of another name.
    if bridged:
        asked = inputs.vectors("queries_old").of_items(queries.ids, "the new queries")
        source, target, searched = _as(made.source, queries), _as(made.target, asked), {"index": old}
    else:
        source, target, searched = old, inputs.vectors("new"), {"queries": _as(made.target, queries)}
    # A map whose scores teach nothing is worth as much as before.
    with contextlib.suppress(AtlasError):
        return calibrate(made, source=source, target=target, **searched)  # type: ignore[arg-type]
    return made


def _as(space: Space, vectors: Vectors) -> Vectors:
    return vectors.in_space(space, vectors.data)
