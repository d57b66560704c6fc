"""Server side of the Xet protocol: xorbs, shards and file reconstruction.

This is what `hf_xet` (used by default by `huggingface_hub` for every large file) talks to. Formats follow
the public Xet protocol specification:

* a *xorb* is a sequence of compressed chunks, each with an 8-byte header;
* a *shard* says how files are put together from chunk ranges of xorbs;
* a *reconstruction* tells the downloader which byte ranges of which xorbs to fetch.

When a shard is registered every file in it is rebuilt, its sha256 is checked, and the plain content goes
to the ordinary blob store, so the same file can also be downloaded without Xet.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from .httpd import HttpError
from .storage import BlobStore, DigestMismatchError

try:
    import lz4.frame as _lz4
except ImportError:  # pure Python fallback below
    _lz4 = None

HASH_RE = re.compile(r"^[0-9a-f]{64}$")
CHUNK_HEADER = struct.Struct("<B3sB3s")
ENTRY = struct.Struct("<32sIIII")  # all shard records are 48 bytes
SHARD_TAG = b"HFRepoMetaData\0" + bytes(
    [85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169]
)
XORB_FOOTER_IDENT = b"XETBLOB"
BOOKEND = b"\xff" * 32
WITH_VERIFICATION, WITH_METADATA = 1 << 31, 1 << 30


def hash_hex(raw: bytes) -> str:
    """Xet hashes are printed as four little-endian 64-bit words."""
    return "{:016x}{:016x}{:016x}{:016x}".format(*struct.unpack("<4Q", raw))


# ------------------------------------------------------------------ compression


def _lz4_block(data: memoryview, out: bytearray) -> None:
    """Decompress one LZ4 block; matches may reach back into what `out` already holds."""
    pos, end = 0, len(data)
    while pos < end:
        token = data[pos]
        pos += 1
        length = token >> 4
        if length == 15:
            while True:
                extra = data[pos]
                pos += 1
                length += extra
                if extra != 255:
                    break
        out += data[pos : pos + length]
        pos += length
        if pos >= end:
            return
        offset = data[pos] | data[pos + 1] << 8
        pos += 2
        length = token & 15
        if length == 15:
            while True:
                extra = data[pos]
                pos += 1
                length += extra
                if extra != 255:
                    break
        length += 4
        start = len(out) - offset
        if offset == 0 or start < 0:
            raise ValueError("bad LZ4 match offset")
        if offset >= length:
            out += out[start : start + length]
        else:
            pattern = bytes(out[start:])
            out += (pattern * (length // offset + 1))[:length]


def lz4_decompress(data: bytes) -> bytes:
    """LZ4 frame -> bytes."""
    if _lz4 is not None:
        return _lz4.decompress(data)
    view = memoryview(data)
    if bytes(view[:4]) != b"\x04\x22\x4d\x18":
        raise ValueError("not an LZ4 frame")
    flags = view[4]
    pos = 4 + 2 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0) + 1
    out = bytearray()
    while size := int.from_bytes(view[pos : pos + 4], "little"):
        pos += 4
        block = view[pos : pos + (size & 0x7FFFFFFF)]
        pos += len(block) + (4 if flags & 16 else 0)
        if size & 0x80000000:
            out += block
        elif flags & 32:  # independent blocks
            part = bytearray()
            _lz4_block(block, part)
            out += part
        else:
            _lz4_block(block, out)
    return bytes(out)


def _regroup4(data: bytes) -> bytes:
    """Undo "byte grouping": all 1st bytes of 4-byte words, then all 2nd bytes, ..."""
    out, pos = bytearray(len(data)), 0
    for i in range(4):
        count = len(data) // 4 + (1 if i < len(data) % 4 else 0)
        out[i::4] = data[pos : pos + count]
        pos += count
    return bytes(out)


def _decompress(scheme: int, data: bytes) -> bytes:
    if scheme == 0:
        return data
    if scheme == 1:
        return lz4_decompress(data)
    if scheme == 2:
        return _regroup4(lz4_decompress(data))
    raise ValueError(f"unknown compression scheme {scheme}")


# ---------------------------------------------------------------------- parsing


def xorb_chunks(data: bytes) -> list[tuple[int, int, int]]:
    """``(offset, stored length with header, unpacked length)`` of every chunk of a xorb."""
    chunks, pos = [], 0
    while pos + CHUNK_HEADER.size <= len(data) and data[pos : pos + 7] != XORB_FOOTER_IDENT:
        version, packed, scheme, unpacked = CHUNK_HEADER.unpack_from(data, pos)
        stored = int.from_bytes(packed, "little") + CHUNK_HEADER.size
        if version != 0 or scheme > 2 or pos + stored > len(data):
            raise ValueError(f"bad chunk header at offset {pos}")
        chunks.append((pos, stored, int.from_bytes(unpacked, "little")))
        pos += stored
    if not chunks:
        raise ValueError("empty xorb")
    return chunks


def unpack_chunk(data: bytes) -> bytes:
    _, packed, scheme, unpacked = CHUNK_HEADER.unpack_from(data)
    out = _decompress(scheme, data[CHUNK_HEADER.size : CHUNK_HEADER.size + int.from_bytes(packed, "little")])
    if len(out) != int.from_bytes(unpacked, "little"):
        raise ValueError("chunk has the wrong unpacked length")
    return out


def shard_files(data: bytes) -> list[dict]:
    """``{"hash", "terms": [{"hash", "start", "end", "unpacked"}], "sha256"}`` for every file of a shard."""
    if data[:32] != SHARD_TAG:
        raise ValueError("not a shard")
    pos = 48
    files: list[dict] = []
    while True:
        raw, flags, count, _, _ = ENTRY.unpack_from(data, pos)
        pos += ENTRY.size
        if raw == BOOKEND:
            return files
        terms = []
        for _ in range(count):
            xorb, _, unpacked, start, end = ENTRY.unpack_from(data, pos)
            terms.append({"hash": hash_hex(xorb), "start": start, "end": end, "unpacked": unpacked})
            pos += ENTRY.size
        if flags & WITH_VERIFICATION:
            pos += ENTRY.size * count
        sha256 = None
        if flags & WITH_METADATA:
            sha256 = hash_hex(data[pos : pos + 32])
            pos += ENTRY.size
        files.append({"hash": hash_hex(raw), "terms": terms, "sha256": sha256})


# ------------------------------------------------------------------------ store


class XetStore:
    def __init__(self, root: Path, blobs: BlobStore) -> None:
        self.root, self.blobs = Path(root), blobs
        for folder in ("xorbs", "files", "by-sha256"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def _path(self, folder: str, name: str) -> Path:
        if not HASH_RE.match(name):
            raise HttpError(400, f"Malformed hash {name!r}")
        return self.root / folder / name

    def _write(self, path: Path, data: bytes) -> None:
        tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        tmp.write_bytes(data)
        tmp.replace(path)

    # ---------------------------------------------------------------- upload

    def add_xorb(self, name: str, data: bytes) -> bool:
        path = self._path("xorbs", name)
        if path.exists():
            return False
        try:
            chunks = xorb_chunks(data)
        except ValueError as exc:
            raise HttpError(400, f"Bad xorb: {exc}") from None
        self._write(path.with_suffix(".json"), json.dumps(chunks).encode())
        self._write(path, data)
        return True

    def _chunk_table(self, name: str) -> list[tuple[int, int, int]]:
        path = self._path("xorbs", name).with_suffix(".json")
        if not path.exists():
            raise HttpError(400, f"Unknown xorb {name}")
        return [tuple(c) for c in json.loads(path.read_text())]

    def _content(self, terms: list[dict]) -> Iterator[bytes]:
        for term in terms:
            table = self._chunk_table(term["hash"])
            with self._path("xorbs", term["hash"]).open("rb") as f:
                for offset, stored, _ in table[term["start"] : term["end"]]:
                    f.seek(offset)
                    yield unpack_chunk(f.read(stored))

    def add_shard(self, data: bytes) -> bool:
        try:
            files = shard_files(data)
        except (ValueError, struct.error) as exc:
            raise HttpError(400, f"Bad shard: {exc}") from None
        new = False
        for file in files:
            path = self._path("files", file["hash"])
            if path.exists():
                continue
            if file["sha256"] is None:
                digest = hashlib.sha256()
                for piece in self._content(file["terms"]):
                    digest.update(piece)
                file["sha256"] = digest.hexdigest()
            try:
                file["size"] = self.blobs.put(file["sha256"], self._content(file["terms"]))
            except (DigestMismatchError, ValueError) as exc:
                raise HttpError(400, f"Shard verification failed: {exc}") from None
            with self._lock:
                self._write(self.root / "by-sha256" / file["sha256"], file["hash"].encode())
                self._write(path, json.dumps(file).encode())
            new = True
        return new

    # -------------------------------------------------------------- download

    def file_hash(self, sha256: str) -> str | None:
        """The Xet hash of a file known by its sha256, if it was uploaded through Xet."""
        path = self.root / "by-sha256" / sha256
        return path.read_text() if path.is_file() else None

    def xorb_path(self, name: str) -> Path:
        path = self._path("xorbs", name)
        if not path.is_file():
            raise HttpError(404, "Unknown xorb")
        return path

    def reconstruction(self, name: str, byte_range: str | None, xorb_url) -> dict:
        """Answer of ``GET /v1/reconstructions/{file}``; ``xorb_url(hash)`` builds the download URL."""
        path = self._path("files", name)
        if not path.is_file():
            raise HttpError(404, "Unknown file")
        file = json.loads(path.read_text())
        first, last = 0, file["size"]
        if byte_range:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)?", byte_range.strip())
            if not match:
                raise HttpError(400, "Bad range")
            first = int(match.group(1))
            last = min(int(match.group(2)) + 1 if match.group(2) else file["size"], file["size"])
            if first >= file["size"] or first >= last:
                raise HttpError(416, "Range not satisfiable")
        terms: list[dict] = []
        needed: dict[str, list[list[int]]] = {}
        position, offset = 0, None
        for term in file["terms"]:
            table = self._chunk_table(term["hash"])
            start, end, unpacked = -1, -1, 0
            for index in range(term["start"], term["end"]):
                size = table[index][2]
                if position < last and position + size > first:
                    if start < 0:
                        start = index
                        if offset is None:
                            offset = first - position
                    end, unpacked = index + 1, unpacked + size
                position += size
            if start >= 0:
                terms.append({"hash": term["hash"], "range": {"start": start, "end": end}, "unpacked_length": unpacked})
                needed.setdefault(term["hash"], []).append([start, end])
        fetch = {}
        for xorb, ranges in needed.items():
            table = self._chunk_table(xorb)
            merged: list[list[int]] = []
            for start, end in sorted(ranges):
                if merged and start <= merged[-1][1]:
                    merged[-1][1] = max(end, merged[-1][1])
                else:
                    merged.append([start, end])
            fetch[xorb] = [
                {
                    "range": {"start": start, "end": end},
                    "url": xorb_url(xorb),
                    "url_range": {"start": table[start][0], "end": table[end - 1][0] + table[end - 1][1] - 1},
                }
                for start, end in merged
            ]
        return {"offset_into_first_range": offset or 0, "terms": terms, "fetch_info": fetch}
