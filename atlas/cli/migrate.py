"""The command that advises whether and how to change an embedding model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_json, put_table, say

if TYPE_CHECKING:
    from atlas.migration.advice import Advice, Way


FIGURES = ("ndcg@10", "recall@10", "mrr@10", "kept")
HEADER = ("way", *FIGURES, "over stay", "", "whole index", "texts", "tokens", "hours")


@click.group("migrate")
def migrate_command() -> None:
    """Change the embedding model of an index: whether, which way, and from how many pairs."""


@migrate_command.command("advise", cls=params.Spread)
@click.option("--old", required=True, metavar="VECTORS", help="The index, by the old model.")
@click.option("--new", required=True, metavar="VECTORS", help="Some of its documents, by the new model.")
@click.option("--queries-new", required=True, metavar="VECTORS", help="Queries, by the new model.")
@click.option("--queries-old", metavar="VECTORS", help="The same queries, by the old model; leave out if it is gone.")
@click.option(
    "--judgements",
    metavar="FILE",
    help="Answers to the queries: TREC qrels, .tsv or .jsonl; without them, those that the new model finds itself.",
)
@click.option("--new-index", metavar="VECTORS", help="All documents, by the new model, where they are known.")
@click.option(
    "--pairs", nargs=2, metavar="OLD NEW", help="Fit on these vectors of other items, instead of on those of --new."
)
@click.option(
    "--aligner",
    "aligners",
    cls=params.Several,
    multiple=True,
    metavar="NAME...",
    help="Aligners to try, as they are by default; without it, those that do well.",
)
@click.option(
    "--gate",
    metavar="GATE",
    help="Share of the new model's figure to keep, by default ndcg@10>=0.95; where it is given and nothing but "
    "embedding everything passes, the exit status is 1.",
)
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Texts embedded in a second, for hours.")
@click.option("--tokens", type=click.FloatRange(0), default=0.0, help="Tokens of a text, for how many it takes.")
@click.option(
    "--plan", metavar="FILE", type=click.Path(path_type=Path), help="Write the advice as a recipe for 'atlas run'."
)
@params.as_json
@params.registry
def advise(as_json: bool, plan: Path | None, registry: Any, **given: Any) -> None:
    """Measure each way of changing the model on your own queries, and advise one.

    Methods are chosen on pairs alone, and documents are converted by maps that have not seen them.
    """
    from atlas.migration.advice import GATE
    from atlas.migration.advising import advise
    from atlas.progress import bar

    asked = given["gate"] is not None
    given |= {"gate": given["gate"] or GATE, "pairs": given["pairs"] or None}
    found = advise(**given, progress=bar)
    if as_json:
        put_json(dataclasses.asdict(found))
    else:
        show(found)
    if plan:
        write_plan(found, plan, given)
    if asked and not found.passed:
        click.get_current_context().exit(1)


def show(found: Advice) -> None:
    """Print the figures, then the verdict."""
    by = "judged" if found.judged else "found by the new model"
    put(f"Points (of 100) for {found.queries:,} queries, {by}, in {found.documents:,} of {found.whole:,} documents:\n")
    put_table([*HEADER], [_line(way) for way in found.ways])
    put("\nMaps, with the share of neighbours that each keeps of pairs it has not seen:\n")
    put_table(["for", "map", "kept"], [[n, str(m), m.kept] for n, tried in found.methods.items() for m in tried])
    if found.curve:
        put("\nFrom more or fewer pairs, for the better of convert and bridge:\n")
        put_table(["pairs", "expected"], [[n, str(figure)] for n, figure in found.curve.items()])
        reach = f"{found.needed:,} pairs are" if found.needed else f"Even {found.whole:,} pairs are not"
        put(f"\n{reach} expected to keep enough")
    for note in found.notes:
        put(f"\nNote: {note}")
    put(f"\nVerdict: {found.verdict} - {found.reason}")


def _line(way: Way) -> list[Any]:
    sure = "" if way.gain is None or way.gain.low > 0 or way.gain.high < 0 else "not significant"
    figures = [str(figure) for figure in way.figures.values()]
    gain, whole = ("" if figure is None else str(figure) for figure in (way.gain, way.whole))
    return [way.name, *figures, str(way.share), gain, sure, whole, way.texts, way.tokens, way.hours]


def write_plan(found: Advice, path: Path, given: dict[str, Any]) -> None:
    """Write a recipe of the advice, or say why there is none."""
    from atlas.cards.yaml import dump_yaml
    from atlas.migration.planning import recipe
    from atlas.storage.files import whole_file

    steps = recipe(found, given)
    if steps is None:
        say(f"No plan was written: '{found.verdict}' needs no map")
        return
    with whole_file(path) as temporary:
        temporary.write_text(dump_yaml(steps), encoding="utf-8")
    params.wrote("the plan", path, f"atlas run {path} --out FOLDER")
