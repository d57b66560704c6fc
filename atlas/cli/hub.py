"""Commands about the Hugging Face Hub: push, pull, verify, index and lock. They use the login of `hf auth login`."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cards.names import current
from atlas.cli import params
from atlas.cli.output import put, put_either, put_json, put_table, say

if TYPE_CHECKING:
    from atlas.cards.space import Space
    from atlas.hub.repository import Push
    from atlas.hub.searching import Found


@click.command("push", cls=params.Spread)
@click.argument("folder", metavar="FOLDER|ID")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, default=None, help="Make the repository private.")
@click.option("--branch", "revision", default="main", show_default=True, metavar="NAME", help="Commit to this branch.")
@click.option("--tag", default="", metavar="NAME", help="Give the commit a name, such as v1.0.0; it must be new.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing.")
@click.option("--license", default="", metavar="ID", help="Publish it under this licence, such as cc-by-4.0.")
@click.option("--language", multiple=True, metavar="CODE", help="Language of the items, such as en; may be repeated.")
@click.option(
    "--collection",
    default="",
    metavar="TITLE",
    help="Add the repository to this collection of its owner, which is made if it is not there, or to OWNER/NAME.",
)
@click.option("--message", "commit_message", default="", metavar="TEXT", help="Message of the commit.")
@click.option(
    "--with-items",
    metavar="FILE",
    type=params.PATH,
    help="Publish the raw items in this .txt, .csv, .tsv, .jsonl or .parquet file, too, for everybody who may read the "
    "repository; nothing downloads them by itself.",
)
@click.option(
    "--with-moments",
    metavar="MOMENTS",
    help="Publish these moments beside an alignment, from which others can fit it again with pairs of their own.",
)
@click.option(
    "--few",
    is_flag=True,
    help="Publish moments, or the domain of a map, of under 10 rows for each dimension, though they reveal the rows.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; print the files, their sizes and the model card.")
@click.option(
    "--evaluated-on",
    cls=params.Several,
    multiple=True,
    metavar="VECTORS...",
    help="hf:// references of vectors to measure it on, for the model card and for 'atlas verify': SOURCE TARGET for "
    "an alignment, those of its space for a head, those of some of its spaces for an atlas.",
)
@click.option(
    "--head",
    metavar="HEAD",
    help="hf:// reference of a head of an alignment's target or an atlas's space, to measure its accuracy.",
)
@click.option(
    "--fitted-on",
    nargs=2,
    metavar="SOURCE TARGET",
    help="Vectors it was fitted on, to draw its figures by the number of pairs; they are not published.",
)
@params.as_json
@params.registry
def push_command(
    folder: str,
    repo: str,
    evaluated_on: tuple[str, ...],
    head: str | None,
    as_json: bool,
    dry_run: bool,
    **how: Any,
) -> None:
    """Publish an artefact, a folder or a registry entry, on the Hub as one commit.

    The card, the tensors and a README are published, and curve.csv, picture.svg, picture.png and recipe.yaml where they
    are beside the card. Text that people wrote into the README, and files of other names, stay.
    """
    from atlas.cli.made import tell_overlap
    from atlas.hub.client import quiet
    from atlas.hub.repository import ITEMS
    from atlas.sharing.publishing import push

    if (head or how["fitted_on"]) and not evaluated_on:
        raise click.UsageError("--head and --fitted-on go with --evaluated-on")
    if not sys.stderr.isatty():
        quiet()
    how["fitted_on"] = how["fitted_on"] or ()
    done = push(folder, repo, dry_run=dry_run, evaluated_on=evaluated_on, head=head or "", **how)
    for name in sorted({*ITEMS} & {*done.files}):
        say(f"{name} holds raw items: everybody who can read the repository can read them")
    tell_overlap(done.metrics)
    if not done.license:
        say("The card names no licence - name one with --license, such as cc-by-4.0")
    if done.told:
        params.wrote("the figures", done.told)
    if as_json:
        put_json({**_plain(done), "dry_run": dry_run})
    elif dry_run:
        sizes = sorted(done.sizes.items())
        put_table(["file", "bytes", ""], [[n, s, "new" if n in done.changed else "as it is"] for n, s in sizes])
        put("\n" + done.readme.rstrip())
    else:
        what = params.count(len(done.changed), "file")
        say(f"Pushed {what} to {done.ref}" if done.changed else f"Nothing has changed: {done.ref} holds the same")
        if done.url:
            say(f"Opened {done.url}")
        if done.collection:
            say(f"It is in collection {done.collection}")
        put(done.pinned)


def _plain(done: Push) -> dict[str, Any]:
    where = {"repo": done.ref.repo, "branch": done.ref.revision, "commit": done.commit, "pinned": done.pinned}
    where |= {"collection": done.collection} if done.collection else {}
    return {**where, "url": done.url, "files": done.sizes, "changed": list(done.changed)}


@click.command("pull")
@click.argument("ref", required=False)
@click.option(
    "--to",
    metavar="FOLDER",
    type=params.PATH,
    help="Copy it, and moments that were published beside it, to a folder of its own.",
)
@click.option("--overwrite", is_flag=True, help="Replace the artefact at --to.")
@click.option("--force", "force_download", is_flag=True, help="Download it again.")
@click.option("--collection", default="", metavar="OWNER/NAME", help="Pull all artefacts of this collection.")
@click.option("--locked", is_flag=True, help="Pull the commits that the lock file names, or fail with the differences.")
@params.lock_file("--lock")
@params.as_json
def pull_command(
    ref: str | None,
    to: Path | None,
    overwrite: bool,
    force_download: bool,
    collection: str,
    locked: bool,
    lock: Path,
    as_json: bool,
) -> None:
    """Download REF, hf://owner/name[@revision], or a whole collection, and check all of it; print where it lies."""
    from atlas.hub.collections import members
    from atlas.hub.pulling import copy, pull
    from atlas.recipes.locking import pull_locked

    if [bool(ref), locked, bool(collection)].count(True) != 1:
        raise click.UsageError("Give either a REF, --collection or --locked")
    if to and locked:
        raise click.UsageError("--to goes with a REF or --collection")
    refs = members(collection) if collection else [str(ref)]
    found = pull_locked(lock) if locked else [pull(one, force_download=force_download) for one in refs]
    # Those of a collection lie in a folder each, named as their repositories.
    places = [to / one.ref.repo.replace("/", "--") if to and collection else to for one in found]
    folders = [copy(one, at, overwrite=overwrite) if at else one.folder for one, at in zip(found, places, strict=True)]
    for one, folder in zip(found, folders, strict=True):
        if not as_json:
            say(f"{one.card.kind} {one.card.id} is {one.pinned}")
            put(str(folder))
    if as_json:
        put_json([{"pinned": o.pinned, "folder": str(f)} for o, f in zip(found, folders, strict=True)])


@click.command("verify", cls=params.Spread)
@click.argument("ref")
@click.option("--source", metavar="VECTORS", help="Vectors to measure on; those the card names unless given.")
@click.option("--target", metavar="VECTORS", help="Vectors of the same items in the target.")
@click.option(
    "--vectors", cls=params.Several, multiple=True, metavar="VECTORS...", help="For a head or an atlas: its input."
)
@click.option("--head", metavar="HEAD", help="Head of the target or the shared space.")
@params.as_json
@params.registry
@click.pass_context
def verify_command(ctx: click.Context, ref: str, vectors: tuple[str, ...], as_json: bool, **data: str | None) -> None:
    """Check an artefact's hashes, numbers and plugin, and measure its figures again.

    The exit status is 1 if anything is wrong.
    """
    from atlas.sharing.parts import numbered
    from atlas.sharing.verifying import verify

    given = {name: value for name, value in data.items() if value}
    given |= dict(zip(numbered(len(vectors)), vectors, strict=False))
    if bool(given.get("source")) != bool(given.get("target")):
        raise click.UsageError("--source and --target go together")
    checks = verify(ref, given)
    verdicts = {True: "ok", False: "WRONG", None: "-"}
    rows = [[verdicts[c.ok], c.name, c.said] for c in checks]
    put_either(as_json, [dataclasses.asdict(check) for check in checks], ["", "check", "finding"], rows)
    ctx.exit(1 if any(check.ok is False for check in checks) else 0)


@click.command("index")
@click.argument("author")
@click.option("--registry", required=True, metavar="FOLDER", type=params.PATH, help="Registry to rebuild.")
@click.option("--remove-all", is_flag=True, help="Remove all entries of AUTHOR even if the Hub lists nothing.")
@params.as_json
@click.pass_context
def index_command(ctx: click.Context, author: str, registry: Path, remove_all: bool, as_json: bool) -> None:
    """Rebuild the entries of a registry that stand for artefacts of AUTHOR, a user or organisation, on the Hub.

    Each entry is a card pinned to a commit; its tensors are pulled when they are used.
    """
    from atlas.hub.searching import index

    done = index(author, registry, remove_all=remove_all)
    if as_json:
        folders = {name: [*map(str, getattr(done, name))] for name in ("written", "removed")}
        put_json({**folders, "skipped": dict(done.skipped)})
    else:
        for folder in done.written:
            put(str(folder))
    for repo, reason in done.skipped.items():
        say(f"Left out {repo}: {reason}")
    what = "1 entry" if len(done.written) == 1 else f"{len(done.written)} entries"
    say(f"Wrote {what}, removed {len(done.removed)}, left out {len(done.skipped)}")
    ctx.exit(1 if done.skipped else 0)


@click.command("lock")
@click.argument("what", nargs=-1, required=True, metavar="RECIPE|REF...")
@params.lock_file("--out")
@params.values
@params.registry
def lock_command(what: tuple[str, ...], out: Path, values: dict[str, Any]) -> None:
    """Write down the commits, hashes and plugin versions of recipes' inputs from the Hub, or of references.

    The inputs of a recipe may depend on its `values`: lock it with the --set that it is run with.
    """
    from atlas.recipes.locking import lock, references

    if values and all(one.startswith("hf://") for one in what):
        raise click.UsageError("--set goes with a recipe")
    refs = [ref for one in what for ref in ([one] if one.startswith("hf://") else references(one, values))]
    for one in lock(refs, out):
        say(f"{one.ref} is {one.commit}")
    params.wrote(params.count(len(set(refs)), "reference"), out, "atlas pull --locked")


def put_found(query: str, as_json: bool, space: Space | None = None, **wanted: Any) -> None:
    """Print the results of a search of the Hub, as a table or as JSON; with a space, those of use for its vectors."""
    from atlas.hub.searching import search

    uses: dict[str, str] = {}
    if space is None:
        found = search(query, **wanted)
    else:
        limit = wanted.pop("limit", None)
        found, uses = of_use(search(query, **wanted), space, limit)
    if as_json:
        put_json([dataclasses.asdict(one) | ({"use": uses[one.repo]} if space else {}) for one in found])
        return
    sort = wanted.get("sort", "")
    by = "" if sort in ("downloads", "modified") else current(sort)
    metric = by or "jaccard@10"
    there = sorted({name for one in found for name in one.metrics})
    if found and by and by not in there:
        say(f"Note: no card found has a figure of '{by}' - there are figures of {', '.join(there) or 'none'}")
    header = ["kind", "ref", "from", "to", "method", metric, "of", "downloads", "modified", "", "use"]
    rows = []
    for one in found:
        about = [one.kind, f"hf://{one.repo}", one.source, one.target, one.method, one.metrics.get(metric)]
        about.append("items it was fitted on" if metric in one.overlap else "")
        private = "private" if one.private else ""
        rows.append([*about, one.downloads, one.modified[:10], private, uses.get(one.repo, "")])
    least = " and ".join(f"{name} from {value:g}" for name, value in wanted.get("least", {}).items())
    put_table(header, rows, f"Nothing found with {least}" if least else "Nothing found")


def of_use(found: Iterable[Found], space: Space, limit: int | None) -> tuple[list[Found], dict[str, str]]:
    """Return the artefacts that are of use for vectors of a space, and the use of each by its repository."""
    from atlas.hub.searching import readable
    from atlas.routes.uses import use

    every = ((one, use(pulled.card, space)) for one, pulled in readable(found))
    chosen = [*itertools.islice(((one, does) for one, does in every if does), limit)]
    return [one for one, _ in chosen], {one.repo: does for one, does in chosen}
