"""Rows in the binary form of PostgreSQL's COPY."""

from __future__ import annotations

import select
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
END = b"\xff\xff"
# Seconds to wait for the next row.
TIMEOUT = 300


def encoded(ids: Sequence[str], vectors: np.ndarray, marks: Sequence[str], half: bool) -> bytes:
    """Return rows of a text, a vector and a text."""
    n, dim = vectors.shape
    head = struct.pack(">ihh", 4 + dim * (2 if half else 4), dim, 0)
    data = vectors.astype(">f2" if half else ">f4").tobytes()
    size = len(data) // max(n, 1)
    length = struct.Struct(">i").pack
    parts = [HEADER]
    for row, (one, mark) in enumerate(zip(ids, marks, strict=True)):
        text, made = one.encode(), mark.encode()
        parts += (b"\x00\x03", length(len(text)), text, head, data[row * size : (row + 1) * size])
        parts += (length(len(made)), made)
    return b"".join([*parts, END])


def messages(connection: Any) -> Iterator[memoryview]:
    """Yield the rows of a COPY that has begun, one at a time: many times as fast as `Copy.rows`, which takes turns."""
    wire = connection.pgconn
    while True:
        size, data = wire.get_copy_data(1)
        if size > 0:
            yield data
        elif size < 0:
            break
        elif not select.select([wire.socket], [], [], TIMEOUT)[0]:
            raise TimeoutError(f"no answer for {TIMEOUT} s")
        else:
            wire.consume_input()
    while (result := wire.get_result()) is not None:
        if result.error_message:
            raise OSError(result.error_message.decode(errors="replace"))


def decoded(
    rows: Iterable[memoryview], dim: int, fail: Callable[[str], Exception]
) -> tuple[list[str], np.ndarray, list[str], list[str]]:
    """Return ids, vectors, marks and labels of rows of a vector and three texts; NULL is NaN or ''.

    A vector of another dimension raises the error that `fail` makes of a sentence.
    """
    ids: list[str] = []
    # Most rows end alike: in the mark of one map, or in none.
    ends: list[bytes] = []
    vectors: list[bytes] = []
    empty, begin = np.full(dim, np.nan, ">f4").tobytes(), len(HEADER)
    for message in rows:
        row = bytes(message)[begin:]
        begin = 0
        if row[:2] == END:
            continue
        # The number of fields, the size of the vector, and before its numbers two of two bytes: dimension and 0.
        text = 6 + max(int.from_bytes(row[2:6], signed=True), 0)
        vectors.append(row[10:text] or empty)
        after = text + 4 + int.from_bytes(row[text : text + 4])
        ids.append(row[text + 4 : after].decode())
        ends.append(row[after:])
    # A column without a dimension may hold any.
    other = next((row for row, vector in enumerate(vectors) if len(vector) != len(empty)), None)
    if other is not None:
        found = f"a vector of {len(vectors[other]) // 4} dimensions in row '{ids[other]}', and others of {dim}"
        raise fail(f"has {found} - set it to NULL, or move it to another column")
    known = {end: _texts(end) for end in {*ends}}
    marks, labels = zip(*map(known.__getitem__, ends), strict=True) if ends else ((), ())
    return ids, np.frombuffer(b"".join(vectors), ">f4").astype(np.float32).reshape(-1, dim), [*marks], [*labels]


def _texts(data: bytes) -> tuple[str, str]:
    """Return two texts, '' for one that is NULL."""
    size = max(int.from_bytes(data[:4], signed=True), 0)
    return data[4 : 4 + size].decode(), data[8 + size :].decode()
