"""The tables of the page on direct alignment: what the paper published beside what run.py measured, as ratios."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import paper_tables

# Errors that Lähner and Moeller (2023) published, in units they do not tell; only ratios can be compared.
# Table 1, MNIST, one architecture, all pairs: by l, own, rigid, linear, and stitching networks for k = 1, 2, 4.
SAME = {
    2: (0.646, 0.899, 0.795, 0.803, 0.721, 0.704),
    10: (0.514, 0.704, 0.549, 0.552, 0.538, 0.531),
    30: (0.483, 0.535, 0.492, 0.499, 0.495, 0.493),
    50: (0.476, 0.536, 0.485, 0.491, 0.486, 0.486),
    100: (0.473, 0.508, 0.476, 0.481, 0.481, 0.484),
    150: (0.472, 0.487, 0.474, 0.479, 0.481, 0.490),
}
# Tables 2 and 3, by l and anchors: own, rigid, linear, stitching network for k = 2, relative (decoder alone trained).
FEW = {
    (2, 10): (0.646, 0.897, 0.810, 0.900, 0.845),
    (2, 50): (0.646, 0.889, 0.810, 0.892, 0.848),
    (10, 50): (0.514, 0.705, 0.560, 0.909, 0.616),
    (10, 100): (0.514, 0.708, 0.554, 0.860, 0.618),
    (30, 100): (0.483, 0.539, 0.483, 0.759, 0.575),
    (30, 300): (0.483, 0.536, 0.494, 0.665, 0.548),
    (50, 100): (0.476, 0.551, 0.500, 0.714, 0.839),
    (50, 200): (0.476, 0.542, 0.490, 0.662, 0.813),
    (100, 200): (0.473, 0.522, 0.480, 0.625, 0.498),
    (100, 300): (0.473, 0.517, 0.478, 0.594, 0.496),
}
# Table 4, means of the ten classes as pairs: own, rigid, linear.
MEANS = {
    2: (0.646, 0.887, 0.801),
    10: (0.514, 0.707, 0.702),
    30: (0.483, 0.730, 0.659),
    50: (0.476, 0.660, 0.747),
}
# Table 5, Fashion-MNIST, by source, target, l and anchors: own of the target, rigid, linear, relative.
CROSS = {
    ("conv", "mlp", 50, 100): (0.094, 1.805, 0.241, 4.00),
    ("conv", "mlp", 100, 200): (0.058, 0.355, 0.162, 0.712),
    ("mlp", "conv", 50, 100): (0.066, 0.558, 0.217, 1.363),
    ("mlp", "conv", 100, 200): (0.045, 0.713, 0.141, 0.745),
}
STITCHED = ("stitch 1", "stitch 2", "stitch 4")
ALL = 5000
DIMS = (2, 10, 30, 50, 100, 150)
WAYS = ("conv to conv", "conv to mlp", "mlp to conv")
SAME_WAY, OTHER_WAY, _ = WAYS
# What comes this close to the error with all pairs is enough.
ENOUGH = 1.05


def found(step: str = "pairs", **scope: Any) -> list[float]:
    """Return the figures that were measured under some values of their variables: one for each repeat."""
    return [
        r["value"] for r in paper_tables.results("direct")["results"] if {"step": step, **scope}.items() <= r.items()
    ]


def mean(step: str = "pairs", **scope: Any) -> float:
    """Return the mean of the figures that were measured under some values of their variables; NaN of none."""
    values = found(step, **scope)
    return statistics.fmean(values) if values else math.nan


def told(values: Sequence[float]) -> str:
    """Return 'mean ± standard deviation' with as many digits as tell something."""
    if not values:
        return ""
    middle = statistics.fmean(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f}" + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def markdown(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n" + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def beside(published: Sequence[float], methods: Sequence[str], step: str = "pairs", **scope: Any) -> Iterator[str]:
    """Yield, for each method, the ratio that was published and the one that was measured."""
    own, *errors = published
    for error, method in zip(errors, methods, strict=True):
        yield f"{error / own:.2f}"
        yield told(found("relative" if method == "relative" else step, method=method, **scope))


def pairs_of_columns(methods: Sequence[str]) -> list[str]:
    """Return the two columns of each method."""
    return [column for method in methods for column in (f"{method}, paper", "here")]


def same_architecture() -> str:
    """Return Table 1: all pairs, one architecture."""
    methods = ("rigid", "linear", *STITCHED)
    lines = [[dim, *beside(SAME[dim], methods, dim=dim, way=SAME_WAY, n=ALL)] for dim in DIMS]
    return markdown(["l", *pairs_of_columns(methods)], lines)


def few_pairs() -> str:
    """Return Table 3: few pairs, one architecture."""
    methods = ("rigid", "linear", "stitch 2", "relative")
    lines = [[dim, n, *beside(FEW[dim, n], methods, dim=dim, n=n, way=SAME_WAY)] for dim, n in FEW]
    return markdown(["l", "pairs", *pairs_of_columns(methods)], lines)


def means_of_classes() -> str:
    """Return Table 4: the means of the classes as pairs; the last columns are what the paper leaves out."""
    lines = []
    for dim in DIMS:
        where = {"dim": dim, "step": "class-means"}
        ours = {method: told(found(method=method, **where)) for method in ("rigid", "linear", "similarity", "ridge")}
        own, *errors = MEANS.get(dim, (1, math.nan, math.nan))
        rigid, linear = ("" if math.isnan(error) else f"{error / own:.2f}" for error in errors)
        lines.append([dim, rigid, ours["rigid"], linear, ours["linear"], ours["similarity"], ours["ridge"]])
    return markdown(["l", *pairs_of_columns(("rigid", "linear")), "similarity", "ridge"], lines)


def other_architecture() -> str:
    """Return Table 5: two architectures (the paper's images are Fashion-MNIST)."""
    methods = ("rigid", "linear", "relative")
    lines = []
    for (source, target, dim, n), published in CROSS.items():
        way = f"{source} to {target}"
        lines.append([way, dim, n, *beside(published, methods, dim=dim, n=n, way=way)])
    return markdown(["", "l", "pairs", *pairs_of_columns(methods)], lines)


def everything(way: str, methods: Sequence[str]) -> str:
    """Return all methods for one direction, all pairs: ratios to the error of the decoder's own codes."""
    names = ("none", "mean image")
    lines = []
    for dim in DIMS:
        where = {"dim": dim, "way": way}
        [own] = {told_error(found(method="own", **where))}
        floor = [told(found(method=name, **where)) for name in names]
        lines.append([dim, own, *floor, *(told(found(n=ALL, method=m, **where)) for m in methods)])
    return markdown(["l", "own, x 1000", "no alignment", "mean image", *methods], lines)


def told_error(values: Sequence[float]) -> str:
    """Return mean and standard deviation of errors per pixel, times a thousand."""
    return f"{1000 * statistics.fmean(values):.1f} ± {1000 * statistics.stdev(values):.1f}"


def as_many_as_dimensions(methods: Sequence[str]) -> str:
    """Return the ratios with as many pairs as a code has numbers, and with twice as many."""
    lines = []
    for way in WAYS[:2]:
        for dim in DIMS:
            for n in (dim, 2 * dim):
                lines.append([way, dim, n, *(told(found(dim=dim, way=way, n=n, method=m)) for m in methods)])
    return markdown(["", "l", "pairs", *methods], lines)


def least(way: str, dim: int, method: str) -> list[int]:
    """Return, for each repeat, from how many pairs on the error stays within 5 % of that with all of them."""
    errors: dict[int, dict[int, float]] = {}
    for r in paper_tables.results("direct")["results"]:
        if {"step": "pairs", "way": way, "dim": dim, "method": method}.items() <= r.items():
            errors.setdefault(r["seed"], {})[r["n"]] = r["value"]
    counts = []
    for by_count in errors.values():
        short = [n for n, error in by_count.items() if error > ENOUGH * by_count[ALL]]
        counts.append(min(n for n in by_count if n > max(short, default=0)))
    return counts


def enough(methods: Sequence[str]) -> str:
    """Return the least number of pairs that does as well as all, within 5 %, among those tried."""
    tables = ((way, dim, [span(least(way, dim, method)) for method in methods]) for way in WAYS[:2] for dim in DIMS)
    return markdown(["", "l", *methods], [[way, dim, *counts] for way, dim, counts in tables])


def span(values: Sequence[float]) -> str:
    """Return the least and the largest of some counts."""
    low, high = round(min(values)), round(max(values))
    return f"{low}" if low == high else f"{low} to {high}"


class Ratio(NamedTuple):
    """One error over another, paired by seed: the geometric mean, and the ends of its 95 % t interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(one: Mapping[str, Any], other: Mapping[str, Any], **scope: Any) -> Ratio | None:
    """Return the error of one row over that of another, both under the values of a scope; None if one is missing."""
    rows = paper_tables.results("direct")["results"]
    above, below = (
        {r["seed"]: r["value"] for r in rows if {"step": "pairs", **scope, **row}.items() <= r.items()}
        for row in (one, other)
    )
    logs = [math.log(value / below[seed]) for seed, value in above.items() if below]
    if not logs:
        return None
    middle = statistics.fmean(logs)
    half = paper_tables.QUANTILES[len(logs)] * statistics.stdev(logs) / len(logs) ** 0.5
    return Ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def over(method: str, other: str, **scope: Any) -> Ratio | None:
    """Return the error of one method over that of another."""
    return ratio({"method": method}, {"method": other}, **scope)


def cases(method: str, other: str, among: Callable[[int, int], bool], ways: Sequence[str] = WAYS) -> list[Ratio]:
    """Return the error of a method over that of another one, for each way, size and number of pairs."""
    rows = paper_tables.results("direct")["results"]
    keys = {(r["way"], r["dim"], r["n"]) for r in rows if r["step"] == "pairs" and among(r["dim"], r["n"])}
    where = [{"way": way, "dim": dim, "n": n} for way, dim, n in sorted(keys) if way in ways]
    return [found for scope in where if (found := over(method, other, **scope))]


def lower(ratios: Sequence[Ratio]) -> str:
    """Return in how many cases the first method has the smaller error, and the larger one, and by what it differs."""
    less, sure, more = (sum(held) for held in zip(*((r.mean < 1, r.high < 1, r.low > 1) for r in ratios), strict=True))
    higher = f"; in {more} it is higher by more" if more else ""
    return f"{less} of {len(ratios)} cases ({between(ratios)} of it), in {sure} by more than the interval{higher}"


def between(ratios: Sequence[Ratio]) -> str:
    """Return the least and the largest of some ratios."""
    return f"{min(ratios).mean:.2f} to {max(ratios).mean:.2f}"


def by_dim(method: str, other: str, dims: Sequence[int]) -> str:
    """Return errors of a method over those of another one, all pairs, one architecture, for some sizes of code."""
    return ", ".join(f"{over(method, other, dim=dim, way=SAME_WAY, n=ALL)} for l = {dim}" for dim in dims)


def most_needed(method: str) -> int:
    """Return how many pairs are enough for every size and repeat, from the convolutional encoder to both decoders."""
    return max(n for way in WAYS[:2] for dim in DIMS for n in least(way, dim, method))


def stitched_few(low: int, high: int) -> list[Ratio]:
    """Return the errors of stitching networks (k = 2) over those of linear maps, for some sizes of Table 3."""
    where = [{"way": SAME_WAY, "dim": dim, "n": n} for dim, n in FEW if low <= dim <= high]
    return [found for scope in where if (found := over("stitch 2", "linear", **scope))]


def means_by_dim() -> str:
    """Return the errors of linear maps that were fitted on the means of classes, by size of code."""
    return ", ".join(f"{mean('class-means', method='linear', dim=dim):.2f} (l = {dim})" for dim in DIMS)


def crowd(source: str, target: str) -> str:
    """Return the least and largest error between any two networks, from one architecture to another."""
    rows = [r for r in paper_tables.results("direct")["results"] if r["step"] == "crowd" and r["source"] != r["target"]]
    values = [r["value"] for r in rows if r["source"].startswith(source) and r["target"].startswith(target)]
    return f"{min(values):.2f} to {max(values):.2f}"


def accuracy(method: str, n: int) -> str:
    """Return the accuracy, in percent, of a classifier of features that were mapped by a method fitted on n pairs."""
    return paper_tables.mean("direct", "stitched", metric="accuracy", method=method, n=n)


def against_relative() -> str:
    """Return the errors of linear maps over those of relative representations, as far as these were measured."""
    rows = paper_tables.results("direct")["results"]
    keys = {(r["way"], r["dim"], r["n"]) for r in rows if r["step"] == "relative"}
    where = [{"way": way, "dim": dim, "n": n} for way, dim, n in sorted(keys)]
    baseline = {"step": "relative", "method": "relative"}
    ratios = [found for scope in where if (found := ratio({"method": "linear"}, baseline, **scope))]
    return f"linear lower than relative in {lower(ratios)}" if ratios else ""


def share_of_scale(ways: Sequence[str]) -> str:
    """Return how much of the gap between rigid and affine maps one scale closes, all pairs: least and most, in percent.

    Where the rigid map is within 10 % of the affine one there is no gap to close.
    """
    shares = []
    for way, dim in itertools.product(ways, DIMS):
        rigid, similarity, affine = (
            mean(method=name, way=way, dim=dim, n=ALL) for name in ("rigid", "similarity", "affine")
        )
        shares += [100 * (rigid - similarity) / (rigid - affine)] if rigid > 1.1 * affine else []
    return f"{min(shares):.0f} to {max(shares):.0f}"
