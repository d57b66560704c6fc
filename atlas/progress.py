"""What shows how far long work has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """What shows how far long work has come: given batches of anything, it yields them and counts them."""

    def __call__(self, batches: Iterable[T], total: int, what: str) -> Iterable[T]:
        """Yield the batches; `total` batches are expected, `what` says what is done to them."""


def silent(batches: Iterable[T], total: int, what: str) -> Iterable[T]:
    """Yield the batches and show nothing."""
    return batches
