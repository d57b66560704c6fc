"""Solvers of aligners and aggregators: nearest orthogonal maps, ridge regression, decoding from similarities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import atlas
from atlas.authors import Moments

# Eigenvalues and singular values are told from zero if they are more than this many roundings of the largest.
ROUNDINGS = 16
# Columns whose sizes differ by more are brought to the same size where directions seem to be missing.
UNEQUAL = 8
# Each round of the search for a penalty looks at so many, and the next between the neighbours of the best.
CANDIDATES = 64
ROUNDS = 6
# The part of the variance that may be the rounding of vectors: repeats of a row differ by no more.
REPEATED = 1e-7


def or_one(sizes: Tensor) -> Tensor:
    """Return sizes to divide by: 1 in place of 0."""
    return sizes.where(sizes > 0, 1.0)


def polar(matrix: Tensor, eps: float, rows: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """Return the matrix of the same shape with orthonormal rows or columns that has the largest trace with this one.

    Directions left open by a matrix of low rank are chosen as near to the identity as can be, so that the
    result does not depend on the order of rounding.

    Args:
        matrix: (a, b), float64.
        eps: relative rounding error of the matrix, of each element that of its row and column if their sizes are given.
        rows: (a,) sizes of the columns that the rows are products with; columns: (b,) likewise.

    Source: P. H. Schönemann, A generalized solution of the orthogonal Procrustes problem, Psychometrika 31, 1966.
    """
    U, s, Vt = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((s > ROUNDINGS * eps * s[0]).sum())
    if rank < len(s) and rows is not None and columns is not None:
        # The rounding of a direction in which there are small columns alone is as small.
        largest = ((rows @ U.abs()) * (Vt.abs() @ columns)).clamp_max(s[0])
        rank = int((s > ROUNDINGS * eps * largest).long().cumprod(0).sum())
    if rank == len(s):
        return U @ Vt
    U, _, Vt = torch.linalg.svd(matrix, full_matrices=True)
    free_left, free_right = U[:, rank:], Vt[rank:]
    P, _, Qt = torch.linalg.svd(free_left.T @ torch.eye(*matrix.shape).to(matrix) @ free_right.T, full_matrices=False)
    return U[:, :rank] @ Vt[:rank] + free_left @ P @ Qt @ free_right


def ridge_weight(m: Moments, ridge: float | None, intercept: bool) -> Tensor:
    """Return the weight that minimises ||X W - Y||^2 + lambda ||W||^2, of smallest norm where lambda is 0.

    Args:
        m: moments with xy and xx (and rows, for cross-validation), about the means if there is an intercept, else
            about zero.
        ridge: lambda as a fraction of the mean of the diagonal of xx; None: by generalised cross-validation.
        intercept: whether the means were fitted, which costs one degree of freedom.

    Returns:
        (d_source, d_target), float64.
    """
    values, vectors = m.eigen("xx")
    seen = values > ROUNDINGS * m.eps * values[-1]
    if int(seen.sum()) < min(m.n_distinct - intercept, int((m.deviations()[0] > 0).sum())):
        found = equalised_ridge_weight(m, ridge, intercept, int(seen.sum()))
        if found is not None:
            return found
    values, vectors = values[seen], vectors[:, seen]
    along = vectors.T @ m.get("xy")
    penalty = penalty_of(m, ridge, values, along.square().sum(1) / values, intercept)
    return vectors @ (along / (values + penalty)[:, None])


def equalised_ridge_weight(m: Moments, ridge: float | None, intercept: bool, known: int) -> Tensor | None:
    """Return the result of `ridge_weight`, of columns so unequal that small ones are lost beside the rounding of xx.

    xx = D R D is decomposed at columns of size 1, R = Q r Q', so that xx = B'B with B = sqrt(r) Q' D, whose singular
    values keep twice the digits that eigenvalues of xx do. None if this shows no more directions than are known.
    """
    sizes = or_one(m.deviations()[0])
    if sizes.max() < UNEQUAL * sizes.min():
        return None
    values, Q = torch.linalg.eigh(m.get("xx") / torch.outer(sizes, sizes))
    seen = values > ROUNDINGS * m.eps * values[-1]
    if int(seen.sum()) <= known:
        return None
    root, Q = values[seen].sqrt(), Q[:, seen]
    white = Q.T @ (m.get("xy") / sizes[:, None]) / root[:, None]
    U, s, Vt = torch.linalg.svd((Q * root).T * sizes, full_matrices=False)
    # A column that is nothing beside the others, such as one an encoder leaves dead, has a direction, and no digits.
    kept = s > ROUNDINGS * torch.finfo(torch.float64).eps * s[0]
    s, along = s[kept], U[:, kept].T @ white
    penalty = penalty_of(m, ridge, s.square().flip(0), along.square().sum(1).flip(0), intercept)
    return Vt[kept].T @ (along * (s / (s.square() + penalty))[:, None])


def penalty_of(m: Moments, ridge: float | None, values: Tensor, explained: Tensor, intercept: bool) -> float:
    """Return the penalty that a ridge, None for an automatic one, means; the rest as for `automatic_penalty`."""
    if ridge is not None:
        return ridge * float(m.ssx.mean())
    return automatic_penalty(m, values, explained, intercept) if len(values) else 0.0


def automatic_penalty(m: Moments, values: Tensor, explained: Tensor, intercept: bool) -> float:
    """Return the penalty of least cross-validation error for distinct rows.

    A pair that is repeated is fitted as well as once, and tells nothing of the noise: counted twice, it would make a
    map that fits noise look exact. So would one that is repeated but for rounding, where that is not found out: it
    shows where rows do not fill the dimensions, yet all are fitted exactly. Then nothing is left to tell the noise by.

    Args:
        m: moments with the distinct rows, about the means if there is an intercept, else about zero.
        values: (r,) eigenvalues of xx that are not zero, smallest first.
        explained: (r,) the part of ||Y||^2 that least squares explains along each eigenvector.
        intercept: whether the means were fitted.
    """
    total, rounding = float(m.ssy.sum()), max(REPEATED, ROUNDINGS * m.eps)
    main = values.cumsum(0) > rounding * values.sum()
    rank, missed = int(main.sum()), total - float(explained[main].sum())
    # With more rows than that a map that fits all of them is exact.
    if missed <= rounding * total and m.n_distinct - intercept < 2 * rank and rank < len(m.ssx):
        return best_penalty(values[main], explained[main], 0.0, 0, max(m.near - (len(values) - rank), 0))
    rank = len(values)
    # Fewer distinct rows than directions are rows that differ, but too little beside their mean to be told apart.
    n = m.n_distinct if m.n_distinct - intercept >= rank else m.n
    spare = max(n - intercept - rank, 0)
    return best_penalty(values, explained, max(total - float(explained.sum()), 0.0) if spare else 0.0, spare, m.near)


def best_penalty(values: Tensor, explained: Tensor, residual: float, spare: int, near: int = 0) -> float:
    """Return the penalty of least generalised cross-validation error, from moments alone.

    Minimises ||Y - Yhat||^2 / (n - tr H)^2, where Yhat = H Y: an estimate of the error on rows that were left out.

    Two rows that are almost alike, noise and all, show no noise in the short direction between them, and a few of these
    would tell by themselves that there is no noise anywhere. They take the spare degrees of freedom and the shortest
    directions, which are left out where the others show more noise and call for a larger penalty. Moments alone cannot
    tell such directions from those of data without noise: the rows must have been counted.

    Args:
        values: (r,) eigenvalues of xx that are not zero, smallest first.
        explained: (r,) the part of ||Y||^2 that least squares explains along each eigenvector.
        residual: the part it explains along none.
        spare: degrees of freedom that least squares leaves.
        near: how many rows are almost alike to others.

    Source: G. H. Golub, M. Heath and G. Wahba, Generalized cross-validation as a method for choosing a good ridge
    parameter, Technometrics 21, 1979.
    """
    if near <= spare:
        return _least_error(values, explained, residual, spare - near)
    penalty = _least_error(values, explained, residual, spare)
    short = min(near - spare, len(values) - 1)
    longer = _least_error(values[short:], explained[short:], 0.0, 0)
    lost = longer / (values[short:] + longer)
    noise = float((explained[short:] * lost.square()).sum() / lost.sum())
    seen = (residual + float(explained[:short].sum())) / (spare + short)
    return longer if longer > penalty and noise > seen else penalty


def _least_error(values: Tensor, explained: Tensor, residual: float, spare: int) -> float:
    """Return the penalty of least generalised cross-validation error over the directions that are given."""
    high = float(values[-1].log())
    low, high = min(high + math.log(ROUNDINGS * torch.finfo(torch.float64).eps), float(values[0].log()) - 7), high + 10
    for _ in range(ROUNDS):
        grid = torch.linspace(low, high, CANDIDATES, dtype=torch.float64)
        # The share of each direction that the penalty takes away; sums of it do not cancel.
        lost = torch.sigmoid(grid[:, None] - values.log())
        error = (residual + (explained * lost.square()).sum(1)) / (spare + lost.sum(1)).square()
        best = int(error.argmin())
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, CANDIDATES - 1)])
    return math.exp((low + high) / 2)


def least_squares_decoder(B: Tensor, penalty: float) -> Tensor:
    """Return the matrix M (k, d) for which r @ M minimises ||B y - r||^2 + penalty ||y||^2 over y, for B (k, d).

    Singular values of B that its rounding to float32 could have made count as zero.
    """
    if penalty == 0:
        return torch.linalg.pinv(B, rtol=ROUNDINGS * torch.finfo(torch.float32).eps).T
    k, d = B.shape
    if k < d:
        return torch.cholesky_solve(B, torch.linalg.cholesky(B @ B.T + penalty * torch.eye(k).to(B)))
    return torch.cholesky_solve(B.T, torch.linalg.cholesky(B.T @ B + penalty * torch.eye(d).to(B))).T.contiguous()


def moved(aligner: atlas.LinearAligner, X: Tensor, weight: Tensor, goal: Tensor) -> None:
    """Give an affine aligner the map of this weight that takes the mean of X (n, d) to the goal."""
    mean = X.mean(0)
    bias = goal - mean @ weight.float().double()
    error = (bias.float().double() - bias).square().sum()
    aligner.check_rounding(float(error), float(((X - mean) @ weight).square().sum(1).mean()))
    aligner.load_state_dict({"weight": weight, "bias": bias})


def rows_apart(U: Tensor, start: int, keep: int, delta: float) -> Tensor:
    """Return rows of U (k, d), each of length 1, farthest first by 1 - |cosine|, for which opposite rows are the same.

    Args:
        U: the rows to choose among.
        start: the first one.
        keep: how many, at most.
        delta: stop when the farthest is nearer than this to one that was chosen.
    """
    chosen = [start]
    distance = torch.full((len(U),), torch.inf).to(U)
    while len(chosen) < keep:
        distance = torch.minimum(distance, 1 - (U @ U[chosen[-1]]).abs())
        distance[chosen[-1]] = -torch.inf
        farthest = int(distance.argmax())
        if distance[farthest] < delta or distance[farthest] == -torch.inf:
            break
        chosen.append(farthest)
    return torch.tensor(chosen)
