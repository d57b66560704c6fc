"""The names of things: ids, and the one JSON text and hash of plain data."""

from __future__ import annotations

import json
import re
from typing import Any

from atlas.errors import CardError

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(__[a-z0-9]+(-[a-z0-9]+)*)*")

SHA256 = re.compile(r"[0-9a-f]{64}")


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, so that equal values have equal hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, 64 hexadecimal digits."""
    # Here, because it takes longer to import than a card to be read.
    import hashlib

    return hashlib.sha256(canonical(value).encode()).hexdigest()


def slug(text: str) -> str:
    """Turn any text into an id: lower case, anything else than letters and digits becomes '-', '__' stays."""
    parts = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in text.split("__"))
    return "__".join(part for part in parts if part) or "unnamed"


def current(metric: str) -> str:
    """Return the name that a metric has now: 'recall@k', as cards and recipes may say, is 'self-recall@k'."""
    return f"self-{metric}" if metric.partition("@")[0] == "recall" else metric


def check_id(name: str, what: str = "id") -> str:
    """Return the id, or raise `CardError` when it could not be a folder, a Hub repository and a tensor prefix."""
    if not isinstance(name, str) or not _ID.fullmatch(name) or len(name) > 96:
        hint = f" - for example '{slug(name)}'" if isinstance(name, str) and name else ""
        raise CardError(
            f"{what} {name!r} must be at most 96 lower-case letters, digits and single '-', parts joined by '__'{hint}"
        )
    return name
