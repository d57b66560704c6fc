"""Models and spaces on a Hub. Needs the server that Atlas's own tests use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from maps import alignment, fitted, vectors

import atlas
from atlas_onnx import OnnxArrays

sys.path.append(str(Path(__file__).parents[3] / "tests"))
pytest.importorskip("hubserver", reason="needs the tests of Atlas beside the plugin")
pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own, when it uploads


def test_a_model_and_its_space_come_from_the_hub(hub, repo, tmp_path):
    from huggingface_hub import HfApi

    (tmp_path / "model").mkdir()
    atlas.create(atlas.Exporter, "onnx").export(alignment(fitted("linear")), tmp_path / "model" / "model.onnx")
    api = HfApi(endpoint=hub.url)
    api.create_repo(f"{repo}-model")
    api.upload_folder(repo_id=f"{repo}-model", folder_path=tmp_path / "model")
    encoder = OnnxArrays(f"{repo}-model")
    made = torch.cat(list(encoder.encode(vectors())))
    assert encoder.space().fingerprint == OnnxArrays(str(tmp_path / "model")).space().fingerprint
    done = atlas.push(encoder, repo, license="mit")
    again = OnnxArrays.from_pretrained(repo, revision=done.commit)
    assert torch.equal(torch.cat(list(again.encode(vectors()))), made)
