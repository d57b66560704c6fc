"""The answer of an endpoint: JSON from elsewhere, read as n vectors or not at all."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np


class BrokenError(Exception):
    """An answer that is not n vectors: cut off, or something else; another try may do better."""


def rows_of(body: bytes, n: int) -> tuple[np.ndarray, int | None]:
    """Return the n vectors of an answer in the order of the texts, float32 (n, d), and the tokens that were counted.

    Raises:
        BrokenError: it is not such an answer.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BrokenError(f"its answer of {len(body):,} bytes is no JSON, or was cut off") from None
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise BrokenError("its answer has no list 'data'")
    if len(data) != n:
        raise BrokenError(f"its answer has {len(data)} vectors for {n} texts")
    places = [entry.get("index", place) for place, entry in enumerate(data)]
    if not all(type(place) is int for place in places) or sorted(places) != list(range(n)):
        raise BrokenError("the vectors of its answer are not numbered from 0 on")
    rows = [_numbers(data[at].get("embedding")) for at in np.argsort(places)]
    if len({len(row) for row in rows}) != 1:
        raise BrokenError("the vectors of its answer have different dimensions")
    return np.stack(rows), _tokens(found)


def _numbers(value: Any) -> np.ndarray:
    """Return one vector, from a list of numbers or float32 in base64."""
    try:
        if isinstance(value, str):
            row = np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
        else:
            with np.errstate(over="ignore"):
                row = np.array(value, dtype=np.float64).astype(np.float32)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise BrokenError("a vector of its answer is no list of numbers") from None
    if row.ndim != 1 or not len(row) or not np.isfinite(row).all():
        raise BrokenError("a vector of its answer is no list of finite numbers")
    return row


def _tokens(found: dict[str, Any]) -> int | None:
    usage = found.get("usage")
    counts = [usage.get(name) for name in ("total_tokens", "prompt_tokens")] if isinstance(usage, dict) else []
    return next((count for count in counts if type(count) is int and 0 <= count < 2**40), None)
