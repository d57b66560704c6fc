"""Kernel alignment without bias, in batches, and with other kernels than the linear one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.metrics.pairs import blocks, matched, mean_of, paired
from atlas.metrics.similarity import ALL, by_grams, grams, squared_norms
from atlas.numerics.arrays import check_unit, lengths
from atlas.numerics.moments import Moments

# Kernel values held at once.
_HELD = 2**22
# Rows whose distances give the width of the RBF kernel.
_SAMPLE = 1000


def unbiased_cka(X: Any, Y: Any) -> float:
    """Return linear CKA made of unbiased estimates of HSIC: about 0 for unrelated spaces, however few the rows.

    It can be below 0, and for unrelated spaces it varies by about 1.4 / n (20 rows: by 0.07). The self-similarity of
    rows is left out; in terms of centred rows with squared lengths k_i and l_i this needs no n x n matrix:
    HSIC = [||Xc'Yc||^2 - sum k_i l_i + (sum k_i)(sum l_i) / ((n-1)(n-2)) - 2 sum k_i l_i / (n-2)] / (n (n-3)).
    (HSIC does not change when rows are centred, and then the rows of the full Gram matrix sum to 0.)

    Raises:
        AtlasError: NaN, unequal lengths, fewer than 4 rows, or a space whose own estimate is not above 0.
    """
    X, Y = matched(X, Y, least=4)
    return _ratio(_unbiased_hsics(X, Y))


def minibatch_cka(X: Any, Y: Any, batch: int = 256, seed: int = 0) -> float:
    """Return CKA from the means over batches of unbiased HSIC, as one computes it where all rows do not fit.

    Args:
        X: (n, d_x).
        Y: (n, d_y), the same items.
        batch: rows in a batch, at least 4; rows after the last whole batch are left out.
        seed: of the order of the rows, which is random: batches of one class each would give another figure.
    """
    X, Y = paired(X, Y, least=4)
    if batch < 4:
        raise AtlasError(f"batch must be at least 4, got {batch}")
    batch = min(batch, len(X))
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed)).to(X.device)
    parts = [_unbiased_hsics(X[order[b]], Y[order[b]]) for b in blocks(len(X), batch) if b.stop - b.start == batch]
    return _ratio(torch.stack(parts).mean(0))


def rbf_cka(X: Any, Y: Any, width: float = 1.0) -> float:
    """Return CKA with the kernel exp(-|a - b|^2 / (2 s^2)), 0 to 1; sensitive to near neighbours if s is small.

    s^2 is width^2 times the median squared distance between different rows of the space, taken over at most 1,000 rows
    evenly spaced. Biased as `linear_cka` is. Takes n^2 d steps, and memory for a few rows of n.

    Args:
        X: (n, d_x).
        Y: (n, d_y), the same items.
        width: s as a multiple of the median distance.
    """
    X, Y = paired(X, Y)
    if not width > 0:
        raise AtlasError(f"width must be above 0, got {width}")
    A, B = (_scaled(t, what, width) for t, what in ((X, "X"), (Y, "Y")))
    n = len(A)
    products = torch.zeros(3, dtype=torch.float64)
    sums = []
    for block in blocks(n, max(1, _HELD // n)):
        K, L = _rbf(A, block), _rbf(B, block)
        products += torch.stack([(K * L).sum(), K.square().sum(), L.square().sum()]).cpu()
        sums.append(torch.stack([K.sum(1), L.sum(1)]).cpu())
    # tr(KHLH) without centring K: HKH has the rows' means taken off, and their sums are all that takes.
    k, m = torch.cat(sums, 1)
    rows = torch.stack([k @ m, k @ k, m @ m])
    whole = torch.stack([k.sum() * m.sum(), k.sum() ** 2, m.sum() ** 2])
    return min(1.0, _ratio(products - 2 / n * rows + whole / n**2))


def _unbiased_hsics(X: Tensor, Y: Tensor) -> Tensor:
    """Return the unbiased HSIC of X with Y, X with X and Y with Y, (3,) float64."""
    n = len(X)
    if by_grams(X, Y):
        K, L = grams(X, Y)
        k, m = K.diagonal().cpu(), L.diagonal().cpu()
        cross = torch.stack([(K * L).sum(), K.square().sum(), L.square().sum()]).cpu()
    else:
        moments = Moments.of(X, Y, ALL)
        cross = torch.tensor(squared_norms(moments), dtype=torch.float64)
        k, m = _square_lengths(X, moments.mean_x), _square_lengths(Y, moments.mean_y)
    own = torch.stack([k @ m, k @ k, m @ m])
    whole = torch.stack([k.sum() * m.sum(), k.sum() ** 2, m.sum() ** 2])
    found = cross - own * (1 + 2 / (n - 2)) + whole / ((n - 1) * (n - 2))
    # The rest after a full cancellation is rounding, of either sign.
    return found.masked_fill(found.abs() < 1e-12 * cross, 0.0) / (n * (n - 3))


def _square_lengths(X: Tensor, mean: Tensor) -> Tensor:
    """Return |x - mean|^2 for each row, float64; float32 rows are centred as such, like those of the moments."""
    centre = mean.to(X.device, torch.float64 if X.dtype == torch.float64 else torch.float32)
    return torch.cat([lengths(X[b] - centre)[:, 0] for b in blocks(len(X))]).cpu().double().square()


def _ratio(hsic: Tensor) -> float:
    """Return CKA from HSIC of X with Y, of X with itself and of Y with itself."""
    xy, xx, yy = hsic.tolist()
    for value, what in ((xx, "X"), (yy, "Y")):
        if not value > 0:
            raise AtlasError(f"CKA is undefined: the rows of {what} are no more alike than chance - give more rows")
    return xy / math.sqrt(xx * yy)


def _scaled(X: Tensor, what: str, width: float) -> Tensor:
    """Return centred rows, float64, over s sqrt 2."""
    check_unit(X)
    Xc = X.double() - mean_of(X)
    sample = Xc[torch.linspace(0, len(Xc) - 1, min(len(Xc), _SAMPLE)).long().to(Xc.device)]
    distances = torch.nn.functional.pdist(sample).square()
    apart = distances[distances > 0]
    if not len(apart):
        raise AtlasError(f"The similarity of spaces is undefined: the rows of {what} are all equal")
    return Xc / (width * math.sqrt(2 * float(apart.median())))


def _rbf(A: Tensor, block: slice) -> Tensor:
    squares = A.square().sum(1)
    distance = torch.addmm(squares, A[block], A.T, alpha=-2).add_(squares[block, None])
    return distance.clamp_(min=0).neg_().exp_()
