"""Models from a Hub: what is downloaded, and when the network is used. Needs the server that Atlas's own tests use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas_sentence_transformers.source import hash_of_folder

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
    from pathlib import Path
    from atlas_sentence_transformers.source import find, hash_of_folder
    source = find(repo, *revision)
    with source.folder() as folder:
        print(hash_of_folder(folder), source.revision)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator:
    with hubserver.HubServer(tmp_path_factory.mktemp("hub") / "data") as running:
        yield running


@pytest.fixture
def client(server, tmp_path):
    """Run a program that talks to the server, and return what it prints and which requests it made."""
    from hubtools import environment

    def run(*arguments: str) -> tuple[str, list[str]]:
        server.clear_requests()
        command = [sys.executable, "-c", PROGRAM, *arguments]
        home = environment(server, tmp_path / "home")
        done = subprocess.run(command, capture_output=True, text=True, env=home, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, [f"{r.method} {r.path}" for r in server.requests]

    return run


def test_a_model_is_downloaded_once_and_without_what_is_not_needed(client, small, tmp_path):
    folder = Path(shutil.copytree(small, tmp_path / "model"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "code.py").write_text("1 / 0")
    client("tester/tiny", str(folder))
    printed, requests = client("tester/tiny", "")
    digest, commit = printed.split()
    assert (digest, len(commit)) == (hash_of_folder(Path(small)), 40)
    assert any("model.safetensors" in request for request in requests)
    assert not [request for request in requests if "pytorch_model.bin" in request or "code.py" in request]
    assert client("tester/tiny", "", commit) == (printed, [])
