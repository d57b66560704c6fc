"""Jobs side by side, in threads."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any


class Threads:
    """Does up to `n` jobs at once: begun in the order they are given, each once its inputs are ready.

    Attributes:
        n: how many at once; a single one is done where it is given.
        begun: the jobs that are not known to be done, in the order in which they were begun.
    """

    def __init__(self, n: int, pool: ThreadPoolExecutor) -> None:
        self.n = n
        self.begun: dict[Future[None], Any] = {}
        self._pool = pool
        self._at_work: set[int] = set()

    def wait_for(self, needs: Collection[Any]) -> None:
        """Wait until one more can be begun, and until the jobs in `needs` have been done.

        Raises:
            Exception: the failure of a job.
        """
        while len(self.begun) >= self.n or any(job is need for job in self.begun.values() for need in needs):
            for future in wait(self.begun, return_when=FIRST_COMPLETED).done:
                future.result()
                del self.begun[future]

    def begin(self, job: Any, do: Callable[[], None]) -> None:
        """Begin to do a job."""
        if self.n == 1:
            do()
        else:
            self.begun[self._pool.submit(contextvars.copy_context().run, self._work, do)] = job

    def _work(self, do: Callable[[], None]) -> None:
        self._at_work.add(threading.get_ident())
        try:
            do()
        finally:
            self._at_work.discard(threading.get_ident())

    def interrupt(self) -> None:
        """Raise the exception of Ctrl-C in every working thread, so that each removes its unfinished output."""
        # No lock, which a thread might be stopped with in its hands.
        for thread in list(self._at_work):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))


@contextlib.contextmanager
def side_by_side(n: int, finishing: Callable[[Any], None]) -> Iterator[Threads]:
    """Yield a pool that does jobs side by side, and wait for all of them.

    Where a job fails, those at work are finished, and of those that failed, the one begun first says why. Ctrl-C stops
    all that are at work.

    Args:
        n: how many at once.
        finishing: called with every working job when another fails.
    """
    with ThreadPoolExecutor(n) as pool:
        threads = Threads(n, pool)
        try:
            try:
                yield threads
                for future in wait(threads.begun, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except Exception:
                for future, job in threads.begun.items():
                    if not future.done():
                        finishing(job)
                wait(threads.begun)
                for future in threads.begun:
                    future.result()
                raise
        except (KeyboardInterrupt, SystemExit):
            threads.interrupt()
            raise
