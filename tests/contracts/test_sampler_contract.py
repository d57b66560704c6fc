"""Every registered sampler keeps the promises of samplers, and says in full what was wrongly asked."""

from __future__ import annotations

import pytest
import torch

from atlas import AtlasError, Sampler
from atlas.plugins.catalogue import component, components
from atlas.testing import SAMPLER_CHECKS

every_sampler = pytest.mark.parametrize(
    "sampler", [component(Sampler, name)() for name in components(Sampler)], ids=str
)


@every_sampler
@pytest.mark.parametrize("check", SAMPLER_CHECKS, ids=lambda check: check.__name__)
def test_every_sampler_keeps_the_contract(sampler, check):
    check(sampler)


@every_sampler
def test_mistakes_are_told_in_full(sampler):
    X, labels = torch.ones(120, 7), torch.arange(120) % 5
    for n in (0, 121):
        with pytest.raises(AtlasError, match=f"cannot draw {n} anchors from 120 vectors - ask for 1 to 120"):
            sampler.sample(X, n, labels=labels)
    with pytest.raises(AtlasError, match=r"needs one label per vector, got 119 labels for 120 vectors"):
        sampler.sample(X, 20, labels=labels[1:])
    X[7, 2] = torch.nan
    with pytest.raises(AtlasError, match=r"1 value that is NaN or infinite, the first in row 7"):
        sampler.sample(X, 20, labels=labels)
