"""The promises of engines, one function each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from atlas.components.engine import Engine
from atlas.errors import AtlasError
from atlas.numerics.moments import Moments
from atlas.testing.promises import attempt, ensure, ensure_refused, equal_states, options_survive, paired_data


def slow_first(number: int) -> int:
    """Return the square of a number, and take a while for the first."""
    time.sleep(0.2 if number == 0 else 0)
    return number * number


def refuses_three(number: int) -> int:
    """Refuse the number 3 in words."""
    if number == 3:
        raise AtlasError("Shard 3 is empty - leave it out")
    return number


def results_come_in_order(engine: Engine) -> None:
    """Results come in the order of the items, one for each, whatever the order of the work."""
    wanted = [number * number for number in range(8)]
    made = attempt(lambda: list(engine.map(slow_first, range(8))), engine, "must run a function on each item")
    ensure(made == wanted, engine, f"must yield one result for each item, in their order: {made} for {wanted}")


def errors_arrive(engine: Engine) -> None:
    """A refusal in words while an item is worked on is raised in these words."""
    ensure_refused(lambda: list(engine.map(refuses_three, range(8))), "Shard 3 is empty", engine, "an item")


def numbers_are_the_same(engine: Engine) -> None:
    """Sums over rows are to the bit those of this process, with an engine that is used a second time, too."""
    X, Y = paired_data()
    shards = [(X[start : start + 40], Y[start : start + 40]) for start in range(0, len(X), 40)]
    here = sum(map(_moments, shards)).tensors()  # type: ignore[union-attr]
    for _ in range(2):
        promise = "must run a function that makes tensors"
        made = attempt(lambda: sum(engine.map(_moments, shards)), engine, promise).tensors()
        ensure(equal_states(made, here), engine, "must give the same numbers as this process, to the bit")


def _moments(pair: tuple[torch.Tensor, torch.Tensor]) -> Any:
    return Moments.of(*pair, ("xy", "xx", "yy"), exact=True)


ENGINE_CHECKS: tuple[Callable[..., None], ...] = (
    options_survive,
    results_come_in_order,
    errors_arrive,
    numbers_are_the_same,
)
