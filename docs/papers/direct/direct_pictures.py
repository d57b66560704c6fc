"""The pictures of the page on direct alignment: errors by number of pairs, images that were decoded, and codes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.pictures import plots
from atlas.recipes.tables import Summary, summarise

SHOWN = ("rigid", "similarity", "linear", "ridge", "mlp")
TICKS = (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 300, 1000)
# Codes of the test images of the source, mapped by a method fitted on some rows of the training images.
Mapped = Callable[[str, Any, Any, Any], Tensor]


def errors(results: Sequence[Mapping[str, Any]], dims: Sequence[int], path: Path) -> None:
    """Draw the error by the number of pairs: a row of panels for each architecture, a column for each size of code."""
    figure = plots.blank(5 * len(dims), 8)
    panels = figure.subplots(2, len(dims), squeeze=False)
    for line, target in zip(panels, ("conv", "mlp"), strict=True):
        for axes, dim in zip(line, dims, strict=True):
            plots.draw_lines(axes, series(results, dim, "conv", target))
            axes.set(title=f"conv to {target}, {dim} dimensions", xlabel="pairs", yscale="log")
            low, high = axes.get_ylim()
            axes.minorticks_off()
            axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
            axes.set_ylim(max(low, 0.98), high)
            axes.tick_params(axis="x", labelrotation=60)
        line[0].set_ylabel("error over the decoder's own")
    plots.save(figure, path)


def series(results: Sequence[Mapping[str, Any]], dim: int, source: str, target: str) -> dict[str, list[plots.Point]]:
    """Return the errors of the methods that are shown, as lines along the number of pairs."""
    where = {"dim": dim, "way": f"{source} to {target}"}
    table = Summary("errors", ("pairs",), "ratio", "value", ("n",), "method", where)
    lines: dict[str, list[plots.Point]] = {name: [] for name in SHOWN}
    for cell in summarise(table, results):
        if cell["method"] in lines:
            lines[cell["method"]].append((cell["n"], cell["mean"], cell["sd"] or 0.0))
    return {name: points for name, points in lines.items() if points}


def crowd(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the error of every network's codes, with a ridge, read by the decoder of every other one."""
    found = {(r["source"], r["target"]): r for r in results if r["step"] == "crowd"}
    names = list(dict.fromkeys(source for source, _ in found))
    table = [[None if a == b else found[a, b]["value"] for b in names] for a in names]
    about = next(iter(found.values()))
    title = f"Encoder (down), decoder (across): {about['dim']} dimensions, ridge, {about['n']} pairs; error over own"
    plots.heat_map(names, names, table, path, title=title)


def images(A: Any, B: Any, shown: Any, classes: Tensor, mapped: Mapped, n: int, path: Path) -> None:
    """Draw an image of each class, and what the decoder of B makes of the codes of A.

    Args:
        A: the source.
        B: the target.
        shown: all test images, (n, height, width).
        classes: of the images.
        mapped: what aligns.
        n: numbers in a code.
        path: where to.
    """
    rows = torch.stack([(classes == c).nonzero()[0, 0] for c in classes.unique()])
    made = {"own code": B.test, "no alignment": A.test}
    for name, k in itertools.product(("rigid", "linear", "ridge"), (n, 4 * n)):
        made[f"{name}, {k} pairs"] = mapped(name, A, B, k)
    for name in ("rigid", "similarity", "ridge", "mlp"):
        made[f"{name}, all pairs"] = mapped(name, A, B, None)
    decoded = {name: B.decoded(codes[rows]).view_as(shown[rows]) for name, codes in made.items()}
    title = f"Codes of a convolutional encoder, {n} numbers each, read by the decoder of an MLP"
    plots.images({"image": shown[rows], **decoded}, path, title=title)


def codes(A: Any, B: Any, classes: Tensor, mapped: Mapped, path: Path) -> None:
    """Draw codes of two numbers: those of the source, as several maps bring them to the target, and the target's."""
    panels = {"source (conv)": A.test - A.train.mean(0)}
    for name in ("rigid", "similarity", "affine", "mlp"):
        panels[f"source, {name}"] = mapped(name, A, B, None) - B.train.mean(0)
    panels["target (mlp)"] = B.test - B.train.mean(0)
    plots.scatter(panels, dict.fromkeys(panels, classes), path)
