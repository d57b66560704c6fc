"""An alignment is used as people use a function of arrays, and shows what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import planted
from torch.testing import assert_close

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError, SpaceMismatchError
from atlas.plugins.catalogue import create
from atlas.verbs.compose import compose
from atlas.verbs.moments import moments

PAIR = planted(n=60, d=6)
X = PAIR.source.data
# A map of each kind: of one matrix, of layers, of anchors, of parts.
NAMES = ["procrustes", "mlp", "relative", "composed"]


def fitted(name: str) -> atlas.Alignment:
    if name != "composed":
        target = None if create(Aligner, name).fits_on == "source" else PAIR.target
        return atlas.fit(name, source=PAIR.source, target=target)
    half, other = (atlas.fit("relative", source=side) for side in (PAIR.source, PAIR.target.of_items(PAIR.source.ids)))
    return half | other.inverse()


@pytest.mark.parametrize("name", NAMES)
def test_one_vector_becomes_one_vector(name):
    made = fitted(name)
    for query in (X[3], X[3].double(), X[3].numpy()):
        mapped = made(query)
        assert type(mapped) is type(query) and mapped.dtype == query.dtype and mapped.shape == (made.target.dim,)
        assert_close(torch.as_tensor(mapped), made(X)[3].to(torch.as_tensor(query)), rtol=1e-4, atol=1e-4)
    assert made(X[3].tolist()).shape == (made.target.dim,)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_becomes_an_empty_batch(name):
    made = fitted(name)
    for batch in (X[:0], X[:0].numpy(), X[:0].half()):
        mapped = made(batch)
        assert type(mapped) is type(batch) and mapped.dtype == batch.dtype and mapped.shape == (0, made.target.dim)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(5), r"maps 6 to 6 dimensions, got X with shape \(1, 5\)"),
        (torch.zeros(0, 5), r"maps 6 to 6 dimensions, got X with shape \(0, 5\)"),
        (torch.zeros(2, 3, 6), r"X must have two dimensions \(rows, features\), got shape \(2, 3, 6\)"),
        (torch.tensor([[0.0] * 6, [torch.nan] * 6]), "X has 6 values that are NaN or infinite, the first in row 1"),
        (np.array([np.inf] * 6), "X has 6 values that are NaN or infinite, the first in row 0"),
    ],
)
def test_what_cannot_be_mapped_is_refused(batch, message):
    with pytest.raises(AtlasError, match=message):
        fitted("procrustes")(batch)


@pytest.mark.parametrize("name", NAMES)
def test_a_map_that_was_moved_to_a_device_is_the_same(name, tmp_path):
    made = fitted(name)
    moved = made.to("cpu")
    assert moved is not made and torch.equal(moved(X), made(X))
    moved.save_pretrained(tmp_path / "map")
    assert torch.equal(atlas.load(tmp_path / "map")(X), made(X))
    with pytest.raises(AtlasError, match="Device 'nowhere' cannot be used"):
        made.to("nowhere")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", NAMES)
def test_vectors_go_to_the_device_of_a_map_and_what_is_made_of_them_comes_back(name, tmp_path):
    made = fitted(name)
    moved = made.to("cuda")
    assert {t.device.type for t in moved.aligner.state.values()} == {"cuda"}
    assert_close(moved(X), made(X), rtol=1e-4, atol=1e-4)
    assert isinstance(moved(X.numpy()), np.ndarray) and moved(X.cuda()).device.type == "cuda"
    moved.save_pretrained(tmp_path / "map")
    assert torch.equal(atlas.load(tmp_path / "map")(X), made(X))


def test_maps_are_chained_by_a_bar():
    there = fitted("procrustes")
    back = atlas.fit("linear", source=PAIR.target, target=PAIR.source)
    made = there | back
    assert made.id == compose(there, back).id and torch.equal(made(X), compose(there, back)(X))
    assert (made.source, made.target) == (there.source, back.target)
    with pytest.raises(SpaceMismatchError, match="maps from 'a', but the vectors 'a__b__procrustes' makes are of 'b'"):
        _ = there | there
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = there | "map"


def test_what_is_stored_says_in_a_line_what_it_is():
    head = atlas.train("nearest-mean", PAIR.target)
    both = atlas.aggregate("mean", PAIR.source, PAIR.target)
    anchors = atlas.sample("uniform", PAIR.source, 5)
    assert repr(fitted("procrustes")) == "<Alignment 'a__b__procrustes': a (6) to b (6), 60 pairs>"
    assert repr(PAIR.source) == "<Vectors 'a': 60 x 6, 3 classes>"
    assert repr(anchors) == "<Anchors 'toy-uniform-5-s0': 5 items in a>"
    assert repr(head) == "<Head 'b__nearest-mean': 3 classes of b (6)>"
    assert repr(both) == "<Atlas 'a-b__mean': a, b to 6 dimensions>"
    made = moments(source=PAIR.source, target=PAIR.target)
    assert repr(made) == "<Moments 'a__b__moments': a (6) and b (6), 60 pairs>"


def test_a_notebook_shows_a_card_and_nothing_of_it_becomes_html():
    made = fitted("procrustes").with_card(description="<script>alert(1)</script>\x1b[2J", dataset="<b>")
    measured = made.with_card(metrics=atlas.evaluate(made, source=PAIR.source, target=PAIR.target, metrics=["r2"]))
    shown = measured._repr_html_()
    assert shown.startswith("<table><caption>&lt;Alignment &#x27;a__b__procrustes&#x27;: a (6) to b (6), 60 pairs&gt;")
    assert "<script" not in shown and "<b>" not in shown and "\x1b" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<th>source</th><td>a (6)</td>" in shown and "<th>metrics</th><td>r2 0." in shown
