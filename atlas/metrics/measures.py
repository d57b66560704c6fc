"""The metrics by name, with the caveats to know before one is reported."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from atlas.cards.names import current
from atlas.errors import AtlasError, check_known
from atlas.metrics import agreement, kernels, retrieval, similarity

# Rows for each dimension below which a caveat holds.
FEW = 10

Takes = Literal["spaces", "vectors", "classes", "labelled"]


@dataclass(frozen=True)
class Measure:
    """One metric: its meaning, its input and how to read it.

    Attributes:
        name: as users write it.
        summary: one sentence a user can choose by.
        takes: "spaces" - two spaces of any dimensions, rows paired; "vectors" - mapped and true vectors of one space;
            "classes" - predicted classes and labels; "labelled" - vectors of one space and labels.
        function: called with its input, and `options`; None: it is the mean of `values`.
        higher_is_better: whether more is better.
        values: the same for each row, of which the metric is the mean; None if it is no mean.
        shares: whether these values lie from 0 to 1.
        ranked: whether they are made of `retrieval.ranks`, which several metrics can share.
        chance: (n, k) to the figure that unrelated vectors reach; None if it is 0 or has no meaning.
        caveat: a warning where there are fewer than `FEW` rows for each dimension.
        options: the function's arguments beside the data.
    """

    name: str
    summary: str
    takes: Takes
    function: Callable[..., float] | None
    higher_is_better: bool
    values: Callable[..., Tensor] | None = None
    shares: bool = False
    ranked: bool = False
    chance: Callable[[int, int], float] | None = None
    caveat: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, X: Any, Y: Any) -> float:
        """Return the figure for the two things the metric takes."""
        if self.function is None:
            return float(self.per_row(X, Y).mean())  # type: ignore[union-attr]
        return self.function(X, Y, **self.options)

    def per_row(self, X: Any, Y: Any, **known: Any) -> Tensor | None:
        """Return one value for each row, of which the figure is the mean, or None if it is no mean.

        Args:
            X, Y: the two things the metric takes.
            **known: for one that is `ranked`: the result of `retrieval.ranks` as `found`.
        """
        return None if self.values is None else self.values(X, Y, **self.options, **known)

    def by_chance(self, n: int) -> float | None:
        """Return the value that unrelated vectors of n items reach, or None where that is 0 or has no meaning."""
        return None if self.chance is None else self.chance(n, self.options.get("k", 0))

    def caution(self, n: int, d: int) -> str:
        """Return the caveat if n rows are few for d dimensions, else ''."""
        return self.caveat if n < FEW * d else ""


def find(name: str) -> Measure:
    """Return a metric by name, such as 'cosine', or 'jaccard@10' for k = 10.

    Raises:
        AtlasError: no such metric, or one without a k, or a k that is no whole number from 1.
    """
    base, at, number = current(name).partition("@")
    check_known("metric", base, METRICS)
    measure = METRICS[base]
    if "k" not in measure.options:
        if at:
            raise AtlasError(f"Metric '{base}' has no k - write '{base}'")
        return measure
    if at and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise AtlasError(f"Metric '{name}' must end in a whole number from 1 - for example '{base}@10'")
    k = int(number) if at else measure.options["k"]
    return replace(measure, name=f"{base}@{k}", options={**measure.options, "k": k})


def _of(
    name: str, takes: Takes, function: Callable[..., Any], summary: str, *, lower: bool = False, **rest: Any
) -> Measure:
    """Return a metric with the default options of its function."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    options = {p.name: p.default for p in parameters if p.default is not None}
    return Measure(name, summary, takes, function, not lower, options=options, **rest)


def _spaces(function: Callable[..., float], summary: str, caveat: str = "", **rest: Any) -> Measure:
    """Return a metric of two spaces, called as its function is."""
    return _of(function.__name__.replace("_", "-"), "spaces", function, summary, caveat=caveat, **rest)


def _mean(name: str, takes: Takes, values: Callable[..., Tensor], summary: str, **rest: Any) -> Measure:
    """Return a metric that is the mean of the values of rows."""
    ranked = "found" in inspect.signature(values).parameters
    return replace(_of(name, takes, values, summary, **rest), function=None, values=values, ranked=ranked)


_WHITENED = "biased towards 1 with few rows per dimension, and 1 if there are no more rows than dimensions"
_BIASED_LOW = "biased towards 0 with few rows per dimension, also for unrelated spaces"
_BIASED = "biased towards 1 with few rows per dimension, also for unrelated spaces; 'unbiased-cka' is not"

_ALL = (
    _mean("accuracy", "classes", agreement.correct, "Share of predictions that are right", shares=True),
    _of("r2", "vectors", agreement.r2, "Share of the target's variance that is explained; columns count by variance"),
    _mean(
        "mse",
        "vectors",
        agreement.squared_errors,
        "Mean squared error over all elements, in squared units of the target",
        lower=True,
    ),
    _mean(
        "cosine",
        "vectors",
        agreement.cosines,
        "Mean cosine of mapped and true vectors; high without any match where all vectors lie in one cone",
    ),
    _mean(
        "self-recall",
        "vectors",
        retrieval.hits,
        "Share of rows that find themselves among the k nearest by cosine, of the rows measured: easier the fewer",
        shares=True,
        chance=lambda n, k: min(1.0, k / n),
    ),
    _mean(
        "mrr",
        "vectors",
        retrieval.reciprocal_ranks,
        "Mean of 1 / rank of a row itself by cosine, among the rows measured: easier the fewer",
        shares=True,
        chance=lambda n, k: sum(1 / rank for rank in range(1, n + 1)) / n,
    ),
    _mean(
        "jaccard",
        "vectors",
        retrieval.jaccards,
        "Mean overlap, intersection over union, of the k rows nearest to a mapped vector and to the true one",
        shares=True,
    ),
    _of(
        "cka",
        "spaces",
        similarity.linear_cka,
        "Linear centred kernel alignment, biased: the same up to rotation, scale and shift gives 1",
        caveat=_BIASED,
    ),
    _spaces(
        kernels.unbiased_cka,
        "Linear centred kernel alignment, unbiased: 0 on average for unrelated spaces, however few the rows",
    ),
    _spaces(
        kernels.minibatch_cka, "Unbiased linear CKA from means over batches of rows, to compare with figures made so"
    ),
    _spaces(
        kernels.rbf_cka,
        "Centred kernel alignment with a Gaussian kernel of the median distance, biased; takes n^2 steps",
        _BIASED,
    ),
    _spaces(similarity.cca, "Mean canonical correlation: the same up to any invertible linear map gives 1", _WHITENED),
    _spaces(similarity.squared_cca, "Mean squared canonical correlation", _WHITENED),
    _spaces(
        similarity.svcca,
        "Mean canonical correlation of the principal directions that hold 99 % of each space's variance",
        _WHITENED,
    ),
    _spaces(
        similarity.pwcca,
        "Canonical correlations weighted by each one's share of the first space; not symmetric",
        _WHITENED,
    ),
    _spaces(
        similarity.procrustes_distance,
        "Distance after the best rotation of both spaces at size 1: 0 to 1.414",
        _BIASED_LOW,
        lower=True,
    ),
    _spaces(
        similarity.angular_distance,
        "Angle after the best rotation of both spaces, in radians: 0 to 1.571",
        _BIASED_LOW,
        lower=True,
    ),
    _mean(
        "mutual-knn",
        "spaces",
        retrieval.mutual_knns,
        "Share of the k nearest neighbours by cosine that two spaces agree on",
        shares=True,
        chance=lambda n, k: min(1.0, k / (n - 1)),
    ),
    _of(
        "separability",
        "labelled",
        agreement.separability,
        "Distance between the means of classes over their width",
    ),
)

METRICS: dict[str, Measure] = {measure.name: measure for measure in _ALL}
