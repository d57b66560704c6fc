"""The text of listings, kept from one process to the next, so that only the first imports plugins and torch.

Beside the text are the states of all files that were imported for it, of their folders and of the folders that Python
looks for modules in. After any of them has changed, plugins are imported again. The text is printed, and used for
nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atlas.storage.notes import read_notes, write_notes

# Seconds by which clocks of file systems may be behind, and which a program may take to start.
MARGIN = 5


def remembered(name: str, find: Callable[[], tuple[Any, bool]]) -> Any:
    """Return the result of a function, or its last one if no file it depends on has changed.

    Args:
        name: of the notes that keep the result.
        find: returns a result that JSON can hold, and whether to keep it.
    """
    # Where torch is imported already there is little to save.
    if "torch" in sys.modules:
        return find()[0]
    kept, begin = read_notes(name), time.time() - MARGIN
    paths, found = kept.get("paths"), kept.get("found")
    if isinstance(paths, list) and kept.get("stamp") == _stamp(found, _states(paths)):
        return found
    found, lasting = find()
    states = _states(paths := _paths())
    # A file that has changed since the beginning may differ from the one that was imported.
    if lasting and all(max(state[:2]) < begin * 1e9 for state in states if state):
        write_notes(name, {"stamp": _stamp(found, states), "paths": paths, "found": found})
    return found


def _paths() -> list[str]:
    """Return all paths a listing may depend on: imported files, their folders, and files that name plugins."""
    modules = [str(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
    folders = {str(Path(path).parent) for path in modules}
    entries = [path for place in sys.path for path in Path(place).glob("*-info/entry_points.txt")]
    return sorted({*modules, *folders, *(place or "." for place in sys.path), *map(str, entries)})


def _states(paths: Iterable[Any]) -> list[tuple[int, ...]]:
    """Return for each path the values that change when the file or folder does; none if it is not there."""
    states: list[tuple[int, ...]] = []
    for path in paths:
        try:
            state = Path(path).stat()
            states.append((state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino))
        except (OSError, TypeError, ValueError):
            states.append(())
    return states


def _stamp(found: Any, states: list[tuple[int, ...]]) -> str:
    settings = {name: value for name, value in os.environ.items() if name.startswith("ATLAS_")}
    return hashlib.sha256(json.dumps([found, states, sys.path, sys.version, settings]).encode()).hexdigest()
