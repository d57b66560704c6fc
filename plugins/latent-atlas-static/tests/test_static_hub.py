"""Models and spaces on a Hub. Needs the server that Atlas's own tests use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from conftest import write

import atlas
from atlas_static import Static

sys.path.append(str(Path(__file__).parents[3] / "tests"))
pytest.importorskip("hubserver", reason="needs the tests of Atlas beside the plugin")
pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own, when it uploads


def test_a_model_and_its_space_come_from_the_hub(hub, repo, tmp_path):
    from huggingface_hub import HfApi

    folder = write(tmp_path / "model")
    api = HfApi(endpoint=hub.url)
    api.create_repo(f"{repo}-model")
    api.upload_folder(repo_id=f"{repo}-model", folder_path=folder)
    encoder = Static(f"{repo}-model")
    vectors = torch.cat(list(encoder.encode(["red fox", "map"])))
    assert encoder.space().fingerprint == Static(str(folder)).space().fingerprint
    done = atlas.push(encoder, repo, license="mit")
    again = Static.from_pretrained(repo, revision=done.commit)
    assert torch.equal(torch.cat(list(again.encode(["red fox", "map"]))), vectors)
