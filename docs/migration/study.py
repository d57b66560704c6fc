"""Whether a change of the embedding model can do without embedding everything: all ordered pairs of four encoders.

    python docs/migration/study.py ../shared/data

measures everything anew into results.json, in some five minutes of one core. The folder holds vectors/, made by four
public encoders, and cranfield/; banking questions are judged by their labels. Pages are made from the file.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas import Vectors
from atlas.authors import unit
from atlas.components.choosing import ROLES
from atlas.migration.advice import GATE, MAPS, Gate, verdict
from atlas.migration.advising import _chosen, _pairs, _whole
from atlas.migration.domain import leverage
from atlas.migration.judgements import Judgements, read_judgements
from atlas.migration.measuring import Measured
from atlas.migration.methods import choose
from atlas.migration.rolling import curves, rolling
from atlas.migration.trial import Maps
from atlas.pictures.plots import heat_map, lines

HERE = Path(__file__).parent
ENCODERS = ("use", "wordllama", "e5", "minilm")
DOCUMENTS = 1400
# Of each run: what is searched, where pairs are from, and how many.
RUNS = (
    ("cranfield", "cranfield", 1000),
    ("cranfield", "cranfield", 300),
    ("cranfield", "banking", 300),
    ("banking", "banking", 300),
    ("banking", "banking", 1000),
)
# Orders in which documents are embedded anew, as the table names them.
ORDERS = {
    "in order": "most asked for first",
    "farthest from the pairs first": "farthest from the pairs first",
    "by chance": "by chance",
}
ROWS = ("stay", "convert", "bridge", "re-order", "re-embed")


def vectors(data: Path, name: str, encoder: str, rows: Sequence[int] | None = None, ids: Sequence[str] = ()) -> Vectors:
    """Return vectors of some rows of a file at length 1."""
    X = unit(torch.tensor(np.load(data / "vectors" / f"{name}.{encoder}.npy")).float())
    X = X if rows is None else X[list(rows)]
    return Vectors.of(X, encoder, ids=[*ids] or [str(i) for i in rows or range(len(X))])


def cranfield(data: Path) -> tuple[Mapping[str, Vectors], Mapping[str, Vectors], Judgements]:
    """Return documents and queries by encoder, and judgements, which number queries by position from 1."""
    ids = json.loads((data / "vectors" / "cran-docs.ids.json").read_text())
    numbers = [str(i + 1) for i in range(225)]
    documents = {name: vectors(data, "cran-docs", name, ids=ids) for name in ENCODERS}
    queries = {name: vectors(data, "cran-queries", name, ids=numbers) for name in ENCODERS}
    return documents, queries, read_judgements(data / "cranfield" / "cranqrel.trec.txt")


def banking(data: Path) -> tuple[Mapping[str, Vectors], Mapping[str, Vectors], Judgements]:
    """Return as many questions, 225 others that ask, and as judgements which are of the same of 77 intents."""
    labels = {}
    for part in ("train", "test"):
        with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            labels[part] = [row["category"] for row in csv.DictReader(file)]
    random = np.random.default_rng(0)
    kept, asked = (
        random.permutation(len(labels[part]))[:n].tolist() for part, n in (("train", DOCUMENTS), ("test", 225))
    )
    documents = {name: vectors(data, "banking-train", name, kept) for name in ENCODERS}
    queries = {name: vectors(data, "banking-test", name, asked, [f"q{i}" for i in asked]) for name in ENCODERS}
    same = {f"q{q}": {str(d): 1 for d in kept if labels["train"][d] == labels["test"][q]} for q in asked}
    return documents, queries, same


def measured(sets: Mapping[str, Any], run: tuple[str, str, int], old: str, new: str) -> dict[str, Any]:
    """Return what is advised from a sample, and what hindsight says: the same maps measured on all new vectors."""
    name, of, n = run
    documents, queries, judgements = sets[name]
    some = torch.randperm(DOCUMENTS, generator=torch.Generator().manual_seed(0))
    sample = documents[new].take(some[:n])
    other = None
    if of != name:
        other = tuple(sets[of][0][encoder].take(some[:n]) for encoder in (old, new))
        sample = documents[new].take(some[:300])
    pairs = _pairs(documents[old], sample, other)
    methods = {way: choose(pairs, role)[0] for way, role in zip(MAPS, ROLES, strict=True)}
    gate = Gate.of(GATE)
    known, everything = (
        _whole(documents[old], vectors, queries[new], queries[old], pairs) for vectors in (sample, documents[new])
    )
    trial = _chosen(known)
    maps = {way: Maps.of(method.create(), pairs, way) for way, method in methods.items()}
    ways = Measured(trial, known, judgements, gate, methods, maps).ways()
    whole = Measured(everything, everything, judgements, gate, methods, maps)
    hindsight = whole.ways()
    said, right = verdict(ways, gate, True)[0], verdict(hindsight, gate, True)[0]
    figures = {way.name: [f.value, f.low, f.high] for way in hindsight for f in [way.figures[gate.measure]]}
    return {
        "searched": name, "pairs of": of, "pairs": n, "old": old, "new": new, "advised": said, "right": right,
        "figures": figures, "share": {way.name: way.share.value for way in hindsight},
        "depth": next(way.depth for way in hindsight if way.name == "re-order"),
        "methods": {way: str(method) for way, method in methods.items()},
        **({"rolling": mixed(whole, maps["convert"])} if run == RUNS[0] else {}),
    }  # fmt: skip


def mixed(whole: Measured, maps: Maps) -> dict[str, dict[float, float]]:
    """Return the figure of a mixed index by order and by the share that is embedded anew."""
    trial = whole.trial
    converted = torch.cat(list(trial.converted(maps)))
    far = leverage(trial.pairs.new)(converted).argsort(descending=True)
    doubtful = curves(whole, converted, {"farthest from the pairs first": [far, far]})
    found = {**rolling(whole, maps), **doubtful}
    return {name: {share: figure.value for share, figure in curve.items()} for name, curve in found.items()}


def all_runs(data: Path) -> Iterator[dict[str, Any]]:
    """Yield what came of every run, pair by pair."""
    sets = {"cranfield": cranfield(data), "banking": banking(data)}
    for run in RUNS:
        for old, new in itertools.permutations(ENCODERS, 2):
            yield measured(sets, run, old, new)


def results() -> list[dict[str, Any]]:
    """Return what was measured last."""
    return json.loads((HERE / "results.json").read_text())


def table(searched: str, of: str, pairs: int) -> str:
    """Return a table of nDCG@10 in points, a row for each ordered pair."""
    rows = [r for r in results() if (r["searched"], r["pairs of"], r["pairs"]) == (searched, of, pairs)]
    lines = [f"| old, new | {' | '.join(ROWS)} | depth | map of documents | advised | in hindsight |"]
    lines.append("|---" * (len(ROWS) + 5) + "|")
    for r in rows:
        points = " | ".join(f"{100 * r['figures'][way][0]:.1f}" for way in ROWS)
        told = f"{r['depth']} | {r['methods']['convert']} | {r['advised']} | {r['right']}"
        lines.append(f"| {r['old']}, {r['new']} | {points} | {told} |")
    means = (np.mean([r["figures"][way][0] for r in rows]) for way in ROWS)
    return "\n".join([*lines, f"| mean | {' | '.join(f'{100 * mean:.1f}' for mean in means)} | | | | |"])


def rolling_table() -> str:
    """Return a table of mixed indexes, of the changes to a better model, for each order."""
    rows = [r for r in results() if "rolling" in r and r["figures"]["re-embed"][0] > r["figures"]["stay"][0]]
    shares = list(rows[0]["rolling"]["in order"])
    lines = [
        f"| old, new | order | {' | '.join(f'{float(share):.0%}' for share in shares)} |",
        "|---|---" + "|---" * len(shares) + "|",
    ]
    for order, told in ORDERS.items():
        means = [100 * np.mean([r["rolling"][order][share] for r in rows]) for share in shares]
        lines.append(f"| mean | {told} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    for r, (order, told) in itertools.product(rows, ORDERS.items()):
        values = (f"{100 * r['rolling'][order][share]:.1f}" for share in shares)
        lines.append(f"| {r['old']}, {r['new']} | {told} | {' | '.join(values)} |")
    return "\n".join(lines)


def way_of(said: str) -> str:
    """Return the way that a verdict names."""
    return "re-order" if said.startswith("recall") else said


def mistakes() -> str:
    """Return a table of how often advice was what hindsight says, and what it cost where it was not."""
    lines = [
        "| searched | pairs of | pairs | right | wrong, and points of nDCG@10 that it cost |",
        "|---|---|---|---|---|",
    ]
    for run in RUNS:
        rows = [r for r in results() if (r["searched"], r["pairs of"], r["pairs"]) == run]
        wrong = [r for r in rows if r["advised"] != r["right"]]
        told = "; ".join(f"{r['old']}, {r['new']}: {r['advised']} for {r['right']}, {cost(r):+.1f}" for r in wrong)
        lines.append(
            f"| {run[0]} | {run[1]} | {run[2]:,} | {len(rows) - len(wrong)} of {len(rows)} | {told or 'none'} |"
        )
    return "\n".join(lines)


def held_out() -> str:
    """Return how often the advice was right on the set that no choice of `advise` was made on."""
    told = []
    for run in RUNS:
        rows = [r for r in results() if (r["searched"], r["pairs of"], r["pairs"]) == run and run[0] == "banking"]
        if rows:
            told.append(
                f"in {sum(r['advised'] == r['right'] for r in rows)} of {len(rows)} changes from {run[2]:,} pairs"
            )
    return f"On banking77, which no choice of `advise` was made on, the advice was right {' and '.join(told)}."


def cost(r: Mapping[str, Any]) -> float:
    """Return by how many points what was advised finds less than what is right; below 0: more, by embedding more."""
    return 100 * (r["figures"][way_of(r["right"])][0] - r["figures"][way_of(r["advised"])][0])


def findings() -> str:
    """Return what the figures say, in sentences."""
    rows = results()
    known = [r for r in rows if r["pairs of"] == r["searched"]]
    gains = [r for r in known if r["figures"]["re-embed"][0] > r["figures"]["stay"][0]]
    enough = [r for r in gains if r["share"]["re-order"] >= 0.95]

    def beaten(way: str, among: Sequence[Mapping[str, Any]]) -> int:
        return sum(r["figures"][way][0] > r["figures"]["stay"][0] for r in among)

    right = sum(r["advised"] == r["right"] for r in rows)
    strange = [r for r in rows if r["pairs of"] != r["searched"]]
    return "\n".join(
        [
            f"- The advice was right in {right} of {len(rows)} changes.",
            f"- In {len(gains)} of {len(known)} changes with pairs of the index's own kind the new model is the better "
            f"one. In {len(enough)} of these, re-ordering at most 200 candidates keeps 95 % of its figure.",
            f"- In these {len(gains)}, the converted index beats the old one in {beaten('convert', gains)}, "
            f"and the bridge in {beaten('bridge', gains)}; re-ordering in {beaten('re-order', gains)}.",
            f"- Of {len(strange)} changes with pairs of another domain, maps were advised in "
            f"{sum(r['advised'] in MAPS for r in strange)}; they beat the old index in "
            f"{beaten('convert', strange)} (converted) and {beaten('bridge', strange)} (bridged).",
        ]
    )


def example(data: Path, folder: Path) -> None:
    """Write what docs/migrate.md begins with: an index by USE, 1,000 of its documents by MiniLM, and judgements."""
    documents, queries, _ = cranfield(data)
    some = torch.randperm(DOCUMENTS, generator=torch.Generator().manual_seed(0))[:1000]
    written = {
        **{f"index/part-{k}": documents["use"].take(rows) for k, rows in enumerate(torch.arange(DOCUMENTS).chunk(4))},
        "sample": documents["minilm"].take(some),
        "queries-old": queries["use"],
        "queries-new": queries["minilm"],
        "embedded": documents["minilm"],
    }
    for name, made in written.items():
        made.save_pretrained(folder / f"{name}.parquet", overwrite=True)
    shutil.copyfile(data / "cranfield" / "cranqrel.trec.txt", folder / "cranqrel.trec.txt")


def draw(advice: Path) -> None:
    """Draw the ways of all pairs, and what more pairs bring in what `atlas migrate advise --json` printed."""
    rows = [r for r in results() if (r["searched"], r["pairs of"], r["pairs"]) == RUNS[0]]
    points = [[r["figures"][way][0] for way in ROWS] for r in rows]
    names = [f"{r['old']} → {r['new']}" for r in rows]
    heat_map(names, list(ROWS), points, HERE / "ways.png", title="nDCG@10 on Cranfield, 1,000 pairs")
    found = json.loads(advice.read_text())
    y = "nDCG@10, and its 95 % interval"
    lines({"convert": line(found["curve"])}, HERE / "pairs.png", title="From more pairs", x="pairs", y=y)
    mixed = {name: line(curve, 100) for name, curve in found["rolling"].items()}
    lines(mixed, HERE / "rolling.png", title="A mixed index", x="% embedded anew", y=y)
    kept = [[way["figures"][GATE.partition(">=")[0]]["value"]] for way in found["ways"]]
    heat_map([way["name"] for way in found["ways"]], ["nDCG@10"], kept, HERE / "six.png", title="The ways")


def line(curve: Mapping[str, Mapping[str, float]], times: float = 1) -> list[tuple[float, float, float]]:
    """Return the points of a curve with half the width of their intervals."""
    return [(times * float(x), f["value"], (f["high"] - f["low"]) / 2) for x, f in curve.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    parser.add_argument("--example", type=Path, metavar="FOLDER", help="write the files of docs/migrate.md instead")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="draw, with what advise printed of them, instead")
    given, found = parser.parse_args(), []
    if given.example:
        example(given.data, given.example)
    if given.draw:
        draw(given.draw)
    for one in [] if given.example or given.draw else all_runs(given.data):
        found.append(one)
        print(*(one[key] for key in ("searched", "pairs of", "pairs", "old", "new", "advised", "right")), flush=True)
        (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
