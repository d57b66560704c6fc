"""An engine for Atlas: the shards of a set worked on by Daft, on this machine or on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import atlas

# Seconds in which a Ray cluster must answer.
PATIENCE = 10


@dataclass
class Daft(atlas.Engine):
    """Daft: processes on this machine or, with DAFT_RUNNER=ray, on a Ray cluster; each loads the map once."""

    name = "daft"
    workers: int | None = atlas.option(None, help="How many workers; as many as there are cores unless given")

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Yield the result of a function for each item, in their order."""
        # Daft's bars would stand beside those of Atlas.
        os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
        import daft

        self._check_cluster()

        frame = daft.from_pydict({"number": list(range(len(items))), "item": [pickle.dumps(item) for item in items]})
        on_ray = daft.get_or_create_runner().name == "ray"
        # A partition is what Ray schedules, a batch what processes take.
        frame = frame.into_partitions(len(items)) if on_ray else frame.into_batches(1)
        workers = min(self._cores(on_ray) if self.workers is None else self.workers, len(items))
        if workers < 1:
            raise self.fail(f"needs at least 1 worker, got {workers}")
        worker = daft.cls(_Worker, max_concurrency=workers, use_process=None if on_ray else True)(
            pickle.dumps(function)
        )
        done = frame.select(frame["number"], worker(frame["item"]).alias("result"))
        # Shards are taken as workers are free, and results put in order here.
        with daft.execution_config_ctx(maintain_order=False), contextlib.closing(done.iter_rows()) as rows:
            yield from self._in_order(rows)

    def _check_cluster(self) -> None:
        """Raise `AtlasError` if nobody answers at the address of the Ray cluster: Ray would wait without an end."""
        address = os.environ.get("RAY_ADDRESS", "")
        at = urlsplit(address if "://" in address else f"ray://{address}")
        if os.environ.get("DAFT_RUNNER", "").lower() != "ray" or not at.port:
            return
        try:
            socket.create_connection((at.hostname, at.port), PATIENCE).close()
        except OSError as error:
            told = f"cannot reach the Ray cluster at RAY_ADDRESS={address}: {error.strerror or error}"
            raise self.fail(f"{told} - start it, or correct the address") from None

    def _cores(self, on_ray: bool) -> int:
        if not on_ray:
            return os.cpu_count() or 1
        import ray

        return int(ray.cluster_resources().get("CPU", 1))

    def _in_order(self, rows: Iterator[dict[str, Any]]) -> Iterator[Any]:
        held: dict[int, Any] = {}
        wanted = 0
        while row := self._next(rows):
            held[row["number"]] = _result(row["result"])
            while wanted in held:
                yield held.pop(wanted)
                wanted += 1

    def _next(self, rows: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return next(rows, None)
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise self.fail(f"failed: {type(error).__name__}: {lines[-1] if lines else ''}") from None


class _Worker:
    """A function as a worker of Daft holds it, made once."""

    def __init__(self, function: bytes) -> None:
        self.function = pickle.loads(function)
        # A process that is killed takes its workers with it: they would go on writing beside the next run.
        threading.Thread(target=_follow, args=[os.getppid()], daemon=True).start()

    def __call__(self, item: bytes) -> bytes:
        """Return what the function returns, or what it raises: Daft would make a text of that, and try again."""
        try:
            return pickle.dumps((self.function(pickle.loads(item)), None))
        except atlas.AtlasError as error:
            return pickle.dumps((None, error))


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _result(answer: bytes) -> Any:
    result, error = pickle.loads(answer)
    if error is not None:
        raise error
    return result


@atlas.hookimpl
def register_engines() -> list[type[atlas.Engine]]:
    """Return the engine of this plugin."""
    return [Daft]
