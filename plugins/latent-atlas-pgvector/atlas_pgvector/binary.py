"""Rows in the binary form of PostgreSQL's COPY."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
END = b"\xff\xff"


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


def decoded(data: bytes, dim: int) -> tuple[list[str], np.ndarray, list[str], list[str]]:
    """Return ids, vectors, marks and labels of rows of a text, a vector and two texts; what is NULL is NaN or ''."""
    length = struct.Struct(">i").unpack_from
    ids: list[str] = []
    columns: tuple[list[str], list[str]] = ([], [])
    vectors: list[bytes] = []
    empty = np.full(dim, np.nan, ">f4").tobytes()
    at = len(HEADER)
    while data[at : at + 2] != END:
        at += 2
        fields = []
        for _ in range(4):
            (size,) = length(data, at)
            fields.append(b"" if size < 0 else data[at + 4 : at + 4 + size])
            at += 4 + max(size, 0)
        ids.append(fields[0].decode())
        # Before the numbers stand two of two bytes, the dimension and 0.
        vectors.append(fields[1][4:] or empty)
        for column, field in zip(columns, fields[2:], strict=True):
            column.append(field.decode())
    matrix = np.frombuffer(b"".join(vectors), ">f4").astype(np.float32).reshape(-1, dim)
    return ids, matrix, *columns
