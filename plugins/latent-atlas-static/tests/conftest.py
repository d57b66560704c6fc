"""What tests share: no network, tables in every form, and a real one."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

# huggingface_hub reads these once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="atlas-test-")
# Other plugins that are installed are no part of these tests.
os.environ["ATLAS_PLUGINS"] = "builtin,static"

WORDS = ["[UNK]", *(f"word{i}" for i in range(12)), "space", "and", "map", "red", "fox"]


def tokenizer() -> Tokenizer:
    """Return one that splits at spaces."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def table(seed: int = 0, d: int = 6, rows: int = len(WORDS)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, d)).astype("float32")


def write(folder: Path, name: str = "embeddings", config: str = "{}", **tensors: np.ndarray) -> Path:
    """Write a model: its table under a name, further tensors, and a config.json."""
    folder.mkdir(parents=True)
    save_file({name: table(), **tensors}, folder / "model.safetensors")
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(config)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model in the form of model2vec, with weights and shared rows, scaled to length 1."""
    more = {
        "weights": np.linspace(0.5, 2, len(WORDS)).astype("float32"),
        "mapping": (np.arange(len(WORDS)) % 7).astype("int64"),
    }
    return str(write(tmp_path / "static", config='{"normalize": true}', **more))


def package(name: str) -> Path:
    """Return the folder of an installed package."""
    found = find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"needs the package {name}")
    return Path(found.origin).parent


@pytest.fixture
def wordllama() -> dict[str, str]:
    """The options of a real model, whose tokenizer has a name of its own."""
    folder = package("wordllama")
    table = folder / "weights" / "l2_supercat_256.safetensors"
    return {"model": str(table), "tokenizer": str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")}
