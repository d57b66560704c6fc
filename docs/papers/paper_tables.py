"""Tables and sentences of the pages of the papers, from the results that are committed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.recipes.tables import Summary, summarise

ROOT = Path(__file__).parent
CLAIMS = "| the paper claims | here | measured |\n|---|---|---|"


# Variables that name a pair of spaces.
PAIR = ("source", "target", "one", "other")
# 97.5 % quantiles of Student's t, by the number of differences.
QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def results(paper: str) -> dict[str, Any]:
    """Return the committed results of a paper, or of another command of its page, 'paper/name'."""
    return json.loads((ROOT / (f"{paper}.json" if "/" in paper else f"{paper}/results.json")).read_text("utf-8"))


def cells(
    paper: str, steps: str, rows: Sequence[str], columns: str, among: Sequence[Mapping[str, Any]] = ({},), **how: Any
) -> list[dict[str, Any]]:
    """Return the means of committed figures, with their spread, as a recipe's tables have them.

    Where figures are of several pairs of spaces, 'sd' is that of draws within a pair, and 'range' that of pairs.

    Args:
        paper: its folder.
        steps: whose figures, separated by spaces.
        rows: the variables that make the rows.
        columns: the variable that makes the columns.
        among: the values that some variables must have, one of several choices.
        **how: metric, figure ("value", "native", "floor"), and where: the values that some variables must have.
    """
    how = {"metric": "", "figure": "value", "where": {}, **how}
    summary = Summary(paper, tuple(steps.split()), rows=tuple(rows), columns=columns, **how)
    chosen = [r for r in results(paper)["results"] if any(scope.items() <= r.items() for scope in among)]
    found = summarise(summary, chosen)
    each = summarise(replace(summary, rows=(*rows, *(name for name in PAIR if name not in (*rows, columns)))), chosen)
    for cell in found:
        names = cell.keys() - {"mean", "sd", "count"}
        pairs = [one for one in each if all(one[name] == cell[name] for name in names)]
        if len(pairs) > 1:
            drawn = [one["sd"] ** 2 for one in pairs if one["sd"] is not None]
            cell["sd"] = statistics.fmean(drawn) ** 0.5 if drawn else None
            cell["range"] = min(one["mean"] for one in pairs), max(one["mean"] for one in pairs)
    return found


def side_by_side(paper: str, rows: Sequence[str], columns: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the means of several kinds of figures as the cells of one table, whose variable of columns is 'what'.

    Args:
        paper: its folder.
        rows: the variables that make the rows.
        columns: the name of each column, and what is in it: the arguments of `cells`, of which `steps` must be given.
    """
    found = []
    for name, how in columns.items():
        steps, rest = how["steps"], {key: value for key, value in how.items() if key != "steps"}
        found += [{**cell, "what": name} for cell in cells(paper, steps, rows, "", **rest)]
    return found


def mean(paper: str, steps: str, *, scale: float = 100, digits: int = 1, figure: str = "value", **where: Any) -> str:
    """Return one mean of committed figures, with its spread, as text."""
    metric = where.pop("metric", "")
    [cell] = cells(paper, steps, [], "", metric=metric, figure=figure, where=where)
    return told(cell, scale, digits)


def difference(
    papers: str | Sequence[str],
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    scale: float = 100,
    figures: Sequence[str] = ("value",),
) -> str:
    """Return by how much one row is above another, in points, paired by seed: the mean, and its 95 % t interval.

    Args:
        papers: folders of one page or of several, whose seeds are of the same networks.
        one: the values that some variables must have, several choices as a tuple; means over the rest are taken.
        other: those of the other row.
        scale: what a difference is multiplied by.
        figures: which figure of the rows, or one for each.
    """
    rows = [row for paper in ([papers] if isinstance(papers, str) else papers) for row in results(paper)["results"]]

    def of_seeds(scope: Mapping[str, Any], figure: str) -> dict[int, float]:
        chosen = [
            r for r in rows if all(r.get(k) in v if isinstance(v, tuple) else r.get(k) == v for k, v in scope.items())
        ]
        return {
            seed: statistics.fmean(r[figure] for r in chosen if r["seed"] == seed)
            for seed in {r["seed"] for r in chosen}
        }

    above, below = of_seeds(one, figures[0]), of_seeds(other, figures[-1])
    each = [scale * (value - below[seed]) for seed, value in above.items()]
    mean, half = statistics.fmean(each), QUANTILES[len(each)] * statistics.stdev(each) / len(each) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def took(paper: str) -> str:
    """Return what the committed results were measured on, and how long that took, as a sentence."""
    about = results(paper)["about"]
    machine = f"{about['cores']} cores of an {about['processor']}, torch {about['torch']}"
    threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)}"
    minutes = max(1, round(about["processor_minutes"]))
    return f"{machine}, {threads}, {minutes} minute{'s' * (minutes > 1)} of processor time."


def told(cell: Mapping[str, Any], scale: float = 100, digits: int = 1) -> str:
    """Return 'mean ± standard deviation', and the range over pairs of spaces if there are several."""
    spread = "" if cell["sd"] is None else f" ± {scale * cell['sd']:.{digits}f}"
    ends = [f"{scale * end:.{digits}f}" for end in cell.get("range", ())]
    return f"{scale * cell['mean']:.{digits}f}{spread}" + (f" ({' to '.join(ends)})" if ends else "")


def table(found: Iterable[Mapping[str, Any]], rows: Sequence[str], columns: str, **how: Any) -> Iterator[str]:
    """Yield the lines of a Markdown table of cells: rows down, columns across."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    across: dict[str, None] = {}
    for cell in found:
        across[str(cell[columns])] = None
        lines.setdefault(tuple(str(cell[name]) for name in rows), {})[str(cell[columns])] = told(cell, **how)
    yield "| " + " | ".join([*rows, *across]) + " |"
    yield "|" + "---|" * (len(rows) + len(across))
    for names, line in lines.items():
        yield "| " + " | ".join([*names, *(line.get(name, "") for name in across)]) + " |"


def claims(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table of claims, each with a verdict and what was measured."""
    yield CLAIMS
    for row in rows:
        yield "| " + " | ".join(row) + " |"
