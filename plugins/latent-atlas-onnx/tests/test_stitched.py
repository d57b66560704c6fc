"""Stitched models as one file: what onnxruntime says of every item is what Atlas says."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

import atlas
from atlas.models.heads import create_head

MAP = "digits-conv__digits-mlp-s0__procrustes"
PARTS = ("digits-conv", MAP, "digits-mlp-s0__linear")


def command(*arguments):
    from atlas.cli import main

    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def scores(path, items):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"items": items.numpy()})[0]


@pytest.fixture(scope="module")
def digits():
    return atlas.read_vectors("digits-test")


def test_the_runtime_says_of_all_digits_what_atlas_says(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = command("export", "onnx", *PARTS, "--out", "stitched.onnx")
    assert (said.stdout, said.stderr) == (
        "",
        f"Wrote stitched model with alignment '{MAP}' for onnx to stitched.onnx\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["stitched.onnx"]
    command("stitch", *PARTS, "digits-test", "--out", "said.csv")
    with Path("said.csv").open() as file:
        ours = [row["predicted"] for row in csv.DictReader(file)]
    session = onnxruntime.InferenceSession("stitched.onnx", providers=["CPUExecutionProvider"])
    classes = json.loads(session.get_modelmeta().custom_metadata_map["atlas.classes"])
    theirs = [classes[i] for i in scores("stitched.onnx", digits.data.float()).argmax(1)]
    assert len(ours) == 597
    assert theirs == ours


def test_its_scores_are_those_of_atlas(tmp_path, digits):
    model = atlas.stitch(*map(atlas.load, PARTS))
    path = atlas.export("onnx", model, tmp_path / "model.onnx")
    ours = model(digits.data.float()).numpy()
    np.testing.assert_allclose(scores(path, digits.data.float()), ours, rtol=0, atol=1e-5 * np.abs(ours).max())


def test_the_file_says_what_it_holds(tmp_path):
    model = atlas.stitch(*map(atlas.load, PARTS))
    written = onnx.load(atlas.export("onnx", model, tmp_path / "model.onnx"))
    said = {entry.key: entry.value for entry in written.metadata_props}
    assert json.loads(said["atlas.classes"]) == list(model.classes)
    assert said["atlas.head"] == "digits-mlp-s0__linear"
    assert said["atlas.encoder"] == said["atlas.source"] == "digits-conv"
    assert (said["atlas.target"], said["atlas.method"]) == ("digits-mlp-s0", "procrustes")
    assert [end.name for end in (*written.graph.input, *written.graph.output)] == ["items", "scores"]


@pytest.mark.parametrize("name", ["linear", "network", "kernel", "nearest-mean", "knn"])
def test_the_runtime_computes_every_head(name, tmp_path, digits):
    """Here behind a relative representation and without an alignment of pairs."""
    encoder, items = atlas.load("digits-mlp-wide"), digits.data.float()
    relative = atlas.fit("relative", source=atlas.encode(encoder, digits).take(torch.arange(0, 597, 20)))
    seen = relative(torch.cat(list(encoder.encode(items))))
    options = {"epochs": 1} if name == "network" else {}
    head = atlas.Head.of(
        create_head(name, options).fit(seen, digits.labels), relative.target, "h", classes=digits.classes
    )
    model = atlas.stitch(encoder, relative, head)
    path = atlas.export("onnx", model, tmp_path / "model.onnx")
    ours = model(items).numpy()
    found = scores(path, items)
    # A kernel head adds a thousand similarities of either sign: rounding shows sooner.
    tolerance = 2e-4 if name == "kernel" else 1e-5
    # Which of two neighbours that are equally near comes first is a matter of rounding.
    close = np.isclose(found, ours, rtol=0, atol=tolerance * np.abs(ours).max()).all(1)
    assert close.mean() >= (0.99 if name == "knn" else 1)
    assert (found.argmax(1) == ours.argmax(1)).mean() >= (0.99 if name == "knn" else 1)


def test_an_encoder_and_a_head_of_one_space_need_no_alignment(tmp_path, digits):
    model = atlas.stitch(atlas.load("digits-conv"), None, atlas.load("digits-conv__linear"))
    path = atlas.export("onnx", model, tmp_path / "model.onnx")
    items = digits.data.float()
    np.testing.assert_allclose(scores(path, items), model(items).numpy(), rtol=0, atol=1e-4)
    assert "atlas.method" not in {entry.key for entry in onnx.load(path).metadata_props}


@dataclass
class Doubling(atlas.Encoder):
    """Twice the numbers of an item of any shape."""

    name = "doubling"

    dim = 4

    def _encode(self, batch, device):
        return 2 * batch.float().flatten(1)

    def module(self):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Hardtanh(-1e9, 1e9))


@pytest.fixture
def shapeless():
    """A stitched model whose encoder does not tell the shape of its items."""
    encoder, X = Doubling(), torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    head = create_head("linear").fit(X, torch.arange(20) % 2)
    return atlas.stitch(encoder, None, atlas.Head.of(head, encoder.space(), "h", classes=("x", "y")))


def test_a_shape_that_the_encoder_does_not_tell_is_asked_for(shapeless, tmp_path):
    with pytest.raises(
        atlas.AtlasError, match="'doubling' does not tell the shape of one item - give option 'input_sh"
    ):
        atlas.export("onnx", shapeless, tmp_path / "model.onnx")
    path = atlas.export("onnx", shapeless, tmp_path / "model.onnx", input_shape=[1, 2, 2])
    assert scores(path, torch.ones(3, 1, 2, 2)).shape == (3, 2)


def test_a_shape_that_the_encoder_does_not_take_is_told(tmp_path):
    model = atlas.stitch(*map(atlas.load, PARTS))
    with pytest.raises(atlas.AtlasError, match=r"'network', which does not take items of shape \(5,\): "):
        atlas.export("onnx", model, tmp_path / "model.onnx", input_shape=[5])
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_is_no_network_is_told(tmp_path, digits):
    encoder = atlas.create(atlas.Encoder, "pixels").fit(digits.data)
    head = create_head("linear").fit(torch.cat(list(encoder.encode(digits.data))), digits.labels)
    model = atlas.stitch(encoder, None, atlas.Head.of(head, encoder.space(), "h", classes=digits.classes))
    with pytest.raises(atlas.AtlasError, match="'pixels' is no network from tensors to vectors - export the alignment"):
        atlas.export("onnx", model, tmp_path / "model.onnx")
