"""Item ids, by which rows are paired, and their form in a file."""

from __future__ import annotations

import functools
import itertools
import operator
import re
import secrets
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.names import sha256_of
from atlas.cards.schema import shown
from atlas.errors import AtlasError, CardError, in_a_line

# Of the numbers that ids are hashed by, and the text they are hashed behind.
_SEED, _SECRET = secrets.randbits(128), secrets.token_hex(16)
# Ids of each side that are compared by their look, where too few are the same.
LOOKED = 10_000
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


class _Unlisted(Sequence[str]):
    """Ids that are equal to any sequence of the same, a list included, and in no list themselves."""

    n: int

    def __len__(self) -> int:
        return self.n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == self.n and all(map(operator.eq, self, other))


class RowNumbers(_Unlisted):
    """The ids of rows that have none of their own: '0', '1', ... without keeping a million strings."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        picked = range(self.n)[index]
        return [str(i) for i in picked] if isinstance(index, slice) else str(picked)

    def __eq__(self, other: object) -> bool:
        return self.n == other.n if isinstance(other, RowNumbers) else super().__eq__(other)


class Distinct(list[str]):
    """Ids that have been looked at: no two are the same, which takes as long to find out as pairing them does."""


class SomeRows(list[str]):
    """The ids of some of the rows that have none of their own: numbers that mean nothing beside ids that were given."""


class Texts(Sequence[str]):
    """Texts as they lie in files: one after another as UTF-8, and where each ends."""

    def __init__(self, ends: np.ndarray, text: np.ndarray) -> None:
        """Take texts.

        Args:
            ends: (n + 1,) int64, where the first begins, and where each ends.
            text: the bytes of all.
        """
        self.ends, self.text = ends, text

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Pack texts."""
        lengths, whole = map(len, texts), "".join(texts)
        if whole.isascii():
            raw = whole.encode()
        else:
            encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
            lengths, raw = map(len, encoded), b"".join(encoded)
        ends = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(lengths, np.int64, len(texts)), out=ends[1:])
        return cls(ends, np.frombuffer(raw, np.uint8))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[str]:
        return (raw.decode("utf-8", "surrogatepass") for raw in self.raw())

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        picked = range(len(self))[index]
        if isinstance(picked, range):
            return [self[i] for i in picked]
        return self.text[self.ends[picked] : self.ends[picked + 1]].tobytes().decode("utf-8", "surrogatepass")

    def raw(self) -> Iterator[bytes]:
        """Yield the bytes of each."""
        first, last = self.ends[[0, -1]]
        whole = self.text[first:last].tobytes()
        return (whole[a:b] for a, b in itertools.pairwise((self.ends - first).tolist()))

    def hashes(self) -> np.ndarray:
        """Return two hashes of each, (n, 2) int64, the same within one process.

        Sums of bytes times random numbers, by the place in the text: that two texts share both hashes is as likely as
        that two random numbers of 114 bits are equal, and nobody can make such texts who does not know the numbers.
        """
        first, last = self.ends[[0, -1]]
        ends = self.ends - first
        place = np.arange(last - first) - np.repeat(ends[:-1], np.diff(ends))
        values = self.text[first:last].astype(np.uint64) + np.uint64(1)
        found = np.empty((len(self), 2), np.uint64)
        sums = np.zeros(len(values) + 1, np.uint64)
        for i, factors in enumerate(_factors(int(place.max(initial=0)).bit_length())):
            np.cumsum(values * factors[place], out=sums[1:])
            found[:, i] = sums[ends[1:]] - sums[ends[:-1]]
        return found.view(np.int64)


@functools.lru_cache(maxsize=1)
def _factors(bits: int) -> np.ndarray:
    """Return random numbers for 2 ** bits places, (2, 2 ** bits), others in each process."""
    return np.random.default_rng(_SEED).integers(0, 2**64 - 1, (2**bits, 2), np.uint64, endpoint=True).T.copy()


def packed(ids: Sequence[str], size: int = 8192) -> Iterator[Texts]:
    """Yield ids as packed texts, at most some thousands at a time."""
    lists = ids.lists() if isinstance(ids, StoredIds) else (ids[i : i + size] for i in range(0, len(ids), size))
    return (some if isinstance(some, Texts) else Texts.of(some) for some in lists)


def hashed(ids: Sequence[str]) -> np.ndarray:
    """Return two hashes of each id, (n, 2) int64, the same within one process."""
    found = np.empty((len(ids), 2), np.int64)
    done = 0
    for some in packed(ids):
        found[done : done + len(some)] = some.hashes()
        done += len(some)
    return found


def quickly_hashed(ids: Sequence[str]) -> np.ndarray:
    """Return two hashes of each id in memory, (n, 2) int64, the same within one process.

    Python's own, of which the second is of the id after a text that nobody else knows, whatever PYTHONHASHSEED is.
    """
    found = np.empty((len(ids), 2), np.int64)
    for i, hashes in enumerate((map(hash, ids), map(hash, map(_SECRET.__add__, ids)))):
        found[:, i] = np.fromiter(hashes, np.int64, len(ids))
    return found


class StoredIds(_Unlisted):
    """Ids that lie in files: read in lists of some thousands, and kept as packed text once one is asked for by its row.

    They are known to be distinct once they have been kept, or matched with others.
    """

    def __init__(
        self, n: int, lists: Callable[[], Iterable[Sequence[str]]], what: str, place: Callable[[int], str] | None = None
    ) -> None:
        """Say where ids lie.

        Args:
            n: how many they are.
            lists: reads them, list by list.
            what: whose they are, as the subject of a message.
            place: how a person finds a row, such as "row 3 of 'part-7.parquet'"; None: by its number.
        """
        self.n, self.lists, self.what, self.place = n, lists, what, place or place_of

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self.lists())

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._packed[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredIds, (self.n, self.lists, self.what, self.place)

    def pick(self, index: Tensor) -> StoredIds:
        """Return those of some rows."""
        return StoredIds(
            len(index), functools.partial(_picked, self, index), self.what, functools.partial(_place, self, index)
        )

    def check_distinct(self, hashes: np.ndarray) -> None:
        """Raise `AtlasError` if any occurs twice, by hashes of which each is other than the last in its order."""
        if bool((hashes[1:] == hashes[:-1]).any()):
            check_ids(list(self), self.n, self.what, self.place)

    @functools.cached_property
    def _packed(self) -> Texts:
        hashes = hashed(self)[:, 0]
        hashes.sort()
        self.check_distinct(hashes)
        some = list(packed(self))
        lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(texts.ends) for texts in some)])
        return Texts(np.cumsum(lengths), np.concatenate([t.text[t.ends[0] : t.ends[-1]] for t in some]))


def place_of(row: int) -> str:
    """Return how a person finds a row by its number alone."""
    return f"row {row}"


def _place(ids: StoredIds, index: Tensor, row: int) -> str:
    return ids.place(int(index[row]))


def _picked(ids: StoredIds, index: Tensor) -> Iterator[Sequence[str]]:
    """Yield the ids of some rows in lists: of rows in rising order, as they are read; of others, from memory."""
    if not bool((index[1:] > index[:-1]).all()):
        yield from ([ids[i] for i in some.tolist()] for some in index.split(65536))
        return
    rows, start = index.numpy(), 0
    for some in ids.lists():
        first, last = np.searchsorted(rows, [start, start + len(some)])
        yield [some[i] for i in (rows[first:last] - start).tolist()]
        start += len(some)


def id_of(value: Any) -> str | None:
    """Return the text of an id: of a text that is not empty, a whole number or a UUID; None for anything else."""
    if isinstance(value, (str, uuid.UUID)):
        return str(value) or None
    try:
        return None if isinstance(value, bool) else str(operator.index(value))
    except TypeError:
        return None


def ids_of(values: Iterable[Any]) -> list[str]:
    """Return the texts of ids, or raise `AtlasError` for one that is none."""
    found = []
    for value in values:
        if (one := id_of(value)) is None:
            raise AtlasError(f"Ids must be texts, whole numbers or UUIDs, and none empty, got {shown(value)}")
        found.append(one)
    return found


def check_ids(ids: Sequence[str], n: int, what: str, place: Callable[[int], str] = place_of) -> Sequence[str]:
    """Return ids, or raise `AtlasError` if there is not exactly one, distinct, for each of n rows.

    A list comes back as a copy that need not be looked at again.

    Args:
        ids: of the rows.
        n: how many rows there are.
        what: whose they are, as the subject of a message.
        place: how a person finds a row.
    """
    if len(ids) != n:
        raise AtlasError(f"{what} has {n} rows but {len(ids)} ids")
    if isinstance(ids, (RowNumbers, StoredIds, Distinct)):
        return ids
    if len(set(ids)) != n:
        seen: dict[str, int] = {}
        repeated = [(one, row) for row, one in enumerate(ids) if seen.setdefault(one, row) != row]
        one, row = repeated[0]
        count = "1 duplicate id," if len(repeated) == 1 else f"{len(repeated)} duplicate ids, the first is"
        where = f"in {place(seen[one])} and {place(row)}"
        raise AtlasError(f"{what} has {count} '{in_a_line(one, 60)}', {where} - ids must be distinct")
    return Distinct(ids) if type(ids) is list else ids


def hash_ids(ids: Sequence[str]) -> str:
    """Return the sha256 of ids in their order: the identity of a list of anchors."""
    return sha256_of(list(ids))


def match(left: Sequence[str], right: Sequence[str]) -> tuple[Tensor, Tensor] | None:
    """Return the rows of the ids that both have, in the order of the left; None if both are the same, row by row.

    By their hashes, in about 120 bytes a row at most, however long the ids are.
    """
    stored = isinstance(left, StoredIds) or isinstance(right, StoredIds)
    if not stored and left == right:
        return None
    a, b = map(hashed if stored else quickly_hashed, (left, right))
    if np.array_equal(a, b):
        return None
    if not len(b):
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    (order_a, sorted_a), (order_b, sorted_b) = _ordered(left, a[:, 0]), _ordered(right, b[:, 0])
    at = np.minimum(np.searchsorted(sorted_b, sorted_a), len(b) - 1)
    same = np.flatnonzero(sorted_b[at] == sorted_a)
    partner = np.full(len(a), -1)
    partner[order_a[same]] = order_b[at[same]]
    rows = np.flatnonzero(partner >= 0)
    rows = rows[a[rows, 1] == b[partner[rows], 1]]
    return torch.from_numpy(rows), torch.from_numpy(partner[rows])


def _ordered(ids: Sequence[str], hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of hashes, and the hashes in it; ids that nobody has looked at yet must be distinct."""
    order = np.argsort(hashes)
    hashes = hashes[order]
    if isinstance(ids, StoredIds):
        ids.check_distinct(hashes)
    return order, hashes


def shown_apart(left: Sequence[str], right: Sequence[str]) -> tuple[str, str, str]:
    """Return an id of each side for a message that says that ids do not meet, in quotes, and the remedy.

    If there are two that look the same to a person, as composed and decomposed letters or blanks that cannot be seen
    do, it is these, with their characters shown. Some thousands of ids are looked at.
    """
    seen = {_as_seen(one): one for one in itertools.islice(right, LOOKED)}
    pairs = ((one, seen.get(_as_seen(one), one)) for one in itertools.islice(left, LOOKED))
    if pair := next((pair for pair in pairs if pair[0] != pair[1]), None):
        one, other = map(ascii, pair)
        form = "bring all ids into one form, as by unicodedata.normalize('NFC', id).strip()"
        return one, other, f"{other} looks the same: {form}"
    return f"'{in_a_line(left[0], 60)}'", f"'{in_a_line(right[0], 60)}'", "encode the same items with both"


def _as_seen(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", text) if char.isprintable() and char != " ")


def pack_ids(ids: Sequence[str]) -> dict[str, Tensor]:
    """Return ids as tensors: none for row numbers, whole numbers as such, text as UTF-8 bytes and where each ends."""
    if isinstance(ids, RowNumbers):
        return {}
    if all(map(_NUMBER.fullmatch, ids)):
        return {"ids": torch.tensor([int(i) for i in ids], dtype=torch.int64)}
    try:
        encoded = [item.encode() for item in ids]
    except UnicodeEncodeError as error:
        raise AtlasError(f"The id {error.object!r} holds half a character (a lone surrogate) - correct it") from None
    ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
    blob = np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8)
    return {"ids.ends": torch.from_numpy(ends), "ids.text": torch.from_numpy(blob)}


def unpack_ids(tensors: Mapping[str, Tensor], n: int, what: str) -> Sequence[str]:
    """Return the ids of n rows from the output of `pack_ids`; raise `CardError` for anything else."""
    if "ids" in tensors:
        ids: Sequence[str] = [str(i) for i in tensors["ids"].flatten().tolist()]
    elif "ids.ends" in tensors or "ids.text" in tensors:
        for name in ("ids.ends", "ids.text"):
            if name not in tensors:
                raise CardError(f"{what}: the ids are damaged: '{name}' is missing")
        ends = tensors["ids.ends"].flatten().tolist()
        blob = tensors["ids.text"].to(torch.uint8).numpy().tobytes()
        if sorted(ends) != ends or (ends and (ends[0] < 0 or ends[-1] != len(blob))):
            raise CardError(f"{what}: the ids are damaged: their ends do not fit their text")
        try:
            ids = [blob[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        except UnicodeDecodeError:
            raise CardError(f"{what}: the ids are damaged: not UTF-8 text") from None
    else:
        ids = RowNumbers(n)
    return check_ids(ids, n, what)
