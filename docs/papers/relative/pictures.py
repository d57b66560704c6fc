"""Pictures of relative representations, apart from run.py so that a change here measures nothing again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from papers import Made

from atlas.pictures import plots
from atlas.pictures.projections import projected

Results = Sequence[Mapping[str, Any]]
# The measures of two spaces that need no training: what they are called, and the step they are of.
MEASURES = {
    "cosine": "similar",
    "jaccard@10": "similar",
    "mrr": "similar",
    "unbiased-cka": "absolute-similar",
    "mutual-knn@10": "absolute-similar",
}


def draw(out: Path, results: Results, names: Sequence[str], made: Made, n: int) -> None:
    """Draw the spaces before and after, accuracy over the pairs, and what similarity foretells of it.

    Args:
        out: the folder of the pictures.
        results: the figures.
        names: of the encoders.
        made: loads the vectors of the first two of them.
        n: how many anchors.
    """
    views = {name: made("test-vectors", name=name) for name in names[:2]}
    views |= {f"{name}, relative": made("test-coordinates", name=name, n=n, seed=0) for name in names[:2]}
    classes = {name: view.labels for name, view in views.items() if view.labels is not None}
    plots.scatter(projected(views), classes, out / "spaces.png", title="Two spaces, and the same made relative")
    values = [[stitched(results, source, target, n) for target in names] for source in names]
    title = f"Encoder down, head across, {n} anchors"
    plots.heat_map(names, names, values, out / "stitched.png", title=title)
    draw_alike(out / "alike.png", results, names, n)


def stitched(results: Results, source: str, target: str, n: int) -> float:
    """Return the accuracy of a pair with an MLP head, mean over the draws; of an encoder's own head with itself."""
    scope = {"step": "relative-stitched", "reads": "mlp", "n": n, "target": target}
    if source == target:
        return mean(results, "native", **scope)
    return mean(results, "value", source=source, **scope)


def draw_alike(file: Path, results: Results, names: Sequence[str], n: int) -> None:
    """Draw the similarity of pairs of spaces against the share of the encoder's accuracy that stitching keeps."""
    figure = plots.blank(3 * len(MEASURES), 3.4)
    for axes, (metric, step) in zip(figure.subplots(1, len(MEASURES), sharey=True), MEASURES.items(), strict=True):
        for source, colour in zip(names, plots.COLOURS, strict=False):
            others = [name for name in names if name != source]
            alike = [mean(results, "value", step=step, metric=metric, one=source, other=other) for other in others]
            own = stitched(results, source, source, n)
            kept = [100 * stitched(results, source, other, n) / own for other in others]
            axes.scatter(alike, kept, color=colour, label=source)
        axes.set(xlabel=metric)
    figure.axes[0].set(ylabel="% of its own accuracy kept")
    figure.axes[0].legend(title="encoder")
    figure.suptitle("Similarity of two spaces, and what stitching keeps")
    plots.save(figure, file)


def mean(results: Results, figure: str, **scope: Any) -> float:
    """Return the mean of the figures of images that were measured under some values of their variables."""
    scope = {"recipe": "stitching", **scope}
    return statistics.fmean(r[figure] for r in results if scope.items() <= r.items())
