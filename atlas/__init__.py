"""Atlas: fit, measure, store, share and apply maps between the latent spaces of encoders trained apart."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from atlas._version import __version__

if TYPE_CHECKING:
    from atlas.base import Aggregator, Aligner, Encoder, Sampler, option
    from atlas.errors import AtlasError, AtlasWarning
    from atlas.hookspecs import hookimpl
    from atlas.types import Metric, Space

# Everything is loaded on first use: `import atlas` and listings are quick, and need neither torch nor plugins.
_LAZY = {
    "Aggregator": "base",
    "Aligner": "base",
    "Alignment": "artefacts",
    "Anchors": "artefacts",
    "Atlas": "artefacts",
    "AtlasError": "errors",
    "AtlasWarning": "errors",
    "Encoder": "base",
    "Head": "artefacts",
    "Items": "inputs",
    "LinearAligner": "linear",
    "Metric": "types",
    "Moments": "moments",
    "Registry": "registry",
    "Sampler": "base",
    "Space": "types",
    "Vectors": "artefacts",
    "aggregate": "verbs",
    "apply": "verbs",
    "compare": "evaluation",
    "compose": "verbs",
    "create": "plugins",
    "encode": "verbs",
    "evaluate": "evaluation",
    "fit": "verbs",
    "hookimpl": "hookspecs",
    "load": "artefacts",
    "option": "base",
    "read_items": "inputs",
    "read_vectors": "artefacts",
    "sample": "verbs",
    "save": "artefacts",
    "stitch": "stitching",
    "train": "verbs",
}

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(importlib.import_module(f"atlas.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
