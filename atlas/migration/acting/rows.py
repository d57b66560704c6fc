"""Rows of a store: those that are still mapped, and those that a step must not lose or invent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from atlas.artefacts.sources.stores import batches, opened, present
from atlas.artefacts.sources.transfer import Work
from atlas.artefacts.vectors import Vectors
from atlas.components.store import SHADOW, VECTORS, Store


def still_mapped(work: Work, store: Store, ids: list[str]) -> Iterator[Tensor]:
    """Yield the vectors that the work makes of a store's rows and that are not native, and list their ids."""
    for found in batches(store, VECTORS, size=store.rows):
        batch = work.made(store, present(store, found)[0])
        mapped = [row for row, mark in enumerate(batch.marks) if mark]
        ids += [batch.ids[row] for row in mapped]
        if mapped:
            yield torch.from_numpy(batch.vectors[mapped])


def check_ids(store: Store, vectors: Vectors) -> None:
    """Raise `AtlasError` unless all ids are in a store."""
    for start in range(0, len(vectors), store.rows):
        some = list(vectors.ids[start : start + store.rows])
        there = {*store.fetch(VECTORS, some).ids}
        missing = [one for one in some if one not in there]
        if missing:
            raise store.fail(f"has no row '{missing[0]}', of which a vector is added - give ids of the store")


def check_none_lost(store: Store) -> None:
    """Raise `AtlasError` where rows came after a switch: they have only new vectors, which would be gone."""
    there = {one for batch in batches(store, VECTORS, size=store.rows) for one in present(store, batch)[0].ids}
    for batch in batches(store, SHADOW, size=store.rows):
        for one, mark in zip(batch.ids, batch.marks or [""] * len(batch), strict=True):
            if not mark and one not in there:
                raise store.fail(
                    f"has its old vectors back, and row '{one}' came after the switch, so that only the shadow has it "
                    "- embed it with the old model, or drop the shadow with atlas stores drop URL"
                )


def written(url: str, documents: Sequence[str], dim: int) -> Tensor:
    """Return the vectors (n, d) of documents as they were written, zeros for one that is not there."""
    where = {one: row for row, one in enumerate(documents)}
    found = torch.zeros(len(documents), dim)
    with opened(url) as store:
        for batch in batches(store, SHADOW, size=store.rows):
            for row, one in enumerate(batch.ids):
                if one in where:
                    found[where[one]] = torch.from_numpy(batch.vectors[row])
    return found
