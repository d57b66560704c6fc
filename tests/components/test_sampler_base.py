"""What every sampler is asked, and what a component claims that says nothing."""

from __future__ import annotations

import pytest
import torch
from planted import normal

import atlas
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.sampler import Sampler


def test_one_anchor_can_be_drawn_and_all():
    sampler = atlas.create(Sampler, "uniform")
    assert len(sampler.sample(normal(5, 2), 1)) == 1
    assert sampler.sample(normal(5, 2), 5).tolist() == [0, 1, 2, 3, 4]
    for n in (0, 6):
        with pytest.raises(atlas.AtlasError, match=f"cannot draw {n} anchors from 5 vectors - ask for 1 to 5"):
            sampler.sample(normal(5, 2), n)


def test_labels_must_be_as_many_as_vectors():
    with pytest.raises(atlas.AtlasError, match="needs one label per vector, got 4 labels for 5 vectors"):
        atlas.create(Sampler, "uniform").sample(normal(5, 2), 2, labels=torch.zeros(4).long())


def test_a_component_that_claims_nothing_can_do_nothing_special():
    assert not (Encoder.fits or Aggregator.moves)
    assert not (Aligner.affine or Aligner.streaming or Aligner.invertible)
