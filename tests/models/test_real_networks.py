"""Real networks on real images; skipped where neither is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import resnets

import atlas
from atlas.storage.tensors import load_tensors
from atlas.verbs.evaluate import evaluate

SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared"))
needs_networks = pytest.mark.skipif(
    not (SHARED / "models").is_dir() or not (SHARED / "data" / "cifar10").is_dir(),
    reason="needs models/ and data/cifar10/ in the folder ATLAS_SHARED, or ../shared",
)


@needs_networks
def test_features_of_one_resnet_are_read_by_the_head_of_another():
    items = atlas.read_items(SHARED / "data" / "cifar10" / "test")
    ids, labels, images = items.ids[::3], items.labels[::3], items[::3]
    views, heads = {}, {}
    for depth in (20, 32):
        state = load_tensors(SHARED / "models" / f"cifar10-resnet{depth}" / "model.safetensors")
        encoder, heads[depth] = resnets.split(state, depth, f"resnet{depth}")
        encoded = atlas.encode(encoder, images, id=f"resnet{depth}")
        views[depth] = atlas.Vectors.of(encoded.data, encoded.space, ids=ids, labels=labels)
    for source, target in ((20, 32), (32, 20)):
        pair = {"source": views[source], "target": views[target]}
        aligned = atlas.fit("procrustes", **pair, anchors=ids[::2])
        held_out = {name: view.of_items(ids[1::2]) for name, view in pair.items()}
        [accuracy] = evaluate(aligned, **held_out, head=heads[target], metrics=["accuracy"])
        assert accuracy.floor < 0.3
        assert accuracy.value > accuracy.native - 0.06
