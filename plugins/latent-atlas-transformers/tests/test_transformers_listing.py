"""What a listing imports, and what `atlas plugins check` says of the whole package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


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
    assert "transformers-text" in done.stdout and "transformers-image" in done.stdout
    assert not {"transformers", "tokenizers", "huggingface_hub", "PIL", "safetensors"} & set(
        json.loads(done.stderr.splitlines()[-1])
    )


def test_the_package_keeps_the_promises_of_plugins(atlas_command):
    said = atlas_command("plugins", "check", Path(__file__).parents[1], "--json")
    assert not [row for row in json.loads(said.stdout) if row.get("broken")]


def test_a_wrong_model_is_one_sentence(tmp_path, monkeypatch, atlas_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("a\nb\n")
    out = ("--out", "x")
    said = atlas_command("encode", "transformers-text", "texts.txt", "-o", "model", "./none", *out, status=1)
    assert said.stderr == (
        "Error: Encoder 'transformers-text' finds no folder './none', and it is not the name of a model on the Hub, "
        "as owner/name is\n"
    )
    assert not Path("x").exists()
