"""Paired rows, checked, and read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.numerics.arrays import as_matrix, check_finite

# Rows that are widened to float64 at a time.
BLOCK = 2048


def paired(X: Any, Y: Any, least: int = 2) -> tuple[Tensor, Tensor]:
    """Return two matrices whose rows are the same items, row by row.

    Raises:
        AtlasError: not matrices, NaN or infinity, unequal lengths, or fewer rows than `least`.
    """
    X, Y = matched(X, Y, least)
    for t, what in ((X, "X"), (Y, "Y")):
        for block in blocks(len(t)):
            check_finite(t[block], what, block.start)
    return X, Y


def matched(X: Any, Y: Any, least: int = 2) -> tuple[Tensor, Tensor]:
    """Pair as `paired` does, without its search for NaN, where a later step makes it."""
    X, Y = as_matrix(X, "X"), as_matrix(Y, "Y")
    if len(X) != len(Y):
        raise AtlasError(f"Metrics compare the same items row by row, got {len(X)} rows in X and {len(Y)} in Y")
    if len(X) < least:
        raise AtlasError(f"The metric needs at least {least} rows, got {len(X)}")
    return X, Y.to(X.device)


def same_space(X: Any, Y: Any, least: int = 1) -> tuple[Tensor, Tensor]:
    """Return paired rows of one space.

    Raises:
        AtlasError: as `paired`, or unequal dimensions.
    """
    X, Y = paired(X, Y, least)
    if X.shape[1] != Y.shape[1]:
        raise AtlasError(
            f"The metric compares vectors of one space, got {X.shape[1]} and {Y.shape[1]} dimensions - "
            f"to compare two spaces use a metric such as 'cka'"
        )
    return X, Y


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield the slices that cover n rows."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def working(X: Tensor) -> Tensor:
    """Return vectors in float32 or float64."""
    return X if X.dtype in (torch.float32, torch.float64) else X.float()


def mean_of(X: Tensor) -> Tensor:
    """Return the mean of the rows, (d,), float64."""
    return torch.stack([X[block].sum(0, dtype=torch.float64) for block in blocks(len(X))]).sum(0) / len(X)


def class_numbers(labels: Any, what: str) -> Tensor:
    """Return the number of the class of each row, (n,) int64, or raise `AtlasError`."""
    try:
        t = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise AtlasError(f"{what} must hold one whole number per row, got {type(labels).__name__}") from None
    if t.ndim != 1 or t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
        raise AtlasError(f"{what} must hold one whole number per row, got {t.dtype} of shape {tuple(t.shape)}")
    return t.to("cpu", torch.int64)
