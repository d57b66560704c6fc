"""The kinds of component a plugin can provide."""

from __future__ import annotations

from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.engine import Engine
from atlas.components.exporter import Exporter
from atlas.components.options import Component
from atlas.components.sampler import Sampler
from atlas.components.store import Store

_ALL: tuple[type[Component], ...] = (Encoder, Sampler, Aligner, Aggregator, Exporter, Store, Engine)
KINDS = {cls.kind: cls for cls in _ALL}
