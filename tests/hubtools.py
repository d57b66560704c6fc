"""What tests of the Hub share: artefacts to publish, and ways to publish them that do not check anything."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hubserver import HubServer

from atlas.cards.folder import CARD, MODEL, dump_card
from atlas.cards.kinds import AlignmentCard
from atlas.cards.space import Space
from atlas.storage.files import sha256_file
from atlas.storage.tensors import save_tensors

TOKEN = "hf_test_write"
# The client's own: it uploads over HTTP with a keyword its HTTP library has renamed.
CLIENT_WARNS = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


def settings(server: HubServer, home: Path) -> dict[str, str]:
    """Return the environment of a process that talks to the server, with a home of its own."""
    return {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "50ms",
    }


def environment(server: HubServer, home: Path, **more: str) -> dict[str, str]:
    """Return the whole environment for a subprocess."""
    return {**os.environ, **settings(server, home), "OMP_NUM_THREADS": "1", **more}


def make_alignment(folder: Path, seed: int = 0, d_source: int = 6, d_target: int = 4, **fields: Any) -> Path:
    """Write an affine alignment of random weights to a folder, and return the folder."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "weight": torch.randn(d_source, d_target, generator=generator),
        "bias": torch.randn(d_target, generator=generator),
    }
    folder.mkdir(parents=True, exist_ok=True)
    infos = save_tensors(folder / MODEL, tensors)
    fields = {"license": "mit", "n_pairs": 50, "dataset": "toy", "plugin": "latent-atlas 0.1.0", **fields}
    card = AlignmentCard(
        id=fields.pop("id", "left__right__ridge"),
        source=fields.pop("source", Space("left", d_source, "toy-encoder", {"seed": 1})),
        target=fields.pop("target", Space("right", d_target, "toy-encoder", {"seed": 2})),
        aligner=fields.pop("aligner", "ridge"),
        sha256=sha256_file(folder / MODEL),
        tensors=infos,
        **fields,
    )
    (folder / CARD).write_text(dump_card(card), encoding="utf-8")
    return folder


def upload(repo: str, folder: Path | dict[str, bytes], **keywords: Any) -> str:
    """Put files into a repository as they are, as anybody could, and return the commit."""
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    api.create_repo(repo, exist_ok=True)
    files = folder if isinstance(folder, dict) else {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    operations = [CommitOperationAdd(name, data) for name, data in files.items()]
    return api.create_commit(repo, operations, commit_message="Upload", **keywords).oid


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
