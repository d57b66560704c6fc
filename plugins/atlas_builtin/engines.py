"""The engine that comes with Atlas: processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

import atlas

# The function of a worker, set when it starts.
_begun: dict[str, Callable[[Any], Any]] = {}


@dataclass
class Processes(atlas.Engine):
    """Processes on this machine, which share its cores."""

    name = "processes"
    workers: int | None = atlas.option(None, help="How many processes; as many as there are cores unless given")

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Yield the result of a function for each item, in their order."""
        cores = os.cpu_count() or 1
        workers = min(cores if self.workers is None else self.workers, len(items))
        if workers < 1:
            raise self.fail(f"needs at least 1 worker, got {workers}")
        begin = function, max(1, cores // workers)
        with ProcessPoolExecutor(workers, _context(), initializer=_begin, initargs=begin) as pool:
            try:
                yield from pool.map(_do, items)
            except BrokenProcessPool:
                advice = "look at memory; in a script, call it under if __name__ == '__main__':"
                raise self.fail(f"lost a process before its work was done - {advice}") from None
            finally:
                pool.shutdown(cancel_futures=True)


def _context() -> multiprocessing.context.BaseContext:
    """Return the way processes start: a fork of a process with threads may hang, and a server imports torch once."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["torch"])
    return server


def _begin(function: Callable[[Any], Any], threads: int) -> None:
    torch.set_num_threads(threads)
    # A process that is killed takes its workers with it: they would wait for ever, and write beside the next run.
    threading.Thread(target=_follow, daemon=True).start()
    _begun["function"] = function


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(item: Any) -> Any:
    return _begun["function"](item)


ALL = [Processes]
