"""Charts that were fitted alone, each on the items its own space covers, and how well each of them covers an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import atlas
from atlas.authors import all_equal, unit
from atlas_builtin.aligners import Linear
from atlas_builtin.relative import BLOCK
from atlas_builtin.solvers import moved

# Vectors whose cosine is above this are of the same item, which says nothing about its other neighbours.
SAME = 1 - 1e-5


@dataclass
class WhitenedConcat(atlas.Aggregator):
    """Whiten every space on items of its own and put them one after another: merges spaces that share no item.

    Each chart is fitted on the items of its space alone, best those that its encoder was trained for: it moves their
    mean to zero and makes their covariance the unit matrix, so that every direction of every space counts the same.
    Nothing has to be known of an item to combine it: encode it with all encoders. Where a space does not have an item,
    its mean stands in.

    With a temperature, charts are weighed by how well they cover the item: the weights are a partition of unity, the
    softmax of coverages over the temperature. The coverage by a chart is the mean cosine to the nearest items it was
    fitted on, in standard deviations of its value for those items themselves.
    """

    name = "whitened-concat"
    partial = True
    alone = True

    shrink: float = atlas.option(0.1, help="How far to pull the covariance towards that of a ball, from 0 to 1")
    temperature: float | None = atlas.option(
        None, help="Weigh charts by how well they cover an item, the more so the lower; none: all alike"
    )
    neighbours: int = atlas.option(5, help="With a temperature: nearest items of a chart that tell its coverage")
    references: int = atlas.option(1000, help="With a temperature: items of each chart whose vectors are kept, at most")
    seed: int = atlas.option(0, help="With a temperature: of the choice of these items")

    def __post_init__(self) -> None:
        if not 0 < self.shrink <= 1:
            raise self.fail(f"needs to shrink by more than 0 and at most 1, got {self.shrink}")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise self.fail(f"needs a temperature above 0, got {self.temperature}")
        if self.neighbours < 1:
            raise self.fail(f"needs at least 1 neighbour, got {self.neighbours}")
        if self.references <= self.neighbours:
            raise self.fail(
                f"needs more than {self.neighbours} references, as many as neighbours, got {self.references}"
            )

    @property
    def dim(self) -> int:
        """The dimensions of all charts together."""
        return sum(chart.d_target for chart in self._fitted().values())

    def identity(self) -> dict[str, Any]:
        """Return the options, the state of the charts, and their order, which is that of the coordinates."""
        return {**super().identity(), "charts": list(self.charts)}

    def chart_aligner(self) -> Linear:
        """Return an unfitted affine map."""
        return Linear()

    def weights(self, rows: Tensor, present: Tensor) -> Tensor:
        """Return (n, k) how much each chart counts: zero where not present, and one in sum. Arguments as `combine`."""
        if self.temperature is None:
            return present / present.sum(1, keepdim=True).to(rows)
        scores = torch.stack([self._coverage(k, rows[:, k]) for k in range(len(self.charts))], 1)
        return (scores / self.temperature).masked_fill(~present, -torch.inf).softmax(1)

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, atlas.Aligner]:
        charts = {space: self._whitening(space, X) for space, X in views.items()}
        # Tells the shared space from that of other items: the coordinates depend on the items each chart was fitted on.
        self.extra["origins"] = torch.cat([chart.state["bias"] for chart in charts.values()])
        if self.temperature is not None:
            for k, (space, X) in enumerate(views.items()):
                known = self._references(space, X, items[space])
                near = self._nearest(U := unit(charts[space].transform(known)), U)
                self.extra |= {f"references_{k}": U, f"level_{k}": torch.stack([near.mean(), near.std()])}
        return charts

    def _whitening(self, space: str, X: Tensor) -> Linear:
        """Return the map that whitens X (n, d) and turns it as little as it can."""
        if all_equal(X):
            raise self.fail(f"needs rows that differ, got the same vector for all of them in '{space}'")
        mean = X.mean(0)
        values, directions = torch.linalg.eigh((X - mean).T @ (X - mean) / len(X))
        size = values.clamp_min(0).mean()
        scales = ((1 - self.shrink) * values.clamp_min(0) + self.shrink * size).rsqrt()
        weight = (directions * scales) @ directions.T
        chart = self.chart_aligner()
        moved(chart, X, weight, torch.zeros_like(mean))
        return chart

    def _references(self, space: str, X: Tensor, items: Tensor) -> Tensor:
        """Return the items that are kept, chosen by their numbers: the order of the rows must not matter."""
        if len(X) <= self.neighbours:
            raise self.fail(
                f"needs more than {self.neighbours} items in '{space}', got {len(X)} - use fewer neighbours"
            )
        chosen = torch.randperm(len(X), generator=torch.Generator().manual_seed(self.seed))[: self.references]
        return X[items.argsort()[chosen.sort().values]]

    def _nearest(self, U: Tensor, references: Tensor) -> Tensor:
        """Return the mean cosine of U (n, d) to the nearest references, all at length 1; an item is not near itself."""
        parts = [(part @ references.T).topk(self.neighbours + 1, 1).values for part in U.split(BLOCK)]
        best = torch.cat(parts)
        return torch.where(best[:, :1] > SAME, best[:, 1:], best[:, :-1]).mean(1)

    def _coverage(self, k: int, rows: Tensor) -> Tensor:
        references, level = (self.extra[f"{name}_{k}"].to(rows) for name in ("references", "level"))
        near = self._nearest(unit(rows[:, : references.shape[1]]), references)
        return (near - level[0]) / level[1].clamp_min(1e-6)

    def _add(self, space: str, X: Tensor, items: Tensor) -> atlas.Aligner:
        raise self.fail("would get more dimensions with another space - fit again with all, the charts stay the same")

    def _combine(self, rows: Tensor, present: Tensor) -> Tensor:
        # As many times as there are charts to weigh: with equal weights, the vectors as the charts give them.
        weights = self.weights(rows, present) * present.sum(1, keepdim=True)
        dims = [chart.d_target for chart in self.charts.values()]
        return torch.cat([weights[:, k, None] * rows[:, k, :d] for k, d in enumerate(dims)], 1)
