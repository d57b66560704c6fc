"""Printing of a verb's result: one line for an artefact, a table for figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cards.kinds import Metric, merged
from atlas.cli.output import put_either, say
from atlas.cli.params import count, tell_numbered, wrote
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.artefacts.artefact import Artefact
    from atlas.verbs.parameters.signatures import Verb

# Commands that may follow a verb.
NEXT = {
    "moments": "atlas fit linear --moments {}",
    "fit": "atlas apply {} VECTORS",
    "calibrate": "atlas search QUERIES INDEX --map {}",
    "aggregate": "atlas apply {} VECTORS...",
}
# Of each table, the headers of its columns and the attributes they show.
METRICS = (
    ["metric", "value", "low", "high", "target's own", "no alignment", "n"],
    ["name", "value", "low", "high", "native", "floor", "n"],
)
COMPARISONS = (
    ["metric", "of", "and", "value", "by chance", "note"],
    ["metric", "a", "b", "value", "chance", "note"],
)


def tell(verb: Verb, made: Any, values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Print the result of a verb.

    Args:
        verb: its verb.
        made: the result.
        values: the words of its command line.
        given: the arguments they stand for.
    """
    out: Any = values.get("out")
    if getattr(made, "kind", "") == "transfer":
        then = "atlas stores switch URL (again: back), or atlas stores drop URL"
        rows = f"{count(len(made), 'vector')} of '{made.space.id}' ({made.space.dim} dimensions, digest {made.digest})"
        wrote(rows, f"the shadow of '{made.store}'", then)
    elif verb.stores:
        if kept := getattr(getattr(made, "rows", None), "kept", 0):
            say(f"Note: {kept:,} of {count(len(made.rows.parts), 'shard')} were finished by an earlier run, and stay")
        if not kept or kept < len(made.rows.parts):
            wrote(described(made), out, NEXT.get(verb.name, "").format(out))
        if verb.name == "encode" and made.numbered:
            tell_numbered([values["input"]])
        if values.get("save_space"):
            wrote(f"space '{made.space.id}'", values["save_space"])
    elif verb.makes == "file":
        alignment = getattr(given["model"], "alignment", given["model"])
        stitched = "stitched model with " * (alignment is not given["model"])
        wrote(f"{stitched}alignment '{alignment.id}' for {given['exporter']}", made)
    else:
        if out:
            wrote("the predictions", out)
        if values.get("save"):
            record(given["artefact"], made)
        tell_overlap(made)
        empty = "The items have no classes to compare with" if verb.name == "stitch" else "Nothing was measured"
        put_figures(made, values["as_json"], empty)


def described(made: Any) -> str:
    """Return a description of an artefact in one line."""
    if made.kind == "vectors":
        return f"{count(len(made), 'vector')} of '{made.space.id}' ({made.space.dim} dimensions)"
    if made.kind == "anchors":
        return f"{count(len(made), 'anchor')} '{made.id}'"
    if made.kind == "moments":
        return f"moments of {count(made.n, 'item')} ({made.source.dim} and {made.target.dim} dimensions)"
    if made.kind == "head":
        return f"head '{made.id}' of '{made.space.id}' ({count(len(made.classes), 'class')})"
    if made.kind == "atlas":
        return f"atlas '{made.id}' of {count(len(made.charts), 'space')} ({made.space.dim} dimensions)"
    alone = f", {count(made.n_unpaired, 'vector')} had no known partner" if made.n_unpaired else ""
    fitted = f", fitted on {count(made.n_pairs, 'item')}{alone}" if made.n_pairs else alone
    return f"alignment '{made.id}' ({made.source.dim} to {made.target.dim} dimensions{fitted})"


def own_folder(ref: str) -> Path:
    """Return the folder of an artefact that may be written to; one on the Hub, or in its cache, may not."""
    from atlas.cards.folder import MODEL, read_card
    from atlas.hub.cache import SCHEME, cached
    from atlas.hub.pulling import locate

    where = ref if ref.startswith(SCHEME) else ""
    if not where:
        folder = locate(ref, ["alignment", "head", "atlas"], tensors=False)
        where = cached(folder)
        if not where and not (folder / MODEL).exists() and (hub := read_card(folder).hub):
            where = f"{SCHEME}{hub}"
    if where:
        raise AtlasError(f"'{ref}' is not yours to write to - pull it with 'atlas pull {where} --to FOLDER' first")
    return folder


def tell_overlap(found: Iterable[Any]) -> None:
    """Say how many of the items that figures were measured on were fitted on."""
    wrong = [(one.overlap or 0, one.n) for one in found if isinstance(one, Metric) and not one.held_out]
    overlap, n = max(wrong, default=(0, 0))
    if overlap:
        say(f"Note: it was fitted on {overlap:,} of the {n:,} items it is measured on - measure it on others")


def record(ref: str, found: Iterable[Metric]) -> None:
    """Write figures into the card of an artefact, in place of those of the same name, data set and split."""
    from atlas.artefacts.loading import load, save

    folder = own_folder(ref)
    measured: Artefact = load(folder)
    save(measured.with_card(metrics=merged(measured.card.metrics, found)), folder, overwrite=True)
    wrote("the figures", folder)


def put_figures(found: Sequence[Any], as_json: bool, empty: str) -> None:
    """Print figures as a table, or as JSON; `empty` is said if there are none."""
    header, names = METRICS if all(isinstance(figure, Metric) for figure in found) else COMPARISONS
    # An estimate is of no items.
    rows = [[None if name == "n" and not one.n else getattr(one, name) for name in names] for one in found]
    put_either(as_json, [dataclasses.asdict(figure) for figure in found], header, rows, empty)
