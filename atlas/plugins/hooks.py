"""The hooks: everything a plugin can add to Atlas."""

from __future__ import annotations

from collections.abc import Iterable

from pluggy import HookimplMarker, HookspecMarker

from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.engine import Engine
from atlas.components.exporter import Exporter
from atlas.components.sampler import Sampler
from atlas.components.store import Store

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


@hookspec
def register_stores() -> Iterable[type[Store]]:
    """Return the store classes this plugin provides."""


@hookspec
def register_engines() -> Iterable[type[Engine]]:
    """Return the engine classes this plugin provides."""
