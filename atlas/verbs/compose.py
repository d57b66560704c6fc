"""Alignments, one after another, to one."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.composed import Composed
from atlas.cards.sketch import Sketch
from atlas.errors import AtlasError, unknown
from atlas.verbs.parameters.arguments import AlignmentLike, artefact_of


def compose(*alignments: AlignmentLike, inverse: Sequence[AlignmentLike] = (), id: str = "") -> Alignment:
    """Chain alignments into one.

    Each must reach the space the next one maps from. `atlas compose A B --inverse B` with two `relative` alignments on
    the same anchors maps A's space to B's.

    Args:
        *alignments: one or more alignments, in the order in which they are applied.
        inverse: run these of them backwards.
        id: id of the alignment; by default made of its spaces.
    """
    if not alignments:
        raise AtlasError("Composing needs at least one alignment, got none")
    for given in inverse:
        if not _is_one(given, alignments):
            raise AtlasError(unknown("alignment to run backwards", _name(given), map(_name, alignments)))
    found = [(given, artefact_of(given, Alignment)) for given in alignments]
    parts = [part.inverse() if _is_one(given, inverse) else part for given, part in found]
    for first, second in itertools.pairwise(parts):
        second.source.require(first.target, f"Alignment '{second.id}' maps from", f"the vectors '{first.id}' makes")
    aligner = Composed.of([(part.aligner, False) for part in parts])
    return Alignment.of(aligner, parts[0].source, parts[-1].target, id, **_together(parts))


def _together(parts: Sequence[Alignment]) -> dict[str, Any]:
    """Return what the card of a chain says of its parts: what is not known of one of them is not known of all."""
    said = {
        name: [getattr(part.card, name) for part in parts] for name in ("anchors", "dataset", "license", "fitted_on")
    }
    between = {"dataset": ", ", "license": " AND "}
    known = {
        name: sorted({one for value in values for one in value.split(between.get(name))}) if all(values) else []
        for name, values in said.items()
    }
    return {
        "n_pairs": min(part.n_pairs for part in parts),
        "n_unpaired": sum(part.n_unpaired for part in parts),
        "anchors": known["anchors"][0] if len(known["anchors"]) == 1 else "",
        "dataset": ", ".join(known["dataset"]),
        "license": " AND ".join(known["license"]),
        "fitted_on": functools.reduce(operator.or_, map(Sketch.parse, known["fitted_on"])).text()
        if known["fitted_on"]
        else "",
        "parts": tuple(part for one in parts for part in one.as_parts()),
    }


def _name(given: AlignmentLike) -> str:
    return str(given) if isinstance(given, (str, Path)) else given.id


def _is_one(given: AlignmentLike, others: Sequence[AlignmentLike]) -> bool:
    """Whether something is among others: the very same alignment, or the same reference to one."""
    if isinstance(given, (str, Path)):
        return str(given) in [str(other) for other in others if isinstance(other, (str, Path))]
    return any(given is other for other in others)
