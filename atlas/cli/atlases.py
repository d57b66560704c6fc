"""Commands on atlases: fit one, add spaces to it, take a map out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from atlas.cli import params
from atlas.cli.params import config_of, count, read_all, wrote


@click.command("aggregate")
@click.argument("aggregator")
@click.argument("vectors", nargs=-1, required=True, metavar="VECTORS...")
@click.option("--anchors", metavar="ANCHORS", help="Fit on these items alone; by default on all that two spaces have.")
@params.options
@params.out("Folder for the atlas.")
@click.option("--id", default="", help="Id of the atlas; by default made of its spaces and method.")
@params.overwrite
@params.registry
def aggregate_command(
    aggregator: str, vectors: tuple[str, ...], anchors: str | None, options: Any, out: Path, **rest: Any
) -> None:
    """Fit an atlas: a map of each space into a shared one, and the rule that combines them.

    `atlas aggregators` lists the methods.
    """
    from atlas.artefacts.loading import load, save
    from atlas.components.aggregator import Aggregator
    from atlas.plugins.catalogue import component
    from atlas.storage.files import check_target
    from atlas.verbs.aggregate import aggregate

    check_target(out, rest["overwrite"])
    config = config_of(component(Aggregator, aggregator), options)
    chosen = load(anchors, "anchors") if anchors else None
    made = aggregate(aggregator, *read_all(*vectors), anchors=chosen, id=rest["id"], **config)
    save(made, out, overwrite=rest["overwrite"])
    what = f"atlas '{made.id}' of {count(len(made.charts), 'space')} ({made.space.dim} dimensions)"
    wrote(what, out, f"atlas apply {out} VECTORS...")


@click.command("extend")
@click.argument("atlas")
@click.argument("vectors", nargs=-1, required=True, metavar="VECTORS...")
@params.out("Folder for the extended atlas.")
@click.option("--id", default="", help="Id of the extended atlas; by default that of the old one.")
@params.overwrite
@params.registry
def extend_command(atlas: str, vectors: tuple[str, ...], out: Path, **rest: Any) -> None:
    """Add a map to an atlas for each of VECTORS, of items it was fitted on; what it holds already is untouched."""
    from atlas.artefacts.loading import load, save
    from atlas.storage.files import check_target
    from atlas.verbs.aggregate import extend

    check_target(out, rest["overwrite"])
    made = extend(load(atlas, "atlas"), *read_all(*vectors), id=rest["id"])
    save(made, out, overwrite=rest["overwrite"])
    wrote(f"atlas '{made.id}' of {count(len(made.charts), 'space')} ({made.space.dim} dimensions)", out)


@click.command("chart")
@click.argument("atlas")
@click.argument("space")
@params.out("Folder for the alignment.")
@click.option("--id", default="", help="Id of the alignment; by default made of those of the atlas and the space.")
@params.overwrite
@params.registry
def chart_command(atlas: str, space: str, out: Path, **rest: Any) -> None:
    """Take the map of SPACE into the shared space out of an atlas, as an alignment of its own.

    `atlas compose A B --inverse B` with two of them maps one space to the other, through the shared one.
    """
    from atlas.artefacts.loading import load, save
    from atlas.storage.files import check_target

    check_target(out, rest["overwrite"])
    made = load(atlas, "atlas").chart(space)
    made = made.with_card(id=rest["id"] or made.id)
    save(made, out, overwrite=rest["overwrite"])
    wrote(f"alignment '{made.id}' ({made.source.dim} to {made.target.dim} dimensions)", out)
