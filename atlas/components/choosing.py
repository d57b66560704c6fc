"""Which of several aligners suits pairs best, for search: by the neighbours that rows keep whom the fit has not seen.

Squared error says little of it: a map that shrinks uncertain directions has the least, and may find no neighbour.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeGuard

import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.components.linear import LinearAligner
from atlas.errors import AtlasError
from atlas.metrics.retrieval import neighbours_kept
from atlas.numerics.moments import Moments

# Fewer pairs tell no aligners apart; more rows than that cost time and tell no more.
FEWEST, MOST = 20, 2000
ROLES = ("index", "queries")


def cross_fit(aligner: Aligner, X: Tensor, Y: Tensor, folds: int) -> list[Aligner]:
    """Return fits of which each leaves one fold of the pairs out; row i is of fold i % folds.

    Args:
        aligner: the method and its options; it is not changed.
        X: (n, d_source).
        Y: (n, d_target), row by row the same items.
        folds: how many.
    """
    fold = torch.arange(len(X)) % folds
    return [unfitted(aligner).fit(X[fold != k], Y[fold != k]) for k in range(folds)]


def left_out(fits: Sequence[Aligner], X: Tensor) -> Tensor:
    """Return X (n, d_source) mapped (n, d_target), each row by the one of `cross_fit` that has not seen it."""
    mapped = torch.empty(len(X), fits[0].d_target, dtype=X.dtype)
    for k, fitted in enumerate(fits):
        mapped[k :: len(fits)] = fitted.transform(X[k :: len(fits)])
    return mapped


@dataclass(frozen=True)
class _Shared(Moments):
    """Moments that several maps are fitted on, which are decomposed once for all of them."""

    @functools.cached_property
    def _known(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {}

    def eigen(self, name: str) -> tuple[Tensor, Tensor]:
        """Return eigenvalues and eigenvectors; see `Moments.eigen`."""
        if name not in self._known:
            self._known[name] = super().eigen(name)
        return self._known[name]


def _distinct(X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of rows without those that are there before, to the bit."""
    first: dict[tuple[bytes, bytes], int] = {}
    sides = (rows.detach().cpu().contiguous().view(torch.uint8).numpy() for rows in (X, Y))
    for i, (x, y) in enumerate(zip(*sides, strict=True)):
        first.setdefault((x.tobytes(), y.tobytes()), i)
    index = torch.tensor(list(first.values()))
    return (X, Y) if len(index) == len(X) else (X[index], Y[index])


def _left_out_by_each(candidates: Sequence[Aligner], X: Tensor, Y: Tensor, folds: int) -> list[Tensor | None]:
    """Return X as each of some aligners maps it, each row by a fit that has not seen it; None if a fit fails.

    All that are fitted on moments are fitted on the same: their products and decompositions are most of the work.
    """
    needs = {name for one in candidates if _streams(one) for name in one.needed(X.shape[1], Y.shape[1])}
    mapped: list[Tensor | None] = [torch.empty(len(X), Y.shape[1], dtype=X.dtype) for _ in candidates]
    failures: list[AtlasError] = []
    fold = torch.arange(len(X)) % folds
    for k in range(folds):
        x, y = X[fold != k], Y[fold != k]
        m = Moments.of(x, y, needs) if needs else None
        shared = m and _Shared(**{field.name: getattr(m, field.name) for field in fields(m)})
        for i, (one, rows) in enumerate(zip(candidates, mapped, strict=True)):
            if rows is None:
                continue
            try:
                fresh = unfitted(one)
                fitted = fresh.fit_moments(shared) if shared and _streams(fresh) else fresh.fit(x, y)
                rows[k::folds] = fitted.transform(X[k::folds])
            except AtlasError as error:
                failures.append(error)
                mapped[i] = None
    if len(failures) == len(candidates):
        raise failures[0]
    return mapped


def _streams(aligner: Aligner) -> TypeGuard[LinearAligner]:
    return isinstance(aligner, LinearAligner) and aligner.streaming


def unfitted(aligner: Aligner) -> Aligner:
    """Return an aligner of the same options that has learned nothing."""
    return type(aligner).from_config(aligner.config())


def kept(mapped: Tensor, X: Tensor, Y: Tensor, role: str, k: int = 10) -> Tensor:
    """Return for each item which share of its k nearest neighbours in the new model's space a mapped index finds, (n,).

    Args:
        mapped: X in the space of Y, (n, d_target).
        X: (n, d_source).
        Y: (n, d_target).
        role: "index": mapped rows are searched by rows of Y, the new model's; "queries": mapped rows, the new model's,
            search rows of Y.
        k: neighbours, the item itself left out.
    """
    k, kind = min(k, len(X) - 1), torch.promote_types(X.dtype, Y.dtype)
    mapped, X, Y = mapped.to(kind), X.to(kind), Y.to(kind)
    if role == "index":
        return neighbours_kept((Y, mapped), (Y, Y), k)
    return neighbours_kept((mapped, Y), (X, X), k)


def chosen(
    candidates: Sequence[Aligner], X: Tensor, Y: Tensor, role: str, folds: int = 3, slack: float = 0.0
) -> tuple[Aligner, Tensor]:
    """Return the aligner, not yet fitted, whose maps keep most neighbours, and the share that each of them keeps.

    The first of those that keep as much, but for the slack, is chosen, and the first of all where there are too few
    pairs to tell. A pair that is repeated counts once: its copies would tell a fit what it is to be asked. One that
    cannot be fitted to a part of the pairs keeps none.

    Raises:
        AtlasError: none of them can be fitted.
    """
    X, Y = _distinct(X[: 4 * MOST], Y[: 4 * MOST])
    X, Y = X[:MOST], Y[:MOST]
    if len(X) < FEWEST:
        return candidates[0], torch.full((len(candidates),), torch.nan)
    mapped = _left_out_by_each(candidates, X, Y, folds)
    found = [0.0 if rows is None else float(kept(rows, X, Y, role).mean()) for rows in mapped]
    shares, fitted = torch.tensor(found, dtype=torch.float64), torch.tensor([rows is not None for rows in mapped])
    return candidates[int((fitted & (shares >= shares.max() - slack)).nonzero()[0])], shares
