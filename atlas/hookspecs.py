"""The hooks: everything a plugin can add to Atlas."""

from __future__ import annotations

from collections.abc import Iterable

from pluggy import HookimplMarker, HookspecMarker

from atlas.base import Aggregator, Aligner, Encoder, Exporter, Sampler

hookspec = HookspecMarker("atlas")
hookimpl = HookimplMarker("atlas")


@hookspec
def register_encoders() -> Iterable[type[Encoder]]:
    """Return the encoder classes this plugin provides."""


@hookspec
def register_samplers() -> Iterable[type[Sampler]]:
    """Return the sampler classes this plugin provides."""


@hookspec
def register_aligners() -> Iterable[type[Aligner]]:
    """Return the aligner classes this plugin provides."""


@hookspec
def register_aggregators() -> Iterable[type[Aggregator]]:
    """Return the aggregator classes this plugin provides."""


@hookspec
def register_exporters() -> Iterable[type[Exporter]]:
    """Return the exporter classes this plugin provides."""
