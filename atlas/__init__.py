"""Atlas: fit, measure, store, share and apply maps between the latent spaces of encoders trained apart."""

from __future__ import annotations

import importlib
from typing import Any

from atlas._version import __version__
from atlas.base import Aggregator, Aligner, Encoder, Sampler, option
from atlas.errors import AtlasError
from atlas.hookspecs import hookimpl
from atlas.types import Metric, Space

# Names that need torch, or more: loaded on first use, so that `import atlas` and listings are quick.
_LAZY = {
    "Alignment": "artefacts",
    "Anchors": "artefacts",
    "Atlas": "artefacts",
    "Head": "artefacts",
    "Vectors": "artefacts",
    "load": "artefacts",
    "save": "artefacts",
    "read_vectors": "artefacts",
    "read_items": "inputs",
    "Items": "inputs",
    "LinearAligner": "linear",
    "Moments": "moments",
    "Registry": "registry",
    "create": "plugins",
    "aggregate": "verbs",
    "apply": "verbs",
    "compare": "evaluation",
    "compose": "verbs",
    "encode": "verbs",
    "evaluate": "evaluation",
    "fit": "verbs",
    "sample": "verbs",
    "stitch": "stitch",
    "train": "verbs",
}

__all__ = [
    "Aggregator",
    "Aligner",
    "AtlasError",
    "Encoder",
    "Metric",
    "Sampler",
    "Space",
    "__version__",
    "hookimpl",
    "option",
    *sorted(_LAZY),
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(importlib.import_module(f"atlas.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
