"""Models from a Hub: what is downloaded, and when the network is used. Needs the server that Atlas's own tests use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "tests"))
hubserver = pytest.importorskip("hubserver", reason="needs the tests of Atlas beside the plugin")

PROGRAM = """
import sys, warnings
import huggingface_hub
warnings.simplefilter("ignore")  # the client's own, when it uploads
repo, folder, *revision = sys.argv[1:]
if folder:
    huggingface_hub.create_repo(repo, exist_ok=True)
    huggingface_hub.upload_folder(repo_id=repo, folder_path=folder)
else:
    from atlas_transformers import TransformersText
    for encoder in (TransformersText(repo), *(TransformersText(repo, each) for each in revision)):
        print(encoder.dim, encoder.config()["revision"])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator:
    with hubserver.HubServer(tmp_path_factory.mktemp("hub") / "data") as running:
        yield running


@pytest.fixture
def client(server, tmp_path):
    """Run a program that talks to the server, and return what it prints and which requests it made."""
    from hubtools import environment

    def run(*arguments: str, status: int = 0, **settings: str) -> tuple[str, list[str]]:
        server.clear_requests()
        command = [sys.executable, "-c", PROGRAM, *arguments]
        home = environment(server, tmp_path / "home", **settings)
        done = subprocess.run(command, capture_output=True, text=True, env=home, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout if not status else done.stderr, [f"{r.method} {r.path}" for r in server.requests]

    return run


def test_a_model_is_downloaded_once_and_without_what_is_not_needed(client, made, tmp_path):
    folder = Path(shutil.copytree(made("bert")[0], tmp_path / "model"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "code.py").write_text("1 / 0")
    client("tester/tiny", str(folder))
    printed, requests = client("tester/tiny", "")
    width, commit = printed.split()
    assert (width, len(commit)) == ("32", 40)
    assert any("model.safetensors" in request for request in requests)
    assert not [request for request in requests if "pytorch_model.bin" in request or "code.py" in request]
    assert client("tester/tiny", "", commit, HF_HUB_OFFLINE="1") == (printed * 2, [])


def test_a_model_that_is_not_there_is_told(client):
    said, _ = client("tester/none", "", status=1)
    sentence = (
        "Encoder 'transformers-text' finds no folder 'tester/none', and on the Hub, 'tester/none': there is no such"
    )
    assert sentence in said
