"""The store keeps the promises of stores on a real PostgreSQL, and changes nothing of a table but what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psycopg
import pytest
from conftest import text
from migrationtools import OLD, check_migration, check_that_it_goes_on
from storetools import refuses_another_metric, rows

import atlas
from atlas.authors import SHADOW, VECTORS, Address
from atlas.testing import check_store
from atlas_pgvector import Pgvector

N = 300


_stores = []


def store_at(url):
    _stores.append(Pgvector.at(Address.parse(url)))
    return _stores[-1]


@pytest.fixture(autouse=True)
def closed():
    yield
    while _stores:
        _stores.pop().close()


def test_it_keeps_the_promises_of_stores(fill):
    check_store(lambda ids, X: store_at(fill(X, list(ids))))


@pytest.mark.parametrize("key", ["bigint", "uuid"])
def test_it_keeps_them_with_ids_of_other_types(fill, key):
    ids = [str(7 * i - 20) if key == "bigint" else f"00000000-0000-4000-8000-{7 * i:012}" for i in range(40)]
    check_store(lambda given, X: store_at(fill(X, list(given), key=key)), ids)


def test_it_keeps_them_with_half_precision_in_another_schema_and_a_name_with_a_dot(fill, database):
    database.execute('CREATE SCHEMA IF NOT EXISTS "Other"')
    names = iter(range(1000))

    def make(ids, X):
        name = f'"half.{next(names)}"'
        url = fill(X, list(ids), f'"Other".{name}', kind="halfvec")
        return store_at(url.replace('"Other"', "Other"))

    check_store(make)


def test_vectors_are_mapped_switched_to_and_taken_back(fill, alignment, content, database):
    X = rows(N, 6)
    url = fill(X)
    before = content(url)
    made = atlas.apply(alignment, url, out=url)
    assert len(made) == N and content(url) == before
    atlas.switch_store(url)
    found = content(url)
    for one, vector in zip(before, alignment(X), strict=True):
        np.testing.assert_allclose(np.fromstring(found[one][1:-1], sep=","), vector, rtol=0, atol=1e-5)
    table = url.rpartition("/")[2]
    assert dict(database.execute(f"SELECT id, title FROM {table}").fetchall())["item-00007"] == "title of item-00007"
    assert content(url, "embedding__shadow") == before
    atlas.switch_store(url)
    assert content(url) == before
    atlas.drop_shadow(url)
    columns = database.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
    assert {name for (name,) in columns} == {"id", "embedding", "title"}
    assert store_at(url).dim(SHADOW) == 0


def test_indexes_and_what_is_not_null_go_with_the_name(fill, alignment, database):
    url = fill(rows(N, 6), more=", other int")
    table = url.rpartition("/")[2]
    database.execute(f"ALTER TABLE {table} ALTER COLUMN embedding SET NOT NULL")
    database.execute(f"CREATE INDEX ON {table} USING hnsw (embedding vector_cosine_ops) WITH (m = 8)")
    atlas.apply(alignment, url, out=url)
    atlas.switch_store(url)
    found = database.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [table]).fetchall()
    defined = [text for (text,) in found if "hnsw (embedding " in text]
    assert len(defined) == 1 and "vector_cosine_ops" in defined[0] and "m='8'" in defined[0]
    database.execute("SET enable_seqscan = off")
    query = f"EXPLAIN SELECT id FROM {table} ORDER BY embedding <=> %s LIMIT 5"
    assert "Index Scan" in str(database.execute(query, [text(rows(1, 9)[0])]).fetchall())
    with pytest.raises(psycopg.errors.NotNullViolation):
        database.execute(f"INSERT INTO {table} (id) VALUES ('x')")
    database.execute(f"INSERT INTO {table} (id, embedding) VALUES ('x', %s)", [text(rows(1, 9)[0])])
    atlas.switch_store(url)
    assert store_at(url).count(VECTORS) == N


def test_indexes_with_long_names_are_made_and_others_are_named(fill, alignment, database):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    for name, kind in (("a" * 60, "vector_l2_ops"), ("a" * 59 + "b", "vector_cosine_ops")):
        database.execute(f"CREATE INDEX {name} ON {table} USING hnsw (embedding {kind})")
    database.execute(f"CREATE INDEX odd ON {table} USING hnsw ((embedding::halfvec(6)) halfvec_l2_ops)")
    atlas.apply(alignment, url, out=url)
    with pytest.warns(atlas.AtlasWarning, match="has an index 'odd' of more than the column 'embedding'"):
        atlas.switch_store(url)
    found = database.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [table]).fetchall()
    assert sorted(text.split()[-1] for (text,) in found if "(embedding " in text) == [
        "vector_cosine_ops)",
        "vector_l2_ops)",
    ]


@pytest.mark.parametrize(("kind", "metric"), [("cosine", "cosine"), ("ip", "dot"), ("l2", "l2"), ("l1", "l1")])
def test_a_table_whose_index_is_of_another_metric_is_left_as_it_was(fill, by_metric, database, kind, metric):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    database.execute(f"CREATE INDEX ON {table} USING hnsw (embedding vector_{kind}_ops)")
    refuses_another_metric(url, by_metric, metric)
    status = atlas.switch_store(url)
    assert (status["vectors"]["metric"], status["shadow"]["metric"]) == (metric, metric)


def test_an_index_of_another_metric_that_is_made_before_a_switch_is_noticed(fill, by_metric, database):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    with pytest.warns(atlas.AtlasWarning, match="does not say by which metric it is searched - search by cosine"):
        atlas.apply(by_metric("cosine"), url, out=url)
    database.execute(f"CREATE INDEX by_l2 ON {table} USING hnsw (embedding vector_l2_ops)")
    with pytest.raises(atlas.AtlasError, match="is searched by l2, and vectors of 'new' are compared by cosine"):
        atlas.switch_store(url)
    database.execute(f"CREATE INDEX ON {table} USING hnsw (embedding vector_cosine_ops)")
    # Where there are several, each query chooses.
    assert atlas.switch_store(url)["vectors"]["metric"] == ""


def test_it_keeps_the_promises_with_an_index(fill, database):
    def make(ids, X):
        url = fill(X, list(ids), kind="halfvec")
        database.execute(f"CREATE INDEX ON {url.rpartition('/')[2]} USING hnsw (embedding halfvec_cosine_ops)")
        return store_at(url)

    check_store(make)


def test_a_comment_of_others_stays(fill, alignment, database):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    database.execute(f"COMMENT ON COLUMN {table}.embedding IS 'made by\nann'")
    store = store_at(url)
    store.stamp(alignment.source)
    said = (
        "SELECT col_description(%s::regclass, attnum) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s"
    )
    assert database.execute(said, [table, table, "embedding"]).fetchone()[0].startswith("made by\nann\nlatent_atlas: {")
    assert store.stamped() == alignment.source
    store.note(VECTORS, {})
    assert database.execute(said, [table, table, "embedding"]).fetchone()[0] == "made by\nann"


def test_a_table_or_column_of_others_stays(fill, alignment, database):
    url = fill(rows(3, 6))
    table = url.rpartition("/")[2]
    database.execute(f"CREATE TABLE {table}__embedding__shadow (x int)")
    for work in (lambda: atlas.apply(alignment, url, out=url), lambda: atlas.drop_shadow(url, old=True)):
        with pytest.raises(atlas.AtlasError, match=r"has a table '.*__shadow' beside it that Atlas did not make"):
            work()
    database.execute(f"DROP TABLE {table}__embedding__shadow; ALTER TABLE {table} ADD embedding__shadow text")
    with pytest.raises(atlas.AtlasError, match="has a column 'embedding__shadow' of type text - rename it"):
        atlas.apply(alignment, url, out=url)


def test_a_vector_of_another_dimension_is_named(fill, alignment, database):
    url = fill(rows(5, 6))
    table = url.rpartition("/")[2]
    database.execute(f"ALTER TABLE {table} ALTER embedding TYPE vector; INSERT INTO {table} VALUES ('x', '[1,2]')")
    with pytest.raises(atlas.AtlasError, match="has a vector of 2 dimensions in row 'x', and others of 6 - set it to"):
        atlas.apply(alignment, url, out=url)


def test_labels_are_read(fill):
    url = fill(rows(4, 6)) + "?labels=title"
    assert atlas.read_vectors(url).classes[2] == "title of item-00002"


def test_rows_that_come_before_a_switch_are_noticed(fill, alignment, database):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    atlas.apply(alignment, url, out=url)
    database.execute(f"DELETE FROM {table} WHERE id = 'item-00003'")
    database.execute(f"INSERT INTO {table} (id, embedding) VALUES ('aaa', %s)", [text(rows(1, 6)[0])])
    with pytest.raises(atlas.AtlasError, match="has a row 'aaa' that is not mapped - run atlas apply or migrate resum"):
        atlas.switch_store(url)
    # One that comes once the others were looked at, and the column of the shadow is filled.
    with pytest.raises(atlas.AtlasError, match="has 1 rows that are not mapped, such as 'aaa' - run atlas apply again"):
        store_at(url).switch()
    assert store_at(url).dim(VECTORS) == 6
    assert len(atlas.apply(alignment, url, out=url)) == N + 1
    [changed] = rows(1, 6, 9)
    database.execute(f"UPDATE {table} SET embedding = %s WHERE id = 'item-00004'", [text(changed)])
    with pytest.raises(atlas.AtlasError, match="has a vector that was changed since it was mapped - run atlas apply"):
        atlas.switch_store(url)
    assert len(atlas.apply(alignment, url, out=url)) == N + 1
    # The row that is gone stays so.
    assert atlas.switch_store(url)["vectors"]["rows"] == N
    found = store_at(url).fetch(VECTORS, ["item-00004"]).vectors
    np.testing.assert_allclose(found, alignment(changed[None]), atol=1e-5)


def test_a_vector_that_changes_during_a_switch_is_noticed_and_others_wait(
    fill, alignment, database, monkeypatch, server
):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    atlas.apply(alignment, url, out=url)
    filled, exchange = Pgvector._fill, Pgvector.switch
    change = f"UPDATE {table} SET embedding = %s WHERE id = 'item-00004'"
    [changed] = rows(1, 6, 9)

    def and_a_change(self):
        filled(self)
        database.execute(change, [text(changed)])

    def and_one_that_waits(self):
        with psycopg.connect(host=server, user="postgres", dbname="postgres") as other:
            assert other.execute(f"SELECT count(embedding) FROM {table}").fetchone() == (N,)
            other.commit()
            other.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(change, [text(changed)])
        exchange(self)

    monkeypatch.setattr(Pgvector, "_fill", and_a_change)
    with pytest.raises(atlas.AtlasError, match="has a vector that was changed since it was mapped - run atlas apply"):
        atlas.switch_store(url)
    assert store_at(url).dim(VECTORS) == 6
    monkeypatch.setattr(Pgvector, "_fill", filled)
    monkeypatch.setattr(Pgvector, "switch", and_one_that_waits)
    atlas.apply(alignment, url, out=url)
    assert atlas.switch_store(url)["vectors"]["dim"] == 9
    found = store_at(url).fetch(VECTORS, ["item-00004"]).vectors
    np.testing.assert_allclose(found, alignment(changed[None]), atol=1e-5)


def test_rows_that_are_gone_are_left_out_and_a_change_among_the_others_is_said_to_be_unknown(fill, alignment, database):
    url = fill(rows(N, 6))
    table = url.rpartition("/")[2]
    atlas.apply(alignment, url, out=url)
    database.execute(f"DELETE FROM {table} WHERE id = 'item-00003'")
    with pytest.warns(atlas.AtlasWarning, match="has lost rows since it was mapped, so that a changed vector in "):
        assert atlas.switch_store(url)["vectors"]["rows"] == N - 1


def test_rows_that_the_table_lacks_are_not_lost_by_a_switch(fill, alignment, database):
    url, other = fill(rows(N, 6)), fill(rows(2, 9))
    atlas.apply(alignment, url, out=other)
    with pytest.raises(atlas.AtlasError, match="has no vector in row 'item-00002', which would be lost from its shad"):
        atlas.switch_store(other)
    assert store_at(other).count(SHADOW) == N


def test_rows_without_a_vector_stay_without_one(fill, alignment, content):
    X = rows(20, 6)
    X[5] = np.nan
    url = fill(X)
    with pytest.warns(atlas.AtlasWarning, match="are left out: 1, the first is 'item-00005'"):
        assert len(atlas.apply(alignment, url, out=url)) == 19
    atlas.switch_store(url)
    assert [one for one, vector in content(url).items() if vector is None] == ["item-00005"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: url + "x", "has no table 'docs"),
        (lambda url: url + ".x", "has no table 'x' in schema 'docs"),
        (lambda url: url + "?vector=title", "has a column 'title' of type text - name one of type vector or halfvec"),
        (lambda url: url + "?vector=nope", "has no column 'nope' in table"),
        (lambda url: url + "_seen", "_seen', and a view has no key - name the table behind it"),
        (lambda url: url + "?id=title", "has a column 'title' that may repeat or be NULL - name the primary key"),
        (lambda url: url.replace("postgres@", "ann:hunter2@"), "failed: OperationalError: connection failed"),
        (lambda url: "pgvector://ann:hunter2@127.0.0.1:1/db/t", "failed: OperationalError: connection failed"),
    ],
)
def test_a_wrong_url_is_told_in_a_sentence(fill, alignment, database, change, sentence):
    made = fill(rows(5, 6))
    table = made.rpartition("/")[2]
    database.execute(f"CREATE VIEW {table}_seen AS SELECT * FROM {table}")
    url = change(made)
    with pytest.raises(atlas.AtlasError) as raised:
        atlas.apply(alignment, url, out=url)
    assert sentence in str(raised.value) and str(raised.value).startswith("Store 'pgvector://")
    assert "hunter2" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_server_that_goes_away_leaves_what_can_be_gone_on_with(fill, alignment, database, monkeypatch):
    url = fill(rows(N, 6))
    put, sizes = Pgvector.put, []

    def interrupted(self, batch):
        sizes.append(len(batch))
        if len(sizes) == 2:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'latent-atlas'"
            )
        put(self, batch)

    monkeypatch.setattr(Pgvector, "put", interrupted)
    monkeypatch.setattr(Pgvector, "rows", 100)
    with pytest.raises(atlas.AtlasError, match=r"Store 'pgvector://.*' failed: "):
        atlas.apply(alignment, url, out=url)
    assert len(atlas.apply(alignment, url, out=url)) == N
    assert sizes == [100] * 4


def test_two_runs_are_kept_apart(fill, alignment, monkeypatch):
    monkeypatch.setattr("atlas_pgvector.PATIENCE", 1)
    url = fill(rows(5, 6))
    spelled = url.replace("/docs", "/public.docs")
    with store_at(spelled).hold(), pytest.raises(atlas.AtlasError, match="is being written to by another run"):
        atlas.apply(alignment, url, out=url)


def test_a_transaction_of_others_is_waited_for_and_named(fill, alignment, server, monkeypatch):
    monkeypatch.setattr("atlas_pgvector.PATIENCE", 1)
    url = fill(rows(5, 6))
    atlas.apply(alignment, url, out=url)
    with psycopg.connect(host=server, user="postgres", dbname="postgres") as reader:
        reader.execute(f"SELECT * FROM {url.rpartition('/')[2]}").fetchall()
        for work in (atlas.switch_store, atlas.drop_shadow):
            with pytest.raises(atlas.AtlasError, match="is in use by an open transaction - wait for its end, and run"):
                work(url)
    assert atlas.switch_store(url)["vectors"]["dim"] == 9


def test_a_run_that_is_killed_goes_on(fill, alignment, folder, content):
    url = fill(rows(20000, 6))
    before = content(url)
    alignment.save_pretrained("map")
    command = [sys.executable, "-m", "atlas", "apply", "map", url, "--out", url]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    store, end = store_at(url), time.monotonic() + 60
    while not (store.dim(SHADOW) and store.count(SHADOW)) and time.monotonic() < end and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    made = atlas.apply(alignment, url, out=url)
    assert len(made) == 20000 and content(url) == before


def test_a_plan_is_carried_out_taken_back_and_made_final(fill, tmp_path):
    check_migration(fill(OLD), [f"item-{i:05}" for i in range(len(OLD))], tmp_path)


def test_a_plan_goes_on_after_the_server_went_away(fill, tmp_path, database, monkeypatch):
    def cut():
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'latent-atlas'"
        )

    ids = [f"item-{i:05}" for i in range(len(OLD))]
    check_that_it_goes_on(fill(OLD), ids, tmp_path, cut, monkeypatch)
