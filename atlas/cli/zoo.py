"""Commands that look at registries as a whole: the best way over their maps, and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_json, put_table, say

if TYPE_CHECKING:
    from atlas.routes.edges import Edge
    from atlas.routes.paths import Route


@click.command("route")
@click.argument("source")
@click.argument("target")
@click.option("--hub", is_flag=True, help="Look on the Hub, too, not only in the registry.")
@click.option("--metric", default="r2", show_default=True, metavar="NAME", help="The figure on the cards to go by.")
@click.option("--dataset", default="", metavar="NAME", help="Go by figures of this data set alone.")
@params.out("Folder for the route, as one alignment.", required=False)
@params.overwrite
@params.as_json
@params.registry
def route_command(
    source: str, target: str, out: Path | None, overwrite: bool, as_json: bool, registry: Any, metric: str, **how: Any
) -> None:
    """Find the best way from SOURCE to TARGET over published maps.

    Both are ids of spaces, or where vectors of them are. Maps and charts of atlases are followed, also backwards, and
    spaces are matched by fingerprint. What is kept is estimated before anything is applied: from the held-out figures
    on the cards, and from moments of SOURCE and TARGET where they are published; a map that keeps r2 forwards is taken
    to keep 2 - 1/r2 backwards.
    """
    from atlas.artefacts.loading import save
    from atlas.storage.files import check_target
    from atlas.verbs.compose import find_route, followed, moments_between

    if out is not None:
        check_target(out, overwrite)
    found = find_route(source, target, metric=metric, **how)
    chosen = found[0]
    if out is not None or moments_between(*found):
        chosen, alignment = followed(found, metric)
    if out is not None:
        save(alignment, out, overwrite=overwrite)
    put_route(chosen, metric, as_json)
    if out is not None:
        params.wrote(f"alignment '{alignment.id}' of {params.count(len(chosen.edges), 'map')}", out)


def put_route(route: Route, metric: str, as_json: bool) -> None:
    """Print the maps of a route, what each keeps, and what is expected of the whole."""
    steps = [step(edge) for edge in route.edges]
    if as_json:
        put_json({"metric": metric, "estimated": route.keeps, "told_by": route.told_by, "steps": steps})
        return
    header = ["from", "to", "by", "backwards", "method", metric, "license", "ref"]
    put_table(header, [[one[name] or "" for name in [*header[:5], "keeps", *header[6:]]] for one in steps])
    if route.keeps is None:
        say(f"Note: a map of it has no {metric} of held-out items on its card, so that what is kept is not known")
    else:
        put(f"\nEstimated {metric}: {route.keeps:.4f}, by {route.told_by}")


def step(edge: Edge) -> dict[str, Any]:
    """Return what is told of an edge."""
    about: dict[str, Any] = {"from": edge.source.id, "to": edge.target.id, "by": edge.card.id, "chart": edge.chart}
    about |= {"backwards": edge.inverse, "method": edge.card.method, "keeps": edge.keeps}
    return about | {"license": edge.card.license, "ref": str(edge.ref)}


@click.command("site")
@click.argument("registries", nargs=-1, metavar="[REGISTRY]...", type=click.Path(path_type=Path))
@params.out("Folder for the pages.")
@params.overwrite
def site_command(registries: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Write registries as pages to look at: a listing, a page for each artefact and space, and the graph of spaces.

    The pages work from the folder and on any host of static files, and load nothing from elsewhere. Without a REGISTRY,
    they show those of ATLAS_REGISTRY and the shipped one.
    """
    from atlas.site.pages import site

    shown = site(registries, out, overwrite=overwrite)
    params.wrote(f"a site of {params.count(shown, 'artefact')}", out, f"open {out / 'index.html'}")
