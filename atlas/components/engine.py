"""The base of every engine, which works on the shards of a set side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from atlas.components.options import Component
from atlas.progress import Progress

# A function passes its batches through this, which counts them.
Seen = Callable[[Iterable[Any]], Iterable[Any]]


class Engine(Component):
    """Work on the shards of a set side by side, in several processes or on several machines.

    A subclass implements `map`. Atlas itself gives the work on one shard, skips finished shards and merges results in
    their order, so that the bytes in the end are the same whatever the engine and its schedule.
    """

    kind = "engine"

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        """Yield the result of a function for each item, in the order of the items, whatever the order of the work.

        Args:
            function: can be pickled, and may hold a map of many MB: send it once to each worker, not with each item.
            items: can be pickled, and are small: they say where a shard lies. Paths are those of this machine.

        Raises:
            Exception: that of the function, as it was raised.
        """
        raise NotImplementedError


class Executor(Protocol):
    """Anything with a method `map` such as that of engines, for instance an executor of `concurrent.futures`."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any], /) -> Iterable[Any]:
        """Yield the result of a function for each item, in their order."""


def each(
    function: Callable[..., Any],
    items: Sequence[Any],
    sizes: Sequence[int],
    engine: Executor | None,
    progress: Progress,
    what: str,
) -> Iterator[Any]:
    """Yield the result of a function for each item, in their order: by an engine, or in this process without one.

    Args:
        function: takes an item, and without an engine also a `Seen` for its batches.
        items: one for each piece of work.
        sizes: how many batches each item has.
        engine: does the work; None: this process.
        progress: shows how far it is: batch by batch here, item by item where an engine works.
        what: the name of the work, for the progress bar.
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
