"""The advice as a recipe: it fits the map, and writes the mapped vectors beside the old ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.migration.advice import Advice


def recipe(advice: Advice, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the recipe of a verdict, None if it needs no map.

    Args:
        advice: the advice.
        given: the arguments it was advised on, each the place of vectors.
    """
    old_model_gone = given.get("queries_old") is None
    bridged = advice.verdict == "bridge" or (advice.verdict == "recall and re-order" and old_model_gone)
    if not bridged and advice.verdict != "convert":
        return None
    method = advice.methods["bridge" if bridged else "convert"][0]
    old, new = map(_place, given.get("pairs") or (given["old"], given["new"]))
    source, target, what = (new, old, given["queries_new"]) if bridged else (old, new, given["old"])
    fit = {"verb": "fit", "aligner": method.aligner, "options": {**method.options}, "source": source, "target": target}
    mapped = {"verb": "apply", "mapping": {"step": "map"}, "vectors": _place(what)}
    return {"format": 1, "steps": {"map": fit, "queries" if bridged else "index": mapped}}


def _place(ref: str) -> str:
    """Return where vectors are, as it can be read from anywhere."""
    path = Path(ref).expanduser()
    return str(path.resolve()) if path.exists() else ref
