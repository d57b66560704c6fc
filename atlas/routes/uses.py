"""Uses of an artefact for vectors of a space, by its card."""

from __future__ import annotations

from typing import Any

from atlas.cards.space import Space


def use(card: Any, space: Space) -> str:
    """Return the use of an artefact for vectors of a space; '' for none."""
    between = {"alignment": ("maps them to", "maps", "to them"), "moments": ("are of them and", "are of", "and them")}
    if does := between.get(card.kind):
        if card.source.matches(space):
            return f"{does[0]} {card.target.id}"
        return f"{does[1]} {card.source.id} {does[2]}" if card.target.matches(space) else ""
    if card.kind == "atlas" and any(chart.matches(space) for chart in card.charts):
        return f"maps them to {card.space.id}"
    if card.kind == "anchors":
        return "has anchors of them" if any(one.matches(space) for one in card.spaces) else ""
    does_with = {"head": "reads them", "space": "makes them", "vectors": "has more of them", "atlas": "makes them"}
    return does_with[card.kind] if card.space.matches(space) else ""
