"""The promises of samplers, one function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from atlas.components.sampler import Sampler
from atlas.errors import AtlasError
from atlas.testing.elsewhere import ensure_same_elsewhere
from atlas.testing.promises import (
    DTYPES,
    ensure,
    ensure_refused,
    ensure_unmoved_by_chance,
    options_are_used_or_refused,
    options_survive,
)

N = 120


def data(n: int = N) -> tuple[Tensor, Tensor]:
    """Return vectors (n, 7), off centre, and labels (n,) of five classes."""
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(0)) + 1, torch.arange(n) % 5


def draw(sampler: Sampler, X: Any, n: int, labels: Any, seed: int = 0, case: str = "") -> Tensor:
    """Return n rows after making sure that they are n, distinct, sorted and there."""
    rows = sampler.sample(X, n, seed=seed, labels=labels)
    where = f" of {case}" if case else ""
    ensure(rows.dtype == torch.int64 and rows.ndim == 1, sampler, f"must return row numbers (n,), int64{where}")
    ensure(len(rows) == n, sampler, f"must return {n} rows{where}, returned {len(rows)}")
    listed = rows.tolist()
    ensure(listed == sorted(set(listed)), sampler, f"must return every row once, in order{where}: anchors are a set")
    ensure(listed[0] >= 0 and listed[-1] < len(X), sampler, f"must return rows from 0 to {len(X) - 1}{where}")
    return rows


def draws_rows(sampler: Sampler) -> None:
    """As many rows as asked for are drawn, each once and in order: one, a few, or all."""
    X, labels = data()
    for n in (1, 2, 33, N - 1, N):
        draw(sampler, X, n, labels)


def seeds_decide(sampler: Sampler) -> None:
    """Equal seeds give equal rows, so that anchors can be drawn again from their card."""
    X, labels = data()
    same = torch.equal(draw(sampler, X, 20, labels, seed=3), draw(sampler, X, 20, labels, seed=3))
    ensure(same, sampler, "must draw the same rows for the same seed - take all chance from the generator")


def chance_is_left_alone(sampler: Sampler) -> None:
    """The global random state is neither read nor changed."""
    advice = "take all chance from the generator"
    promise = f"must draw the same rows whatever the global seed - {advice}"
    ensure_unmoved_by_chance(sampler, lambda: drawn_from(sampler, *data()), promise, advice)


def inputs_stay(sampler: Sampler) -> None:
    """Every floating-point dtype is taken, and vectors and labels stay as they are."""
    vectors, labels = data()
    for dtype in DTYPES:
        X = vectors.to(dtype)
        before = X.clone(), labels.clone()
        draw(sampler, X, 20, labels, case=str(dtype))
        same = torch.equal(X, before[0]) and torch.equal(labels, before[1])
        ensure(same, sampler, "must leave its inputs as they are - the caller goes on using them")


def arrays_are_as_tensors(sampler: Sampler) -> None:
    """Arrays, lists of labels and tensors that are not contiguous give the same rows as tensors."""
    X, labels = data()
    rows = draw(sampler, X, 20, labels)
    for other, classes in ((X.numpy(), labels.numpy()), (X.T.contiguous().T, labels.tolist())):
        same = torch.equal(draw(sampler, other, 20, classes), rows)
        ensure(same, sampler, "must draw the same rows from an array as from a tensor")


def hard_data_is_met(sampler: Sampler) -> None:
    """Equal rows, rows of zeros, one column, few rows, and any scale are drawn from."""
    X, labels = data()
    for value in (0.0, 1.0, 1e4):
        draw(sampler, torch.full((N, 3), value), 40, labels, case=f"vectors that are all {value:g}")
    copies = X.clone()
    copies[10:60], copies[60:90] = X[0], 0
    draw(sampler, copies, 100, labels, case="vectors with copies and zeros")
    draw(sampler, X[:, :1], 30, labels, case="vectors of one dimension")
    draw(sampler, X[:5], 4, labels[:5], case="fewer vectors than dimensions")
    draw(sampler, X[:1], 1, labels[:1], case="a single vector")
    for scale in (1e-6, 1e6):
        draw(sampler, X * scale, 30, labels, case=f"vectors of size {scale:g}")


def mistakes_are_told(sampler: Sampler) -> None:
    """Missing values, more rows than there are and labels of another length are refused."""
    X, labels = data()
    bad = X.clone()
    bad[7, 2] = torch.nan
    ensure_refused(lambda: sampler.sample(bad, 20, labels=labels), "row 7", sampler, "NaN")
    for n in (0, N + 1):
        ensure_refused(lambda n=n: sampler.sample(X, n, labels=labels), f"cannot draw {n}", sampler, f"{n} rows")  # type: ignore[misc]
    ensure_refused(lambda: sampler.sample(X, 20, labels=labels[1:]), "one label per vector", sampler, "missing labels")


def any_row_is_drawn(sampler: Sampler) -> None:
    """A row is drawn for its values, or by chance, and not for its place: any can be."""
    X, labels = data()
    drawn = set()
    for seed in range(24):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
        drawn |= set(draw(sampler, X[order], N // 2, labels[order], seed=seed).tolist())
    never = sorted(set(range(N)) - drawn)
    told = f"{len(never)} of {N} are never drawn, the first is row {never[0]}" if never else ""
    ensure(not never, sampler, f"must choose rows for their values, wherever they stand: {told}")


def seeds_matter(sampler: Sampler) -> None:
    """The choice depends on the seed, or on nothing but the rows' values."""
    X, labels = data()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    first = draw(sampler, X, 20, labels)
    by_seed = any(not torch.equal(first, draw(sampler, X, 20, labels, seed=seed)) for seed in range(1, 6))
    by_order = not torch.equal(first, order[draw(sampler, X[order], 20, labels[order])].sort().values)
    ensure(
        by_seed or not by_order,
        sampler,
        "must draw other rows for another seed, as it does in another order - take all chance from the generator",
    )


def labels_matter(sampler: Sampler) -> None:
    """One that refuses vectors without labels makes use of labels."""
    X, labels = data()
    try:
        draw(sampler, X, 20, None)
    except AtlasError:
        others = (draw(sampler, X, 20, (torch.arange(N) * k // N) % 5) for k in (5, 50))
        used = any(not torch.equal(draw(sampler, X, 20, labels), rows) for rows in others)
        ensure(used, sampler, "must make use of labels, as it refuses vectors without them")


def options_are_checked(sampler: Sampler) -> None:
    """Any value of an option's type is used, or refused in words, for instance -1 and infinity."""
    X, labels = data()
    options_are_used_or_refused(sampler, lambda one: draw(one, X, 20, labels))


def drawn_from(sampler: Sampler, X: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the rows that are drawn."""
    return {"rows": draw(sampler, X, 20, labels)}


def processes_agree(sampler: Sampler) -> None:
    """Another process draws the same rows."""
    ensure_same_elsewhere(drawn_from, sampler, "draw the same rows", *data())


SAMPLER_CHECKS: tuple[Callable[[Sampler], None], ...] = (
    options_survive,
    draws_rows,
    inputs_stay,
    seeds_decide,
    chance_is_left_alone,
    seeds_matter,
    any_row_is_drawn,
    labels_matter,
    arrays_are_as_tensors,
    hard_data_is_met,
    mistakes_are_told,
    options_are_checked,
    processes_agree,
)
