"""Notes in the user's cache: small files of results that could be had again, at a cost.

Missing notes, and damaged ones, count as none.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from atlas.cards.folder import spelled_out
from atlas.errors import AtlasError
from atlas.storage.files import whole_file

LARGEST = 10_000_000


def notes_file(name: str) -> Path:
    """Return the file of the notes of a name."""
    cache = spelled_out(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    # Who has no home has no notes.
    return (cache if cache.is_absolute() else Path(os.devnull)) / "latent-atlas" / f"{name}.json"


def read_notes(name: str) -> dict[str, Any]:
    """Return the notes of a name, unless somebody else wrote them or could have."""
    with contextlib.suppress(OSError, ValueError, RecursionError), notes_file(name).open("rb") as file:
        state = os.fstat(file.fileno())
        if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
            return {}
        found = json.loads(file.read(LARGEST))
        return found if isinstance(found, dict) else {}
    return {}


def write_notes(name: str, noted: dict[str, Any]) -> None:
    """Write the notes of a name, where that is possible."""
    with contextlib.suppress(AtlasError, TypeError), whole_file(notes_file(name)) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(noted), encoding="utf-8")
