"""The pictures of the demo: a page for a browser that needs nothing, and a PNG file, which needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.pictures.plots import COLOURS, blank, draw_heat_map, draw_points, save

if TYPE_CHECKING:
    from torch import Tensor

    from atlas.demo.digits import Results

SIDE = 300


def demo_page(results: Results, methods: dict[str, str]) -> str:
    """Return a page of HTML with the demo's tables, and its panels as SVG pictures."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8"))
    digits, reach = results.classes.tolist(), reach_of(results)
    panels = {name: dots(points, digits, reach) for name, points in results.points.items()}
    tables = {"methods": methods, "pairs": results.pairs, "merged": results.atlas}
    return template.render(panels=panels, digits=digits, colours=COLOURS, side=SIDE, **tables)


def dots(points: Tensor, digits: list[int], reach: float) -> list[tuple[float, float, int]]:
    """Return the places in a picture of points (n, 2), and their digits; those beyond its edge, `reach`, left out."""
    scale = SIDE / (2 * reach)
    return [
        (SIDE / 2 + x * scale, SIDE / 2 - y * scale, digit)
        for (x, y), digit in zip(points.tolist(), digits, strict=True)
        if max(abs(x), abs(y)) <= reach
    ]


def reach_of(results: Results) -> float:
    """Return the half-width of the panels: all of the target's points fit, with a margin."""
    *_, last = results.points.values()
    return 1.1 * float(last.abs().max())


def demo_png(results: Results, methods: dict[str, str], path: Path) -> None:
    """Draw the demo's panels and its table as a heat map.

    Raises:
        AtlasError: matplotlib is not installed.
    """
    figure = blank(12, 9)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    top, bottom = halves
    for axes, (name, points) in zip(top.subplots(1, len(results.points)), results.points.items(), strict=True):
        draw_points(axes, points, results.classes.tolist(), reach_of(results))
        axes.set_title(name)
    names = [f"{row['source']} → {row['target']}" for row in results.pairs]
    values = [[100 * row[m] for m in methods] for row in results.pairs]
    axes = bottom.subplots()
    draw_heat_map(axes, names, list(methods), values, digits=1)
    axes.set_title(f"Accuracy (%) of one network's encoder with another one's head, {len(results.classes)} test digits")
    save(figure, path)
