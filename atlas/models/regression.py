"""Ridge and logistic regression: the solvers behind linear heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from atlas.errors import AtlasError

Loss = Callable[[Tensor], tuple[float, Tensor]]
Map = Callable[[Tensor], Tensor]
KEPT = 20  # steps that L-BFGS remembers


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

    By L-BFGS over all rows, until no component of the gradient is above 1e-6: in float32 as far as its rounding allows,
    then in float64.

    Args:
        X: (n, d) float64, centred and of unit mean variance.
        y: (n,) int64 below `classes`.
        classes: C.
        penalty: greater than 0.
    """
    n, d = X.shape
    losses = [_cross_entropy(X.float(), y, penalty), _cross_entropy(X, y, penalty)]

    def diagonal() -> Map:
        # Of equally likely classes, as all are at the start.
        curvature = (1 - 1 / classes) / classes
        inverse = 1 / torch.cat([X.square().mean(0) * curvature + penalty, X.new_full((1,), curvature)])
        return lambda gradient: gradient * inverse

    def whole() -> Map:
        # Where most rows have been learned, the curvature is far less.
        curvature = 0.25 / classes
        inverse = torch.linalg.inv(X.T @ X * (curvature / n) + penalty * torch.eye(d, dtype=X.dtype))
        inverse = torch.block_diag(inverse, inverse.new_full((1, 1), 1 / curvature))
        return lambda gradient: gradient @ inverse

    # The whole matrix costs half as many evaluations of the loss, in which few classes take no less time than ten: many
    # fits have ended by then, others need it.
    patience = 2 * d / (classes + 10) * (1 + d / n)
    found = minimised(losses, X.new_zeros(classes, d + 1), [diagonal, whole], patience, tolerance=1e-6)
    return found[:, :-1].T, found[:, -1]


def _cross_entropy(X: Tensor, y: Tensor, penalty: float) -> Loss:
    """Return the loss of logistic regression and its gradient, of parameters (C, d + 1), computed in X's precision."""
    rows = torch.arange(len(X))

    def loss(parameters: Tensor) -> tuple[float, Tensor]:
        weight, bias = parameters[:, :-1], parameters[:, -1:]
        # Classes first: softmax over the first dimension is vectorised, over the last one it is not.
        logs = torch.log_softmax(torch.addmm(bias.to(X.dtype), weight.to(X.dtype), X.T), 0)
        value = penalty / 2 * weight.square().sum() - logs[y, rows].mean(dtype=torch.float64)
        error = logs.exp_()
        error[y, rows] -= 1
        error /= len(X)
        return float(value), torch.cat([(error @ X).double() + penalty * weight, error.double().sum(1, True)], 1)

    return loss


def minimised(
    losses: Sequence[Loss], start: Tensor, roughly: Sequence[Callable[[], Map]], patience: float, tolerance: float
) -> Tensor:
    """Return where a strictly convex loss is least, by L-BFGS, in 1,000 steps at most.

    torch.optim's would import 800 modules when it is first made, and knows no curvature to begin with.

    Args:
        losses: of parameters: the value and the gradient, in float32 as far as its rounding allows, and in float64.
        start: the parameters to begin with, float64.
        roughly: two that return the product of a gradient with a rough inverse Hessian, a quick one and a good one.
        patience: after how many steps the good one is worth its making.
        tolerance: of the largest component of the gradient.

    Source: J. Nocedal and S. Wright, Numerical Optimization, 2006, algorithm 3.1 and section 7.2.
    """
    (loss, exact), (quick, good) = losses, roughly
    inverse = _Inverse(start, quick())
    value, gradient = loss(start)
    lowest, worse = float("inf"), 0
    for done in range(1000):
        slope = float(gradient.abs().max())
        lowest, worse = (slope, 0) if slope < lowest else (lowest, worse + 1)
        # Twenty steps that bring nothing: rounding has the upper hand.
        if loss is not exact and (slope <= tolerance or worse == 20):
            loss = exact
            value, gradient = loss(start)
            slope = float(gradient.abs().max())
        if slope <= tolerance:
            break
        if patience <= done < patience + 1:
            inverse.roughly(good())
        # Sums of float32 tell no smaller differences.
        noise = 0 if loss is exact else 1e-7 * abs(value)
        moved, value, after = _step(loss, start, value + noise, gradient, inverse @ gradient)
        inverse.learn(moved - start, after - gradient)
        start, gradient = moved, after
    return start


def _step(loss: Loss, start: Tensor, value: float, gradient: Tensor, step: Tensor) -> tuple[Tensor, float, Tensor]:
    """Return where a step, halved until it lowers the loss enough, leads, and the loss and its gradient there."""
    slope, size = float((gradient * step).sum()), 1.0
    while True:
        moved = start - size * step
        lower, after = loss(moved)
        if lower <= value - 1e-4 * size * slope or size < 1e-10:
            return moved, lower, after
        size /= 2


class _Inverse:
    """The inverse Hessian that the last steps imply, in the compact form of L-BFGS: products of matrices alone.

    With S the steps, Y the changes of the gradient (a row each, in order), H the rough inverse times a scale, R the
    upper triangle of SY' and D its diagonal: H + [S', HY'] [[R^-T (D + YHY') R^-1, -R^-T], [-R^-1, 0]] [S; YH].

    Source: R. Byrd, J. Nocedal and R. Schnabel, Representations of quasi-Newton matrices, 1994, equation 2.6.
    """

    def __init__(self, like: Tensor, rough: Map) -> None:
        self._shape, self._rough = like.shape, rough
        self._order: list[int] = []
        self._S, self._Y, self._HY = (like.new_zeros(KEPT, like.numel()) for _ in range(3))
        self._SY, self._YHY = (like.new_zeros(KEPT, KEPT) for _ in range(2))

    def roughly(self, rough: Map) -> None:
        """Exchange the rough inverse for another."""
        self._rough = rough
        for at in self._order:
            self._HY[at] = self._roughly(self._Y[at])
        self._YHY = self._Y @ self._HY.T

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Remember a step in place of the oldest one, unless rounding has hidden its curvature."""
        if not float((step * change).sum()) > 0:
            return
        at = self._order.pop(0) if len(self._order) == KEPT else len(self._order)
        self._order.append(at)
        self._S[at], self._Y[at] = step.flatten(), change.flatten()
        self._HY[at] = self._roughly(self._Y[at])
        self._SY[:, at] = self._S @ self._Y[at]
        self._YHY[at] = self._YHY[:, at] = self._Y @ self._HY[at]

    def __matmul__(self, gradient: Tensor) -> Tensor:
        g = gradient.flatten()
        if not self._order:
            return self._rough(gradient)
        order, last = torch.tensor(self._order), self._order[-1]
        grid = order[:, None], order
        SY, scale = self._SY[grid], float(self._SY[last, last] / self._YHY[last, last])
        R = SY.triu()
        a = torch.linalg.solve_triangular(R, (self._S @ g)[order, None], upper=True)
        right = SY.diagonal()[:, None] * a + scale * (self._YHY[grid] @ a - (self._HY @ g)[order, None])
        b = torch.linalg.solve_triangular(R.T, right, upper=False)
        weights = g.new_zeros(2, KEPT)
        weights[:, order] = torch.cat([a, b], 1).T
        return self._rough(gradient) * scale + (weights[1] @ self._S - scale * weights[0] @ self._HY).view(self._shape)

    def _roughly(self, row: Tensor) -> Tensor:
        return self._rough(row.view(self._shape)).flatten()
