"""Pictures of figures and of spaces, as PNG files; matplotlib is an extra.

Every figure is one of its own, so that nobody's pyplot state, backend or window is touched, and is written without the
version of the library, so that the same figures give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atlas.errors import needed

if TYPE_CHECKING:
    from torch import Tensor

# Ten colours that stay apart for the colour-blind (Tableau 10).
COLOURS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#555555")
MARKERS = "osD^vP*X<>"
GREY = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
# More points than this are a blot.
MOST_POINTS = 1000
Point = tuple[float, float, float]


def blank(width: float, height: float) -> Any:
    """Return an empty figure, in inches.

    Raises:
        AtlasError: matplotlib is not installed.
    """
    with needed("A PNG picture needs", "matplotlib", "plots"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, file: Any, dpi: int = 110, title: str = "") -> None:
    """Write a figure to a path or an open file, with a title above if there is one."""
    if title:
        figure.suptitle(title)
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})


def lines(series: Mapping[str, Sequence[Point]], file: Any, *, title: str, x: str, y: str) -> None:
    """Draw one line for each series, with its spread as a band.

    Args:
        series: name of a line to its points: x, mean, and standard deviation (0 for none).
        file: where to.
        title: above.
        x: name of the axis; it is logarithmic where the points span more than a factor of ten.
        y: name of the figure.
    """
    figure = blank(7, 4.5)
    draw_lines(figure.subplots(), series)
    figure.axes[0].set(title=title, xlabel=x, ylabel=y)
    save(figure, file)


def draw_lines(axes: Any, series: Mapping[str, Sequence[Point]]) -> None:
    """Draw lines with their spread, and a legend if there are several."""
    for i, (name, points) in enumerate(series.items()):
        at, mean, spread = (list(column) for column in zip(*sorted(points), strict=True))
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(at, mean, color=colour, marker=MARKERS[i % len(MARKERS)], label=name)
        low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    places = sorted({point[0] for points in series.values() for point in points})
    if places[0] > 0 and places[-1] > 10 * places[0]:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(places, [f"{place:g}" for place in places])
    if len(series) > 1:
        axes.legend()


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], file: Any, *, title: str
) -> None:
    """Draw a table with the cells coloured from the smallest value to the largest, and their values in them."""
    figure = blank(3 + 1.1 * len(columns), 1.6 + 0.4 * len(rows))
    draw_heat_map(figure.subplots(), rows, columns, values)
    save(figure, file, title=title)


def draw_heat_map(
    axes: Any, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], digits: int = 3
) -> None:
    """Draw the cells of a heat map; one without a value stays empty."""
    numbers = [[math.nan if value is None else value for value in row] for row in values]
    known = [value for row in numbers for value in row if not math.isnan(value)]
    least, most = min(known), max(known)
    axes.imshow(numbers, cmap="Blues", vmin=least, vmax=most + 0.15 * (most - least), aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=20 if max(map(len, columns)) > 12 else 0)
    axes.set_yticks(range(len(rows)), rows)
    for i, row in enumerate(numbers):
        for j, value in enumerate(row):
            if not math.isnan(value):
                dark = value > least + 0.65 * (most - least)
                style = {"ha": "center", "va": "center", "fontsize": 9, "color": "white" if dark else "black"}
                axes.text(j, i, f"{value:.{digits}f}", **style)


def scatter(panels: Mapping[str, Tensor], classes: Mapping[str, Tensor], file: Any, *, title: str = "") -> None:
    """Draw points in the plane, a panel for each set, coloured by class.

    Args:
        panels: name to points (n, 2).
        classes: name to whole numbers (n,); -1, or a name that is not there, is grey.
        file: where to.
        title: above.
    """
    figure = blank(4 * len(panels), 4.3)
    for axes, (name, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        draw_points(axes, points, classes[name].tolist() if name in classes else [-1] * len(points))
        axes.set_title(name, fontsize=10)
    save(figure, file, title=title)


def draw_points(axes: Any, points: Tensor, classes: Sequence[int], reach: float | None = None) -> None:
    """Draw points (n, 2), coloured by class, in a square about zero that reaches as far as the farthest or as said."""
    step = max(1, -(-len(points) // MOST_POINTS))
    shown = points[::step]
    colours = [COLOURS[k % len(COLOURS)] if k >= 0 else "#cccccc" for k in classes[::step]]
    reach = reach or 1.05 * max(float(shown.abs().max()), 1e-12)
    axes.scatter(*shown.T.numpy(), c=colours, s=8)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")


def images(rows: Mapping[str, Tensor], file: Any, *, title: str = "") -> None:
    """Draw rows of images under each other, each with its name: (n, height, width) grey, or (n, 3, height, width).

    Values are in [0, 1]; others are cut off.
    """
    most = max(len(row) for row in rows.values())
    figure = blank(2.4 + 0.75 * most, 0.35 + 0.8 * len(rows))
    grid = figure.subplots(len(rows), squeeze=False).flatten()
    for axes, (name, row) in zip(grid, rows.items(), strict=True):
        colour = row.ndim == 4
        # One picture for each row is drawn much faster than one for each image; between images it is white.
        height, width = row.shape[-2:]
        step = width + max(1, width // 12)
        line = row.new_full((height, step * most, *([3] if colour else [])), float(colour))
        for i, image in enumerate(row.clamp(0, 1)):
            line[:, step * i : step * i + width] = image.permute(1, 2, 0) if colour else image
        axes.set_axis_off()
        axes.imshow(line.numpy(), **({} if colour else GREY))
        axes.text(-0.15 / most, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=9)
    save(figure, file, title=title)
