"""Commands that print figures: evaluate and compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put_json, put_table
from atlas.cli.params import read_all

if TYPE_CHECKING:
    from atlas.cards.kinds import Metric

metric = click.option("--metric", "metrics", multiple=True, metavar="NAME", help="What to measure; may be repeated.")


@click.command("evaluate")
@click.argument("alignment")
@click.option("--source", required=True, metavar="VECTORS", help="Vectors of the space it maps from.")
@click.option("--target", required=True, metavar="VECTORS", help="Vectors of the space it maps to, of the same items.")
@click.option("--head", metavar="HEAD", help="Measure the accuracy of this head of the target, too.")
@metric
@click.option("--split", default="", metavar="NAME", help="What part of the data set this is, for the card.")
@click.option("--save", is_flag=True, help="Write the figures into the alignment's card.")
@params.as_json
@params.registry
def evaluate_command(
    alignment: str, source: str, target: str, head: str | None, metrics: tuple[str, ...], **rest: Any
) -> None:
    """Measure how well an alignment maps vectors it may not have been fitted on.

    Each figure stands beside the same figure for the target's own vectors, and for no alignment at all: the source's
    vectors cut or padded with zeros to the target's dimension.
    """
    from atlas.artefacts.loading import load
    from atlas.verbs.arguments import find_head
    from atlas.verbs.evaluate import evaluate

    mapping = load(alignment, "alignment")
    reader = find_head(head) if head else None
    first, second = read_all(source, target)
    chosen = metrics or None
    found = evaluate(mapping, source=first, target=second, head=reader, metrics=chosen, split=rest["split"])
    if rest["save"]:
        record(mapping, alignment, found)
    put_metrics(found, rest["as_json"])


def record(mapping: Any, ref: str, found: Iterable[Metric]) -> None:
    """Write figures into the card of an alignment, in place of those of the same name, data set and split."""
    from atlas.artefacts.loading import save
    from atlas.cards.kinds import merged
    from atlas.cli.params import wrote
    from atlas.hub.pulling import locate

    folder = locate(ref, ["alignment"])
    save(mapping.with_card(metrics=merged(mapping.metrics, found)), folder, overwrite=True)
    wrote("the figures", folder)


def put_metrics(found: Iterable[Metric], as_json: bool, empty: str = "Nothing was measured") -> None:
    """Print figures as a table, or as JSON."""
    if as_json:
        put_json([dataclasses.asdict(figure) for figure in found])
    else:
        header = ["metric", "value", "low", "high", "target's own", "no alignment", "n"]
        put_table(header, [[m.name, m.value, m.low, m.high, m.native, m.floor, m.n or None] for m in found], empty)


@click.command("compare")
@click.argument("vectors", nargs=-1, required=True, metavar="VECTORS VECTORS...")
@metric
@params.as_json
@params.registry
def compare_command(vectors: tuple[str, ...], metrics: tuple[str, ...], as_json: bool, **rest: Any) -> None:
    """Measure how alike the geometry of two or more spaces is, on the items they share.

    `atlas metrics` lists what can be measured; it is linear CKA unless --metric says otherwise.
    """
    from atlas.verbs.compare import compare

    found = compare(*read_all(*vectors), metrics=metrics or ("cka",))
    if as_json:
        put_json([dataclasses.asdict(one) for one in found])
    else:
        header = ["metric", "of", "and", "value", "by chance", "note"]
        put_table(header, [[one.metric, one.a, one.b, one.value, one.chance, one.note] for one in found])
