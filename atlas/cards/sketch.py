"""Which items something was fitted on: a sample of them as hashes, small enough for a card."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from atlas.errors import CardError

# So many entries at most, of two hashes of so many bytes.
MOST, BYTES = 256, 5
END = 2 ** (8 * BYTES)


@dataclass(frozen=True)
class Sketch:
    """Hashes of items that something was fitted on, each with that of a vector of the item.

    All items are in it whose hash is below `limit`: every item where there are few, else an even sample.
    """

    pairs: frozenset[tuple[int, int]] = frozenset()
    limit: int = END

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]], limit: int = END) -> Sketch:
        """Return the sketch of all pairs of hashes below a limit, a smaller one where they are many."""
        found = sorted({pair for pair in pairs if pair[0] < limit})
        if len(found) > MOST:
            limit = found[MOST][0]
        return cls(frozenset(pair for pair in found if pair[0] < limit), limit)

    def __or__(self, other: Sketch) -> Sketch:
        """Return the sketch of the items that either was fitted on."""
        return Sketch.of(self.pairs | other.pairs, min(self.limit, other.limit))

    @property
    def exact(self) -> bool:
        """Whether all items are in it."""
        return self.limit == END

    def has(self, items: Iterable[int]) -> list[bool]:
        """Return for each hash of an item whether it is in the sketch."""
        known = {item for item, _ in self.pairs}
        return [item in known for item in items]

    def count(self, items: Iterable[int], rows: Iterable[int]) -> int:
        """Return how many of some items were fitted on: counted where the sketch is exact, else estimated.

        Args:
            items: a hash for each item.
            rows: the hash of a vector for each item, which is known also under another id.
        """
        known = {item for item, _ in self.pairs}, {row for _, row in self.pairs}
        n = comparable = common = 0
        for item in items:
            n += 1
            comparable += item < self.limit
            common += item in known[0]
        by_item = n * common / max(1, comparable)
        hits = sum(row in known[1] for row in rows)
        # Data sets repeat themselves: of a sample, one or two equal vectors are taken for that.
        by_row = hits * END / max(1, self.limit) if self.exact or hits > 2 else 0
        return min(n, round(max(by_item, by_row)))

    def text(self) -> str:
        """Return the sketch as a card holds it."""
        entries = b"".join(n.to_bytes(BYTES) for pair in sorted(self.pairs) for n in pair)
        return f"{self.limit:x}:{base64.b64encode(entries).decode()}"

    @classmethod
    def parse(cls, text: str) -> Sketch:
        """Return the sketch that `text` wrote; '' is that of nothing known.

        Raises:
            CardError: it is none.
        """
        below, data = decoded(text)
        numbers = [int.from_bytes(data[i : i + BYTES]) for i in range(0, len(data), BYTES)]
        return cls(frozenset(zip(numbers[::2], numbers[1::2], strict=True)), below)


def decoded(text: str) -> tuple[int, bytes]:
    """Return the limit and the entries of a sketch on a card, or raise `CardError` if it is none."""
    if not text:
        return END, b""
    limit, _, entries = text.partition(":")
    try:
        below, data = int(limit, 16), base64.b64decode(entries, validate=True)
    except ValueError:
        below, data = -1, b""
    if not 0 <= below <= END or len(data) % (2 * BYTES) or len(data) > MOST * 2 * BYTES:
        raise CardError(f"fitted_on must be a limit, ':' and at most {MOST} pairs of hashes, got '{text[:40]}'")
    return below, data
