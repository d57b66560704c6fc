"""Figures of the finds, for each query, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.metrics.intervals import bootstrap
from atlas.migration.judgements import Judgements

# Their names in ir-measures, which reads texts such as "nDCG@10" by means that Python 3.14 has no more.
MEASURES = {"ndcg@10": "nDCG", "recall@10": "R", "mrr@10": "RR"}
MAIN = "ndcg@10"
DRAWS = 1000


@dataclass(frozen=True)
class Figure:
    """A mean over queries and its 95 % interval, by bootstrap over them."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Figure:
        """Return the figure of one value for each query (q,)."""
        return cls(float(values.mean()), *bootstrap(values, DRAWS))

    @classmethod
    def ratio(cls, values: Tensor, whole: Tensor) -> Figure:
        """Return the mean of values over that of others (q,) each, queries being drawn for both at once."""
        draws = resampled(len(values))
        ratios = values[draws].mean(1) / whole[draws].mean(1).clamp_min(1e-12)
        low, high = ratios.quantile(values.new_tensor([0.025, 0.975])).tolist()
        return cls(float(values.mean() / whole.mean().clamp_min(1e-12)), low, high)

    def __str__(self) -> str:
        """Return value and interval, in points."""
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def resampled(n: int, draws: int = DRAWS) -> Tensor:
    """Return (draws, n) numbers from 0 to n - 1, the same each time."""
    return torch.randint(n, (draws, n), generator=torch.Generator().manual_seed(0))


def scorer(judgements: Judgements) -> Scorer:
    """Return the scorer against judgements.

    Raises:
        AtlasError: ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError:
        raise AtlasError("Search is measured by ir-measures - pip install 'latent-atlas[migrate]'") from None
    names = {getattr(ir_measures, theirs) @ 10: ours for ours, theirs in MEASURES.items()}
    graded = {query: dict(grades) for query, grades in judgements.items()}
    return Scorer(ir_measures.evaluator(list(names), graded), names, list(judgements))


@dataclass(frozen=True)
class Scorer:
    """Scores against judgements, by ir-measures.

    Attributes:
        evaluator: of the library.
        names: its measures, and their names here.
        queries: that are judged, in order.
    """

    evaluator: object
    names: dict
    queries: Sequence[str]

    def __call__(
        self, queries: Sequence[str], documents: Sequence[str], found: Tensor | list[list[int]]
    ) -> dict[str, Tensor]:
        """Return each measure's value for each judged query, (q,) float64.

        Args:
            queries: ids of all queries.
            documents: ids of the documents.
            found: for each query the numbers of the documents it found, best first.
        """
        rows = found.tolist() if isinstance(found, Tensor) else found
        wanted = dict(zip(queries, rows, strict=True))
        # Only the order counts, and equal cosines must not be ordered by the names of documents.
        run = {q: {documents[row]: -float(place) for place, row in enumerate(wanted[q])} for q in self.queries}
        values = {(name, query): 0.0 for name in MEASURES for query in self.queries}
        for metric in self.evaluator.iter_calc(run):  # type: ignore[attr-defined]
            values[self.names[metric.measure], metric.query_id] = metric.value
        return {name: torch.tensor([values[name, q] for q in self.queries]).double() for name in MEASURES}
