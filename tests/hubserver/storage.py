"""Content-addressed storage of large files (by sha256)."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

OID_RE = re.compile(r"^[0-9a-f]{64}$")


class DigestMismatchError(Exception):
    """The uploaded bytes do not hash to the announced sha256."""


class BlobStore:
    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)

    def path(self, oid: str) -> Path:
        if not OID_RE.match(oid):
            raise ValueError(f"not a sha256: {oid!r}")
        return self.root / oid[:2] / oid[2:4] / oid

    def size(self, oid: str) -> int | None:
        """Size of a stored object, None when it is not there."""
        path = self.path(oid)
        return path.stat().st_size if path.is_file() else None

    def put(self, oid: str, chunks: Iterable[bytes]) -> int:
        """Store a stream; nothing is kept unless the bytes hash to ``oid``."""
        tmp = self.root / "tmp" / uuid.uuid4().hex
        digest, size = hashlib.sha256(), 0
        try:
            with tmp.open("wb") as f:
                for chunk in chunks:
                    digest.update(chunk)
                    f.write(chunk)
                    size += len(chunk)
            if digest.hexdigest() != oid:
                raise DigestMismatchError(f"expected sha256 {oid}, received {digest.hexdigest()} ({size} bytes)")
            target = self.path(oid)
            target.parent.mkdir(parents=True, exist_ok=True)
            tmp.replace(target)
        finally:
            tmp.unlink(missing_ok=True)
        return size
