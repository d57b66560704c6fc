"""Tables of means, as a recipe asks for them, and the checks that everything in a recipe's file goes through."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cards.names import current
from atlas.cards.schema import check_names, of_type
from atlas.errors import AtlasError, check_known, located, unknown
from atlas.pictures import plots

if TYPE_CHECKING:
    from atlas.cards.kinds import Metric
    from atlas.verbs.compare import Comparison

# Fields of a figure beside the variables of its step, which have other names.
FIGURES = ("value", "low", "high", "native", "floor", "chance")
FIELDS = ("metric", "a", "b", *FIGURES, "note", "items")
PICTURES = ("lines", "heat-map")
# Settings of a table, each a text, and their defaults.
TEXTS = {"metric": "", "figure": "value", "columns": "", "picture": ""}
RESERVED = (*FIELDS, "mean", "sd", "count")


# A variable of a recipe may well be called n.
RENAMED = {"name": "metric", "n": "items"}


def figure(measured: Metric | Comparison) -> dict[str, Any]:
    """Return a figure as plain data under the names of `FIELDS`, unknown ones left out."""
    renamed = {RENAMED.get(name, name): value for name, value in asdict(measured).items()}
    return {name: renamed[name] for name in FIELDS if renamed.get(name) not in (None, "")}


def check_fields(where: str, data: Mapping[str, Any], required: Sequence[str], optional: Sequence[str]) -> None:
    """Raise `AtlasError` if a field is unknown or missing."""
    with located(where):
        check_names(data, (*required, *optional), dict.fromkeys(required, ""), "field")


def mapping(what: str, value: Any) -> dict[str, Any]:
    """Return the value if it is a mapping, else raise `AtlasError`."""
    return of_type(dict, value, what, "a mapping")


@dataclass(frozen=True)
class Summary:
    """A table of means over everything that is neither in its rows nor in its columns.

    Attributes:
        name: of the table.
        steps: whose figures.
        metric: which of them; '' if there is but one.
        figure: "value", "native" (the target's own), "floor" (no alignment)...
        rows: the variables that make the rows.
        columns: the variable that makes the columns; '' for a single column.
        where: the value that some variables must have for a figure to count.
        picture: how to draw it, too: "lines", "heat-map", or '' for not at all.
    """

    name: str
    steps: tuple[str, ...]
    metric: str
    figure: str
    rows: tuple[str, ...]
    columns: str
    where: Mapping[str, Any] = field(default_factory=dict)
    picture: str = ""


def read_summary(path: Path, title: str, table: Any, measured: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Return a table of a recipe.

    Args:
        path: of the recipe.
        title: of the table.
        table: its entry in the recipe.
        measured: the variables of each step that makes figures.
    """
    about = f"{path}: table '{title}'"
    data = mapping(about, table)
    check_fields(about, data, required=("of", "rows"), optional=(*TEXTS, "where"))
    steps, rows = (_names(about, name, data[name]) for name in ("of", "rows"))
    texts = {name: data.get(name, default) for name, default in TEXTS.items()}
    for name, text in texts.items():
        of_type(str, text, f"{about}: {name}", "a text")
    texts["metric"] = current(texts["metric"])
    summary = Summary(title, steps, rows=rows, where=mapping(f"{about}: where", data.get("where", {})), **texts)
    with located(about):
        _check_summary(summary, measured)
    return summary


def _check_summary(summary: Summary, measured: Mapping[str, Mapping[str, Any]]) -> None:
    known = {"step", "metric", "a", "b", *(variable for scope in measured.values() for variable in scope)}
    for step in summary.steps:
        check_known("step with figures", step, measured)
    for variable in (*summary.rows, *summary.where, *([summary.columns] if summary.columns else [])):
        check_known("variable", variable, known)
    check_known("figure", summary.figure, FIGURES)
    if summary.picture and summary.picture not in PICTURES:
        raise AtlasError(unknown("picture", summary.picture, PICTURES))
    if summary.picture == "lines" and len(summary.rows) != 1:
        raise AtlasError(f"lines are drawn along one variable, got rows {', '.join(summary.rows)} - name one")


def _names(where: str, what: str, value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(name, str) for name in listed):
        raise AtlasError(f"{where}: {what} must be a name or a list of names, got {value!r}")
    return tuple(listed)


def summarise(summary: Summary, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells of a table: the variables of its row and column, mean, sample standard deviation, and count.

    Args:
        summary: the table's settings.
        results: figures, each with its step, metric and variables.

    Raises:
        AtlasError: figures of several metrics would be averaged.
    """
    chosen = [r for r in results if r["step"] in summary.steps and summary.metric in ("", r["metric"])]
    chosen = [r for r in chosen if all(r.get(name) == value for name, value in summary.where.items())]
    chosen = [r for r in chosen if r.get(summary.figure) is not None]
    names = [*summary.rows, *([summary.columns] if summary.columns else [])]
    metrics = sorted({r["metric"] for r in chosen})
    if len(metrics) > 1 and "metric" not in names:
        raise AtlasError(f"Table '{summary.name}' has figures of {', '.join(metrics)} - say which with 'metric'")
    cells: dict[str, tuple[dict[str, Any], list[float]]] = {}
    for result in chosen:
        where = {name: result.get(name) for name in names}
        cells.setdefault(repr(where), (where, []))[1].append(result[summary.figure])
    return [
        {**where, "mean": statistics.fmean(v), "sd": statistics.stdev(v) if len(v) > 1 else None, "count": len(v)}
        for where, v in cells.values()
    ]


def pivot(summary: Summary, cells: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table: a line for each row of the summary, 'mean ± sd' in its columns."""

    def text(cell: Mapping[str, Any] | None) -> str:
        if cell is None:
            return ""
        return f"{cell['mean']:.4f}" + (f" ± {cell['sd']:.4f}" if cell["sd"] is not None else "")

    by_row: dict[tuple[str, ...], dict[str, Any]] = {}
    columns: dict[str, None] = {}
    for cell in cells:
        column = str(cell[summary.columns]) if summary.columns else summary.figure
        columns[column] = None
        by_row.setdefault(tuple(str(cell[name]) for name in summary.rows), {})[column] = cell
    across = _ordered(columns, [" → ".join(row) for row in by_row])
    lines = [[*row, *(text(found.get(column)) for column in across)] for row, found in by_row.items()]
    prefix = f"{summary.columns}=" if summary.columns else ""
    return [*summary.rows, *(prefix + column for column in across)], lines


def draw(summary: Summary, cells: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a table as the summary says, into a PNG file.

    Raises:
        AtlasError: matplotlib is not installed, or lines are to be drawn along something that is no number.
    """
    measured = summary.metric or summary.figure
    if summary.picture == "heat-map":
        rows = list(dict.fromkeys(_label(summary.rows, cell) for cell in cells))
        columns = _ordered(dict.fromkeys(_label([summary.columns], cell) for cell in cells), rows)
        means = {(_label(summary.rows, cell), _label([summary.columns], cell)): cell["mean"] for cell in cells}
        values = [[means.get((row, column)) for column in columns] for row in rows]
        return plots.heat_map(rows, columns, values, path, title=summary.name)
    [along] = summary.rows
    series: dict[str, list[plots.Point]] = {}
    for cell in cells:
        if not isinstance(cell[along], (int, float)):
            raise AtlasError(f"Table '{summary.name}' cannot be drawn as lines: {along} is {cell[along]!r}, no number")
        point = (cell[along], cell["mean"], cell["sd"] or 0.0)
        series.setdefault(_label([summary.columns], cell) or measured, []).append(point)
    plots.lines(series, path, title=summary.name, x=along, y=measured)


def _ordered(columns: Iterable[str], rows: Sequence[str]) -> list[str]:
    """Return columns in the order of the rows, where both are of the same things."""
    listed = list(columns)
    return list(rows) if sorted(listed) == sorted(rows) else listed


def _label(names: Sequence[str], cell: Mapping[str, Any]) -> str:
    return " → ".join(str(cell[name]) for name in names if name)
