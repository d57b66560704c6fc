"""Watching the global random state."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch


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


def _states() -> tuple[str, str, bytes]:
    return repr(random.getstate()), repr(list(np.random.get_state()[1])), torch.get_rng_state().numpy().tobytes()  # type: ignore[index]
