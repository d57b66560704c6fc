"""Atlas: fit, measure, store, share and apply maps between the latent spaces of encoders trained apart."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from atlas._version import __version__

if TYPE_CHECKING:
    from atlas.artefacts import Alignment, Anchors, Atlas, Head, Vectors, load, read_vectors, save
    from atlas.base import Aggregator, Aligner, Encoder, Exporter, Sampler
    from atlas.errors import AtlasError, AtlasWarning
    from atlas.evaluation import compare, evaluate
    from atlas.hookspecs import hookimpl
    from atlas.inputs import Items, read_items
    from atlas.linear import LinearAligner
    from atlas.moments import Moments
    from atlas.options import option
    from atlas.plugins import create
    from atlas.registry import Registry
    from atlas.stitching import stitch
    from atlas.types import Metric, Space
    from atlas.verbs import aggregate, apply, compose, encode, export, fit, sample, train

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
    "Exporter": "base",
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
    "export": "verbs",
    "fit": "verbs",
    "hookimpl": "hookspecs",
    "load": "artefacts",
    "pull": "hub",
    "push": "hub.pushing",
    "option": "options",
    "read_items": "inputs",
    "read_vectors": "artefacts",
    "sample": "verbs",
    "save": "artefacts",
    "stitch": "stitching",
    "train": "verbs",
}

__all__ = [
    "Aggregator",
    "Aligner",
    "Alignment",
    "Anchors",
    "Atlas",
    "AtlasError",
    "AtlasWarning",
    "Encoder",
    "Exporter",
    "Head",
    "Items",
    "LinearAligner",
    "Metric",
    "Moments",
    "Registry",
    "Sampler",
    "Space",
    "Vectors",
    "__version__",
    "aggregate",
    "apply",
    "compare",
    "compose",
    "create",
    "encode",
    "evaluate",
    "export",
    "fit",
    "hookimpl",
    "load",
    "option",
    "pull",
    "push",
    "read_items",
    "read_vectors",
    "sample",
    "save",
    "stitch",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(importlib.import_module(f"atlas.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
