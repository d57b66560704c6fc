"""Plugins cost nothing until they are used: what a command imports, with many plugins installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from plugintools import write_plugin
from processtools import Forked

LAZY = '''
from dataclasses import dataclass
import torch
import atlas

@dataclass
class Lazy{n}(atlas.Encoder):
    """Import what is heavy when it is used."""
    name = "lazy-{n}"
    dim = 1
    def _encode(self, batch, device):
        import planted_heavy
        return torch.ones(len(batch), 1)

@atlas.hookimpl
def register_encoders():
    return [Lazy{n}]
'''
PROBE = """
import json, sys
from atlas.cli import main
try:
    main({arguments!r}, prog_name="atlas")
except SystemExit as done:
    assert not done.code, done.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
# What encoders and metrics use, and what only a few commands need.
HEAVY = {"sklearn", "scipy", "PIL", "pyarrow", "matplotlib", "huggingface_hub", "transformers", "pip"}


@pytest.fixture
def installed(tmp_path):
    """A folder with eight plugins whose library is heavy."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "planted_heavy.py").write_text("")
    for n in range(8):
        write_plugin(folder, f"lazy-{n}", LAZY.format(n=n))
    return folder


def modules_after(installed, *arguments, forked=False):
    """Return what is imported once a command has run, and what it printed; of a fork, torch and Atlas are."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = PROBE.format(arguments=list(arguments))
    if forked:
        stdout, stderr = Forked(code, env=environment).communicate()
    else:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        stdout, stderr = done.stdout, done.stderr
    return set(json.loads(stderr.splitlines()[-1])), stdout


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "--help"], ["plugins", "install", "x", "--dry-run"]])
def test_what_needs_no_plugin_imports_neither_plugins_nor_torch(installed, arguments):
    modules, _ = modules_after(installed, *arguments)
    roots = {name.partition(".")[0] for name in modules}
    assert not roots & {*HEAVY, "torch", "numpy", "atlas_builtin", "planted_heavy"}
    assert not [name for name in modules if name.startswith("planted_plugin_")]


@pytest.mark.parametrize("command", ["plugins", "encoders"])
def test_a_listing_imports_plugins_and_none_of_their_libraries(installed, command):
    modules, printed = modules_after(installed, command, forked=True)
    assert len([name for name in modules if name.startswith("planted_plugin_")]) == 8
    assert all(f"lazy-{n} " in printed for n in range(8))
    assert not {name.partition(".")[0] for name in modules} & {*HEAVY, "planted_heavy"}


def test_a_library_is_imported_when_its_encoder_is_used(installed):
    code = """
import sys
import atlas
encoder = atlas.create(atlas.Encoder, "lazy-1")
assert "planted_heavy" not in sys.modules
next(encoder.encode([[1.0]]))
assert "planted_heavy" in sys.modules
"""
    assert Forked(code, env={**os.environ, "PYTHONPATH": str(installed)}).wait() == 0
