"""The metrics by name, with the caveats to know before one is reported."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from atlas.cards.names import current
from atlas.errors import AtlasError, unknown
from atlas.metrics import agreement, kernels, retrieval, similarity

Takes = Literal["spaces", "vectors", "classes", "labelled"]


@dataclass(frozen=True)
class Measure:
    """One metric: its meaning, its input and how to read it.

    Attributes:
        name: as users write it.
        summary: one sentence a user can choose by.
        takes: "spaces" - two spaces of any dimensions, rows paired; "vectors" - mapped and true vectors of one space;
            "classes" - predicted classes and labels; "labelled" - vectors of one space and labels.
        function: called with its input, and `options`.
        higher_is_better: whether more is better.
        values: the same for each row, of which the metric is the mean; None if it is no mean.
        shares: whether these values lie from 0 to 1.
        ranked: whether they are made of `retrieval.ranks`, which several metrics can share.
        chance: (n, k) to the figure that unrelated vectors reach; None if it is 0 or has no meaning.
        caveat: a warning where there are fewer than `few` rows for each dimension.
        few: see caveat.
        options: the function's arguments beside the data.
    """

    name: str
    summary: str
    takes: Takes
    function: Callable[..., float]
    higher_is_better: bool
    values: Callable[..., Tensor] | None = None
    shares: bool = False
    ranked: bool = False
    chance: Callable[[int, int], float] | None = None
    caveat: str = ""
    few: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, X: Any, Y: Any) -> float:
        """Return the figure for the two things the metric takes."""
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
        return self.caveat if n < self.few * d else ""


def find(name: str) -> Measure:
    """Return a metric by name, such as 'cosine', or 'jaccard@10' for k = 10.

    Raises:
        AtlasError: no such metric, or one without a k, or a k that is no whole number from 1.
    """
    base, at, number = current(name).partition("@")
    if base not in METRICS:
        raise AtlasError(unknown("metric", base, METRICS))
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
    name: str, takes: Takes, function: Callable[..., float], summary: str, *, lower: bool = False, **rest: Any
) -> Measure:
    """Return a metric with the default options of its function."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    options = {p.name: p.default for p in parameters if p.default is not None}
    return Measure(name, summary, takes, function, not lower, options=options, **rest)


_WHITENED = "biased towards 1 with few rows per dimension, and 1 if there are no more rows than dimensions"
_BIASED_LOW = "biased towards 0 with few rows per dimension, also for unrelated spaces"
_BIASED = "biased towards 1 with few rows per dimension, also for unrelated spaces; 'unbiased-cka' is not"

_ALL = (
    _of(
        "accuracy",
        "classes",
        agreement.accuracy,
        "Share of predictions that are right",
        values=agreement.correct,
        shares=True,
    ),
    _of("r2", "vectors", agreement.r2, "Share of the target's variance that is explained; columns count by variance"),
    _of(
        "mse",
        "vectors",
        agreement.mse,
        "Mean squared error over all elements, in squared units of the target",
        lower=True,
        values=agreement.squared_errors,
    ),
    _of(
        "cosine",
        "vectors",
        agreement.cosine,
        "Mean cosine of mapped and true vectors; high without any match where all vectors lie in one cone",
        values=agreement.cosines,
    ),
    _of(
        "self-recall",
        "vectors",
        retrieval.recall_at_k,
        "Share of rows that find themselves among the k nearest by cosine, of the rows measured: easier the fewer",
        values=retrieval.hits,
        ranked=True,
        shares=True,
        chance=lambda n, k: min(1.0, k / n),
    ),
    _of(
        "mrr",
        "vectors",
        retrieval.mrr,
        "Mean of 1 / rank of a row itself by cosine, among the rows measured: easier the fewer",
        values=retrieval.reciprocal_ranks,
        ranked=True,
        shares=True,
        chance=lambda n, k: sum(1 / rank for rank in range(1, n + 1)) / n,
    ),
    _of(
        "jaccard",
        "vectors",
        retrieval.jaccard,
        "Mean overlap, intersection over union, of the k rows nearest to a mapped vector and to the true one",
        values=retrieval.jaccards,
        shares=True,
    ),
    _of(
        "cka",
        "spaces",
        similarity.linear_cka,
        "Linear centred kernel alignment, biased: the same up to rotation, scale and shift gives 1",
        caveat=_BIASED,
        few=10,
    ),
    _of(
        "unbiased-cka",
        "spaces",
        kernels.unbiased_cka,
        "Linear centred kernel alignment, unbiased: 0 on average for unrelated spaces, however few the rows",
    ),
    _of(
        "minibatch-cka",
        "spaces",
        kernels.minibatch_cka,
        "Unbiased linear CKA from means over batches of rows, to compare with figures made so",
    ),
    _of(
        "rbf-cka",
        "spaces",
        kernels.rbf_cka,
        "Centred kernel alignment with a Gaussian kernel of the median distance, biased; takes n^2 steps",
        caveat=_BIASED,
        few=10,
    ),
    _of(
        "cca",
        "spaces",
        similarity.cca,
        "Mean canonical correlation: the same up to any invertible linear map gives 1",
        caveat=_WHITENED,
        few=10,
    ),
    _of(
        "squared-cca",
        "spaces",
        similarity.squared_cca,
        "Mean squared canonical correlation",
        caveat=_WHITENED,
        few=10,
    ),
    _of(
        "svcca",
        "spaces",
        similarity.svcca,
        "Mean canonical correlation of the principal directions that hold 99 % of each space's variance",
        caveat=_WHITENED,
        few=10,
    ),
    _of(
        "pwcca",
        "spaces",
        similarity.pwcca,
        "Canonical correlations weighted by each one's share of the first space; not symmetric",
        caveat=_WHITENED,
        few=10,
    ),
    _of(
        "procrustes-distance",
        "spaces",
        similarity.procrustes_distance,
        "Distance after the best rotation of both spaces at size 1: 0 to 1.414",
        lower=True,
        caveat=_BIASED_LOW,
        few=10,
    ),
    _of(
        "angular-distance",
        "spaces",
        similarity.angular_distance,
        "Angle after the best rotation of both spaces, in radians: 0 to 1.571",
        lower=True,
        caveat=_BIASED_LOW,
        few=10,
    ),
    _of(
        "mutual-knn",
        "spaces",
        retrieval.mutual_knn,
        "Share of the k nearest neighbours by cosine that two spaces agree on",
        values=retrieval.mutual_knns,
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
