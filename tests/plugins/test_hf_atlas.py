"""The extension of the Hugging Face CLI: laid out as `hf extensions install` does, `hf atlas` is Atlas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import atlas

PROJECT = Path(__file__).parents[2] / "plugins" / "hf-atlas"
ABOUT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def hf(tmp_path: Path):
    """Return a function that runs `hf` for a user who has the extension installed."""
    pytest.importorskip("huggingface_hub.cli.extensions")
    module, function = ABOUT["scripts"]["hf-atlas"].split(":")
    place = tmp_path / ".local" / "share" / "hf" / "extensions" / "hf-atlas"
    script = place / "venv" / "bin" / "hf-atlas"
    script.parent.mkdir(parents=True)
    lines = [f"#!{sys.executable}", "import sys", f"sys.path.insert(0, {str(PROJECT)!r})"]
    script.write_text("\n".join([*lines, f"from {module} import {function}", f"{function}()"]))
    script.chmod(0o755)
    manifest = {"owner": "owner", "repo": "hf-atlas", "repo_id": "owner/hf-atlas", "short_name": "atlas"}
    manifest |= {"executable_path": str(script), "type": "python", "installed_at": "2026-01-01T00:00:00"}
    (place / "manifest.json").write_text(json.dumps({**manifest, "description": ABOUT["description"]}))
    there = {**os.environ, "HOME": str(tmp_path), "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_OFFLINE": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "huggingface_hub.cli.hf", *arguments]
        return subprocess.run(command, env=there, capture_output=True, text=True, check=False)

    return run


def test_hf_atlas_is_atlas(hf):
    done = hf("atlas", "--version")
    assert done.returncode == 0, done.stderr
    assert atlas.__version__ in done.stdout


def test_it_names_itself_as_it_is_called_and_keeps_exit_codes(hf):
    done = hf("atlas", "list", "--kind", "nothing")
    assert done.returncode == 2
    assert "Usage: hf atlas list" in done.stderr


def test_hf_lists_it(hf):
    assert ABOUT["description"] in hf("--help").stdout
