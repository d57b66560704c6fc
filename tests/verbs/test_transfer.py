"""Vectors of a store through a map: beside the old ones, resumed, verified, switched to and taken back."""

from __future__ import annotations

import importlib
import pickle
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import space_of
from storetools import CODE, add, content, make, rows

import atlas
from atlas.artefacts.sources import transfer as module
from atlas.artefacts.sources.stores import opened, present
from atlas.artefacts.sources.tally import Tally
from atlas.artefacts.sources.transfer import State, transfer
from atlas.components.linear import Affine
from atlas.components.store import SHADOW, VECTORS, Address, Batch
from atlas.errors import AtlasError, AtlasWarning, SpaceMismatchError

pytest_plugins = ["plugin_fixtures"]
N, D, K = 400, 6, 9


@pytest.fixture
def lite(plant, monkeypatch):
    """Return the class of the store that is installed as plugin 'lite'; others that may be are left out."""
    monkeypatch.setenv("ATLAS_PLUGINS", "builtin,lite")
    return importlib.import_module(plant("lite", CODE)).Lite


@pytest.fixture
def alignment():
    """An affine map from 6 to 9 dimensions."""
    weight, bias = torch.from_numpy(rows(D, K, 1)), torch.ones(K)
    return atlas.Alignment.of(Affine.of(weight, bias), space_of("old", D), space_of("new", K), "old-new")


@pytest.fixture
def url(lite, tmp_path):
    return make(tmp_path / "a.db", rows(N, D))


def test_vectors_are_mapped_beside_the_old_ones_switched_to_and_taken_back(url, alignment, tmp_path):
    before = content(tmp_path / "a.db")
    made = atlas.apply(alignment, url, out=url)
    assert (len(made), made.space, made.map) == (N, alignment.target, "old-new")
    assert {i: v.tobytes() for i, (v, _) in content(tmp_path / "a.db").items()} == {
        i: v.tobytes() for i, (v, _) in before.items()
    }
    status = atlas.switch_store(url)
    assert status["vectors"]["space"] == "new" and status["vectors"]["map"] == "old-new"
    after = content(tmp_path / "a.db")
    due = alignment(np.stack([v for v, _ in before.values()]))
    np.testing.assert_allclose(np.stack([after[i][0] for i in before]), due, rtol=0, atol=1e-6)
    assert {mark[:17] for _, mark in after.values()} == {"mapped by old-new"}
    atlas.switch_store(url)
    assert {i: v.tobytes() for i, (v, _) in content(tmp_path / "a.db").items()} == {
        i: v.tobytes() for i, (v, _) in before.items()
    }
    atlas.drop_shadow(url)
    assert atlas.store_status(url)["shadow"] is None


@pytest.fixture
def by_cosine(alignment):
    """The same map, to a space whose vectors are compared by cosine."""
    return replace(alignment, card=replace(alignment.card, target=replace(alignment.target, metric="cosine")))


def test_a_store_that_is_searched_by_another_metric_is_left_as_it_was(url, by_cosine, lite, monkeypatch):
    words = "is searched by dot, and vectors of 'new' are compared by cosine, so that other rows would be found - index"
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "dot")
    with pytest.raises(SpaceMismatchError, match=words):
        atlas.apply(by_cosine, url, out=url)
    assert atlas.store_status(url)["shadow"] is None
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "cosine")
    atlas.apply(by_cosine, url, out=url)
    # An index that is made meanwhile.
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "dot" if place == SHADOW else "cosine")
    with pytest.raises(SpaceMismatchError, match=words):
        atlas.switch_store(url)
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "cosine")
    assert atlas.switch_store(url)["vectors"]["metric"] == "cosine"
    # What was in use can always be taken back.
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "dot")
    assert atlas.switch_store(url)["vectors"]["dim"] == D


def test_a_metric_that_a_store_does_not_say_is_not_compared_but_named(url, by_cosine, alignment, lite, monkeypatch):
    with pytest.warns(
        AtlasWarning, match="does not say by which metric it is searched - search by cosine, as for 'new'"
    ):
        atlas.apply(by_cosine, url, out=url)
    atlas.drop_shadow(url)
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "l2")
    assert len(atlas.apply(alignment, url, out=url)) == N
    assert atlas.switch_store(url)["vectors"]["metric"] == "l2"


def test_another_store_can_be_written_to(url, alignment, lite, tmp_path):
    other = make(tmp_path / "b.db", rows(N, K, 5))
    assert len(atlas.apply(alignment, url, out=other)) == N
    assert atlas.store_status(url)["shadow"] is None
    assert atlas.store_status(other)["shadow"]["rows"] == N


def test_what_stands_beside_a_row_goes_to_a_store_of_its_kind_alone(url, alignment, lite, monkeypatch, tmp_path):
    folder, put, beside = tmp_path / "shards", lite.put, []
    monkeypatch.setattr(lite, "put", lambda self, batch: (beside.extend(batch.other), put(self, batch)))
    monkeypatch.setattr(lite, "_rows", lambda *given, rows=lite._rows: replace(found := rows(*given), other=found.ids))
    folder.mkdir()
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"id": ["a", "b"], "vector": rows(2, D).tolist()}), folder / "0.parquet")
    assert len(atlas.apply(alignment, f"parquet://{folder}", out=url)) == 2
    assert not beside
    atlas.drop_shadow(url)
    assert len(atlas.apply(alignment, url, out=url)) == len(beside) == N


def test_a_run_that_was_cut_off_goes_on_where_it_was(url, alignment, lite, monkeypatch, tmp_path):
    put, sizes = lite.put, []

    def failing(self, batch):
        if len(sizes) == 3:
            raise OSError("the server went away")
        sizes.append(len(batch))
        put(self, batch)

    monkeypatch.setattr(lite, "put", failing)
    with pytest.raises(OSError, match="went away"):
        transfer(alignment, url, url, size=50)
    assert atlas.store_status(url)["shadow"]["rows"] == 150
    with pytest.raises(AtlasError, match="has a shadow that is not finished: 150 rows - run atlas apply again"):
        atlas.switch_store(url)
    monkeypatch.setattr(lite, "put", lambda self, batch: (sizes.append(len(batch)), put(self, batch)))
    made = transfer(alignment, url, url, size=50)
    assert sizes == [50] * 8
    straight = make(tmp_path / "b.db", rows(N, D))
    assert made.digest == transfer(alignment, straight, straight).digest


def test_what_a_driver_raises_becomes_a_sentence_without_the_password(lite, tmp_path):
    class Down(lite):
        """A store that is down."""

        def count(self, place):
            raise ConnectionError("cannot reach\nserver of ann:s3c ret@host")

    store = Down.at(Address.parse("lite://ann:s3c%20ret@host:5/db"))
    with pytest.raises(AtlasError) as raised:
        store.count(VECTORS)
    assert str(raised.value) == "Store 'lite://ann@host:5/db' failed: ConnectionError: cannot reach"
    assert "s3c" not in f"{store!r}{store.address!r}{store.fail('got s3c ret')}"


def test_a_second_map_is_refused_while_a_shadow_is_there(url, alignment):
    atlas.apply(alignment, url, out=url)
    other = alignment.with_card(id="other", target=space_of("third", K))
    other = replace(other, aligner=Affine.of(torch.ones(D, K), torch.zeros(K)))
    with pytest.raises(
        AtlasError, match=r"has a shadow of alignment 'old-new' from 'lite://.*' - switch to it, or drop"
    ):
        atlas.apply(other, url, out=url)
    assert len(atlas.apply(alignment, url, out=url)) == N


def test_nothing_is_mapped_twice(url, alignment, tmp_path):
    atlas.apply(alignment, url, out=url)
    atlas.switch_store(url)
    back = atlas.Alignment.of(Affine.of(torch.ones(K, K), torch.zeros(K)), space_of("new", K), space_of("x", K))
    with pytest.raises(AtlasError, match="has the vectors from before a switch in its shadow - switch back first"):
        atlas.apply(back, url, out=url)
    with pytest.raises(AtlasError, match="switch back first, or delete them for good with --old"):
        atlas.drop_shadow(url)
    atlas.drop_shadow(url, old=True)
    with pytest.raises(SpaceMismatchError, match=r"Store 'lite://.*': Alignment 'old-new' maps from 'old'"):
        atlas.apply(alignment, url, out=url)
    with pytest.raises(AtlasError, match=r"is not native: row 'item-00000' is mapped by old-new .* already"):
        atlas.apply(back, url, out=url)


@pytest.mark.parametrize(("n", "dim"), [(3, K), (0, K + 1)])
def test_a_shadow_that_is_there_already_stays(url, alignment, tmp_path, n, dim):
    with opened(url) as store:
        store.begin(dim)
        if n:
            store.put(Batch([f"mine-{i}" for i in range(n)], rows(n, dim), "", [""] * n))
    for work in (lambda: atlas.apply(alignment, url, out=url), lambda: atlas.drop_shadow(url)):
        with pytest.raises(AtlasError, match="has a shadow that Atlas did not make - move it"):
            work()
    assert atlas.store_status(url)["shadow"]["rows"] == n
    assert atlas.drop_shadow(url, old=True)["shadow"] is None


@pytest.mark.parametrize(("ids", "told"), [(["a", "a"], "the id 'a' in several rows"), (["a", None], "a row without")])
def test_ids_that_are_missing_or_repeated_are_told(url, ids, told):
    with opened(url) as store, pytest.raises(AtlasError, match=f"Store 'lite://.*' has {told}"):
        present(store, Batch(ids, rows(2, D)))


def test_rows_without_a_vector_are_left_out_with_a_warning(lite, alignment, tmp_path):
    X = rows(20, D)
    X[[4, 9]] = np.nan
    url = make(tmp_path / "a.db", X)
    with pytest.warns(AtlasWarning, match="rows without a vector, which are left out: 2, the first is 'item-00004'"):
        assert len(atlas.apply(alignment, url, out=url)) == 18
    with pytest.warns(AtlasWarning, match="the first is 'item-00004'"):
        assert len(atlas.read_vectors(url)) == 18


def test_a_vector_that_is_not_finite_is_named(lite, alignment, tmp_path):
    X = rows(20, D)
    X[7, 2] = np.inf
    url = make(tmp_path / "a.db", X)
    with pytest.raises(AtlasError, match="holds a vector that is not finite, in row 'item-00007' - fix it"):
        atlas.apply(alignment, url, out=url)


def test_rows_that_come_and_go_meanwhile_are_noticed(url, alignment, lite, monkeypatch, tmp_path):
    put = lite.put

    def growing(self, batch):
        with sqlite3.connect(tmp_path / "a.db") as database:
            if len(batch) == 50 and batch.ids[0] == "item-00050":
                add(database, rows(2, D, 3), ["early", "a-late"])
        database.close()
        put(self, batch)

    monkeypatch.setattr(lite, "put", growing)
    with pytest.raises(AtlasError, match="changed while it was read: 400 rows were mapped, and there are 402 now"):
        transfer(alignment, url, url, size=50)
    made = transfer(alignment, url, url, size=50)
    assert len(made) == 402
    with opened(url) as store:
        due = alignment(rows(2, D, 3))
        np.testing.assert_allclose(store.fetch(SHADOW, ["early"]).vectors, due[:1], atol=1e-6)
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("DELETE FROM vectors WHERE id = 'early'")
    database.close()
    with pytest.raises(AtlasError, match="402 rows were mapped, and there are 401 now - drop the shadow"):
        transfer(alignment, url, url, size=50)


def test_a_row_that_changes_in_the_shadow_is_noticed(url, alignment, lite, monkeypatch):
    put = lite.put
    monkeypatch.setattr(lite, "put", lambda self, batch: put(self, replace(batch, vectors=batch.vectors[::-1])))
    with pytest.raises(AtlasError, match=r"has another vector in row 'item-00000' than was mapped|holds 400 rows"):
        atlas.apply(alignment, url, out=url)
    with pytest.raises(AtlasError, match="is not finished"):
        atlas.switch_store(url)


def test_a_row_that_is_lost_is_noticed(url, alignment, lite, monkeypatch):
    put = lite.put
    monkeypatch.setattr(lite, "put", lambda self, batch: put(self, batch.take(range(1, len(batch)))))
    with pytest.raises(AtlasError, match=r"holds 399 rows in its shadow, but 400 were written"):
        atlas.apply(alignment, url, out=url)


def test_every_row_is_read_back_where_that_is_asked_for(url, alignment, lite, monkeypatch):
    # A row that is in no sample.
    def put(self, batch, own=lite.put):
        vectors = batch.vectors.copy()
        vectors[list(batch.ids).index("item-00001")] += 1
        own(self, replace(batch, vectors=vectors))

    monkeypatch.setattr(lite, "put", put)
    assert len(atlas.apply(alignment, url, out=url)) == 400
    with pytest.raises(AtlasError, match=r"holds 400 rows .* in its shadow, but 400 .* were written"):
        atlas.apply(alignment, url, out=url, read_back=True)
    with pytest.raises(AtlasError, match="Rows are read back from a store alone"):
        atlas.apply(alignment, rows(2, D), read_back=True)


def test_rows_that_come_after_are_mapped_by_another_run_before_a_switch(url, alignment, tmp_path):
    atlas.apply(alignment, url, out=url)
    with sqlite3.connect(tmp_path / "a.db") as database:
        add(database, rows(1, D, 3), ["zzz"])
    database.close()
    with pytest.raises(AtlasError, match="has 401 rows, and 400 in its shadow - run atlas apply again"):
        atlas.switch_store(url)
    assert len(atlas.apply(alignment, url, out=url)) == 401
    atlas.switch_store(url)


def test_a_switch_loses_no_row_and_brings_none_back(url, alignment, tmp_path):
    def change(statement):
        with sqlite3.connect(tmp_path / "a.db") as database:
            database.execute(statement)
            if "item-00007" in statement:
                add(database, rows(1, D, 3), ["zzz"])
        database.close()

    atlas.apply(alignment, url, out=url)
    # As many rows as before.
    change("DELETE FROM vectors WHERE id = 'item-00007'")
    with pytest.raises(AtlasError, match="has a row 'zzz' that is not mapped - run atlas apply or migrate resume"):
        atlas.switch_store(url)
    with pytest.raises(AtlasError, match="401 rows were mapped, and there are 400 now - drop the shadow"):
        atlas.apply(alignment, url, out=url)
    atlas.drop_shadow(url)
    assert len(atlas.apply(alignment, url, out=url)) == 400
    change("DELETE FROM vectors WHERE id = 'item-00009'")
    with pytest.raises(AtlasError, match="has a row 'item-00009' in its shadow that was deleted since"):
        atlas.switch_store(url)
    atlas.drop_shadow(url)
    atlas.apply(alignment, url, out=url)
    assert atlas.switch_store(url)["vectors"]["rows"] == 399


def test_a_vector_that_was_changed_since_is_mapped_by_another_run_before_a_switch(
    url, alignment, lite, monkeypatch, tmp_path
):
    def change(seed, ids):
        with sqlite3.connect(tmp_path / "a.db") as database:
            database.executemany("DELETE FROM vectors WHERE id = ?", [[one] for one in ids if one != "zzz"])
            add(database, rows(len(ids), D, seed), ids)
        database.close()

    put, written = lite.put, []
    atlas.apply(alignment, url, out=url)
    monkeypatch.setattr(lite, "put", lambda self, batch: (written.extend(batch.ids), put(self, batch)))
    for seed, ids in ((3, ["item-00007"]), (4, ["item-00008", "zzz"])):
        change(seed, ids)
        with pytest.raises(AtlasError, match="run atlas apply"):
            atlas.switch_store(url)
        made = atlas.apply(alignment, url, out=url)
        assert (written, len(made)) == (ids, N + len(ids) - 1)
        written.clear()
    assert len(atlas.apply(alignment, url, out=url, read_back=True)) == N + 1
    assert not written
    atlas.switch_store(url)
    np.testing.assert_allclose(content(tmp_path / "a.db")["zzz"][0], alignment(rows(2, D, 4))[1], atol=1e-5)
    atlas.switch_store(url)
    change(5, ["item-00009"])
    with pytest.raises(AtlasError, match="has a vector that was changed since it was mapped - run atlas apply or mig"):
        atlas.switch_store(url)


def test_two_runs_into_one_store_are_refused(url, alignment):
    with opened(url) as store, store.hold(), pytest.raises(AtlasError, match="is being written to by another run"):
        atlas.apply(alignment, url, out=url)


def test_the_wrong_dimension_names_the_store(lite, alignment, tmp_path):
    url = make(tmp_path / "a.db", rows(10, D + 1))
    with pytest.raises(AtlasError, match=r"Store 'lite://.*maps from 'old'.*dimension is 6 there, 7 here"):
        atlas.apply(alignment, url, out=url)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            "qdrant:///x/y",
            "Store 'qdrant' comes with plugin 'latent-atlas-qdrant' - run: atlas plugins install latent-atlas-qdrant",
        ),
        ("lite:///nowhere.db", "Store 'lite:///nowhere.db' is not there"),
        ("lite:///a?tabel=x", "Unknown option 'tabel' of store 'lite' - did you mean 'table'"),
        ("lite://host:port/a", "The URL of a store 'lite://...' cannot be read: its port must be a number"),
        ("lite:///folder#1/a.db", "The URL of a store 'lite://...' cannot be read: its port must be a number, and in"),
    ],
)
def test_a_wrong_url_is_told(lite, given, sentence):
    with pytest.raises(AtlasError) as raised:
        atlas.store_status(given)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("between", ["#", "/", "?", "[", "]", "\u2100"])
@pytest.mark.parametrize("secret", ["s3cret", "1234"])
def test_a_password_with_a_special_character_is_not_printed(lite, between, secret):
    with pytest.raises(AtlasError) as raised:
        atlas.read_vectors(f"lite://ann:{secret}{between}{secret}@host:5/db")
    assert secret not in str(raised.value)


def test_a_store_that_a_program_leaves_open_ends_in_silence(lite, monkeypatch):
    store = lite()
    monkeypatch.setattr("atlas.components.store.contextlib", None)
    monkeypatch.setattr(lite, "close", lambda self: 1 / 0)
    store.__del__()


def test_only_one_store_goes_through_one_alignment(url, alignment):
    with pytest.raises(AtlasError, match="A store is filled from a store"):
        atlas.apply(alignment, atlas.Vectors.of(rows(3, D)), out=url)


def test_vectors_in_a_store_are_read_for_other_verbs(url, lite, alignment, tmp_path):
    target = make(tmp_path / "b.db", rows(N, D) @ rows(D, K, 1) + 1)
    fitted = atlas.fit("linear", source=url, target=target)
    np.testing.assert_allclose(fitted(rows(5, D)), alignment(rows(5, D)), atol=1e-4)
    assert fitted.source.id == "a-db" and fitted.n_pairs == N


def test_vectors_of_a_store_lie_in_a_file_and_can_be_pickled(url):
    read = atlas.read_vectors(url)
    assert read.rows._mapping is not None
    assert torch.equal(pickle.loads(pickle.dumps(read)).data, torch.from_numpy(rows(N, D)))
    assert torch.equal(read.take(torch.tensor([7, 3])).data, torch.from_numpy(rows(N, D)[[7, 3]]))


def test_a_store_that_changes_while_it_is_read_is_told(url, lite, monkeypatch):
    monkeypatch.setattr(lite, "count", lambda self, place: 399)
    with pytest.raises(AtlasError, match="it had 399 rows, and 400 were read - read it again"):
        atlas.read_vectors(url)


def test_a_tally_knows_its_rows_in_any_order_and_no_others():
    from atlas.components.store import Batch

    X = rows(50, 4)
    ids = [f"{i}" for i in range(50)]
    whole = Tally().add(Batch(ids, X))
    parts = Tally().add(Batch(ids[20:], X[20:])).add(Batch(ids[:20], X[:20]))
    assert whole.agrees(parts) and whole.digest == parts.digest
    assert whole.agrees(Tally().add(Batch(ids, X.astype("float16").astype("float32"))))
    assert not whole.agrees(Tally().add(Batch(ids[::-1], X)))
    assert not whole.agrees(Tally().add(Batch([*ids[:-1], "x"], X)))
    assert not whole.agrees(Tally().add(Batch(ids, X * 1.01)))
    assert whole.less(Batch(ids[20:], X[20:])).agrees(Tally().add(Batch(ids[:20], X[:20])))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    again = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    assert whole.same(parts) and Tally().add(Batch(ids, unit)).same(Tally().add(Batch(ids, again)))
    X[7, 0] += 1e-3
    assert not whole.same(Tally().add(Batch(ids, X)))


def test_damaged_notes_are_told(url, alignment):
    atlas.apply(alignment, url, out=url)
    with opened(url) as store:
        store.note(SHADOW, {module.STATE_KEY: '{"map": 1'})
        with pytest.raises(AtlasError, match="has a shadow whose notes are damaged - drop it"):
            State.of(store, SHADOW)
    assert atlas.drop_shadow(url)["shadow"] is None
