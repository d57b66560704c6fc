"""The commands that advise whether and how to change an embedding model, and act on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_json, put_table, say

if TYPE_CHECKING:
    from atlas.migration.acting.running import Migration, Status
    from atlas.migration.advice import Advice, Way

F = Callable[..., Any]
KEPT = {"expected": "of documents the map has not seen", "found": "as written, also of those it has seen"}

FIGURES = ("ndcg@10", "recall@10", "mrr@10", "kept")
HEADER = ("way", *FIGURES, "over stay", "", "whole index", "texts", "tokens", "hours")


@click.group("migrate")
def migrate_command() -> None:
    """Change the embedding model of an index: measure whether it pays and which way, then do it step by step."""


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
    help="Aligners to try, with their default options; without it, those that do well.",
)
@click.option(
    "--gate",
    metavar="GATE",
    help="Share of the new model's figure to keep, by default ndcg@10>=0.95; where it is given and nothing but "
    "embedding everything passes, the exit status is 1.",
)
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Texts embedded per second, to estimate hours.")
@click.option("--tokens", type=click.FloatRange(0), default=0.0, help="Tokens per text, to estimate their total.")
@params.columns
@click.option("--query-vector-column", metavar="NAME", help="That of queries; as --vector-column unless given.")
@click.option("--query-id-column", metavar="NAME", help="That of queries; as --id-column unless given.")
@click.option(
    "--plan",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the advice to a file that 'atlas migrate run' carries out.",
)
@click.option(
    "--store",
    metavar="URL",
    default="",
    help="With --plan: the store, or the folder of .parquet files, whose vectors are mapped; by default --old.",
)
@params.as_json
@params.registry
def advise(as_json: bool, plan: Path | None, store: str, **given: Any) -> None:
    """Measure each way of changing the model on your own queries, and advise one.

    Methods are chosen on pairs alone, and documents are converted by maps that have not seen them.
    """
    from atlas.migration.acting.plan import check_place
    from atlas.migration.advice import GATE
    from atlas.migration.advising import advise
    from atlas.progress import bar

    if store and not plan:
        raise click.UsageError("--store goes with --plan, the file that says how its vectors are mapped")
    if plan:
        check_place(plan, given, store)
    asked = given["gate"] is not None
    given |= {"gate": given["gate"] if asked else GATE, "pairs": given["pairs"] or None}
    found = advise(**given, progress=bar)
    if as_json:
        put_json(dataclasses.asdict(found))
    else:
        show(found)
    if plan:
        write_plan(found, plan, given, store)
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
    if found.rolling:
        put("\nA converted index while more and more of it is embedded anew, the most asked for first:\n")
        shares = list(found.rolling["in order"])
        lines = [[f"{share:.0%}", *(str(curve[share]) for curve in found.rolling.values())] for share in shares]
        put_table(["embedded anew", *found.rolling], lines)
    if found.sure:
        chance = f"{100 * found.chance:.1f}"
        put(f"\nFirst results that are the new model's own, of 100, surest queries first; {chance} by chance:\n")
        thirds = [*next(iter(found.sure.values()))]
        put_table(["for", *thirds], [[n, *(str(one) for one in by.values())] for n, by in found.sure.items()])
    for note in found.notes:
        put(f"\nNote: {note}")
    put(f"\nVerdict: {found.verdict} - {found.reason}")


def _line(way: Way) -> list[Any]:
    sure = "" if way.gain is None or way.gain.low > 0 or way.gain.high < 0 else "not significant"
    figures = [str(figure) for figure in way.figures.values()]
    gain, whole = ("" if figure is None else str(figure) for figure in (way.gain, way.whole))
    return [way.name, *figures, str(way.share), gain, sure, whole, way.texts, way.tokens, way.hours]


def write_plan(found: Advice, path: Path, given: dict[str, Any], store: str) -> None:
    """Write the plan of an advice, or say why there is none."""
    from atlas.migration.acting.plan import planned

    plan = planned(found, given, store)
    if plan is None:
        say(f"No plan was written: '{found.verdict}' needs no map")
        return
    plan.write(path)
    params.wrote("the plan", path, f"atlas migrate run {path}")


def _step(name: str) -> Callable[[F], F]:
    """Return a decorator that makes a command that takes a plan and shows how far it is afterwards."""

    def made(function: F) -> F:
        plan = click.argument("plan", metavar="PLAN.yaml", type=click.Path(path_type=Path))
        return migrate_command.command(name)(plan(params.as_json(params.registry(function))))

    return made


def _opened(plan: Path) -> Migration:
    from atlas.migration.acting.running import Migration
    from atlas.progress import bar

    return Migration(plan, progress=bar)


def put_status(migration: Migration, found: Status, as_json: bool) -> None:
    """Print how far a migration is, and the next command."""
    if as_json:
        put_json(dataclasses.asdict(found))
        return
    plan = migration.path
    put(f"{migration.plan.way} by {migration.plan.method}: {found.stage}")
    measure = migration.plan.gate.partition(">=")[0]
    for name, kept in found.kept.items():
        put(f"{name}: {kept} % of the new model's {measure}, {KEPT[name]}")
    if found.total:
        put(f"rows: {found.rows:,} of {found.total:,}, of which {found.native:,} native")
    following = {
        "planned": f"atlas migrate run {plan}",
        "mapping": f"atlas migrate resume {plan}",
        "mapped": f"atlas migrate resume {plan}",
        "switched": f"atlas migrate commit {plan}, or atlas migrate rollback {plan}",
        "committed": f"atlas migrate add {plan} VECTORS, as documents are embedded anew",
        "fitted": f"atlas export numpy {migration.map_folder} --out FOLDER",
    }
    say(f"Next: {following[found.stage]}")


@_step("run")
def run_plan(plan: Path, as_json: bool) -> None:
    """Carry out a plan: fit, check the gate, map beside the old vectors, verify, and switch.

    Old vectors are not touched. An interrupted run continues where it stopped.
    """
    migration = _opened(plan)
    put_status(migration, migration.run(), as_json)


@_step("resume")
def resume(plan: Path, as_json: bool) -> None:
    """Continue an interrupted run."""
    migration = _opened(plan)
    put_status(migration, migration.resume(), as_json)


@_step("status")
def status(plan: Path, as_json: bool) -> None:
    """Show how far a plan is; nothing is changed."""
    migration = _opened(plan)
    put_status(migration, migration.status(), as_json)


@_step("rollback")
def rollback(plan: Path, as_json: bool) -> None:
    """Put the old vectors back in use, and remove the mapped ones."""
    migration = _opened(plan)
    put_status(migration, migration.rollback(), as_json)


@_step("commit")
def commit(plan: Path, as_json: bool) -> None:
    """Delete the old vectors for good."""
    migration = _opened(plan)
    put_status(migration, migration.commit(), as_json)


@_step("add")
@click.argument("vectors")
@params.columns
def add(plan: Path, vectors: str, as_json: bool, **columns: str | None) -> None:
    """Replace mapped vectors by those of the new model, by id, in the next run."""
    migration = _opened(plan)
    put_status(migration, migration.add(vectors, **columns), as_json)


@migrate_command.command("order")
@click.argument("plan", metavar="PLAN.yaml", type=click.Path(path_type=Path))
@params.out("File for the ids, one a line.")
@params.registry
def order(plan: Path, out: Path) -> None:
    """List the documents that are still mapped, in the order in which to embed them again."""
    from atlas.storage.files import write_list

    migration = _opened(plan)
    ids, following = migration.order(), f"atlas migrate add {plan} VECTORS"
    if migration.status().stage == "switched":
        # Until then, `add` refuses.
        following = f"atlas migrate commit {plan}, then {following}"
    write_list(out, ids)
    params.wrote(params.count(len(ids), "id"), out, following)
