"""Commands that read cards: list, show and check, which need neither torch nor plugins, route and site."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cards.kinds import CARDS, Metric, best, rank
from atlas.cards.names import current
from atlas.cards.sketch import Sketch
from atlas.cards.space import Space
from atlas.cli import params
from atlas.cli.output import cell, put, put_either, put_json, put_table, say, table
from atlas.errors import in_a_line
from atlas.routes.uses import use

if TYPE_CHECKING:
    from atlas.routes.edges import Edge
    from atlas.routes.paths import Route
    from atlas.storage.registry import Entry

# Of the fields of a card, those a person asks for last.
LAST = ("plugin", "fitted_on", "sha256", "tensors", "hub", "folder")


@click.command("list")
@click.argument("query", nargs=-1)
@click.option("--kind", type=click.Choice([*CARDS]), default=None, help="Only artefacts of this kind.")
@click.option("--source", default="", metavar="ID", help="Only alignments from this space.")
@click.option("--target", default="", metavar="ID", help="Only alignments to this space.")
@click.option("--for", "have", default="", metavar="VECTORS", help="Only artefacts that map, read or make their space.")
@click.option("--registry", multiple=True, metavar="FOLDER", help="List this folder alone; may be repeated.")
@click.option("--hub", is_flag=True, help="Search the Hub instead; nothing is downloaded, with --for cards alone.")
@click.option("--license", default="", metavar="ID", help="Only under this licence, such as mit.")
@click.option("--pairs", type=click.IntRange(0), default=0, metavar="N", help="Only alignments of at least N pairs.")
@click.option(
    "--least",
    type=(str, float),
    multiple=True,
    metavar="METRIC VALUE",
    help="Only with a figure of at least VALUE, such as r2 0.8, of items not fitted on; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N.")
@click.option("--method", metavar="NAME", help="With --hub: only artefacts that this component made.")
@click.option("--author", metavar="NAME", help="With --hub: only of this user or organisation.")
@click.option("--collection", metavar="OWNER/NAME", help="With --hub: only in this collection.")
@click.option("--sort", metavar="KEY", default="", help="A metric such as jaccard@10; with --hub: downloads, modified.")
@params.as_json
def list_command(
    query: tuple[str, ...],
    kind: str | None,
    source: str,
    target: str,
    have: str,
    registry: tuple[str, ...],
    as_json: bool,
    hub: bool,
    sort: str,
    license: str,
    pairs: int,
    least: tuple[tuple[str, float], ...],
    limit: int | None,
    **rest: str | None,
) -> None:
    """List the artefacts of the registry, or of the Hub, whose card holds every word of QUERY."""
    given = {name: value for name, value in rest.items() if value}
    if hub:
        from atlas.cli.hub import put_found

        given |= {"sort": sort} if sort else {}
        wanted: dict[str, Any] = {"license": license, "pairs": pairs, "least": dict(least), "limit": limit, **given}
        space = space_of(have) if have else None
        return put_found(" ".join(query), as_json, space, kind=kind or "", source=source, target=target, **wanted)
    if given:
        raise click.UsageError(f"--{next(iter(given))} goes with --hub")
    from atlas.storage.registry import Registry

    found = Registry(*registry)
    entries = found.list(" ".join(query), kind=kind or "", source=source, target=target)
    if found.unreadable:
        say(f"Note: {params.count(len(found.unreadable), 'card')} cannot be read - 'atlas check' says why")
    uses = {}
    if have:
        space = space_of(have)
        uses = {entry.folder: use(entry.card, space) for entry in entries}
        entries = [entry for entry in entries if uses[entry.folder]]
    tell_unmeasured(entries, [*dict(least), *filter(None, [sort])])
    entries = [entry for entry in entries if fits(entry, license, pairs, least)]
    if sort:
        entries.sort(key=lambda entry: rank(figure(entry, sort)))
    entries = entries[:limit]
    does = {folder: {"use": words} for folder, words in uses.items()}
    data = [{**e.card.to_dict(), "folder": str(e.folder), **does.get(e.folder, {})} for e in entries]
    header = ["kind", "id", "from", "to", "method", "dim", "n", sort, "of", "use"]
    put_either(as_json, data, header, [[*row(entry, sort), uses.get(entry.folder, "")] for entry in entries])


def tell_unmeasured(entries: Iterable[Entry], names: Iterable[str]) -> None:
    """Say of which of these metrics no card has a figure."""
    there = sorted({one.name for entry in entries for one in getattr(entry.card, "metrics", ())})
    for name in names:
        if current(name) not in there:
            say(f"Note: no card here has a figure of '{name}' - there are figures of {', '.join(there) or 'none'}")


def fits(entry: Entry, license: str, pairs: int, least: Iterable[tuple[str, float]]) -> bool:
    """Whether an entry is under a licence, of so many pairs, and has figures that are large enough."""
    found = [(figure(entry, name), value) for name, value in least]
    enough = all(one is not None and one.held_out and one.value >= value for one, value in found)
    card: Any = entry.card
    return enough and license in ("", card.license) and (getattr(card, "n_pairs", 0) or 0) >= pairs


def space_of(ref: str) -> Space:
    """Return the space of vectors, of an encoder's card or of a head, by where it is."""
    from atlas.cards.folder import BARE, CARD, read_card
    from atlas.errors import AtlasError
    from atlas.hub.pulling import locate

    folder = locate(ref, ["vectors", "space", "head"], tensors=False)
    if folder.suffix in BARE and not (folder / CARD).is_file():
        return params.read_all(ref)[0].space
    card = read_card(folder)
    if not isinstance(space := getattr(card, "space", None), Space):
        raise AtlasError(f"'{ref}' is of kind {card.kind} - give vectors, or the card of an encoder")
    return space


def figure(entry: Entry, name: str) -> Metric | None:
    """Return the best figure of a name that an entry's card holds."""
    return best(getattr(entry.card, "metrics", ()), name)


def row(entry: Entry, metric: str = "") -> list[Any]:
    """Return an entry's row in a listing."""
    card, spaces = entry.card, entry.spaces
    space = getattr(card, "target", None) or getattr(card, "space", None)
    method = space.encoder if space and card.kind == "space" else card.method
    came_from = spaces.get("source") or (spaces.get("space") if card.kind in ("head", "vectors") else "")
    n = getattr(card, "n", None) or getattr(card, "n_pairs", None)
    measured = figure(entry, metric)
    of = "" if measured is None else "items it was fitted on" if not measured.held_out else measured.dataset
    value = None if measured is None else measured.value
    dim = space.dim if space else None
    return [card.kind, entry.name, came_from, spaces.get("target", ""), method, dim, n, value, of]


@click.command("show")
@click.argument("ref")
@params.as_json
@params.registry
def show_command(ref: str, as_json: bool) -> None:
    """Show the card of an artefact: a folder, the id of a registry entry, or hf://owner/name[@revision]."""
    from atlas.cards.folder import BARE, CARD, read_card
    from atlas.hub.pulling import locate

    folder = locate(ref, tensors=False)
    if folder.suffix in BARE and not (folder / CARD).is_file():
        shown: dict[str, Any] = bare(folder)
        title = str(folder)
    else:
        card = read_card(folder)
        shown = {**card.to_dict(), "folder": str(folder)}
        title = f"{card.kind} {card.id}"
    if as_json:
        put_json(shown)
    else:
        put(title)
        put_fields(shown)


def bare(path: Path) -> dict[str, Any]:
    """Return the known fields of a bare file of vectors."""
    from atlas.artefacts.loading import read_bare

    vectors = read_bare(path)
    first = ", ".join(vectors.ids[:3])
    dtype = str(vectors.data.dtype).removeprefix("torch.")
    return {"kind": "vectors", "n": len(vectors), "dim": vectors.space.dim, "dtype": dtype, "ids": f"{first}..."}


def put_fields(shown: dict[str, Any]) -> None:
    """Print the fields of a card, one a line, and its metrics as a table."""
    metrics = shown.get("metrics", [])
    names = [name for name in shown if name not in ("format", "kind", "id", "metrics")]
    fields = {name: shown[name] for name in sorted(names, key=lambda name: name in LAST)}
    width = max(map(len, fields))
    for name, value in fields.items():
        values = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        for i, item in enumerate(values):
            put(f"  {name if i == 0 else '':{width}}  {in_a_line(in_words(name, item), 5000)}")
    if metrics:
        header = list(dict.fromkeys(key for metric in metrics for key in metric))
        text = table(header, [[metric.get(key) for key in header] for metric in metrics])
        put("\n" + "\n".join("  " + line for line in text.split("\n")))


def in_words(name: str, value: Any) -> str:
    """Return the value of a field of a card as a line of text."""
    if isinstance(value, dict) and {"id", "dim"} <= set(value):
        made_by = f", made by {value['encoder']}" if value.get("encoder") else ""
        return f"{value['id']} ({value['dim']} dimensions{made_by})"
    if name == "fitted_on":
        sketch = Sketch.parse(str(value))
        return f"{'all' if sketch.exact else 'a sample'} of the items, as {len(sketch.pairs)} hashes"
    if name == "tensors":
        return ", ".join(f"{key} {info['dtype']} {info.get('shape', [])}" for key, info in value.items())
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {in_words('', item)}" for key, item in value.items())
        return inner if name else f"({inner})"
    if isinstance(value, list):
        return ", ".join(in_words("", item) for item in value)
    return "none" if value is None else cell(value)


@click.command("check")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=params.PATH)
@params.as_json
@params.registry
@click.pass_context
def check_command(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Report everything that is wrong with the artefacts in PATHs, or in the registry.

    Cards and the tensors beside them are checked. The exit status is 1 if anything is wrong.
    """
    from atlas.errors import AtlasError
    from atlas.storage.registry import Registry

    found = Registry(*paths).check()
    wrong = {folder: problems for folder, problems in found.items() if problems}
    if not found and paths:
        raise AtlasError(f"There are no artefacts in {' or '.join(map(repr, map(str, paths)))}")
    if as_json:
        put_json({str(folder): problems for folder, problems in found.items()})
    for problem in [] if as_json else [problem for problems in wrong.values() for problem in problems]:
        put(in_a_line(problem))
    say(f"{params.count(len(found), 'artefact')} checked, {len(wrong) or 'none'} with problems")
    ctx.exit(1 if wrong else 0)


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
    source: str, target: str, out: Path | None, overwrite: bool, as_json: bool, metric: str, **how: Any
) -> None:
    """Find the best way from SOURCE to TARGET over published maps.

    Both are ids of spaces, or where vectors of them are. Maps and charts of atlases are followed, also backwards, and
    spaces are matched by fingerprint. The share kept is estimated before anything is applied: from the held-out figures
    on the cards, and from moments of SOURCE and TARGET where they are published; a map that keeps r2 forwards is taken
    to keep 2 - 1/r2 backwards.
    """
    from atlas.artefacts.loading import save
    from atlas.storage.files import check_target
    from atlas.verbs.route import find_route, followed, moments_between

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
    """Print the maps of a route, the share each keeps, and the estimate of the whole."""
    steps = [step(edge) for edge in route.edges]
    if as_json:
        put_json({"metric": metric, "estimated": route.keeps, "told_by": route.told_by, "steps": steps})
        return
    header = ["from", "to", "by", "backwards", "method", metric, "license", "ref"]
    put_table(header, [[one[name] or "" for name in [*header[:5], "keeps", *header[6:]]] for one in steps])
    if route.keeps is None:
        say(f"Note: a map of the route has no {metric} of held-out items on its card, so the share it keeps is unknown")
    else:
        put(f"\nEstimated {metric}: {route.keeps:.4f}, by {route.told_by}")


def step(edge: Edge) -> dict[str, Any]:
    """Return the row of an edge."""
    about: dict[str, Any] = {"from": edge.source.id, "to": edge.target.id, "by": edge.card.id, "chart": edge.chart}
    about |= {"backwards": edge.inverse, "method": edge.card.method, "keeps": edge.keeps}
    return about | {"license": edge.card.license, "ref": str(edge.ref)}


@click.command("site")
@click.argument("registries", nargs=-1, metavar="[REGISTRY]...", type=params.PATH)
@params.out("Folder for the pages.")
@click.option(
    "--hub", "authors", multiple=True, metavar="AUTHOR", help="Show the artefacts of AUTHOR on the Hub; repeatable."
)
@click.option("--space", default="", metavar="OWNER/NAME", help="Write the card of this Space of static pages, too.")
@params.overwrite
def site_command(
    registries: tuple[Path, ...], out: Path, authors: tuple[str, ...], space: str, overwrite: bool
) -> None:
    """Write registries as pages to look at: a listing, a page for each artefact and space, and the graph of spaces.

    The pages work from the folder and on any host of static files, and load nothing from elsewhere. Without a REGISTRY,
    or --hub, they show those of ATLAS_REGISTRY and the shipped one.
    """
    from atlas.site.pages import site

    with tempfile.TemporaryDirectory() as temporary:
        places = [*registries, *(indexed(author, Path(temporary) / str(i)) for i, author in enumerate(authors))]
        shown = site(places, out, space=space, overwrite=overwrite)
    then = f"hf upload {space} {out} --repo-type space" if space else f"open {out / 'index.html'}"
    params.wrote(f"a site of {params.count(shown, 'artefact')}", out, then)


def indexed(author: str, folder: Path) -> Path:
    """Return a registry of the cards that an author has on the Hub."""
    from atlas.hub.searching import index

    folder.mkdir()
    for repo, reason in index(author, folder).skipped.items():
        say(f"Left out {repo}: {reason}")
    return folder
