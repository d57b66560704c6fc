"""The base of every engine: what works on the shards of a set side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from atlas.components.options import Component
from atlas.progress import Progress

# A function passes its batches through what it is given beside its item, which counts them.
Seen = Callable[[Iterable[Any]], Iterable[Any]]


class Engine(Component):
    """What works on the shards of a set side by side, in several processes or on several machines.

    A subclass implements `map`. What is done with a shard, which shards are finished and in what order results are put
    together is Atlas' own, so that the bytes in the end are the same whatever the engine and its schedule.
    """

    kind = "engine"

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        """Yield what a function returns for each item, in the order of the items, whatever the order of the work.

        Args:
            function: can be pickled, and may hold a map of many MB: send it once to each worker, not with each item.
            items: can be pickled, and are small: they say where a shard lies. Paths are those of this machine.

        Raises:
            Exception: what the function raised, as it was raised.
        """
        raise NotImplementedError


class Executor(Protocol):
    """Whatever has a method `map` such as that of engines, for instance an executor of `concurrent.futures`."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any], /) -> Iterable[Any]:
        """Yield what a function returns for each item, in their order."""


def each(
    function: Callable[..., Any],
    items: Sequence[Any],
    sizes: Sequence[int],
    engine: Executor | None,
    progress: Progress,
    what: str,
) -> Iterator[Any]:
    """Yield what a function returns for each item, in their order: of an engine, or of this process without one.

    Args:
        function: called with an item, and without an engine also with what it passes its batches through.
        items: what is worked on.
        sizes: how many batches each item has.
        engine: what does the work.
        progress: shows how far it is: batch by batch here, item by item where an engine works.
        what: is done.
    """
    ticks = iter(progress(range(sum(sizes)), sum(sizes), what))
    if engine is None:
        for item in items:
            yield function(item, lambda batches: (batch for batch in batches if next(ticks, 0) is not None))
    else:
        for result, size in zip(engine.map(function, items) if items else (), sizes, strict=True):
            for _ in range(size):
                next(ticks, None)
            yield result
    next(ticks, None)
