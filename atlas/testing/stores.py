"""The promises of stores: rows come out once and in order, the shadow never touches the vectors, a switch is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from atlas.cards.space import METRICS
from atlas.components.options import Component
from atlas.components.store import SHADOW, VECTORS, Batch, Store
from atlas.testing.promises import ensure, options_survive

# Makes a new store that holds rows: ids, and vectors (n, d), float32.
Make = Callable[[Sequence[str], np.ndarray], Store]
ODD = (
    "007",
    "7",
    "a b",
    "O'Neill",
    'say "a"',
    "100%",
    "%s",
    "a,b",
    "a\\b",
    "line\nbreak",
    "Ä",
    "日本",
    "x" * 100,
    "-1",
)
DIM, SHADOW_DIM = 6, 9


def ids_of(ids: Sequence[str] | None) -> list[str]:
    """Return the ids of the rows that a store is checked with: odd ones, and enough for several batches."""
    return list(ids or (*ODD, *(f"item-{i}" for i in range(26))))


def rows(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return vectors of length 1, which stores that scale vectors keep as they are."""
    X = np.random.default_rng(seed).normal(size=(n, dim))
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def content(store: Store, place: str, size: int = 7) -> dict[str, tuple[np.ndarray, str]]:
    """Return vectors and marks of a place by id, read batch by batch; each row must come once."""
    found: dict[str, tuple[np.ndarray, str]] = {}
    after = ""
    for _ in range(1000):
        batch = store.read(place, after, size)
        if not len(batch):
            return found
        ensure(len(batch) <= size, store, f"must return up to {size} rows where {size} are asked for")
        again = sorted({*found} & {*batch.ids})
        ensure(not again, store, f"must return every row once, row '{(again or [''])[0]}' came twice")
        marks = batch.marks or [""] * len(batch)
        found |= {one: (vector, mark) for one, vector, mark in zip(batch.ids, batch.vectors, marks, strict=True)}
        after = batch.cursor
    raise AssertionError(f"{store.label().capitalize()} must come to an end when it is read from cursor to cursor")


def ensure_holds(
    store: Store, place: str, ids: Sequence[str], X: np.ndarray, mark: str = "", promise: str = ""
) -> None:
    """Raise `AssertionError` unless a place holds these rows and no others."""
    found, promise = content(store, place), promise or "must return the rows that it holds"
    differing = sorted({*found} ^ {*ids})
    ensure(not differing, store, f"{promise}, differs in row '{(differing or [''])[0]}'")
    ensure(store.count(place) == len(ids), store, f"{promise}, counts {store.count(place)} rows for {len(ids)}")
    for one, due in zip(ids, store.kept(X), strict=True):
        vector, marked = found[one]
        near = vector.shape == due.shape and np.allclose(vector, due, rtol=0, atol=1e-3)
        ensure(near, store, f"{promise}, has another vector in row '{one}'")
        ensure(marked == mark, store, f"{promise}, marks row '{one}' with '{marked}' for '{mark}'")


def again(store: Store) -> Store:
    """Return the same store, let go of and opened anew."""
    store.close()
    return type(store).at(store.address)


def filled(make: Make, ids: Sequence[str]) -> tuple[Store, np.ndarray, np.ndarray]:
    """Return a store with a shadow of as many rows, its vectors, and those of the shadow."""
    X, Y = rows(len(ids), DIM), rows(len(ids), SHADOW_DIM, 1)
    store = make(ids, X)
    store.begin(SHADOW_DIM)
    put_all(store, ids, Y, "mapped by a")
    return store, X, Y


def put_all(store: Store, ids: Sequence[str], Y: np.ndarray, mark: str) -> None:
    """Put vectors into the shadow as a transfer does: with the columns read beside them."""
    where = {one: i for i, one in enumerate(ids)}
    after = ""
    while len(batch := store.read(VECTORS, after, 7)):
        after = batch.cursor
        chosen = Y[[where[one] for one in batch.ids]]
        marks = [mark] * len(batch)
        store.put(Batch(batch.ids, chosen, batch.cursor, marks, batch.labels, batch.other))


def rows_come_once(store: Component, make: Make, ids: Sequence[str]) -> None:
    """Every row comes once, in the same order each time, and from any cursor on."""
    X = rows(len(ids), DIM)
    made = make(ids, X)
    ensure(made.dim(VECTORS) == DIM, store, f"must say how many dimensions its vectors have, {DIM}")
    ensure_holds(made, VECTORS, ids, X)
    order = [*content(made, VECTORS, 1000)]
    ensure([*content(made, VECTORS, 1)] == order, store, "must return rows in one order, whatever the size of batches")
    first = made.read(VECTORS, "", 10)
    rest = again(made).read(VECTORS, first.cursor, 1000)
    ensure([*first.ids, *rest.ids] == order, store, "must go on after a cursor when it is opened again")


def rows_are_fetched(store: Component, make: Make, ids: Sequence[str]) -> None:
    """Rows are fetched by their ids, and ids that are not there are left out."""
    X = rows(len(ids), DIM)
    batch = make(ids[1:], X[1:]).fetch(VECTORS, [ids[3], ids[0], ids[2]])
    ensure(sorted(batch.ids) == sorted([ids[3], ids[2]]), store, "must fetch the rows of ids, those that are there")
    due = [X[ids.index(one)] for one in batch.ids]
    ensure(np.allclose(batch.vectors, due, rtol=0, atol=1e-3), store, "must fetch the vectors of the ids it names")


def shadow_is_apart(store: Component, make: Make, ids: Sequence[str]) -> None:
    """A shadow begins empty, with a dimension of its own, and the vectors stay as they are."""
    X = rows(len(ids), DIM)
    made = make(ids, X)
    ensure(made.dim(SHADOW) == 0, store, "must say that there is no shadow with a dimension of 0")
    made.begin(SHADOW_DIM)
    ensure(made.dim(SHADOW) == SHADOW_DIM, store, f"must make a shadow of {SHADOW_DIM} dimensions")
    ensure(made.count(SHADOW) == 0 and not content(made, SHADOW), store, "must make a shadow that is empty")
    made, X, Y = filled(make, ids)
    ensure_holds(made, SHADOW, ids, Y, "mapped by a", "must hold in the shadow the rows put there")
    ensure_holds(made, VECTORS, ids, X, "", "must leave the vectors as they are")


def writing_twice_is_once(store: Component, make: Make, ids: Sequence[str]) -> None:
    """Rows that are put again take the place of those before."""
    made, X, _ = filled(make, ids)
    Z = rows(len(ids), SHADOW_DIM, 2)
    put_all(made, ids, Z, "mapped by b")
    ensure_holds(again(made), SHADOW, ids, Z, "mapped by b", "must replace rows that are put again")
    ensure_holds(made, VECTORS, ids, X, "", "must leave the vectors as they are")


def notes_are_kept(store: Component, make: Make, ids: Sequence[str]) -> None:
    """Notes are kept with their place, replaced by the next ones, and found when it is opened again."""
    made, X, _ = filled(make, ids)
    long = {"a": 'x"\n' * 2000, "b": "'ä"}
    made.note(VECTORS, {"one": "1"})
    made.note(SHADOW, {"two": "2"})
    made.note(SHADOW, long)
    found = again(made).notes(SHADOW)
    ensure({key: found.get(key) for key in long} == long, store, "must keep notes as they were written")
    ensure("two" not in found, store, "must replace the notes of a place by the next ones")
    ensure(again(made).notes(VECTORS).get("one") == "1", store, "must keep the notes of each place apart")
    ensure_holds(made, VECTORS, ids, X, "", "must leave the vectors as they are")


def switch_is_exact(store: Component, make: Make, ids: Sequence[str]) -> None:
    """A switch exchanges both places with their marks and notes, and a second one takes it back."""
    made, X, Y = filled(make, ids)
    made.note(VECTORS, {"of": "old"})
    made.note(SHADOW, {"of": "new"})
    made.switch()
    made = again(made)
    promise = "must exchange the vectors and the shadow"
    ensure(made.dim(VECTORS) == SHADOW_DIM and made.dim(SHADOW) == DIM, store, promise)
    ensure_holds(made, VECTORS, ids, Y, "mapped by a", promise)
    ensure_holds(made, SHADOW, ids, X, "", promise)
    notes = made.notes(VECTORS).get("of"), made.notes(SHADOW).get("of")
    ensure(notes == ("new", "old"), store, "must take the notes of a place with it when it is switched")
    made.switch()
    made = again(made)
    ensure_holds(made, VECTORS, ids, X, "", "must be as it was after a second switch")
    ensure_holds(made, SHADOW, ids, Y, "mapped by a", "must be as it was after a second switch")
    ensure(made.notes(VECTORS).get("of") == "old", store, "must be as it was after a second switch")


def drop_leaves_nothing(store: Component, make: Make, ids: Sequence[str]) -> None:
    """A shadow that is dropped is gone, before a switch and after it, and another can be made."""
    made, X, Y = filled(make, ids)
    made.note(SHADOW, {"of": "new"})
    made.drop()
    made = again(made)
    ensure(made.dim(SHADOW) == 0, store, "must have no shadow once it is dropped")
    ensure_holds(made, VECTORS, ids, X, "", "must leave the vectors as they are")
    made.begin(DIM)
    ensure("of" not in made.notes(SHADOW), store, "must drop the notes of a shadow with it")
    ensure(made.dim(SHADOW) == DIM and not content(made, SHADOW), store, "must make an empty shadow again")
    made, X, Y = filled(make, ids)
    made.switch()
    made.drop()
    made = again(made)
    ensure(made.dim(SHADOW) == 0, store, "must have no shadow once it is dropped")
    ensure_holds(made, VECTORS, ids, Y, "mapped by a", "must keep the vectors it was switched to")


def metric_is_kept(store: Component, make: Make, ids: Sequence[str]) -> None:
    """A store that says by which metric it is searched says it in the words of spaces, and of the shadow, too."""
    made, _, _ = filled(make, ids)
    named = made.metric_of(VECTORS)
    known = ", ".join(METRICS)
    ensure(named in ("", *METRICS), store, f"must be searched by a metric that spaces name ({known}), not '{named}'")
    promise = "must say of its shadow by which metric it will be searched: as its vectors are"
    ensure(made.metric_of(SHADOW) == named, store, promise)
    made.switch()
    found = again(made).metric_of(VECTORS)
    # An index that is not made anew says nothing.
    ensure(found in ("", named), store, f"must be searched by {named or 'no metric'} after a switch, not by {found}")
    made.drop()
    ensure(again(made).metric_of(SHADOW) == "", store, "must name no metric of a shadow that is not there")


STORE_CHECKS: tuple[Callable[..., None], ...] = (
    options_survive,
    rows_come_once,
    rows_are_fetched,
    shadow_is_apart,
    writing_twice_is_once,
    notes_are_kept,
    switch_is_exact,
    drop_leaves_nothing,
    metric_is_kept,
)
