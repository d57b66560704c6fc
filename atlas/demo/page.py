"""The pictures of the demo: a page for a browser that needs nothing, and a PNG file, which needs matplotlib."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.pictures.plots import COLOURS, blank, draw_heat_map, draw_points, save

if TYPE_CHECKING:
    from torch import Tensor

    from atlas.demo.digits import Results

SIDE = 300


def scatter_svg(points: Tensor, classes: Tensor, reach: float) -> str:
    """Return points (n, 2) as an SVG picture, coloured by class, each with its class as a tooltip.

    Args:
        points: (n, 2).
        classes: (n,) whole numbers.
        reach: the coordinate at the picture's edge; points beyond it are left out.
    """
    scale = SIDE / (2 * reach)
    dots = []
    for (x, y), digit in zip(points.tolist(), classes.tolist(), strict=True):
        if max(abs(x), abs(y)) <= reach:
            at = f'cx="{SIDE / 2 + x * scale:.1f}" cy="{SIDE / 2 - y * scale:.1f}"'
            dots.append(f'<circle {at} r="3" fill="{COLOURS[digit % 10]}"><title>{digit}</title></circle>')
    return f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img">{"".join(dots)}</svg>'


def shade(value: float) -> str:
    """Return the background of a cell that holds an accuracy from 0 to 1: white to blue."""
    return f"background: rgb({255 - 150 * value:.0f}, {255 - 90 * value:.0f}, 255)"


def demo_page(results: Results, methods: dict[str, str]) -> str:
    """Return a page of HTML with the demo's tables, and its panels as SVG pictures."""
    reach = reach_of(results)
    panels = "".join(
        f"<figure>{scatter_svg(points, results.classes, reach)}<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, points in results.points.items()
    )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("encoder", "head", *methods))
    rows = "".join(
        f"<tr><td>{html.escape(row['source'])}</td><td>{html.escape(row['target'])}</td>"
        + "".join(f'<td class="figure" style="{shade(row[m])}">{100 * row[m]:.1f}</td>' for m in methods)
        + "</tr>"
        for row in results.pairs
    )
    legend = "".join(f"<li><b>{html.escape(m)}</b>: {html.escape(text)}</li>" for m, text in methods.items())
    merged = "".join(
        f'<tr><td>{html.escape(row["what"])}</td><td class="figure" style="{shade(row["accuracy"])}">'
        f"{100 * row['accuracy']:.1f}</td></tr>"
        for row in results.atlas
    )
    return PAGE.format(panels=panels, head=head, rows=rows, legend=legend, merged=merged, n=len(results.classes))


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


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Atlas: networks trained apart, stitched</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
.panels {{ display: flex; flex-wrap: wrap; gap: 1rem }}
figure {{ flex: 1 1 16rem; margin: 0 }} svg {{ width: 100%; border: 1px solid #ddd }}
figcaption {{ text-align: center; font-size: .9rem }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ padding: .25rem .6rem; text-align: left }}
.figure {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
<h1>Networks trained apart, stitched</h1>
<p>Each point is one of {n} test digits, coloured by its class (point at it to read it), in the plane in which the
target's vectors vary most. Aligned, the vectors of one network fall where those of the other do.</p>
<div class="panels">{panels}</div>
<h2>Accuracy (%) of one network's encoder with another one's head</h2>
<table><tr>{head}</tr>{rows}</table>
<ul>{legend}</ul>
<h2>An atlas of two networks that have each seen some of the digits</h2>
<table>{merged}</table>
</html>
"""
