"""Planted truths: random vectors, whole numbers that float32 holds exactly, and turns of either."""

from __future__ import annotations

import scipy.linalg
import torch

from atlas_builtin.solvers import polar

D = 8
EPS = torch.finfo(torch.float64).eps
# Turns and stretches by sqrt(8), and keeps whole numbers whole: float32 anchors are turned without rounding.
TURN = torch.tensor(scipy.linalg.hadamard(D), dtype=torch.float64)


def normal(*shape, seed=0):
    """Return random float64 numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(n, d=D, seed=0):
    """Return rows of small whole numbers, float64."""
    return torch.randint(-50, 51, (n, d), generator=torch.Generator().manual_seed(seed)).double()


def turn(a, b, seed=0):
    """Return a random (a, b) matrix with orthonormal rows, or columns if there are fewer."""
    return polar(normal(a, b, seed=seed), EPS)


def centred(t):
    """Return rows less their mean."""
    return t - t.mean(0)


def close(a, b, tolerance=1e-6):
    """Assert that two results differ by no more than a fraction of the largest number in the second."""
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))
