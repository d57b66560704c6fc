"""Ridge and logistic regression: the solvers behind linear heads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.errors import AtlasError


def ridge(X: Tensor, Y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weight (d, m) and bias (m,) that minimise ||X weight + bias - Y||^2 / n + penalty ||weight||^2.

    Args:
        X: (n, d) float64, centred.
        Y: (n, m) float64.
        penalty: greater than 0.
    """
    n, d = X.shape
    bias = Y.mean(0)
    factor, failed = torch.linalg.cholesky_ex(X.T @ X / n + penalty * torch.eye(d, dtype=X.dtype))
    if failed:
        raise AtlasError(f"Ridge regression with a penalty of {penalty} has no stable solution - raise the penalty")
    return torch.cholesky_solve(X.T @ (Y - bias) / n, factor), bias


def logistic(X: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weight (d, C) and bias (C,) that minimise the mean cross-entropy + penalty / 2 ||weight||^2.

    By L-BFGS over all rows, until no component of the gradient is above 1e-6.

    Args:
        X: (n, d) float64, centred and of unit mean variance.
        y: (n,) int64 below `classes`.
        classes: C.
        penalty: greater than 0.
    """
    n, d = X.shape
    hot = F.one_hot(y, classes).to(X.dtype)

    def loss(parameters: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = parameters[:-1], parameters[-1]
        logs = torch.log_softmax(torch.addmm(bias, X, weight), 1)
        value = penalty / 2 * weight.square().sum() - logs.gather(1, y[:, None]).mean()
        error = logs.exp_().sub_(hot).div_(n)
        # This way round: of X.T and a few columns, MKL makes the product in two to four times as long.
        slope = torch.addmm(weight.T, error.T, X, beta=penalty).T
        return value, torch.cat([slope, error.sum(0, keepdim=True)])

    # A bound of the curvature would be 1 / 2; where most rows have been learned it is far less.
    curvature = 0.25 / classes
    inverse = torch.linalg.inv(X.T @ X * (curvature / n) + penalty * torch.eye(d, dtype=X.dtype))

    def newton(gradient: Tensor) -> Tensor:
        return torch.cat([inverse @ gradient[:-1], gradient[-1:] / curvature])

    found = minimised(loss, newton, X.new_zeros(d + 1, classes), tolerance=1e-6)
    return found[:-1], found[-1]


def minimised(
    loss: Callable[[Tensor], tuple[Tensor, Tensor]],
    newton: Callable[[Tensor], Tensor],
    start: Tensor,
    tolerance: float,
    steps: int = 1000,
) -> Tensor:
    """Return where a strictly convex loss is least, by L-BFGS.

    torch.optim's would import 800 modules when it is first made, and knows no curvature to begin with.

    Args:
        loss: of parameters: its value and its gradient.
        newton: multiplies a gradient by the inverse of a rough Hessian, on which L-BFGS improves.
        start: the parameters to begin with, float64.
        tolerance: of the largest component of the gradient.
        steps: after how many to end in any case.

    Source: J. Nocedal and S. Wright, Numerical Optimization, 2006, algorithms 7.4 and 3.1.
    """
    value, gradient = loss(start)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=20)
    for _ in range(steps):
        if gradient.abs().max() <= tolerance:
            break
        step = _direction(gradient, newton, pairs)
        slope, size = (gradient * step).sum(), 1.0
        while True:
            moved = start - size * step
            lower, after = loss(moved)
            if lower <= value - 1e-4 * size * slope or size < 1e-10:
                break
            size /= 2
        s, g = moved - start, after - gradient
        if (s * g).sum() > 0:
            pairs.append((s, g, 1 / (s * g).sum()))
        start, value, gradient = moved, lower, after
    return start


def _direction(
    gradient: Tensor, newton: Callable[[Tensor], Tensor], pairs: Sequence[tuple[Tensor, Tensor, Tensor]]
) -> Tensor:
    """Return the gradient times the inverse Hessian that the last steps, changes of the gradient and 1 / s.g imply."""
    q, factors = gradient.clone(), []
    for s, g, over in reversed(pairs):
        factors.append(over * (s * q).sum())
        q -= factors[-1] * g
    q = newton(q)
    if pairs:
        _, g, over = pairs[-1]
        q /= over * (g * newton(g)).sum()
    for (s, g, over), factor in zip(pairs, reversed(factors), strict=True):
        q += (factor - over * (g * q).sum()) * s
    return q
