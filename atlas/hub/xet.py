"""Transfers over Xet, the Hub's other protocol for large files: given up where they stand still or fail.

The client waits for a storage server for many minutes, and some transfers never end at all. That no byte moves any more
is the one sign of it; what is given up is moved over HTTP, where every request is bounded in time.
"""

from __future__ import annotations

import functools
import threading
import time
import warnings
from typing import Any, Self

from atlas.errors import AtlasWarning

_HERE = threading.local()


class Watch:
    """Cuts off what is moved over Xet by this thread, inside a `with`, once nothing has moved for some seconds.

    Attributes:
        used: whether anything was to be moved over Xet.
        still: whether it was cut off.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.used = self.still = False
        self._over = threading.Event()
        self._moved: Any = None
        self._since = 0.0

    def __enter__(self) -> Self:
        if not _watchable():
            over_http()
        _HERE.watch = self
        return self

    def __exit__(self, *_: object) -> None:
        _HERE.watch = None
        self._over.set()

    def began(self, session: Any) -> Watched:
        """Return the client's session as one that is watched from now on."""
        self._since = time.monotonic()
        if not self.used:
            self.used = True
            threading.Thread(target=self._wait, daemon=True).start()
        return Watched(session, self)

    def moved(self, report: Any) -> None:
        """Take note of how far a transfer has come."""
        counts = [_counts(report), _counts(getattr(report, "shard", None))]
        if counts != self._moved:
            self._moved, self._since = counts, time.monotonic()

    def _wait(self) -> None:
        from huggingface_hub.utils._xet import abort_xet_session

        while not self._over.wait(min(1.0, self.patience / 4)):
            if time.monotonic() - self._since > self.patience:
                self.still = True
                return abort_xet_session()


def _counts(report: Any) -> list[Any]:
    # Rates, which fall while nothing moves, are no progress.
    names = [name for name in dir(report) if name.endswith(("completed", "synced", "uploaded_to_store"))]
    return [getattr(report, name) for name in names]


class Watched:
    """A session of Xet whose transfers tell a watch how far they have come."""

    def __init__(self, session: Any, watch: Watch) -> None:
        self._session, self._watch = session, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        return functools.partial(self._start, found) if name.startswith("new_") else found

    def _start(self, start: Any, progress_callback: Any = None, **how: Any) -> Any:
        def tell(report: Any, items: Any) -> None:
            self._watch.moved(report)
            if progress_callback:
                progress_callback(report, items)

        return start(progress_callback=tell, **how)


@functools.cache
def _watchable() -> bool:
    """Let the client's sessions be watched where a watch is on; False if this client makes them in another way."""
    from huggingface_hub.utils import _xet

    get = getattr(_xet, "get_xet_session", None)
    if get is None or not hasattr(_xet, "abort_xet_session"):
        return False

    def get_xet_session() -> Any:
        watch = getattr(_HERE, "watch", None)
        return watch.began(get()) if watch else get()

    _xet.get_xet_session = get_xet_session
    return True


def over_http(why: str = "") -> None:
    """Let the client move everything over HTTP from now on, as HF_HUB_DISABLE_XET=1 does; say so if it is news."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_XET = True
    if why:
        text = f"Moving files over Xet {why} - going on over HTTP, as HF_HUB_DISABLE_XET=1 does from the start"
        warnings.warn(text, AtlasWarning, stacklevel=2)
