"""Alignments, one after another, to one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atlas.artefacts.alignment import Alignment, chained
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
    return chained(parts, id)


def _name(given: AlignmentLike) -> str:
    return str(given) if isinstance(given, (str, Path)) else given.id


def _is_one(given: AlignmentLike, others: Sequence[AlignmentLike]) -> bool:
    """Whether something is among others: the very same alignment, or the same reference to one."""
    if isinstance(given, (str, Path)):
        return str(given) in [str(other) for other in others if isinstance(other, (str, Path))]
    return any(given is other for other in others)
