"""The data an artefact is measured on, by role, and the measuring: the same for a push and for a verification."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas.cards.kinds import Card, Metric
from atlas.errors import AtlasError
from atlas.verbs.evaluate import NEEDS, evaluate


def check_measured(card: Card) -> None:
    """Raise `AtlasError` unless artefacts of this kind are measured."""
    if card.kind not in NEEDS:
        raise AtlasError(f"'{card.id}' is of kind {card.kind} - only {', '.join(NEEDS)} can be measured")


def parts(card: Card, kinds: Sequence[str]) -> list[str]:
    """Return the part that each of some artefacts plays when another is measured on them.

    Args:
        card: the card of the artefact that is measured.
        kinds: kinds of the artefacts, in the order given: vectors, head...

    Raises:
        AtlasError: an artefact of this kind is not measured, or not on these.
    """
    check_measured(card)
    vectors, heads = kinds.count("vectors"), kinds.count("head")
    fits = {
        "alignment": vectors == 2 and heads <= 1,
        "head": vectors == 1 and not heads,
        "atlas": vectors >= 1 and heads == 1,
    }
    if not fits[card.kind] or vectors + heads < len(kinds):
        given = " and ".join(kinds)
        raise AtlasError(f"{card.kind.capitalize()} '{card.id}' is measured on {NEEDS[card.kind]}, got {given}")
    names = iter(("source", "target") if card.kind == "alignment" else numbered(vectors))
    return ["head" if kind == "head" else next(names) for kind in kinds]


def numbered(n: int) -> list[str]:
    """Return the names of several sets of vectors: vectors, vectors-2, vectors-3..."""
    return ["vectors", *(f"vectors-{i}" for i in range(2, n + 1))]


def required(card: Card) -> tuple[str, ...]:
    """Return the parts without which an artefact is not measured."""
    return {"alignment": ("source", "target"), "head": ("vectors",), "atlas": ("vectors", "head")}[card.kind]


def plays(card: Card, part: str) -> bool:
    """Whether something plays this part when the artefact is measured."""
    vectors = re.fullmatch(r"vectors(-\d{1,3})?", part) if card.kind == "atlas" else None
    return bool(vectors) or part in required(card) or (part == "head" and card.kind == "alignment")


def load_parts(refs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the artefacts that an evaluation refers to."""
    from atlas.artefacts.loading import load, read_vectors

    return {part: load(ref, "head") if part == "head" else read_vectors(ref) for part, ref in refs.items()}


def figures(folder: Path, card: Card, found: Mapping[str, Any], names: Sequence[str], split: str = "") -> list[Metric]:
    """Measure an artefact.

    Args:
        folder: that holds it.
        card: its card.
        found: vectors and head, by the part they play.
        names: of an alignment's metrics; none: those of `atlas.evaluate`. Of others, the accuracy is measured.
        split: the part of the data set, for the record.
    """
    given = {part: found[part] for part in ("source", "target", "head") if part in found}
    given["vectors"] = [view for part, view in found.items() if part.startswith("vectors")]
    return list(evaluate(folder, **given, metrics=names if card.kind == "alignment" else (), split=split))
