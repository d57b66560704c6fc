"""Built-in aggregators: atlases of relative charts, of charts that agree already, and of rotations fitted together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import atlas
from atlas.authors import all_equal
from atlas_builtin.aligners import Identity, Procrustes
from atlas_builtin.consensus import consensus, fitted_map, joined, placed, refined, relative_sizes, rms_length
from atlas_builtin.relative import SIMILARITIES, Relative
from atlas_builtin.solvers import moved
from atlas_builtin.whitened import WhitenedConcat


class Averaged(atlas.Aggregator):
    """The rule of the mean: over the spaces an item is in, each counting the same."""

    def _combine(self, rows: Tensor, present: Tensor) -> Tensor:
        return mean_present(rows, present)


class Concatenated(atlas.Aggregator):
    """The rule of concatenation: space after space, and where one does not have the item, the mean of those that do."""

    @property
    def dim(self) -> int:
        """The dimensions of all charts together."""
        return super().dim * len(self.charts)

    def identity(self) -> dict[str, Any]:
        """Return the options, and the charts in the order of their coordinates."""
        return {**self.config(), "charts": list(self.charts)}

    def _add(self, space: str, X: Tensor, items: Tensor) -> atlas.Aligner:
        raise self.fail("would get more dimensions with another space - fit again with all spaces")

    def _combine(self, rows: Tensor, present: Tensor) -> Tensor:
        return torch.where(present[..., None], rows, mean_present(rows, present)[:, None]).flatten(1)


@dataclass
class RelativeCharts(atlas.Aggregator):
    """The charts of relative representations: similarities to the same anchors, which are the items fitted on."""

    similarity: str = atlas.option("cosine", help="Similarity that the coordinates are", choices=SIMILARITIES)
    centre: bool = atlas.option(False, help="Subtract the mean of the anchors first, from anchors and vectors")

    def __post_init__(self) -> None:
        self.chart_aligner()

    def chart_aligner(self) -> Relative:
        """Return an unfitted relative projection of these coordinates."""
        return Relative(similarity=self.similarity, centre=self.centre)

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, atlas.Aligner]:
        self.extra["items"] = next(iter(items.values())).sort().values
        return {space: self._relative(X, items[space]) for space, X in views.items()}

    def _relative(self, X: Tensor, items: Tensor) -> Relative:
        return self.chart_aligner().fit(X[items.argsort()])


@dataclass
class RelativeMean(RelativeCharts, Averaged):
    """Describe items by similarities to shared anchors, averaged over the spaces: no space is fitted to another.

    Relative latent space aggregation. Anchors are the items it is fitted on, which every space must have, in order of
    their numbers; items may be in any of the spaces. The shared space is the one that 'relative' makes with
    the same anchors.

    Source: D. Crisostomi et al., From charts to atlas: merging latent spaces into one, 2023 (the abstract).
    """

    name = "relative-mean"

    def identity(self) -> dict[str, Any]:
        """Return the space options of a relative representation with these anchors, for the space is the same."""
        return {"encoder": Relative.name, **self.chart_aligner().coordinates()}

    def _add(self, space: str, X: Tensor, items: Tensor) -> atlas.Aligner:
        anchors = self.extra["items"]
        if not torch.equal(items.sort().values, anchors):
            raise self.fail(f"needs exactly the {len(anchors)} anchors it was fitted on, got others in '{space}'")
        return self._relative(X, items)


@dataclass
class RelativeConcat(RelativeCharts, Concatenated):
    """Describe items by similarities to shared anchors, space after space: keeps distinctions of single spaces.

    For a space that does not have an item the mean of the others stands in, which does not give away who has it, as
    zeros would.
    """

    name = "relative-concat"


class AgreeingCharts(atlas.Aggregator):
    """The charts of spaces that agree already: they change nothing."""

    partial = True

    def chart_aligner(self) -> Identity:
        """Return an unfitted identity."""
        return Identity()

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, atlas.Aligner]:
        dims = {space: X.shape[1] for space, X in views.items()}
        if len(set(dims.values())) != 1:
            raise self.fail(f"needs spaces that agree, got dimensions {dims} - use 'generalized-procrustes'")
        return {space: self._same(X) for space, X in views.items()}

    def _same(self, X: Tensor) -> Identity:
        d = X.shape[1]
        return self.chart_aligner().load_state_dict({"weight": torch.eye(d), "bias": torch.zeros(d)})


@dataclass
class Mean(AgreeingCharts, Averaged):
    """Average vectors of spaces that agree already, for instance because they were translated into one."""

    name = "mean"

    def _add(self, space: str, X: Tensor, items: Tensor) -> atlas.Aligner:
        if X.shape[1] != self.dim:
            raise self.fail(f"needs spaces that agree, got dimension {X.shape[1]} in '{space}', not {self.dim}")
        return self._same(X)


@dataclass
class Concat(AgreeingCharts, Concatenated):
    """Put vectors of spaces that agree already one after another; where an item is missing, its mean stands in."""

    name = "concat"


@dataclass
class GeneralizedProcrustes(Averaged):
    """Rotate all spaces onto their common mean, together: one map for each, and every space translates to every other.

    Minimises the sum of ||X_s O_s + t_s - C||^2 over isometries O_s, into as many dimensions as the widest space has,
    and shifts t_s; C is, for every item, the mean over the spaces that have it. Charts can be run backwards, so that a
    translation goes through the shared space; those around a circle of equally wide spaces undo each other.

    Source: J. C. Gower, Generalized Procrustes analysis, Psychometrika 40, 1975.
    """

    name = "generalized-procrustes"
    partial = True

    scale: bool = atlas.option(True, help="Bring all spaces to the same size first, so that long vectors do not rule")
    standardise: bool = atlas.option(False, help="Divide every column by its standard deviation first")
    iterations: int = atlas.option(100, help="Rounds of fitting every space to the mean, at most")
    tolerance: float = atlas.option(1e-7, help="Stop when no map changes by more, as a fraction of its size")

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise self.fail(f"needs at least 1 iteration, got {self.iterations}")
        if not 0 <= self.tolerance < 1:
            raise self.fail(f"needs a tolerance from 0 to 1, got {self.tolerance}")

    def chart_aligner(self) -> Procrustes:
        """Return an unfitted aligner of rotations, which the charts are."""
        return Procrustes(scale=self.scale, standardise=self.standardise)

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, atlas.Aligner]:
        numbers = torch.cat(list(items.values())).unique()
        columns = {space: self._columns(space, X) for space, X in views.items()}
        spaces = [
            placed((X - X.mean(0)) * columns[space], torch.searchsorted(numbers, items[space]), len(numbers))
            for space, X in views.items()
        ]
        if self.scale:
            # As many as the shared space has dimensions: coordinates are of size 1, as heads like them.
            sizes = relative_sizes(spaces) / max(X.shape[1] for X in views.values()) ** 0.5
            for F, column, size in zip(spaces, columns.values(), sizes, strict=True):
                F[:, :-1] /= size
                column /= size
        maps = self._maps(spaces, list(views))
        self.extra = {"items": numbers, "consensus": consensus(spaces, maps)}
        return {space: self._chart(X, columns[space], P) for (space, X), P in zip(views.items(), maps, strict=True)}

    def _maps(self, spaces: list[Tensor], names: list[str]) -> list[Tensor]:
        first = joined(spaces)
        if isinstance(first, int):
            raise self.fail(f"needs 2 items of '{names[first]}' in other spaces, too - give anchors that connect them")
        maps, change = refined(spaces, first, self.iterations, self.tolerance)
        if change > self.tolerance:
            warnings.warn(
                f"{self.label().capitalize()} still changed its maps by {change:.1g} in round {self.iterations}"
                " - allow more iterations",
                atlas.AtlasWarning,
                stacklevel=2,
            )
        return maps

    def _columns(self, space: str, X: Tensor) -> Tensor:
        """Return (d,) the factors of columns: 1, or one over their standard deviation."""
        if all_equal(X):
            raise self.fail(f"needs rows that differ, got the same vector for all of them in '{space}'")
        spread = X.std(0) if self.standardise else torch.ones_like(X[0])
        return 1 / torch.where(spread > 1e-6 * X.abs().amax(0), spread, 1.0)

    def _chart(self, X: Tensor, columns: Tensor, P: Tensor) -> Procrustes:
        chart = self.chart_aligner()
        moved(chart, X, columns[:, None] * P[:-1], P[-1])
        return chart

    def _add(self, space: str, X: Tensor, items: Tensor) -> atlas.Aligner:
        known = torch.isin(items, self.extra["items"])
        if int(known.sum()) < 2:
            raise self.fail(f"needs 2 items of '{space}' that it was fitted on, got {int(known.sum())}")
        everything = self.extra["consensus"].double()
        C = everything[torch.searchsorted(self.extra["items"], items[known])]
        columns = self._columns(space, X)
        A = (X - X.mean(0))[known] * columns
        P = fitted_map(A, C)
        if self.scale:
            # As large, on the items in common, as the spaces were that the mean is of; of a wider space, the rest.
            size = self.dim**0.5 * rms_length(C) / rms_length(everything) / rms_length(A @ P[:-1])
            columns, P = columns * size, fitted_map(A * size, C)
        return self._chart(X, columns, P)


ALL: list[type[atlas.Aggregator]] = [
    RelativeMean,
    RelativeConcat,
    WhitenedConcat,
    Mean,
    Concat,
    GeneralizedProcrustes,
]


def mean_present(rows: Tensor, present: Tensor) -> Tensor:
    """Return (n, d) the mean over the charts of rows (n, k, d) that are zero where not present (n, k)."""
    return rows.sum(1) / present.sum(1, keepdim=True)
