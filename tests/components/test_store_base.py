"""Addresses and rows of stores, and the lock that keeps two runs apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import space_of

from atlas.components.store import VECTORS, Address, Batch, Store
from atlas.errors import AtlasError


@dataclass
class Notes(Store):
    """A store of notes alone."""

    name = "notes-alone"

    def notes(self, place):
        return vars(self).get("_notes", {})

    def note(self, place, notes):
        self._notes = dict(notes)

    def count(self, place):
        raise {"quiet": ValueError(), "loud": MemoryError("of memory"), "own": AtlasError("own")}[place]


def test_a_url_is_read_in_parts():
    url = "qd://ann%20b:s%2Fx@Host.de:5/a%20b/c?x=1&y=&x=%26"
    parts = Address("qd", "ann b", "s/x", "Host.de", 5, "/a b/c", (("x", "1"), ("y", ""), ("x", "&")))
    assert Address.parse(url) == parts
    assert str(parts) == "qd://ann b@Host.de:5/a b/c" and "s/x" not in repr(parts)
    assert parts.hidden("s/x: as/xb") == "***: a***b" and Address().hidden("as is") == "as is"
    assert Address.parse("qd://[::1]:7/a").host == "::1"
    assert (Address.parse("qd://h/a").port, str(Address.parse("qd://h/a"))) == (None, "qd://h/a")
    # A folder in which a socket lies, in its own letters.
    assert Address.parse("qd://%2Ftmp%2FX/a").host == "/tmp/X"


@pytest.mark.parametrize("url", ["qd://h:port/a", "qd://h/a#b", "qd://ann:12/3@host", "qd://[::1/a"])
def test_a_url_that_cannot_be_read_shows_no_password(url):
    with pytest.raises(
        AtlasError, match=r"^The URL of a store 'qd://\.\.\.' cannot be read: its port must be a number"
    ):
        Address.parse(url)


def test_a_url_without_a_host_is_a_file(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    files = {"p:///a/b": "/a/b", "p://./a": "a", "p://../a": "../a", "p://~/a": "/home/ann/a"}
    assert {url: Address.parse(url).file for url in files} == {url: Path(file) for url, file in files.items()}
    assert Address.parse("p://host/a").file is None


def test_rows_are_taken_with_all_that_goes_with_them():
    X = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    batch = Batch(["a", "b", "c"], X, "9", ["", "m", ""], other=[1, 2, 3])
    taken = batch.take([2, 0])
    assert (len(batch), len(taken), taken.ids, taken.marks, taken.other) == (3, 2, ["c", "a"], ["", ""], [3, 1])
    assert (taken.cursor, taken.labels) == ("9", ()) and np.array_equal(taken.vectors, X[[2, 0]])
    assert batch.take([1], cursor="x", labels=["u"]).cursor == "x" and batch.take([1], labels=["u"]).labels == ["u"]


def test_one_run_writes_at_a_time_and_the_next_after_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, same, other = (Notes.at(Address.parse(f"notes-alone://{at}")) for at in (f"{tmp_path}/x", "./x", "./y"))
    with one.hold():
        with other.hold():
            pass
        with (
            pytest.raises(AtlasError, match=r"^Store 'notes-alone://./x' is being written to by another run"),
            same.hold(),
        ):
            pass
    with same.hold():
        pass


def test_a_driver_that_says_nothing_is_named_and_other_errors_stay():
    store = Notes.at(Address.parse("notes-alone:///x"))
    with pytest.raises(AtlasError, match=r"^Store 'notes-alone:///x' failed: ValueError$"):
        store.count("quiet")
    with pytest.raises(MemoryError):
        store.count("loud")
    with pytest.raises(AtlasError, match=r"^own$"):
        store.count("own")


def test_a_space_is_stamped_beside_other_notes():
    store, space = Notes.at(Address.parse("notes-alone:///x")), space_of("a", 3)
    assert store.stamped() is None
    store.note(VECTORS, {"other": "note"})
    store.stamp(space)
    assert store.stamped() == space and store.notes(VECTORS)["other"] == "note"
