"""From a file of texts to a model, on the command line; and what a listing imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from makers import TEXTS, tiny
from sentence_transformers import SentenceTransformer

import atlas


@pytest.fixture
def working(tmp_path, monkeypatch) -> Path:
    """A working folder with two files of texts."""
    monkeypatch.chdir(tmp_path)
    Path("fit.txt").write_text("\n".join(TEXTS[:60]))
    Path("held-out.txt").write_text("\n".join(TEXTS[60:]))
    return tmp_path


def test_from_texts_to_a_model_that_searches_an_old_index(minilm, working, atlas_command):
    encode = ("encode", "sentence-transformers", "fit.txt", "-o", "model")
    new = tiny(working / "models" / "new", width=32)
    atlas_command(*encode, new, "--out", "new", "--save-space", "spaces/new")
    said = atlas_command(*encode, minilm, "-o", "normalize", "true", "--out", "old", "--id", "minilm")
    assert said.stderr.endswith("Wrote 60 vectors of 'minilm' (384 dimensions) to old\n") and not said.stdout
    atlas_command("fit", "linear", "--source", "new", "--target", "old", "--out", "new-to-old")
    atlas_command("export", "sentence-transformers", "new-to-old", "-o", "source", new, "--out", "translated")
    atlas_command("encode", "spaces/new", "held-out.txt", "--out", "queries")
    atlas_command("apply", "new-to-old", "queries", "--out", "mapped")
    made = SentenceTransformer("translated", device="cpu", local_files_only=True).encode(TEXTS[60:])
    torch.testing.assert_close(torch.from_numpy(made), atlas.read_vectors("mapped").data, rtol=1e-4, atol=1e-4)


def test_a_wrong_model_is_one_sentence(working, atlas_command):
    said = atlas_command("encode", "sentence-transformers", "fit.txt", "-o", "model", "./none", "--out", "x", status=1)
    assert said.stderr == (
        "Error: Encoder 'sentence-transformers' finds no folder './none', and on the Hub, './none' is not a repository "
        "of the Hub - write owner/name\n"
    )
    assert not Path("x").exists()


def test_listing_imports_no_heavy_library():
    code = """
import json, sys
from atlas.cli import main
try:
    main(["encoders"], prog_name="atlas")
except SystemExit as done:
    assert not done.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sentence-transformers" in done.stdout
    imported = json.loads(done.stderr.splitlines()[-1])
    assert not {"sentence_transformers", "transformers", "huggingface_hub", "sklearn", "scipy"} & set(imported)
