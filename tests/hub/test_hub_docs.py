"""The tutorial of the Hub from top to bottom: fit, push, and in another home find, pull, verify, load, offline."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import test_hub_faults
import test_xet
import torch
from hubtools import CLIENT_WARNS, environment
from processtools import Forked

import atlas

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
PAGE = Path(__file__).parents[2] / "docs" / "hub.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def export(name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what setting a variable does to a process that is about to start."""
    from huggingface_hub import constants

    if name == "HF_HOME":
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / value / "hub"))
    else:
        assert name == "HF_HUB_OFFLINE"
        monkeypatch.setattr(constants, name, value == "1")


def test_the_tutorial(hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atlas_command) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_you_write")
    names: dict = {}
    said = {}
    for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "))
            if words[0] == "export":
                export(*words[1].split("="), tmp_path, monkeypatch)
                hub.clear_requests()
            elif words[0] == "atlas":
                said[line] = atlas_command(*words[1:]).output
    assert hub.requests == []
    assert "you/conv-to-mlp" in said["$ atlas list --hub --kind alignment --source digits-conv --sort jaccard@10"]
    assert "holds: the card says" in said["$ atlas verify hf://you/conv-to-mlp@v1.0.0"]
    assert "WRONG" not in said["$ atlas verify hf://you/conv-to-mlp@v1.0.0"]
    assert "ok  accuracy  holds: the card says" in said["$ atlas verify hf://you/mlp-head"]
    mapped = names["alignment"](names["vectors"])
    torch.testing.assert_close(torch.from_numpy(names["mapped"]), mapped.data, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(atlas.load("mapped").data, mapped.data)
    walk_again_in_a_process_of_its_own(hub, tmp_path)


def walk_again_in_a_process_of_its_own(hub, tmp_path: Path) -> None:
    """Nothing is patched there: the real variables, without the network."""
    code = """
import atlas
from atlas.cli import main
for line in ("show hf://you/conv-to-mlp", "pull hf://you/conv-to-mlp@v1.0.0", "verify hf://you/conv-to-mlp"):
    try:
        main(line.split())
    except SystemExit as status:
        assert not status.code, line
alignment = atlas.Alignment.from_pretrained("you/conv-to-mlp", local_files_only=True)
print(alignment(atlas.load("hf://you/conv-test")).data.shape)
"""
    env = environment(hub, tmp_path / "elsewhere", HF_HUB_OFFLINE="1")
    process = Forked(code, env=env)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert stdout.endswith("torch.Size([597, 32])\n")
    assert "holds: the card says" in stdout


def test_the_docs_count_the_faults_that_are_tried() -> None:
    pulling = len(test_hub_faults.PASSING) + len(test_hub_faults.LASTING)
    pushing = len(test_hub_faults.PUSHING) + len(test_hub_faults.FAILING)
    over_xet = len(test_xet.CUTS) + len(test_xet.REFUSED)
    counts = f"{pulling} while pulling and {pushing} while pushing over HTTP, and {over_xet} while pushing over Xet."
    page = (PAGE.parent / "safety.md").read_text(encoding="utf-8")
    assert f"{pulling + pushing + over_xet} faults of a server are tried: {counts}" in page
