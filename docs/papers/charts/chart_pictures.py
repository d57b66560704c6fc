"""Pictures of relative latent space aggregation, apart from run.py so that a change here measures nothing again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.pictures import plots
from atlas.pictures.projections import plane

Results = Sequence[Mapping[str, Any]]
ROWS = (
    "RLSA, told",
    "mean of absolute vectors, told",
    "end-to-end, told the group",
    "naive, told",
    "RLSA, routing predicted",
    "RLSA, routing random",
    "end-to-end",
    "end-to-end, whitened",
    "as many networks, end-to-end, whitened",
    "RLSA",
    "RLSA, concatenated",
    "mean of absolute vectors",
    "absolute vectors, concatenated",
    "whitened",
    "whitened, weighed",
    "whitened, weighed more",
)


def draw(out: Path, results: Results) -> None:
    """Draw accuracies over settings, weights of charts by group, and accuracy task after task."""
    data = list(dict.fromkeys(r["data"] for r in results if r["step"] == "settings"))
    settings = list(dict.fromkeys(r["setting"] for r in results if "setting" in r))
    for name in data:
        about = {"data": name, "metric": "accuracy", "head": "kernel", "of": "total"}
        values = [[mean(results, **about, row=row, setting=setting) for setting in settings] for row in ROWS]
        title = f"{name}: accuracy by what tasks share"
        plots.heat_map(ROWS, settings, values, out / f"accuracy-{name}.png", title=title)
        draw_weights(out / f"weights-{name}.png", results, name)
    draw_tasks(out / "tasks.png", results)


def draw_weights(file: Path, results: Results, data: str) -> None:
    """Draw how much every chart counts for items of every group, where samples are shared."""
    found = [
        r for r in results if r.get("metric") == "weight" and r["data"] == data and r["setting"] == "shared samples"
    ]
    groups = sorted({r["group"] for r in found}, key=lambda g: (-len(g), g))
    charts = sorted({r["chart"] for r in found})
    values = [[mean(found, group=g, chart=c) for c in charts] for g in groups]
    rows = ["all know it" if len(g) > 1 else f"task {g} alone knows it" for g in groups]
    plots.heat_map(rows, [f"chart {c}" for c in charts], values, file, title=f"{data}: weights of charts")


def draw_tasks(file: Path, results: Results) -> None:
    """Draw the accuracy on classes seen so far, after each task."""
    found = [r for r in results if r["step"] == "tasks" and "task" in r]
    rows = list(dict.fromkeys(r["row"] for r in found))
    series = {row: [point(found, row, task) for task in sorted({r["task"] for r in found})] for row in rows}
    plots.lines(series, file, title="Tasks of new classes, one by one", x="tasks so far", y="accuracy on their classes")


def point(results: Results, row: str, task: int) -> plots.Point:
    """Return x, mean and standard deviation."""
    values = [r["value"] for r in results if r["row"] == row and r["task"] == task]
    return task, statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def mean(results: Results, **scope: Any) -> float | None:
    """Return the mean of figures measured under some values, None if there is none."""
    values = [r["value"] for r in results if scope.items() <= r.items()]
    return statistics.fmean(values) if values else None


def draw_spaces(file: Path, spaces: Mapping[str, Tensor], labels: Tensor) -> None:
    """Draw test items in several spaces, each in its own plane."""
    points = {}
    for name, X in spaces.items():
        centre, axes = plane(X)
        points[name] = (X.double() - centre) @ axes
    plots.scatter(points, dict.fromkeys(spaces, labels), file, title="Test items by class")
