"""What verbs cannot do, said in one sentence."""

from __future__ import annotations

import pytest
import torch
from conftest import Planted

import atlas
from atlas.errors import AtlasError
from atlas.verbs.parameters.arguments import engine_of


@pytest.fixture
def made(pair: Planted):
    """A map and an atlas of two spaces."""
    both = pair.source, pair.target
    return atlas.fit("procrustes", source=both[0], target=both[1]), atlas.aggregate("generalized-procrustes", *both)


REFUSED = {
    "'s3://bucket/x' is in a store, where shards alone are written - give files": lambda map, joined, X: atlas.apply(
        map, X, out="s3://bucket/x"
    ),
    "Atlas 'a-b__generalized-procrustes' cannot map into a store - take out the chart of the space, and use that": (
        lambda map, joined, X: atlas.apply(joined, "parquet:///nowhere", out="parquet:///nowhere")
    ),
    "A store is filled from a store - give one URL to read from, often the one of --out (out)": (
        lambda map, joined, X: atlas.apply(map, X, out="parquet:///nowhere")
    ),
    "X must hold numbers, got a tensor of device 'meta', which has none": lambda map, joined, X: atlas.apply(
        map, torch.empty(3, 8, device="meta")
    ),
    "Expected an engine, got int - give its name, or an object with 'map'": lambda map, joined, X: engine_of(3),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason(made, pair, message):
    with pytest.raises(AtlasError) as refused:
        REFUSED[message](*made, pair.source)
    assert str(refused.value) == message
