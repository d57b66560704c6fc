"""The worth of results found through a map: their true scores, and the chance that the first is right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.errors import AtlasError

# Fewer queries tell nothing of a chance.
FEWEST = 30
# Margins of less than this are ties.
TIE = 1e-4
# True scores that differ by less are those of the same document twice.
SAME = 1e-6
# Which side of a search is mapped.
ROLES = ("queries", "index")
THIRDS = ("surest third", "middle third", "least sure third")
NAMES = ("slope", "offset", "constant", "by_margin", "by_score", "n")


@dataclass(frozen=True)
class Calibration:
    """The worth of a map's results, as queries showed whose true vectors are known.

    A true score is expected at `slope * score + offset`, by least squares over results. The first result is
    that of the true vectors with a chance of 1 / (1 + exp(-z)), z = constant + by_margin * log(margin) + by_score *
    score: a logistic regression on the first score and its margin over the second. Scores are cosines.

    Attributes:
        values: (6,) float32, stored as it is: slope, offset, constant, by_margin, by_score, and n, the queries.
    """

    values: Tensor

    @property
    def n(self) -> int:
        """How many queries it was learned from."""
        return int(self.values[5])

    @classmethod
    def of(cls, scores: Tensor, true: Tensor, right: Tensor) -> Calibration:
        """Return the calibration that queries show.

        Args:
            scores: (n, k) of each query's results through the map, best first, k >= 2.
            true: (n, k) the scores of the true vectors for these results.
            right: (n,) whether the first result is that of the true vectors.

        Raises:
            AtlasError: too few queries, or scores that do not rise with the true ones.
        """
        if len(scores) < FEWEST:
            raise AtlasError(f"A calibration needs at least {FEWEST} queries, got {len(scores)}")
        x, y = scores.double().flatten(), true.double().flatten()
        spread = (x - x.mean()).square().sum()
        slope = float((x - x.mean()) @ (y - y.mean()) / spread.clamp_min(1e-12))
        if slope <= 0:
            raise AtlasError(
                "These queries' scores through the map do not rise with the true ones - the map is useless"
            )
        offset = float(y.mean()) - slope * float(x.mean())
        weights = learned(scores, right).tolist()
        return cls(torch.tensor([slope, offset, *weights, len(scores)], dtype=torch.float32))

    @classmethod
    def of_role(cls, role: str, values: Tensor) -> Calibration:
        """Return the calibration that was stored for a role.

        Raises:
            AtlasError: no such role, or no such numbers.
        """
        if role not in ROLES:
            raise AtlasError(f"A calibration must be for {' or '.join(ROLES)}, got '{role:.40}'")
        if values.shape != (len(NAMES),) or values.dtype != torch.float32 or not float(values[0]) > 0:
            raise AtlasError(
                f"A calibration must be {len(NAMES)} numbers in float32, the first above 0, got {tuple(values.shape)}"
            )
        return cls(values)

    def scores(self, scores: Tensor) -> Tensor:
        """Return the true scores to expect of scores through the map, of the same shape; never beyond -1 or 1."""
        return (self.values[0] * scores + self.values[1]).clamp(-1, 1)

    def chance(self, scores: Tensor) -> Tensor:
        """Return the chance (n,) that the first result is that of the true vectors, of scores (n, k), best first.

        A query that finds nothing beside it, k = 1, has the chance of one without a rival: 1.
        """
        return chance(scores, self.values[2:5].to(scores.device))


def learned(scores: Tensor, right: Tensor) -> Tensor:
    """Return constant and weights (3,) for `chance`, from scores (n, k) and whether first results were right (n,)."""
    return logistic(_signals(scores), right.double())


def chance(scores: Tensor, weights: Tensor) -> Tensor:
    """Return the chance (n,) that the first result is right, of scores (n, k), best first."""
    if scores.shape[1] < 2:
        return torch.ones(len(scores))
    return torch.sigmoid(weights[0] + _signals(scores).to(weights.dtype) @ weights[1:])


def thirds(scores: Tensor, right: Tensor) -> dict[str, Tensor]:
    """Return whether first results were right, in `THIRDS` by a chance that was learned from other queries.

    Args:
        scores: (n, k) of each query's results, best first.
        right: (n,) whether the first is right.
    """
    predicted = torch.empty(len(scores), dtype=torch.float64)
    for half in (0, 1):
        predicted[half::2] = chance(scores[half::2], learned(scores[1 - half :: 2], right[1 - half :: 2]))
    order = predicted.argsort(descending=True, stable=True)
    return {name: right[rows].double() for name, rows in zip(THIRDS, order.tensor_split(3), strict=True)}


def _signals(scores: Tensor) -> Tensor:
    """Return log margin and first score (n, 2) of scores (n, k)."""
    margin = (scores[:, 0] - scores[:, 1]).double().clamp_min(0)
    return torch.stack([(margin + TIE).log(), scores[:, 0].double()], 1)


def logistic(X: Tensor, y: Tensor, steps: int = 25) -> Tensor:
    """Return constant and weights (1 + d,) of a logistic regression of y (n,), from 0 to 1, on X (n, d).

    Newton's method on standardised columns with a penalty of 1/2 |w|^2; Platt's targets keep it finite where all or
    none are right.

    Source: J. Platt, Probabilistic outputs for support vector machines, 1999 (targets).
    """
    ones, n = y.sum(), len(y)
    y = torch.where(y > 0, (ones + 1) / (ones + 2), 1 / (n - ones + 2))
    mean, spread = X.mean(0), X.std(0).clamp_min(1e-9)
    A = torch.cat([torch.ones(n, 1).to(X), (X - mean) / spread], 1)
    w, penalty = A.new_zeros(A.shape[1]), torch.eye(A.shape[1]).to(A)
    penalty[0, 0] = 1e-9
    for _ in range(steps):
        p = torch.sigmoid(A @ w)
        H = A.T @ (A * (p * (1 - p))[:, None]) + penalty
        w = w + torch.linalg.solve(H, A.T @ (y - p) - penalty @ w)
    return torch.cat([(w[0] - w[1:] @ (mean / spread))[None], w[1:] / spread])
