"""The aligner keeps the promises of all aligners, and finds a shift that is there."""

import torch

from atlas.testing import check_aligner
from atlas_mean_shift import MeanShift


def test_it_keeps_the_promises_of_aligners():
    check_aligner(MeanShift())


def test_it_finds_a_shift():
    X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mapped = MeanShift().fit(X, X + 3).transform(X)
    torch.testing.assert_close(mapped, X + 3, rtol=0, atol=1e-5)
