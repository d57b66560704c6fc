"""Item ids, by which rows are paired, and their form in a file."""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.cards.names import sha256_of
from atlas.errors import AtlasError, CardError

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


class RowNumbers(Sequence[str]):
    """The ids of rows that have none of their own: '0', '1', ... without keeping a million strings."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        picked = range(self.n)[index]
        return [str(i) for i in picked] if isinstance(index, slice) else str(picked)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RowNumbers):
            return self.n == other.n
        return (
            isinstance(other, Sequence)
            and len(other) == self.n
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


class SomeRows(list[str]):
    """The ids of some of the rows that have none of their own: numbers that mean nothing beside ids that were given."""


class StoredIds(Sequence[str]):
    """Ids that lie in files: read in lists of some thousands, and kept as packed text once one is asked for by its row.

    They are known to be distinct once they have been kept.
    """

    def __init__(self, n: int, lists: Callable[[], Iterable[Sequence[str]]], what: str) -> None:
        """Say where ids lie.

        Args:
            n: how many they are.
            lists: reads them, list by list.
            what: whose they are, as the subject of a message.
        """
        self.n, self.lists, self.what = n, lists, what

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self.lists())

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        ends, text = self._packed
        picked = range(self.n)[index]
        found = [text[ends[i] : ends[i + 1]].decode() for i in ([picked] if isinstance(picked, int) else picked)]
        return found if isinstance(index, slice) else found[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == self.n and all(map(operator.eq, iter(self), iter(other)))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredIds, (self.n, self.lists, self.what)

    def pick(self, index: Tensor) -> StoredIds:
        """Return those of some rows."""
        return StoredIds(len(index), functools.partial(_picked, self, index), self.what)

    @functools.cached_property
    def _packed(self) -> tuple[np.ndarray, bytes]:
        """Where each begins, and where the last ends, in the text of all."""
        hashes = hashed(self)
        hashes.sort()
        if bool((hashes[1:] == hashes[:-1]).any()):
            check_ids(list(self), self.n, self.what)
        lengths, texts = [np.zeros(1, dtype=np.int64)], []
        for some in self.lists():
            encoded = [item.encode("utf-8", "surrogatepass") for item in some]
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            texts.append(b"".join(encoded))
        return np.cumsum(np.concatenate(lengths)), b"".join(texts)


def _picked(ids: StoredIds, index: Tensor) -> Iterator[list[str]]:
    return ([ids[i] for i in some.tolist()] for some in index.split(65536))


def hashed(ids: Sequence[str]) -> np.ndarray:
    """Return a hash of each id, (n,) int64, the same within one process."""
    return np.fromiter(map(hash, ids), np.int64, len(ids))


def check_ids(ids: Sequence[str], n: int, what: str) -> Sequence[str]:
    """Return ids, or raise `AtlasError` if there is not exactly one, distinct, for each of n rows."""
    if len(ids) != n:
        raise AtlasError(f"{what} has {n} rows but {len(ids)} ids")
    if isinstance(ids, (RowNumbers, StoredIds)):
        return ids
    if len(set(ids)) != n:
        seen: set[str] = set()
        repeated = [i for i in ids if i in seen or seen.add(i)]  # type: ignore[func-returns-value]
        count = "1 duplicate id," if len(repeated) == 1 else f"{len(repeated)} duplicate ids, the first is"
        raise AtlasError(f"{what} has {count} '{repeated[0]}' - ids must be distinct")
    return ids


def hash_ids(ids: Sequence[str]) -> str:
    """Return the sha256 of ids in their order: the identity of a list of anchors."""
    return sha256_of(list(ids))


def match(left: Sequence[str], right: Sequence[str]) -> tuple[Tensor, Tensor] | None:
    """Return the rows of the ids that both have, in the order of the left; None if both are the same, row by row."""
    if left == right:
        return None
    if isinstance(left, StoredIds) or isinstance(right, StoredIds):
        found = _match_hashes(left, right)
        # Of a 64-bit hash, two ids share one about once in a million sets of ten million.
        if all(left[i] == right[j] for i, j in zip(found[0].tolist(), found[1].tolist(), strict=True)):
            return found
    where = {item: row for row, item in enumerate(right)}
    pairs = [(row, where[item]) for row, item in enumerate(left) if item in where]
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return index[:, 0].contiguous(), index[:, 1].contiguous()


def _match_hashes(left: Sequence[str], right: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return `match`'s result for ids whose hashes are distinct, in 50 bytes a row, however long the ids are."""
    wanted, hashes = hashed(left), hashed(right)
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    rows = np.flatnonzero(hashes[at] == wanted)
    return torch.from_numpy(rows), torch.from_numpy(order[at[rows]])


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
