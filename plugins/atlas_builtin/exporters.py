"""The exporter that comes with Atlas: its files are read with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

import atlas
from atlas_builtin.kernel import Kernel


@dataclass
class NumPy(atlas.Exporter):
    """Write a folder that needs no Atlas: the map, and bridge.py, a class of numpy alone that applies it."""

    name = "numpy"
    takes = "affine maps, and those of 'kernel'"

    def _export(self, model: atlas.Alignment, path: Path) -> None:
        from safetensors.torch import save

        aligner, tensors = model.aligner, model.tensors()
        if isinstance(aligner, Kernel):
            tensors["sharpness"] = torch.tensor(aligner.sharpness)
        elif not aligner.affine:
            raise self.fail(f"writes {self.takes}, and alignment '{model.id}' is of '{model.method}'")
        (path / "bridge.safetensors").write_bytes(save(dict(sorted(tensors.items()))))
        (path / "bridge.py").write_bytes(Path(__file__).with_name("bridge.py").read_bytes())


ALL = [NumPy]
