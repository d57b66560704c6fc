"""The vectors of a store, mapped or as they are, into the shadow of a store, which is then switched to or dropped."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.sources.state import STATE_KEY, UNCHANGED, State, changes
from atlas.artefacts.sources.stores import batches, check_metric, opened, present, space_of, warn_of_missing
from atlas.artefacts.sources.tally import Tally
from atlas.artefacts.vectors import Vectors
from atlas.cards.names import sha256_of
from atlas.cards.space import Space
from atlas.components.store import SHADOW, VECTORS, Batch, Store
from atlas.errors import AtlasError, warn
from atlas.numerics.arrays import hash_of
from atlas.progress import Progress, silent

# How many rows are looked at one by one in the end.
SAMPLE = 100


@dataclass(frozen=True)
class Work:
    """The treatment of rows on their way.

    Attributes:
        alignment: which maps them; None: they stay as they are.
        natives: vectors of the space that is written, which take the place of those made of the rows of their ids.
    """

    alignment: Alignment | None
    natives: Vectors | None = None

    @functools.cached_property
    def map_digest(self) -> str:
        """A fingerprint of the map."""
        one = self.alignment
        return sha256_of([one.method, one.aligner.config(), hash_of(one.tensors())]) if one else ""

    @functools.cached_property
    def digest(self) -> str:
        """A fingerprint of the work."""
        new = self.natives and [sha256_of(list(self.natives.ids)), hash_of({"vectors": self.natives.data})]
        return sha256_of([self.map_digest, new]) if new else self.map_digest

    @property
    def mark(self) -> str:
        """The mark of a row that the map made."""
        return f"mapped by {self.alignment.id} {self.map_digest[:12]}" if self.alignment else ""

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {one: row for row, one in enumerate(self.natives.ids)} if self.natives else {}

    def space(self, read: Store) -> Space:
        """Return the space of the rows that are written, or raise `AtlasError` for rows of another source."""
        space = space_of(read)
        if self.alignment:
            try:
                self.alignment.check_source(space)
            except AtlasError as error:
                raise type(error)(f"Store '{read.address}': {error}") from None
            space = self.alignment.target
        if self.natives:
            space.require(self.natives.space, "What is written is of", "the native vectors")
        return space

    def made(self, store: Store, batch: Batch) -> Batch:
        """Return the rows to write for rows that have a vector each."""
        vectors, marks = batch.vectors, list(batch.marks) or [""] * len(batch)
        if self.alignment:
            vectors, marks = _mapped(self.alignment, store, batch), [self.mark] * len(batch)
        new = [row for row, one in enumerate(batch.ids) if one in self._numbers]
        if new and self.natives:
            vectors = vectors.copy()
            vectors[new] = self.natives.rows.take(torch.tensor([self._numbers[batch.ids[row]] for row in new])).float()
            marks = ["" if row in {*new} else mark for row, mark in enumerate(marks)]
        return replace(batch, vectors=vectors, marks=marks)


@dataclass(frozen=True)
class Transfer:
    """Mapped vectors in the shadow of a store, verified: `switch_store(url)` puts them in place of the old ones.

    Attributes:
        store: where they are, as it may be shown.
        space: which they are of.
        rows: how many there are.
        map: id of the alignment.
        digest: of their ids.
    """

    kind: ClassVar[str] = "transfer"

    store: str
    space: Space
    rows: int
    map: str
    digest: str

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows


def transfer(
    alignment: Alignment | None,
    source: str,
    out: str,
    *,
    natives: Vectors | None = None,
    size: int = 0,
    read_back: bool = False,
    progress: Progress = silent,
) -> Transfer:
    """Map the vectors of one store into the shadow of the same or another one, and verify the result.

    A run that was cut off is taken up where it was. The vectors in use stay as they are.

    Args:
        alignment: which maps them; None: they are copied.
        source: URL of the store that is read.
        out: URL of the store that is written to; often the same.
        natives: vectors of the new space that some rows get instead, by their ids; these rows are not marked as mapped.
        size: how many rows are mapped at a time; 0: as many as the store likes.
        read_back: verify all rows, not a sample of them.
        progress: shows how far it is.

    Raises:
        AtlasError: a store refuses, or another shadow is there, or the rows changed while they were read.
    """
    work = Work(alignment, natives)
    with _both(source, out) as (read, written), written.hold():
        space = work.space(read)
        if not check_metric(written, space) and space.metric:
            told = f"does not say by which metric it is searched - search by {space.metric}, as for '{space.id}'"
            warn(str(written.fail(told)), 3)
        state, size = _begun(work, space, read, written), size or written.rows
        total = -(-read.count(VECTORS) // size)
        for found in progress(batches(read, VECTORS, state.cursor, size), total, "Mapping"):
            state = _put(work, space, read, written, found, state)
        _check_unchanged(space, read, written, state)
        if read_back:
            _verify_all(work, written, state)
        _verify(work, read, written, state)
        replace(state, done=True).save(written, space)
        warn_of_missing(read, *state.missing)
        return Transfer(str(written.address), space, state.tally.rows, state.map, state.tally.digest)


class GrownError(AtlasError):
    """Rows have come while others were mapped; the next run maps them."""


@contextlib.contextmanager
def _both(source: str, out: str) -> Iterator[tuple[Store, Store]]:
    """Open two stores, or one for both."""
    with opened(source) as read:
        if source == out:
            yield read, read
        else:
            with opened(out) as written:
                yield read, written


def _begun(work: Work, space: Space, read: Store, written: Store) -> State:
    """Return where to go on, and make the shadow if there is none."""
    before = None if work.alignment else State.of(read, VECTORS)
    name = work.alignment.id if work.alignment else before.map if before else ""
    new = State(name, work.digest, str(read.address))
    if written.dim(SHADOW):
        state = State.of(written, SHADOW)
        if state is None and (written.count(SHADOW) or written.dim(SHADOW) != space.dim):
            raise _not_ours(written)
        if state and (state.digest, state.source) != (new.digest, new.source):
            made = f"of alignment '{state.map}' from '{state.source}'"
            raise written.fail(f"has a shadow {made} - switch to it, or drop it first")
        if state and state.done and read is written and changes(read, state) != UNCHANGED:
            return state.from_the_beginning()
        if state:
            return replace(state, done=False)
    else:
        written.begin(space.dim)
    new.save(written, space)
    return new


def _not_ours(store: Store) -> AtlasError:
    """Return the error of a shadow that no run has made: the old vectors after a switch, or those of others."""
    if State.of(store, VECTORS) is None:
        return store.fail("has a shadow that Atlas did not make - move it, or delete it for good with --old (old=True)")
    before = "has the vectors from before a switch in its shadow"
    return store.fail(f"{before} - switch back first, or delete them for good with --old (old=True)")


def _put(work: Work, space: Space, read: Store, written: Store, found: Batch, state: State) -> State:
    """Make and write some rows, and return the state after them."""
    batch, without = present(read, found)
    marked = next((i for i, mark in enumerate(batch.marks) if mark), None)
    if work.alignment and marked is not None:
        was = f"row '{batch.ids[marked]}' is {batch.marks[marked]} already"
        raise read.fail(f"is not native: {was} - map the native vectors, with a map composed of both")
    if type(read) is not type(written):
        # Columns beside a row can be written by a store of the same kind alone.
        batch = replace(batch, other=())
    count, first = state.missing
    state = replace(state, cursor=found.cursor, missing=(count + len(without), first or "".join(without[:1])))
    state = _written(written, work.made(read, batch), state) if len(batch) else state
    state = replace(state, read=state.read.add(batch))
    state.save(written, space)
    return state


def _written(store: Store, made: Batch, state: State) -> State:
    """Write rows, and return the state after them."""
    kept, tally = replace(made, vectors=store.kept(made.vectors)), state.tally
    if state.again:
        differing, old = _differing(kept, store.fetch(SHADOW, made.ids))
        made, kept, tally = made.take(differing), kept.take(differing), tally.less(old)
    if not len(made):
        return state
    store.put(made)
    sample = [*state.sample, *made.ids[:: -(-len(made) // 5)]]
    return replace(state, tally=tally.add(kept), sample=tuple(sample[:: -(-len(sample) // SAMPLE)]))


def _differing(due: Batch, there: Batch) -> tuple[list[int], Batch]:
    """Return which of some rows are not in the shadow or are otherwise there, and these as they are there."""
    where = {one: i for i, one in enumerate(there.ids)}
    differing = [i for i, one in enumerate(due.ids) if one not in where or not _alike(due, i, there, where[one])]
    return differing, there.take([where[one] for i in differing if (one := due.ids[i]) in where])


def _alike(due: Batch, i: int, there: Batch, j: int) -> bool:
    """Whether two rows have one mark and one vector, but for rounding."""
    near = 1e-3 * max(float(np.abs(due.vectors[i]).max()), 1e-30)
    marks = [batch.marks[row] if batch.marks else "" for batch, row in ((due, i), (there, j))]
    return marks[0] == marks[1] and np.allclose(there.vectors[j], due.vectors[i], rtol=0, atol=near)


def _mapped(alignment: Alignment, store: Store, batch: Batch) -> np.ndarray:
    made = np.asarray(alignment.aligner.transform(np.ascontiguousarray(batch.vectors, np.float32)))
    finite = np.isfinite(made).all(1)
    if not finite.all():
        row = batch.ids[int((~finite).argmax())]
        raise store.fail(f"has a vector that '{alignment.id}' maps to no finite one, in row '{row}' - fix it")
    return made


def _check_unchanged(space: Space, read: Store, written: Store, state: State) -> None:
    """Raise `AtlasError` if rows have come or gone meanwhile; the next run then maps those that came."""
    now = read.count(VECTORS)
    if now == state.tally.rows or (now < state.tally.rows and read is written and written.prunes):
        return
    changed = f"changed while it was read: {state.tally.rows} rows were mapped, and there are {now} now"
    if now < state.tally.rows:
        raise read.fail(f"{changed} - drop the shadow, and run it again")
    state.from_the_beginning().save(written, space)
    raise GrownError(str(read.fail(f"{changed} - run it again, which maps those that came")))


def _verify_all(work: Work, written: Store, state: State) -> None:
    """Read the shadow back; raise `AtlasError` unless it holds the rows that were written."""
    tally = Tally()
    for batch in batches(written, SHADOW, size=written.rows):
        tally = tally.add(batch)
        unlike = next((i for i, mark in enumerate(batch.marks) if mark not in (work.mark, "")), None)
        if work.alignment and unlike is not None:
            raise written.fail(
                f"has a row '{batch.ids[unlike]}' in its shadow that is not {work.mark} - drop the shadow"
            )
    if not tally.agrees(state.tally):
        told = f"{tally.rows} rows ({tally.native} native) with digest {tally.digest}"
        wanted = f"{state.tally.rows} ({state.tally.native}) with {state.tally.digest} were written"
        raise written.fail(f"holds {told} in its shadow, but {wanted} - drop the shadow, and run it again")


def _verify(work: Work, read: Store, written: Store, state: State) -> None:
    """Count the rows of the shadow, and make some of them again; raise `AtlasError` if anything is otherwise."""
    advice = "drop the shadow, and run it again"
    rows = written.count(SHADOW)
    if rows != state.tally.rows:
        raise written.fail(f"holds {rows} rows in its shadow, but {state.tally.rows} were written - {advice}")
    before, there = read.fetch(VECTORS, state.sample), written.fetch(SHADOW, state.sample)
    due = work.made(read, before) if len(before) else before
    due, where = replace(due, vectors=written.kept(due.vectors)), {one: i for i, one in enumerate(there.ids)}
    for i, one in enumerate(due.ids):
        if one not in where:
            raise written.fail(f"lacks row '{one}' in its shadow, which was written - {advice}")
        if not _alike(due, i, there, where[one]):
            raise written.fail(f"has another vector in row '{one}' than was mapped - {advice}")


def switch_store(url: str | Path) -> dict[str, Any]:
    """Put the shadow of a store in place of its vectors, which are its shadow then; a second time takes it back.

    Returns:
        The result of `store_status`.

    Raises:
        AtlasError: there is no shadow, or it is not finished.
    """
    with opened(url) as store, store.hold():
        exchanged(store)
        return _status(store)


def exchanged(store: Store) -> None:
    """Put the shadow of a store, which nobody else writes to, in place of its vectors; raise unless it is finished."""
    if not store.dim(SHADOW):
        raise store.fail("has no shadow to switch to - make one with atlas apply MAP URL --out URL")
    state = State.of(store, SHADOW)
    if state is not None and not state.done:
        raise store.fail(f"has a shadow that is not finished: {state.tally.rows} rows - run atlas apply again")
    now, then = store.count(VECTORS), store.count(SHADOW)
    if state is not None and now > then:
        raise store.fail(f"has {now} rows, and {then} in its shadow - run atlas apply again, which maps the others")
    if state is None:
        store.switch()
        return
    if space := store.stamped(SHADOW):
        check_metric(store, space, SHADOW)
    _check_rows(store, state)
    with store.settled() as quiet:
        if quiet:
            _check_rows(store, state)
        store.switch()


def _check_rows(store: Store, state: State) -> None:
    """Raise `AtlasError` if a switch would lose a row or a change of one, or bring one back."""
    same = state.source == str(store.address)
    if not same and not store.prunes:
        return
    came, went, changed = changes(store, state)
    again = "run atlas apply or migrate resume, which maps it"
    if same and came:
        raise store.fail(f"has a row '{came}' that is not mapped - {again}")
    if same and went and not store.prunes:
        told = f"has a row '{went}' in its shadow that was deleted since, and would come back"
        raise store.fail(f"{told} - drop the shadow, and run it again")
    if not same and went:
        raise store.fail(f"has no vector in row '{went}', which would be lost from its shadow - insert the row first")
    if same and changed:
        raise store.fail(f"has a vector that was changed since it was mapped - {again}")
    if same and changed is None:
        told = "has lost rows since it was mapped, so that a changed vector in another row would not be noticed"
        warn(str(store.fail(f"{told} - run atlas apply first, where vectors change")), 4)


def drop_shadow(url: str | Path, *, old: bool = False) -> dict[str, Any]:
    """Remove the shadow of a store.

    Args:
        url: of the store.
        old: remove it though it holds the vectors that were in use before a switch.
    """
    with opened(url) as store, store.hold():
        if store.dim(SHADOW):
            if not old and STATE_KEY not in store.notes(SHADOW):
                raise _not_ours(store)
            store.drop()
        return _status(store)


def store_status(url: str | Path) -> dict[str, Any]:
    """Return the contents of a store: its vectors, and its shadow, each with the number of rows, space and map."""
    with opened(url) as store:
        return _status(store)


def _status(store: Store) -> dict[str, Any]:
    return {"store": str(store.address), **{place: _place(store, place) for place in (VECTORS, SHADOW)}}


def _place(store: Store, place: str) -> dict[str, Any] | None:
    dim = store.dim(place)
    if not dim:
        return None
    state, space = State.of(store, place), store.stamped(place)
    found = {"rows": store.count(place), "dim": dim, "metric": store.metric_of(place)}
    found |= {"space": space.id, "fingerprint": space.fingerprint} if space else {"space": "", "fingerprint": ""}
    return {**found, "map": state.map if state else "", "done": not state or state.done}
