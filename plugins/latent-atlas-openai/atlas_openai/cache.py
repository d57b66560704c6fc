"""Vectors that were paid for, kept in one file: a table of hashes and vectors, without the texts."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atlas import AtlasError

if TYPE_CHECKING:
    import numpy as np

# Keys in one question to the table.
AT_ONCE = 500


class Cache:
    """The table, opened for each use, so that several processes can share it and a killed one loses nothing."""

    def __init__(self) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        self.path = home / "latent-atlas" / "openai.sqlite"

    def get(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors that are there, float32, by key; one that is damaged is not there."""
        import numpy as np

        found: dict[str, np.ndarray] = {}
        with self._opened() as table:
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                for key, data in table.execute(f"SELECT key, data FROM vectors WHERE key IN ({marks})", some):
                    if isinstance(data, bytes) and data and len(data) % 4 == 0:
                        row = np.frombuffer(data, "<f4").astype(np.float32)
                        if np.isfinite(row).all():
                            found[key] = row
        return found

    def put(self, rows: Mapping[str, np.ndarray]) -> None:
        """Keep vectors; they are on the disk when this returns."""
        with self._opened() as table, table:
            pairs = [(key, row.astype("<f4").tobytes()) for key, row in rows.items()]
            table.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", pairs)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Only its owner may read which texts were encoded, though as hashes.
            self.path.touch(mode=0o600)
            with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as table:
                table.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID")
                yield table
        except (OSError, sqlite3.Error) as error:
            raise AtlasError(
                f"Vectors cannot be kept in '{self.path}': {error} - remove the file, or set XDG_CACHE_HOME to "
                "a folder that can be written, so that nothing is paid twice"
            ) from None
