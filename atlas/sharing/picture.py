"""The picture of a model card: the figures between their floor and their ceiling, and how few pairs would do."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from atlas.cards.kinds import Metric
from atlas.errors import AtlasError
from atlas.pictures.plots import blank, save

BLUE, GREY = "#4e79a7", "#888888"


def png(figures: Sequence[Metric], points: Sequence[Any], metric: Metric) -> bytes | None:
    """Return a picture, or None where matplotlib is not installed.

    Args:
        figures: the measured figures.
        points: of a curve, with pairs, mean, low and high; none: only the figures are drawn.
        metric: the figure that the curve shows.
    """
    try:
        figure = blank(11 if points else 6, 4)
    except AtlasError:
        return None
    panels = figure.subplots(1, 2 if points else 1, squeeze=False)[0]
    _figures(panels[0], figures)
    if points:
        _curve(panels[1], points, metric)
    file = io.BytesIO()
    save(figure, file, dpi=100)
    return file.getvalue()


def _figures(axes: Any, figures: Sequence[Metric]) -> None:
    """Draw each figure as a dot with its interval, on a line from its floor to its ceiling."""
    for row, figure in enumerate(reversed(figures)):
        ends = [end for end in (figure.floor, figure.native) if end is not None]
        axes.plot(ends, [row] * len(ends), color=GREY, marker="|", markersize=12, zorder=1)
        if figure.low is not None and figure.high is not None:
            axes.plot([figure.low, figure.high], [row, row], color=BLUE, linewidth=5, alpha=0.5, zorder=2)
        axes.scatter([figure.value], [row], color=BLUE, zorder=3)
    axes.set_yticks(range(len(figures)), [figure.name for figure in reversed(figures)])
    axes.set_title("From no alignment to the target's own vectors", fontsize=10)


def _curve(axes: Any, points: Sequence[Any], metric: Metric) -> None:
    """Draw the curve, with the ceiling and the floor as lines across."""
    pairs = [point.pairs for point in points]
    axes.fill_between(pairs, [p.low for p in points], [p.high for p in points], color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(pairs, [point.mean for point in points], color=BLUE, marker="o")
    for value, name in ((metric.native, "the target's own vectors"), (metric.floor, "no alignment")):
        if value is not None:
            axes.axhline(value, color=GREY, linestyle="--")
            axes.annotate(name, (pairs[0], value), color=GREY, fontsize=8, xytext=(0, 3), textcoords="offset points")
    axes.set_xscale("log")
    axes.set(xlabel="pairs it is fitted on", ylabel=metric.name)
    axes.set_title("How few pairs would do", fontsize=10)
