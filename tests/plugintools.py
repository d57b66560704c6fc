"""Plugins for tests: real modules and real metadata, in a folder on the path."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

from atlas.plugins.catalogue import _loaded, _report

ALIGNER = '''
from dataclasses import dataclass
import torch
import atlas

@dataclass
class {cls}(atlas.LinearAligner):
    """Move the mean of the source onto the mean of the target."""
    name = "{name}"
    def solve(self, m):
        return torch.eye(len(m.mean_x), len(m.mean_y), dtype=torch.float64)

@atlas.hookimpl
def register_aligners():
    return [{cls}]
'''
_count = itertools.count()


def good(name: str = "mover", cls: str = "Mover") -> str:
    """Return the code of a plugin that provides one aligner."""
    return ALIGNER.format(name=name, cls=cls)


def write_plugin(folder: Path, name: str, code: str, version: str = "1.0", distribution: str = "") -> str:
    """Write a module and the metadata that installing it would have written; return the module's name."""
    module = f"planted_plugin_{next(_count)}"
    (folder / f"{module}.py").write_text(code)
    distribution = distribution or f"latent-atlas-{name}"
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\nRequires-Dist: latent-atlas\n"
    )
    entries = info / "entry_points.txt"
    before = entries.read_text() if entries.exists() else "[latent_atlas]\n"
    entries.write_text(f"{before}{name} = {module}\n")
    return module


def look_again() -> None:
    """Find plugins anew the next time they are needed."""
    importlib.invalidate_caches()
    _loaded.cache_clear()
    _report.cache_clear()
