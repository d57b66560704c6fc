"""How far a transfer into the shadow of a store is, and how its source has changed since."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from atlas.artefacts.sources.stores import batches, present
from atlas.artefacts.sources.tally import Tally
from atlas.cards.space import SPACE_KEY, Space
from atlas.components.store import SHADOW, VECTORS, Store

# Under which the shadow of a store keeps how far it is.
STATE_KEY = "latent_atlas.transfer"


@dataclass(frozen=True)
class State:
    """How far a transfer is, as the shadow keeps it.

    Attributes:
        map: id of the alignment.
        digest: of the work.
        source: where the vectors come from.
        cursor: the place to read on from.
        tally: of the rows that were written.
        read: of the same rows as they were read.
        missing: how many rows had no vector, and the id of the first.
        again: whether only rows that differ from those in the shadow are written, after the source has changed.
        sample: ids of some of the rows that were written.
        done: whether all is written and verified.
    """

    map: str
    digest: str
    source: str
    cursor: str = ""
    tally: Tally = Tally()
    read: Tally = Tally()
    missing: tuple[int, str] = (0, "")
    again: bool = False
    sample: tuple[str, ...] = ()
    done: bool = False

    @classmethod
    def of(cls, store: Store, place: str) -> State | None:
        """Return the state that is noted with a place, None if none is."""
        text = store.notes(place).get(STATE_KEY)
        try:
            given = json.loads(text) if text else None
            kept = {name: tuple(value) for name, value in (given or {}).items() if isinstance(value, list)}
            tallies = {name: Tally(**given[name]) for name in ("tally", "read") if name in given} if given else {}
            return given and cls(**{**given, **kept, **tallies})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise store.fail("has a shadow whose notes are damaged - drop it, and begin anew") from None

    def save(self, store: Store, space: Space) -> None:
        """Note the state with the shadow, and the space of its vectors."""
        store.note(SHADOW, {SPACE_KEY: space.to_json(), STATE_KEY: json.dumps(asdict(self))})

    def from_the_beginning(self) -> State:
        """Return the state in which all rows are read again, and those that differ are written."""
        return replace(self, cursor="", read=Tally(), missing=(0, ""), again=True, done=False)


class Changes(NamedTuple):
    """The differences between a store and the shadow that was made of it.

    Attributes:
        came: id of a row that the shadow lacks, '' for none.
        went: id of a row that only the shadow has, '' for none.
        changed: whether some vector is another one than was mapped; None: unknown, since the rows are others.
    """

    came: str
    went: str
    changed: bool | None


UNCHANGED = Changes("", "", False)


def changes(store: Store, state: State) -> Changes:
    """Return the changes to a store since its shadow was filled from it: all of its rows are read."""
    now = Tally()
    for batch in batches(store, VECTORS, size=store.rows):
        now = now.add(present(store, batch)[0])
    came, went = "", ""
    if (now.rows, now.ids) != (state.tally.rows, state.tally.ids):
        came, went = _lacking(store, VECTORS, SHADOW), _lacking(store, SHADOW, VECTORS)
    alike = (now.rows, now.ids) == (state.read.rows, state.read.ids)
    return Changes(came, went, not now.same(state.read) if alike else None)


def _lacking(store: Store, place: str, other: str) -> str:
    """Return the id of a row of a place that has no vector in the other one, '' if there is none."""
    for batch in batches(store, place, size=store.rows):
        ids = present(store, batch)[0].ids
        there = {*present(store, store.fetch(other, ids))[0].ids}
        if lacking := next((one for one in ids if one not in there), ""):
            return lacking
    return ""
