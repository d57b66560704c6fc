"""The command that runs recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_either, put_json, put_table, say
from atlas.progress import bar

if TYPE_CHECKING:
    from atlas.recipes.reading import Job, Recipe
    from atlas.recipes.running import Runner


@click.command("run")
@click.argument("recipe", type=click.Path(path_type=Path), metavar="RECIPE.yaml")
@params.out("Folder for the results of the steps; an earlier run in it is resumed.")
@params.values
@click.option(
    "-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Do N jobs side by side."
)
@click.option("--dry-run", is_flag=True, help="Show the jobs, and do nothing.")
@click.option("--force", is_flag=True, help="Do everything again.")
@click.option("--locked", is_flag=True, help="Use the commits that the lock file names, or fail with the differences.")
@params.lock_file("--lock")
@params.as_json
@params.registry
@click.pass_context
def run_command(
    ctx: click.Context,
    recipe: Path,
    out: Path,
    values: dict[str, Any],
    dry_run: bool,
    force: bool,
    as_json: bool,
    **rest: Any,
) -> None:
    """Run a recipe: commands of Atlas composed in a YAML file.

    A finished step is skipped until one of its inputs changes. Figures are printed, and written to
    results.json in the folder; the pictures that the recipe asks for are drawn beside it.
    """
    from atlas.recipes.reading import read_recipe
    from atlas.recipes.running import Runner

    if rest["locked"]:
        from atlas.recipes.locking import locked

        ctx.with_resource(locked(rest["lock"]))
    read = read_recipe(recipe, values)
    runner = Runner(read, out, bar)
    if dry_run:
        put_plan(runner, force, as_json)
        return
    total = len(read.jobs)
    found = runner.run(
        force=force,
        at_once=rest["jobs"],
        report=lambda number, job, state: say(f"[{number}/{total}] {job.verb} {job} {state}"),
    )
    if as_json:
        put_json(found)
    else:
        put_results(read, found)
    put_pictures(runner, found)


def put_pictures(runner: Runner, found: dict[str, Any]) -> None:
    """Draw the pictures of a recipe, or name the missing extra: figures are not lost for want of them."""
    from atlas.errors import AtlasError

    try:
        drawn = runner.draw(found)
    except AtlasError as error:
        say(f"The pictures were not drawn: {error}")
        return
    for path in drawn:
        say(f"Drew {path}")


def put_plan(runner: Runner, force: bool, as_json: bool) -> None:
    """Print which jobs there are, and which have been done."""
    plan = [(job, "to do" if force else runner.state(job)) for job in runner.recipe.jobs]
    data = [
        {"step": job.step, "verb": job.verb, "variables": dict(job.scope), "makes": job.name, "state": state}
        for job, state in plan
    ]
    rows = [[job.step, job.verb, variables(job), state] for job, state in plan]
    put_either(as_json, data, ["step", "verb", "for", "state"], rows)


def variables(job: Job) -> str:
    """Return the variables of a job and their values."""
    return ", ".join(f"{name}={value}" for name, value in job.scope.items())


def put_results(recipe: Recipe, found: dict[str, Any]) -> None:
    """Print the tables a recipe asks for; if it asks for none, every figure."""
    from atlas.recipes.tables import pivot

    for summary in recipe.summaries:
        put(f"{summary.name}")
        put_table(*pivot(summary, found["tables"][summary.name]))
        put("")
    if not recipe.summaries:
        header = list(dict.fromkeys(name for result in found["results"] for name in result))
        put_table(header, [[result.get(name) for name in header] for result in found["results"]], "No figures")
