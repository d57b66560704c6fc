"""Stores by their URLs, and the vectors in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.artefacts.vectors import Vectors, encode_labels
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.store import VECTORS, Address, Batch, Store
from atlas.errors import SpaceMismatchError, warn
from atlas.plugins.catalogue import SHIPPED, component, components
from atlas.storage.writers import spooled

# How many rows are read and written at a time.
ROWS = 5000


def is_store(given: Any) -> bool:
    """Whether something is the URL of a store."""
    scheme, found, _ = str(given).partition("://") if isinstance(given, str) else ("", "", "")
    return bool(found) and (scheme in SHIPPED["store"] or scheme in components(Store))


def shown(ref: str) -> str:
    """Return a reference as it may be shown: the URL of a store without its password."""
    return str(Address.parse(ref)) if is_store(ref) else ref


@contextlib.contextmanager
def opened(url: str | Path) -> Iterator[Store]:
    """Open the store at a URL, and let go of it in the end."""
    address = Address.parse(str(url))
    store = component(Store, address.scheme).at(address)
    try:
        yield store
    finally:
        store.close()


def batches(store: Store, place: str, after: str = "", size: int = ROWS) -> Iterator[Batch]:
    """Yield the rows of a place from a cursor on, those without a vector, too."""
    while len(batch := store.read(place, after, size)):
        yield batch
        after = batch.cursor


def present(store: Store, batch: Batch) -> tuple[Batch, list[str]]:
    """Return the rows that have a vector, and the ids of the others.

    Raises:
        AtlasError: a vector that is not finite, a row without an id, or two with one.
    """
    if len(set(batch.ids)) < len(batch) or None in batch.ids:
        row = next(i for i, one in enumerate(batch.ids) if one is None or one in batch.ids[:i])
        one = batch.ids[row]
        told = "a row without an id" if one is None else f"the id '{one}' in several rows"
        raise store.fail(f"has {told} - ids must be there and distinct, or name another column of ids")
    missing = np.isnan(batch.vectors).all(1)
    bad = ~missing & ~np.isfinite(batch.vectors).all(1)
    if bad.any():
        raise store.fail(f"holds a vector that is not finite, in row '{batch.ids[int(bad.argmax())]}' - fix it")
    if not missing.any():
        return batch, []
    return batch.take(np.flatnonzero(~missing).tolist()), [batch.ids[i] for i in np.flatnonzero(missing).tolist()]


def warn_of_missing(store: Store, count: int, first: str) -> None:
    """Say how many rows have no vector, if any, and which is the first."""
    if count:
        told = store.fail(f"has rows without a vector, which are left out: {count}, the first is '{first}'")
        warn(str(told), 2)


def space_of(store: Store, place: str = VECTORS) -> Space:
    """Return the space of the vectors in a place: the one that is written down there, or one without an encoder."""
    dim = store.dim(place)
    if not dim:
        raise store.fail("has no vectors - check its name and the options of the URL")
    stamped = store.stamped(place)
    if stamped is not None and stamped.dim != dim:
        raise store.fail(f"is stamped with '{stamped.id}' of {stamped.dim} dimensions, but has vectors of {dim}")
    return stamped or Space(slug(Path(store.address.path).name), dim)


def check_metric(store: Store, space: Space, place: str = VECTORS) -> str:
    """Return by which metric a place of a store is searched; '': unknown.

    Raises:
        SpaceMismatchError: vectors of the space are compared by another one.
    """
    found = store.metric_of(place)
    if found and space.metric and found != space.metric:
        told = f"is searched by {found}, and vectors of '{space.id}' are compared by {space.metric}"
        advice = f"so that other rows would be found - index it by {space.metric}, or take a store that is"
        raise SpaceMismatchError(str(store.fail(f"{told}, {advice}")))
    return found


def read_store(url: str | Path) -> Vectors:
    """Return the vectors in a store, read once: they lie in a temporary file, and only ids and labels in memory."""
    ids: list[str] = []
    labels: list[str] = []
    missing: list[str] = []
    with opened(url) as store:
        space, n = space_of(store), store.count(VECTORS)

        def read() -> Iterator[torch.Tensor]:
            for found in batches(store, VECTORS, size=store.rows):
                batch, without = present(store, found)
                missing.extend(without)
                ids.extend(batch.ids)
                labels.extend(batch.labels)
                yield torch.from_numpy(np.require(batch.vectors, np.float32, ["C", "W"]))

        rows = spooled(read(), space.dim, torch.float32)
        if not ids:
            raise store.fail("has no vectors - check its name and the options of the URL")
        if len(ids) != n:
            raise store.fail(f"changed while it was read: it had {n} rows, and {len(ids)} were read - read it again")
        warn_of_missing(store, len(missing), *missing[:1] or [""])
    numbers, classes = encode_labels(labels, ()) if len(labels) == len(ids) else (None, ())
    return Vectors.made(space, rows, ids, numbers, classes=classes)
