"""The kinds of component a plugin can provide."""

from __future__ import annotations

from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.exporter import Exporter
from atlas.components.options import Component
from atlas.components.sampler import Sampler

KINDS: dict[str, type[Component]] = {cls.kind: cls for cls in (Encoder, Sampler, Aligner, Aggregator, Exporter)}
