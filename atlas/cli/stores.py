"""Stores: which are installed, and the contents of one; the space of vectors, recorded where they lie; and search."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from atlas.cli import params
from atlas.cli.components import listing
from atlas.cli.output import put, put_either, put_json, put_table, say
from atlas.errors import AtlasError

stores_command = listing("store")
_show = stores_command.commands["show"]


@stores_command.command("show")
@click.argument("name", metavar="NAME|URL")
@params.as_json
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show a store's summary and options, or the contents of the store at a URL."""
    if "://" not in name:
        ctx.invoke(_show, name=name, as_json=as_json)
        return
    from atlas.artefacts.sources.transfer import store_status

    put_status(store_status(name), as_json)


@stores_command.command("switch")
@click.argument("url")
@params.as_json
def switch(url: str, as_json: bool) -> None:
    """Put the shadow of a store in place of its vectors; a second time takes it back."""
    from atlas.artefacts.sources.transfer import switch_store

    put_status(switch_store(url), as_json)


@stores_command.command("drop")
@click.argument("url")
@click.option("--old", is_flag=True, help="Delete for good the vectors that were in use before a switch.")
@params.as_json
def drop(url: str, old: bool, as_json: bool) -> None:
    """Remove the shadow of a store."""
    from atlas.artefacts.sources.transfer import drop_shadow

    put_status(drop_shadow(url, old=old), as_json)


def put_status(status: dict[str, Any], as_json: bool) -> None:
    """Print the contents of a store."""
    if as_json:
        put_json(status)
        return
    header = ["place", "rows", "dimensions", "metric", "space", "mapped by", "finished"]
    places = [(place, found) for place, found in status.items() if isinstance(found, dict)]
    names = ("rows", "dim", "metric", "space", "map", "done")
    put(f"store {status['store']}")
    put_table(header, [[place, *(found[name] for name in names)] for place, found in places], "It has no vectors")


@click.command("search", cls=params.Spread)
@click.argument("queries")
@click.argument("indexes", metavar="INDEX...", nargs=-1, required=True)
@click.option(
    "--map", "maps", metavar="MAP", multiple=True, required=True, help="An alignment or an atlas; may be repeated."
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="Results for each query.")
@click.option(
    "--merge", default="cosine", metavar="NAME", show_default=True, help="Merge several indexes by cosine or by rank."
)
@click.option(
    "--fallback",
    type=click.Path(path_type=Path),
    help="Write the ids of queries that should go to the old model to this .txt file, one a line.",
)
@click.option(
    "--least",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="With --fallback: the lowest chance of a right first result at which a query is left out of the file.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --fallback.")
@params.as_json
@params.registry
def search_command(
    queries: str,
    indexes: tuple[str, ...],
    maps: tuple[str, ...],
    fallback: Path | None,
    least: float,
    overwrite: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Search indexes of one model or several through maps between them.

    QUERIES and each INDEX are vectors. An index of the queries' own model is searched as it is. Through one calibrated
    map ('atlas calibrate'), scores are corrected to those expected of the true vectors, and each query gets the chance
    that its first result is the right one.
    """
    from atlas.progress import bar
    from atlas.storage.files import check_list, write_list
    from atlas.verbs.serving.search import search

    if fallback is not None:
        check_list(fallback, overwrite)
    asked, *views = params.read_all(queries, *indexes)
    answers = search(list(maps), asked, views, **how, progress=bar)
    if fallback is not None:
        if any(answer.chance is None for answer in answers):
            raise AtlasError(
                "No result came through a calibrated map, which says how sure it is - run 'atlas calibrate' on the "
                "map, or search the vectors that it maps"
            )
        unsure = [answer.query for answer in answers if (answer.chance or 0) < least]
        write_list(fallback, unsure)
        params.wrote(f"{len(unsure):,} of {len(answers):,} queries", fallback)
    rows = ([a.query, a.chance, "  ".join(map("{} {:.3f}".format, a.ids, a.scores))] for a in answers)
    put_either(as_json, [dataclasses.asdict(answer) for answer in answers], ["query", "chance", "found"], rows)


@click.group("space")
def space_command() -> None:
    """Record which space vectors belong to, in their file or store, or check it."""


@space_command.command("stamp")
@click.argument("where")
@click.argument("space")
@click.option("--metric", default="", metavar="NAME", help="How its vectors are compared: cosine, dot, l2 or l1.")
@params.registry
def stamp(where: str, space: str, metric: str) -> None:
    """Record in WHERE that its vectors belong to SPACE.

    WHERE is the URL of a store, or a file: a .parquet or .safetensors file carries it itself, any other, such as an
    index, a file NAME.space.json beside it. SPACE is a stored space or vectors, a file or store with a stamp, or a
    .json file that describes the space: its id, dim, encoder, identity, and perhaps metric.
    """
    from atlas.artefacts.sources.stamps import stamp_space

    found = stamp_space(where, space, metric=metric)
    compared = f", compared by {found.metric}" if found.metric else ""
    say(f"Wrote down space '{found.id}' ({found.dim} dimensions{compared})")


@space_command.command("check")
@click.argument("where")
@click.argument("space")
@params.registry
def check(where: str, space: str) -> None:
    """Say whether the vectors in WHERE are of SPACE; the exit status is 1 if they are not."""
    from atlas.artefacts.sources.stamps import check_space

    found = check_space(where, space)
    put(f"ok  {found.id}  {found.dim} dimensions  {found.fingerprint}")
