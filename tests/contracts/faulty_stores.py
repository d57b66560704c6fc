"""Stores with one fault each, which `atlas.testing` is to find; `Honest` has none."""

from __future__ import annotations

import itertools
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import storetools

from atlas.components.store import SHADOW, VECTORS, Address

_module = type(sys)("atlas_lite")
sys.modules.setdefault("atlas_lite", _module)
exec(storetools.CODE, vars(_module))
_count = itertools.count()


@dataclass
class Honest(_module.Lite):
    """Keeps all promises."""


def maker(cls):
    """Return the function that makes new stores of a class."""

    def make(ids, X):
        path = Path(tempfile.mkdtemp()) / f"{next(_count)}.db"
        storetools.make(path, X, list(ids))
        return cls.at(Address.parse(f"lite://{path}"))

    return make


@dataclass
class ReadsTheFirstAgain(Honest):
    """Reads from a row on, not after it."""

    def read(self, place, after, size):
        return self._rows(place, "id >= ? ORDER BY id LIMIT ?", [after, size])


@dataclass
class OrderOfTheBatch(Honest):
    """Returns the rows of a batch backwards."""

    def read(self, place, after, size):
        batch = super().read(place, after, size)
        return batch.take(range(len(batch) - 1, -1, -1))


@dataclass
class MakesUpWhatIsMissing(Honest):
    """Fetches a row of zeros for an id that is not there."""

    def fetch(self, place, ids):
        batch = super().fetch(place, ids)
        missing = [one for one in ids if one not in batch.ids]
        return batch if not missing else replace(batch, ids=[*batch.ids[:-1], *missing])


@dataclass
class WritesToTheVectors(Honest):
    """Writes to the vectors what is for the shadow."""

    def put(self, batch):
        super().put(batch)
        with self._open() as database:
            database.execute(f"UPDATE {self.table} SET mark = 'seen'")


@dataclass
class KeepsTheFirst(Honest):
    """Leaves a row that is in the shadow as it is."""

    def put(self, batch):
        there = set(super().fetch(SHADOW, batch.ids).ids)
        super().put(batch.take([i for i, one in enumerate(batch.ids) if one not in there]))


@dataclass
class NotesInMemory(Honest):
    """Forgets its notes when it is let go of."""

    def note(self, place, notes):
        self.noted = {**getattr(self, "noted", {}), place: dict(notes)}

    def notes(self, place):
        return getattr(self, "noted", {}).get(place, {})


@dataclass
class NotesStay(Honest):
    """Leaves the notes of a place where they are when it is switched."""

    def switch(self):
        notes = [self.notes(place) for place in (VECTORS, SHADOW)]
        super().switch()
        for place, found in zip((VECTORS, SHADOW), notes, strict=True):
            self.note(place, found)


@dataclass
class OneWay(Honest):
    """Copies the shadow over the vectors."""

    def switch(self):
        with self._open() as database:
            database.execute(f"DELETE FROM {self.table}")
            database.execute(f"INSERT INTO {self.table} SELECT * FROM {self.table}_shadow")


@dataclass
class DropsTheNotesAlone(Honest):
    """Leaves the rows of a shadow that is dropped."""

    def drop(self):
        self.note(SHADOW, {})


@dataclass
class CountsAll(Honest):
    """Counts one row too many."""

    def count(self, place):
        return super().count(place) + 1


@dataclass
class NoMarks(Honest):
    """Forgets who made a row."""

    def put(self, batch):
        super().put(replace(batch, marks=[""] * len(batch)))


@dataclass
class NamesAnotherMetric(Honest):
    """Calls its metric by the name of its database."""

    def metric_of(self, place):
        return "euclidean" if self.dim(place) else ""


@dataclass
class ForgetsTheMetricOfTheShadow(Honest):
    """Says of the vectors alone how they are searched."""

    def metric_of(self, place):
        return "cosine" if place == VECTORS else ""


@dataclass
class ShadowOfAnotherMetric(Honest):
    """Makes shadows that are searched otherwise."""

    def metric_of(self, place):
        return {6: "cosine", 9: "dot", 0: ""}[self.dim(place)]


@dataclass
class MetricOfTheDimension(Honest):
    """Is searched otherwise once it is switched."""

    def metric_of(self, place):
        return {6: "cosine", 9: "dot"}[self.dim(VECTORS)] if self.dim(place) else ""


@dataclass
class NamesAMetricOfNothing(Honest):
    """Is searched by one metric, whether there is a shadow or not."""

    def metric_of(self, place):
        return "cosine"
