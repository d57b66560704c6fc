"""How well mapped vectors agree with the true ones, and predictions with labels.

Functions in the plural give one value per row, of which the metric is the mean: `intervals` says how sure that is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.metrics.pairs import blocks, class_numbers, mean_of, same_space
from atlas.numerics.arrays import BEYOND, all_equal, as_matrix, check_unit, unit

# Rows at a time whose copies in float64 stay in the processor's cache.
FEW = 256


def correct(predicted: Any, labels: Any) -> Tensor:
    """Return 1 where the class was predicted, else 0, for each row of known class.

    Args:
        predicted: (n,) whole numbers, the predicted class.
        labels: (n,) whole numbers, the true class; -1 is unknown.

    Returns:
        (m,) float64, m <= n.

    Raises:
        AtlasError: unequal lengths, not whole numbers, or no known class.
    """
    p, y = class_numbers(predicted, "predicted"), class_numbers(labels, "labels")
    if len(p) != len(y):
        raise AtlasError(f"Accuracy needs one label per prediction, got {len(p)} predictions and {len(y)} labels")
    known = y >= 0
    if not known.any():
        raise AtlasError("Accuracy needs labels, and no row has a known class")
    return (p == y)[known].double()


def accuracy(predicted: Any, labels: Any) -> float:
    """Return the share of rows whose class was predicted, 0 to 1; rows of unknown class (-1) are left out."""
    return float(correct(predicted, labels).mean())


def squared_errors(X: Any, Y: Any) -> Tensor:
    """Return the mean over columns of (x - y)^2 for each row, (n,) float64."""
    X, Y = same_space(X, Y)
    return torch.cat([(X[b].double() - Y[b].double()).square().mean(1) for b in blocks(len(X), FEW)]).cpu()


def mse(X: Any, Y: Any) -> float:
    """Return the mean squared error over all elements, in squared units of the target."""
    return float(squared_errors(X, Y).mean())


def r2(X: Any, Y: Any) -> float:
    """Return the share of Y's variance that X explains: 1 - sum (x - y)^2 / sum (y - mean_y)^2, over all elements.

    Columns count by their variance (the mean over columns would let a column that hardly varies decide). 1 is perfect,
    0 no better than the mean, below 0 worse.

    Raises:
        AtlasError: the rows of Y are all equal.
    """
    X, Y = same_space(X, Y, least=2)
    check_unit(X)
    check_unit(Y)
    mean = mean_of(Y)
    error = sum(float((X[b].double() - Y[b].double()).square().sum()) for b in blocks(len(Y), FEW))
    total = sum(float((Y[b].double() - mean).square().sum()) for b in blocks(len(Y), FEW))
    return explained(error, total, all_equal(Y))


def explained(error: float, total: float, equal: bool) -> float:
    """Return R2 by the sums of squares of the errors and of the target, or say why there is none.

    Raises:
        AtlasError: the rows are all equal, or their differences vanish in float64.
    """
    if equal:
        raise AtlasError("R2 is undefined: the rows of Y are all equal")
    # Rows may differ in a column that is as nothing beside the others.
    if not total:
        raise AtlasError(BEYOND)
    return 1 - error / total


def cosines(X: Any, Y: Any) -> Tensor:
    """Return the cosine of each pair of rows, (n,) float64; 0 where one is a row of zeros."""
    X, Y = same_space(X, Y)
    # Squares of narrower types neither overflow nor vanish in float64; rows of float64 are brought to length 1 first.
    sides = [(t, unit if t.dtype == torch.float64 else torch.Tensor.double) for t in (X, Y)]
    return torch.cat([_cosines(*(wide(t[b]) for t, wide in sides)) for b in blocks(len(X), FEW)]).cpu()


def _cosines(X: Tensor, Y: Tensor) -> Tensor:
    sizes = ((X * X).sum(1) * (Y * Y).sum(1)).sqrt()
    return (X * Y).sum(1) / torch.where(sizes == 0, 1, sizes)


def cosine(X: Any, Y: Any) -> float:
    """Return the mean cosine of paired rows; on its own it says little where all vectors lie in one cone."""
    return float(cosines(X, Y).mean())


def separability(X: Any, labels: Any, among: Collection[int] | None = None) -> float:
    """Return how far classes lie apart against how wide they are.

    The mean over ordered pairs of classes a and b of |c_a - c_b| / ((w_a + w_b) / 2), where c is the mean of a class
    and w the mean Euclidean distance of its rows from it.

    Args:
        X: (n, d).
        labels: (n,) whole numbers; rows of -1 are left out.
        among: classes of which a pair must have at least one; None: all.

    Raises:
        AtlasError: fewer than two classes, or two classes without any width.

    Source: D. Crisostomi et al., From Charts to Atlas, 2023 (the authors' code).
    """
    X, y = as_matrix(X, "X", finite=True), class_numbers(labels, "labels")
    check_unit(X)
    if len(X) != len(y):
        raise AtlasError(f"Separability needs one label per row, got {len(y)} labels for {len(X)} rows")
    rows = X[(y >= 0).to(X.device)].double().cpu()
    classes, group, counts = torch.unique(y[y >= 0], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise AtlasError(f"Separability needs at least 2 classes, got {len(classes)}")
    means = torch.zeros(len(classes), X.shape[1], dtype=torch.float64).index_add_(0, group, rows) / counts[:, None]
    distance = torch.linalg.vector_norm(rows - means[group], dim=1)
    width = torch.zeros(len(classes), dtype=torch.float64).index_add_(0, group, distance) / counts
    chosen = torch.tensor([among is None or int(c) in among for c in classes])
    wanted = (chosen[:, None] | chosen) & ~torch.eye(len(classes), dtype=torch.bool)
    apart, wide = torch.cdist(means, means)[wanted], ((width[:, None] + width) / 2)[wanted]
    if not len(wide) or not bool(wide.min() > 0):
        raise AtlasError("Separability is undefined for classes without width - give more than one item of each")
    return float((apart / wide).mean())
