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


@pytest.mark.parametrize("rows", [None, [0, 1], [0.0, 1.0, 2.0], [[0, 1, 2]], [0, 0, 1], [0, 1, 5], [-1, 0, 1]])
def test_a_sampler_that_chooses_no_distinct_rows_is_named(rows):
    class Wrong(Sampler):
        """Choose wrongly."""

        name = "wrong"

        def _sample(self, X, n, generator, labels):
            return rows if rows is None else torch.tensor(rows)

    with pytest.raises(AtlasError, match=r"^Sampler 'wrong' chose no 3 distinct rows of 5 - report this to its author"):
        Wrong().sample(torch.eye(5), 3)


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
