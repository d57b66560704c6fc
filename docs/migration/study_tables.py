"""The tables, sentences and pictures of the study, made of results.json.

    atlas migrate advise ... --json > advice.json
    python docs/migration/study_tables.py advice.json

draws them; what `advise` printed is of the files that `study.py --example` writes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study import CHANGES, MAIN, RUNS, Run

from atlas.migration.advice import GATE, MAPS
from atlas.pictures.plots import heat_map, lines

HERE = Path(__file__).parent
ROWS = ("stay", "convert", "bridge", "re-order", "re-embed")
# Orders in which documents are embedded anew, as the table names them.
ORDERS = {
    "in order": "most asked for first",
    "farthest from the pairs first": "farthest from the pairs first",
    "by chance": "by chance",
}
# Quantiles 0.975 of Student's t for means of 2 and of 3 draws.
STUDENT = {2: 12.706, 3: 4.303}
OTHERS = {"others": "other questions"}
Row = Mapping[str, Any]


@functools.cache
def results() -> list[dict[str, Any]]:
    """Return what was measured last."""
    return json.loads((HERE / "results.json").read_text())


def of_run(run: Run) -> list[Row]:
    """Return the outcomes of a run."""
    key = run.searched, run.of, run.pairs
    return [r for r in results() if (r["searched"], r["pairs of"], r["pairs"]) == key]


def better(rows: Sequence[Row]) -> list[Row]:
    """Return the changes to a model that finds more."""
    return [r for r in rows if r["figures"]["re-embed"] > r["figures"]["stay"]]


def by_draw(rows: Sequence[Row]) -> list[list[Row]]:
    """Return outcomes draw by draw."""
    return [[r for r in rows if r["draw"] == draw] for draw in sorted({r["draw"] for r in rows})]


def mean_of(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean over draws and its 95 % interval, where there are several."""
    told, n = f"{np.mean(values):.{digits}f}", len(values)
    if n == 1:
        return told
    half = STUDENT[n] * np.std(values, ddof=1) / n**0.5
    return f"{told} ± {half:.{digits}f}"


def lost(r: Row) -> float:
    """Return by how many points the advised way finds less than the right one; below 0: more, by embedding more."""
    return 100 * (r["figures"][way_of(r["right"])] - r["figures"][way_of(r["advised"])])


def way_of(said: str) -> str:
    """Return the way that a verdict names."""
    return "re-order" if said.startswith("recall") else said


def where(run: Run) -> str:
    """Return the first cells of a table: what is searched, and the pairs."""
    return f"| {run.searched} | {OTHERS.get(run.of, run.of)} | {run.pairs:,} |"


def mistakes() -> str:
    """Return a table of how often advice was what hindsight says, and what it cost where it was not."""
    made = [
        "| searched | pairs of | pairs | right, of 12, by draw | points lost | wrong: how often, and points each |",
        "|---" * 6 + "|",
    ]
    for run in RUNS:
        draws: list[list[Row]] = by_draw(of_run(run))
        kinds: dict[tuple[str, str], list[float]] = {}
        for r in itertools.chain(*draws):
            if r["advised"] != r["right"]:
                kinds.setdefault((r["advised"], r["right"]), []).append(lost(r))
        hits = ", ".join(str(sum(r["advised"] == r["right"] for r in rows)) for rows in draws)
        cost = mean_of([mean_lost(rows) for rows in draws], 2)
        told = "; ".join(
            f"{said} for {best}: {len(costs)}, {np.mean(costs):+.1f}"
            for (said, best), costs in sorted(kinds.items(), key=lambda kind: -len(kind[1]))
        )
        made.append(f"{where(run)} {hits} | {cost} | {told or 'none'} |")
    return "\n".join(made)


def right(rows: Sequence[Row]) -> str:
    """Return in how many changes the advice was that of hindsight."""
    return f"{sum(r['advised'] == r['right'] for r in rows)} of {len(rows)}"


def mean_lost(rows: Sequence[Row]) -> float:
    """Return how many points are lost in the mean, right advice and advice that finds more losing none."""
    return float(np.mean([max(lost(r), 0) for r in rows]))


def from_index(pairs: int) -> list[Row]:
    """Return the outcomes from so many documents of the index, in both sets."""
    return [r for run in RUNS if run.of == run.searched and run.pairs == pairs for r in of_run(run)]


def from_pairs(pairs: int) -> str:
    """Return how often the advice was right from so many pairs of the index, and what it lost, over draws."""
    draws = by_draw(from_index(pairs))
    shares = mean_of([100 * float(np.mean([r["advised"] == r["right"] for r in rows])) for rows in draws])
    return f"{shares} % ({mean_of([mean_lost(rows) for rows in draws], 2)} points lost)"


def held_out() -> str:
    """Return how often the advice was right on the set that no choice of `advise` was made on."""
    own, others, strange = (
        right([r for run in RUNS if run.searched == "banking" and run.of == of for r in of_run(run)])
        for of in ("banking", "others", "cranfield")
    )
    return (
        f"On banking77, which no choice of `advise` was made on, the advice was right in {own} changes from pairs of "
        f"the index, in {others} from other questions, and in {strange} from abstracts."
    )


def always() -> str:
    """Return how often advice would be right that is the same each time."""
    said = {name: sum(r["right"] == name for r in results()) for name in ("stay", "recall and re-order")}
    told = " and ".join(f"*{name}* in {n}" for name, n in said.items())
    return f"The same advice each time would have been right less often: {told} of all {len(results())} changes."


def findings() -> str:
    """Return what the figures say, in sentences."""
    rows = results()
    gains = better([r for r in rows if r["pairs of"] in (r["searched"], "others")])
    strange = [r for run in RUNS if run.strange for r in of_run(run)]
    enough = sum(r["share"]["re-order"] >= 0.95 for r in gains)
    worst = max(rows, key=lost)
    needless = sum(r["advised"] == "re-embed" != r["right"] for r in rows)
    worth = better(strange)
    return "\n".join(
        [
            f"- The advice was right in {right(rows)} changes. Wrong advice lost {mean_lost(rows):.2f} points of "
            f"nDCG@10 in the mean over all of them, at most {lost(worst):.1f} ({worst['old']} to {worst['new']}: "
            f"{worst['advised']} for {worst['right']}); in {needless} it would have embedded everything where less is "
            "enough.",
            f"- It needs a sample: from 100 pairs of the index it was right in {from_pairs(100)}, from 300 in "
            f"{from_pairs(300)}, and from 1,000 in {right(from_index(1000))}.",
            f"- Where the new model is the better one and the pairs are of the right kind ({len(gains)} changes), "
            f"re-ordering at most 200 candidates keeps 95 % of its figure in {enough}.",
            f"- In these the converted index beats the old one in {beats('convert', gains)}, the bridge in "
            f"{beats('bridge', gains)}, and re-ordering in {beats('re-order', gains)}.",
            f"- Of {len(strange)} changes with pairs of another domain, maps were advised in "
            f"{sum(r['advised'] in MAPS for r in strange)}. Of the {len(worth)} to a better model, they beat the old "
            f"index in {beats('convert', worth)} (converted) and {beats('bridge', worth)} (bridged).",
        ]
    )


def beats(way: str, among: Sequence[Row]) -> int:
    """Return in how many changes a way finds more than the old model."""
    return sum(r["figures"][way] > r["figures"]["stay"] for r in among)


def overview() -> str:
    """Return a table of means over all changes, by run."""
    made = [
        f"| searched | pairs of | pairs | {' | '.join(ROWS)} | convert beats stay |",
        "|---" * (len(ROWS) + 4) + "|",
    ]
    for run in RUNS:
        rows, gains = of_run(run), better(of_run(run))
        cells = [mean_of([100 * np.mean([r["figures"][way] for r in some]) for some in by_draw(rows)]) for way in ROWS]
        points = [cell.removesuffix(" ± 0.0") for cell in cells]
        made.append(f"{where(run)} {' | '.join(points)} | {beats('convert', gains)} of {len(gains)} |")
    return "\n".join(made)


def counted(values: Sequence[str]) -> str:
    """Return different values, the most frequent first, with how often where they differ."""
    counts = {value: list(values).count(value) for value in dict.fromkeys(values)}
    told = sorted(counts.items(), key=lambda one: -one[1])
    return "; ".join(f"{value} ({n})" if len(told) > 1 else value for value, n in told)


def table(searched: str, of: str, pairs: int) -> str:
    """Return a table of nDCG@10 in points, means over draws, a row for each ordered pair."""
    rows = of_run(Run(searched, of, pairs))
    made = [f"| old, new | {' | '.join(ROWS)} | depth | map of documents | advised | in hindsight |"]
    made.append("|---" * (len(ROWS) + 5) + "|")
    for old, new in CHANGES:
        some = [r for r in rows if (r["old"], r["new"]) == (old, new)]
        points = " | ".join(f"{100 * np.mean([r['figures'][way] for r in some]):.1f}" for way in ROWS)
        maps, depths = [r["methods"]["convert"] for r in some], [str(r["depth"]) for r in some]
        told = (counted(values) for values in (depths, maps, *([r[key] for r in some] for key in ("advised", "right"))))
        made.append(f"| {old}, {new} | {points} | {' | '.join(told)} |")
    means = (np.mean([r["figures"][way] for r in rows]) for way in ROWS)
    return "\n".join([*made, f"| mean | {' | '.join(f'{100 * mean:.1f}' for mean in means)} | | | | |"])


def rolling_table() -> str:
    """Return a table of mixed indexes, of the changes to a better model, for each order."""
    rows = better([r for r in results() if "rolling" in r])
    shares = list(rows[0]["rolling"]["in order"])
    made = [
        f"| old, new | order | {' | '.join(f'{float(share):.0%}' for share in shares)} |",
        "|---|---" + "|---" * len(shares) + "|",
    ]
    for order, told in ORDERS.items():
        means = [100 * np.mean([r["rolling"][order][share] for r in rows]) for share in shares]
        made.append(f"| mean | {told} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    for r, (order, told) in itertools.product(rows, ORDERS.items()):
        values = (f"{100 * r['rolling'][order][share]:.1f}" for share in shares)
        made.append(f"| {r['old']}, {r['new']} | {told} | {' | '.join(values)} |")
    return "\n".join(made)


def draw(advice: Path) -> None:
    """Draw the ways of all changes and what more pairs bring, and what `advise` said of the example."""
    rows = [r for r in of_run(MAIN) if not r["draw"]]
    points = [[r["figures"][way] for way in ROWS] for r in rows]
    names = [f"{r['old']} → {r['new']}" for r in rows]
    heat_map(names, list(ROWS), points, HERE / "ways.png", title="nDCG@10 on Cranfield, 1,000 pairs")
    draw_pairs()
    found = json.loads(advice.read_text())
    y = "nDCG@10, and its 95 % interval"
    lines({"convert": line(found["curve"])}, HERE / "pairs.png", title="From more pairs", x="pairs", y=y)
    mixed = {name: line(curve, 100) for name, curve in found["rolling"].items()}
    lines(mixed, HERE / "rolling.png", title="A mixed index", x="% embedded anew", y=y)
    kept = [[way["figures"][GATE.partition(">=")[0]]["value"]] for way in found["ways"]]
    heat_map([way["name"] for way in found["ways"]], ["nDCG@10"], kept, HERE / "six.png", title="The ways")


def draw_pairs() -> None:
    """Draw the share of the new model's figure that maps keep, by the number of pairs of the right kind."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for way, run in itertools.product(MAPS, RUNS):
        # Pairs of the index and others of its kind are one curve; 1,000 are there twice.
        if not run.strange and not (run.of == "others" and run.pairs == MAIN.pairs):
            means = [np.mean([r["share"][way] for r in some]) for some in by_draw(of_run(run))]
            curves.setdefault(f"{way}, {run.searched}", []).append((run.pairs, np.mean(means), np.std(means)))
    y = "share of the new model's nDCG@10"
    lines(curves, HERE / "kept.png", title="Means over twelve changes of model", x="pairs", y=y)


def line(curve: Mapping[str, Mapping[str, float]], times: float = 1) -> list[tuple[float, float, float]]:
    """Return the points of a curve with half the width of their intervals."""
    return [(times * float(x), f["value"], (f["high"] - f["low"]) / 2) for x, f in curve.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("advice", type=Path, metavar="JSON", help="what advise --json printed")
    draw(parser.parse_args().advice)
