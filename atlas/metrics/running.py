"""Figures of rows that come in batches, for data larger than memory: each batch is added, none is kept."""

from __future__ import annotations

from array import array
from typing import Any, Protocol

import torch
from torch import Tensor

from atlas.metrics.agreement import explained, squared_errors
from atlas.metrics.measures import Measure
from atlas.metrics.similarity import ALL, FROM_MOMENTS
from atlas.numerics.arrays import check_unit
from atlas.numerics.moments import Moments

# Metrics that are means of values of single rows.
_BY_ROW = ("cosine", "mse")


class Running(Protocol):
    """A figure that grows by batches."""

    def add(self, X: Any, Y: Any) -> None:
        """Add a batch of the two things that the metric takes."""

    def figure(self) -> tuple[float, Tensor | None]:
        """Return the figure, and the values for each row that it is the mean of, if it is one."""


def running(measure: Measure, interval: bool = True) -> Running | None:
    """Return the running form of a metric, with the values for an interval or without; None if it needs all rows."""
    if measure.takes == "classes":
        return Predictions(measure)
    if measure.name in _BY_ROW:
        return RowByRow(measure) if interval else Mean(measure)
    if measure.name == "r2":
        return Explained()
    return FromMoments(measure) if measure.name in FROM_MOMENTS else None


class RowByRow:
    """A mean of one value for each row, which are kept for its interval."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        # Not small tensors, which would lie among the batches and keep the system from getting their memory back.
        self.kept = array("d")

    def add(self, X: Any, Y: Any) -> None:
        """Add a batch."""
        values = self.measure.per_row(X, Y)
        assert values is not None
        self.kept.frombytes(values.double().numpy().tobytes())

    def figure(self) -> tuple[float, Tensor | None]:
        """Return the mean, and the values."""
        values = torch.frombuffer(self.kept, dtype=torch.float64)
        return float(values.mean()), values


class Mean:
    """A mean of one value for each row, of which none is kept."""

    def __init__(self, measure: Measure) -> None:
        self.measure, self.n, self.total = measure, 0, 0.0

    def add(self, X: Any, Y: Any) -> None:
        """Add a batch."""
        values = self.measure.per_row(X, Y)
        assert values is not None
        self.n, self.total = self.n + len(values), self.total + float(values.double().sum())

    def figure(self) -> tuple[float, Tensor | None]:
        """Return the mean."""
        return self.total / self.n, None


class Predictions:
    """A figure of predicted and true classes, one number of each for a row."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, X: Any, Y: Any) -> None:
        """Add a batch."""
        self.kept.append((X, Y))

    def figure(self) -> tuple[float, Tensor | None]:
        """Return the figure, and whether each prediction was right."""
        values = self.measure.per_row(*(torch.cat(side) for side in zip(*self.kept, strict=True)))
        assert values is not None
        return float(values.mean()), values


class Explained:
    """R2: squared errors, and the second moments of the target, merged as `Moments` are."""

    def __init__(self) -> None:
        self.n = 0
        self.error = 0.0
        self.mean, self.spread = torch.zeros(()), torch.zeros(())
        self.first, self.equal = torch.empty(0), True

    def add(self, X: Any, Y: Any) -> None:
        """Add a batch."""
        check_unit(X)
        check_unit(Y)
        self.error += float(squared_errors(X, Y).sum()) * Y.shape[1]
        self.first = self.first if self.n else Y[:1].clone()
        self.equal = self.equal and torch.equal(Y, self.first.expand_as(Y))
        rows = Y.double()
        mean, n = rows.mean(0), self.n + len(rows)
        self.spread = self.spread + (rows - mean).square().sum(0)
        self.spread = self.spread + (mean - self.mean).square() * (self.n * len(rows) / n)
        self.mean = self.mean + (mean - self.mean) * (len(rows) / n)
        self.n = n

    def figure(self) -> tuple[float, Tensor | None]:
        """Return the share of the target's variance that is explained."""
        return explained(self.error, float(self.spread.sum()), self.equal), None


class FromMoments:
    """A figure of two spaces that needs nothing but their moments."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.n = 0
        self.moments: Moments | None = None

    def add(self, X: Any, Y: Any) -> None:
        """Add a batch."""
        seen = Moments.of(X, Y, (*ALL, "rows"), self.n)
        self.moments = seen if self.moments is None else self.moments + seen
        self.n += len(X)

    def figure(self) -> tuple[float, Tensor | None]:
        """Return the figure."""
        assert self.moments is not None
        return FROM_MOMENTS[self.measure.name](self.moments), None
