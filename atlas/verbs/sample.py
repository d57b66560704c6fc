"""Vectors to anchors."""

from __future__ import annotations

from typing import Any

from atlas.artefacts.anchors import Anchors
from atlas.artefacts.vectors import Vectors
from atlas.cards.names import slug
from atlas.components.sampler import Sampler
from atlas.errors import AtlasError
from atlas.plugins.catalogue import create


def sample(sampler: str | Sampler, vectors: Vectors, n: int, *, seed: int = 0, id: str = "", **options: Any) -> Anchors:
    """Draw anchors from vectors, and keep their vectors.

    Args:
        sampler: a component, or its name with `options`.
        vectors: to draw from.
        n: how many.
        seed: of the random choices.
        id: of the anchors; '' makes one of data set, sampler, number and seed.
        **options: of the sampler.
    """
    check_seed(seed)
    model = sampler if isinstance(sampler, Sampler) else create(Sampler, sampler, options)
    rows = model.sample(vectors.data, n, seed=seed, labels=vectors.labels)
    chosen = vectors.take(rows)
    name = id or slug(f"{vectors.dataset or vectors.space.id}-{model.name}-{n}-s{seed}")
    about = {"sampler": model.name, "config": model.config(), "seed": seed}
    return Anchors.of(name, chosen.ids, chosen, **about, drawn_in=vectors.space.id, dataset=vectors.dataset)


def check_seed(seed: int) -> int:
    """Return a seed, or raise `AtlasError` if it is none that generators and cards can hold."""
    if not 0 <= seed < 2**63:
        raise AtlasError(f"A seed must be from 0 to 2**63 - 1, got {seed}")
    return seed
