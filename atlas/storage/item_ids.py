"""The ids of items: what rows are paired by, and how they are kept in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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


def check_ids(ids: Sequence[str], n: int, what: str) -> Sequence[str]:
    """Return ids, or raise `AtlasError` if there is not exactly one, distinct, for each of n rows."""
    if len(ids) != n:
        raise AtlasError(f"{what} has {n} rows but {len(ids)} ids")
    if isinstance(ids, RowNumbers):
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
    where = {item: row for row, item in enumerate(right)}
    pairs = [(row, where[item]) for row, item in enumerate(left) if item in where]
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return index[:, 0].contiguous(), index[:, 1].contiguous()


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
    """Return the ids of n rows from what `pack_ids` made; raise `CardError` where it could not have."""
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
