"""Small random changes of bytes: flips, cuts, repeats, and tokens and numbers that readers stumble over."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence

LONGEST = 2**16
INTERESTING = b"\x00\x01\x7f\x80\xff\"'{}[],:;\n\r\t -+.9&*!%@`|>#~<"
LITERALS = (
    *("null", "[]", "{}", "[1]", "[[]]", "{a: 1}", '{"a": [1]}', "true", "0", "-1", "1.5", "-0.0", "'x'", '""', "~"),
    *("1e400", "NaN", ".inf", "-.inf", "9" * 20, "9" * 70, "18446744073709551615", "9223372036854775808", "2147483648"),
    *(
        "\u202e",
        "\ud7ff",
        "e\u0301",
        "..",
        "/",
        "../x",
        "id",
        "text",
        "vector",
        "labels",
        "ids",
        "step",
        "range",
        "each",
    ),
)
WORDS = re.compile(rb"[A-Za-z0-9_.+-]+|\"[^\"\n]*\"|\[[^\[\]\n]*\]")
SIZES = (0, 1, 2, 3, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return some bytes after one to six small changes."""
    for _ in range(1 + int(rng.expovariate(0.7)) % 6):
        data = rng.choice(CHANGES)(data, rng, others)
    return data[:LONGEST]


def _at(data: bytes, rng: random.Random) -> int:
    """Return a place: half of them near the beginning or the end, where headers and footers are."""
    n = len(data)
    return min(n, int(rng.expovariate(0.03))) if rng.random() < 0.3 else rng.randint(0, n)


def _flip(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"x")
    changed[min(_at(data, rng), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _put(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    i = _at(data, rng)
    return data[:i] + bytes([rng.choice(INTERESTING)]) + data[i + rng.randrange(2) :]


def _cut(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    i = _at(data, rng)
    return data[:i] + (data[i + 1 + int(rng.expovariate(0.1)) :] if rng.random() < 0.8 else b"")


def _repeat(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    i = _at(data, rng)
    part = data[i : i + 1 + int(rng.expovariate(0.05))]
    return data[:i] + part * rng.choice((2, 2, 3, 40)) + data[i:]


def _word(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Put something of another type in the place of a word, a number, a text or a list."""
    words = [*WORDS.finditer(data[:LONGEST])]
    if not words:
        return _put(data, rng, others)
    word = rng.choice(words)
    other = rng.choice(words)[0] if rng.random() < 0.3 else rng.choice(LITERALS).encode()
    return data[: word.start()] + other + data[word.end() :]


def _number(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Put a size that is an edge in the place of four or eight bytes."""
    form = rng.choice(("<I", ">I", "<Q", "<H", ">H"))
    i = _at(data, rng)
    raw = struct.pack(form, rng.choice(SIZES) % 256 ** struct.calcsize(form))
    return data[:i] + raw + data[i + len(raw) :]


def _splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    i = rng.randint(0, len(other))
    return data[: _at(data, rng)] + other[i : i + int(rng.expovariate(0.01))]


def _line(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    if rng.random() < 0.5:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines.insert(i, lines[j])
    return b"\n".join(lines)


CHANGES = (_flip, _flip, _put, _put, _cut, _cut, _repeat, _word, _word, _word, _number, _splice, _line)
