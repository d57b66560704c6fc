"""Watching the global random state."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from atlas.components.options import Component
from atlas.testing.promises import ensure, equal_states


@contextlib.contextmanager
def global_chance(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed every global generator for the length of a block, and restore all after it.

    Yields a function that says, once the block is left, whether all were left as they were seeded.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    seeded = _states()
    after = seeded
    try:
        yield lambda: after == seeded
    finally:
        after = _states()
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def ensure_seeded(
    component: Component,
    make: Callable[[], Mapping[str, Tensor]],
    promise: str,
    advice: str = "use a torch.Generator and an option seed",
) -> None:
    """Raise `AssertionError` unless what is made is the same whatever the global seed, which is left alone."""
    with global_chance(1) as untouched:
        first = make()
    ensure(untouched(), component, f"must leave the global random state alone - {advice}")
    with global_chance(2):
        second = make()
    ensure(equal_states(first, second), component, promise)


def _states() -> tuple[str, str, bytes]:
    return repr(random.getstate()), repr(list(np.random.get_state()[1])), torch.get_rng_state().numpy().tobytes()  # type: ignore[index]
