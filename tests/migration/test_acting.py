"""A plan carried out on a folder of .parquet files: done, taken back, cut off, and refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
pytest.importorskip("pyarrow")

from dataclasses import replace
from types import SimpleNamespace

from migrations import content, make_plan, vectors_in, write_index
from planted import normal
from worlds import N, world

import atlas
from atlas import AtlasError, Migration, Vectors
from atlas.hub.model_card_text import body
from atlas.migration.acting.plan import Plan


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path)[0]


def near(found, due, tolerance=1e-4):
    """Whether the vectors of a folder are these, by id."""
    ids = {one: row for row, one in enumerate(due.ids)}
    assert found.keys() == ids.keys()
    return all(np.allclose(x, due.data[ids[one]], atol=tolerance) for one, (x, _) in found.items())


def test_a_folder_is_migrated_and_made_final(plan):
    docs, one = plan.parent / "docs", world(queries=1.5)
    before = content(docs)
    found = Migration(plan).run()
    assert (found.stage, found.rows, found.total, found.native) == ("switched", N, N, 0)
    assert near(vectors_in(docs), one.new)
    assert content(plan.parent / "docs__shadow") == before
    assert atlas.read_vectors(docs).space == one.new.space
    assert Migration(plan).commit().stage == "committed"
    assert not (plan.parent / "docs__shadow").exists()
    assert Migration(plan).run().stage == "committed"


def test_the_map_keeps_the_confidence_of_its_results_by_thirds(plan):
    Migration(plan).run()
    made = atlas.load(plan.with_suffix(".map"))
    assert [*made.calibration] == ["index"]
    assert [(one.name, one.split, one.floor) for one in made.metrics] == [
        ("first-result", f"index mapped, {third}", 1 / N)
        for third in ("surest third", "middle third", "least sure third")
    ]
    assert "| index mapped, surest third | **1** | 0.8389 to 1 | 0.004167 |" in body(made.card, "owner/name")


def test_a_plan_says_everything_that_decides(plan):
    found = Plan.read(plan)
    assert (found.way, found.map.aligner, found.gate) == ("convert", "procrustes", "ndcg@10>=0.95")
    assert found.store == f"parquet://{plan.parent / 'docs'}"
    assert found.advised.startswith("convert - convert with procrustes keeps 100 %")
    assert found.digests.keys() == {"pairs", "queries", "judgements"}
    # Plans of before columns could be named keep their digest, which their journals hold.
    assert "columns" not in plan.read_text()


def test_what_is_rolled_back_is_as_it_was_to_the_byte(plan):
    before = content(plan.parent / "docs")
    assert [*Migration(plan).run().kept] == ["expected", "found"]
    back = Migration(plan).rollback()
    assert (back.stage, back.rows, back.kept) == ("planned", 0, {})
    assert [step.done for step in back.steps[-2:]] == ["switched back", "rolled back"]
    assert content(plan.parent / "docs") == before
    assert not (plan.parent / "docs__shadow").exists()
    assert Migration(plan).run().stage == "switched"


def test_what_is_committed_cannot_be_rolled_back(plan):
    Migration(plan).run()
    Migration(plan).commit()
    with pytest.raises(AtlasError, match=r"plan.yaml' has been committed: the vectors of before are gone"):
        Migration(plan).rollback()


def test_nothing_is_committed_that_was_not_switched_to(plan):
    with pytest.raises(AtlasError, match="is planned and not switched to yet - run it first"):
        Migration(plan).commit()


def test_a_run_twice_is_a_run_once(plan):
    Migration(plan).run()
    after = content(plan.parent / "docs")
    assert Migration(plan).run().stage == "switched"
    assert content(plan.parent / "docs") == after


def test_there_is_nothing_to_resume_before_a_run(plan):
    with pytest.raises(AtlasError, match=r"Nothing of '.*plan.yaml' has been begun - run it"):
        Migration(plan).resume()


@pytest.mark.parametrize("puts", [0, 1, 3])
def test_a_run_that_is_cut_off_is_half_nothing_and_goes_on(plan, monkeypatch, puts):
    from atlas_builtin.parquet import Parquet

    monkeypatch.setattr(Parquet, "rows", 50)
    put, done = Parquet.put, []

    def failing(self, batch):
        if len(done) == puts:
            raise OSError(28, "No space left on device")
        done.append(len(batch))
        put(self, batch)

    before = content(plan.parent / "docs")
    monkeypatch.setattr(Parquet, "put", failing)
    with pytest.raises(OSError, match="No space left"):
        Migration(plan).run()
    assert content(plan.parent / "docs") == before
    found = Migration(plan).status()
    assert (found.stage, found.rows) == ("mapping", 50 * puts)
    monkeypatch.setattr(Parquet, "put", put)
    assert Migration(plan).resume().stage == "switched"
    assert near(vectors_in(plan.parent / "docs"), world(queries=1.5).new)


def test_a_gate_that_is_not_met_leaves_the_store_alone(tmp_path):
    plan, _ = make_plan(tmp_path, gate="ndcg@10>=0.99", documents=50.0, queries=50.0)
    before = content(tmp_path / "docs")
    with pytest.raises(AtlasError, match=r"The gate ndcg@10>=0.99 is not met: the map keeps [0-9.]+ \[.* % of the new"):
        Migration(plan).run()
    assert content(tmp_path / "docs") == before
    assert Migration(plan).status().stage == "planned"


def test_what_was_written_is_measured_before_it_is_switched_to(plan, monkeypatch):
    # A store that changes what it is given in a way that no count and no digest of what it was given could tell.
    from atlas_builtin.parquet import Parquet

    put = Parquet.put
    monkeypatch.setattr(Parquet, "kept", lambda self, vectors: np.sign(vectors[:, :1]) * np.ones_like(vectors))
    monkeypatch.setattr(Parquet, "put", lambda self, batch: put(self, replace(batch, vectors=self.kept(batch.vectors))))
    before = content(plan.parent / "docs")
    with pytest.raises(AtlasError, match=r"The gate ndcg@10>=0.95 is not met: .* - look at the store"):
        Migration(plan).run()
    assert content(plan.parent / "docs") == before
    assert Migration(plan).status().stage == "mapped"
    assert Migration(plan).rollback().stage == "planned"


@pytest.mark.parametrize(
    ("name", "what"), [("new", "pairs"), ("queries_new", "queries"), ("judged.qrels", "judgements")]
)
def test_inputs_that_have_changed_are_noticed(plan, name, what):
    if name == "judged.qrels":
        (plan.parent / name).write_text("q0 0 d3 1\n")
    else:
        file = plan.parent / f"{name}.safetensors"
        vectors = atlas.read_vectors(file)
        made = Vectors.of(vectors.data.flip(0).clone(), vectors.space, ids=list(vectors.ids))
        made.save_pretrained(file, overwrite=True)
    with pytest.raises(AtlasError, match=f"The {what} have changed since the plan was written - run atlas migrate adv"):
        Migration(plan).run()


def test_a_sample_that_is_native_does_not_flatter_what_is_expected(plan):
    # Ten documents are measured, of which the migration converts none: it tells which are taken for native.
    trial = SimpleNamespace(documents=[f"d{i}" for i in range(10)], convert=lambda maps, native: native.tolist())
    measured = SimpleNamespace(trial=trial, kept=lambda found: found)
    natives = Vectors.of(normal(6, 3), "new-model", ids=["x1", "d2", "d0", "x2", "d4", "x3"])
    expected = {rows: Migration(plan)._expected(measured, None, natives, rows) for rows in (10, 20, 30, 60)}
    assert expected == {10: [0, 2, 4], 20: [0, 2, 4], 30: [0, 2], 60: [0]}
    assert Migration(plan)._expected(measured, None, None, 10) == []


def test_steps_are_on_the_disk_before_the_next_begins(plan, monkeypatch):
    written = []
    monkeypatch.setattr("atlas.migration.acting.journal.sync", lambda path: written.append(path.read_text()))
    found = Migration(plan).run()
    assert len(written) == len(found.steps) == 6
    assert all(step.done in text for step, text in zip(found.steps, written, strict=True))


def test_a_commit_that_was_cut_off_is_noted_by_the_next_step(plan):
    Migration(plan).run()
    atlas.drop_shadow(Migration(plan).plan.store, old=True)
    Migration(plan).add(plan.parent / "new.safetensors")
    assert [step.done for step in Migration(plan).journal.steps[-2:]] == ["committed", f"added {N} native vectors"]


def test_what_is_added_lies_somewhere_and_stays_as_it_is(plan):
    one = world(queries=1.5)
    with pytest.raises(AtlasError, match="Vectors that are added must lie in a file, a folder or a store - save them"):
        Migration(plan).add(one.new)
    file = plan.parent / "native.safetensors"
    one.new.save_pretrained(file)
    Migration(plan).add(file)
    Vectors.of(one.new.data + 1, one.new.space, ids=list(one.new.ids)).save_pretrained(file, overwrite=True)
    with pytest.raises(
        AtlasError, match=r"native.safetensors' has changed since it was added - roll back, and add it a"
    ):
        Migration(plan).run()


def test_another_map_in_place_of_the_one_that_was_fitted_is_refused(plan):
    Migration(plan).run()
    Migration(plan).rollback()
    one = world()
    atlas.fit("identity", source=one.old, target=one.old).save_pretrained(plan.with_suffix(".map"), overwrite=True)
    with pytest.raises(AtlasError, match=r"plan.map' is not the map that was fitted - remove it, and run again"):
        Migration(plan).run()


def test_rows_that_never_cease_to_come_end_a_run(plan, monkeypatch):
    from atlas.migration.acting import running

    tries = []

    def transfer(*_, **__):
        tries.append(0)
        raise running.GrownError("rows came")

    monkeypatch.setattr(running, "transfer", transfer)
    with pytest.raises(running.GrownError, match="rows came"):
        Migration(plan).run()
    assert len(tries) == 5


def test_rows_that_come_before_the_switch_are_mapped_first(plan, monkeypatch):
    check = Migration._check

    def late(self, which, figure):
        check(self, which, figure)
        if which == "found" and not (plan.parent / "docs" / "later-0.parquet").exists():
            append(plan, "old-model")

    monkeypatch.setattr(Migration, "_check", late)
    with pytest.raises(AtlasError, match="has rows that came after the others were mapped - resume, which maps them"):
        Migration(plan).run()
    found = Migration(plan).resume()
    assert (found.stage, found.rows) == ("switched", N + 1)


def test_a_plan_that_changes_on_the_way_is_noticed(plan):
    Migration(plan).run()
    plan.write_text(plan.read_text().replace("0.95", "0.5"))
    with pytest.raises(AtlasError, match=r"The plan has changed since '.*plan.journal.yaml' was begun"):
        Migration(plan)


def test_a_damaged_journal_is_named(plan):
    Migration(plan).run()
    journal = plan.with_suffix(".journal.yaml")
    journal.write_text("")
    with pytest.raises(AtlasError, match=r"plan.journal.yaml: .* - put the journal back as it was"):
        Migration(plan).run()


def test_two_runs_at_once_are_kept_apart(plan):
    with Migration(plan)._alone(), pytest.raises(AtlasError, match="is being worked on by another run"):
        Migration(plan).run()


def test_documents_that_come_meanwhile_are_mapped_too(plan, monkeypatch):
    from atlas_builtin.parquet import Parquet

    put = Parquet.put
    more = Vectors.of(world().old.data[:2].clone(), "old-model", ids=["x1", "x2"])

    def growing(self, batch):
        put(self, batch)
        if not (plan.parent / "docs" / "later-0.parquet").exists():
            write_index(plan.parent / "later", more, files=1)
            (plan.parent / "later" / "docs-0.parquet").rename(plan.parent / "docs" / "later-0.parquet")

    monkeypatch.setattr(Parquet, "rows", 100)
    monkeypatch.setattr(Parquet, "put", growing)
    found = Migration(plan).run()
    assert (found.stage, found.rows, found.total) == ("switched", N + 2, N + 2)


def test_native_vectors_take_the_place_of_mapped_ones(plan):
    one = world(queries=1.5)
    some = Vectors.of(one.new.data[:30] + 0.01, one.new.space, ids=list(one.new.ids[:30]))
    some.save_pretrained(plan.parent / "native.safetensors")
    migration = Migration(plan)
    migration.add(plan.parent / "native.safetensors")
    found = migration.run()
    assert (found.stage, found.rows, found.native) == ("switched", N, 30)
    after = vectors_in(plan.parent / "docs")
    assert np.allclose(after["d7"][0], one.new.data[7] + 0.01, atol=1e-6) and after["d7"][1] is None
    assert np.allclose(after["d40"][0], one.new.data[40], atol=1e-4) and after["d40"][1].startswith("mapped by ")


def test_native_vectors_come_wave_by_wave_after_a_commit(plan):
    one = world(queries=1.5)
    migration = Migration(plan)
    migration.run()
    with pytest.raises(AtlasError, match="has been switched to - commit it or roll it back first"):
        migration.add(plan.parent / "new.safetensors")
    migration.commit()
    before = content(plan.parent / "docs")
    for wave, rows in enumerate((slice(0, 30), slice(20, 60))):
        some = Vectors.of(one.new.data[rows] + 0.01 * (wave + 1), one.new.space, ids=list(one.new.ids[rows]))
        some.save_pretrained(plan.parent / f"wave{wave}.safetensors")
        migration.add(plan.parent / f"wave{wave}.safetensors")
        assert content(plan.parent / "docs") == before
        found = Migration(plan).run()
        assert (found.stage, found.native) == ("switched", (30, 60)[wave])
        Migration(plan).rollback()
        assert content(plan.parent / "docs") == before
        migration = Migration(plan)
        migration.add(plan.parent / f"wave{wave}.safetensors")
        migration.run()
        migration.commit()
        before = content(plan.parent / "docs")
    after = vectors_in(plan.parent / "docs")
    assert np.allclose(after["d7"][0], one.new.data[7] + 0.01, atol=1e-6)
    assert np.allclose(after["d25"][0], one.new.data[25] + 0.02, atol=1e-6)
    assert after["d100"][1].startswith("mapped by ")


def test_native_vectors_of_strangers_are_refused(plan):
    one = world(queries=1.5)
    Vectors.of(one.new.data[:2], one.new.space, ids=["d1", "x"]).save_pretrained(plan.parent / "a.safetensors")
    with pytest.raises(AtlasError, match="has no row 'x', of which a vector is added - give ids of the store"):
        Migration(plan).add(plan.parent / "a.safetensors")
    Vectors.of(one.new.data[:2, :5], "third", ids=["d1", "d2"]).save_pretrained(plan.parent / "b.safetensors")
    with pytest.raises(AtlasError, match="The new vectors are of 'new-model', but those that are added are of 'third'"):
        Migration(plan).add(plan.parent / "b.safetensors")


def append(plan, space="new-model"):
    """Put a row of the new model into the folder, as an application does that goes on writing."""
    more = Vectors.of(world().new.data[:1].clone(), space, ids=["x1"])
    write_index(plan.parent / "later", more, files=1)
    (plan.parent / "later" / "docs-0.parquet").rename(plan.parent / "docs" / "later-0.parquet")


def test_rows_that_came_between_switch_and_commit_are_native_and_stay(plan):
    Migration(plan).run()
    append(plan)
    found = Migration(plan).status()
    assert (found.stage, found.rows, found.total, found.native) == ("switched", N + 1, N + 1, 1)
    assert Migration(plan).run().stage == "switched"
    found = Migration(plan).commit()
    assert (found.stage, found.rows, found.native) == ("committed", N + 1, 1)
    one = world(queries=1.5)
    some = Vectors.of(one.new.data[:30], one.new.space, ids=list(one.new.ids[:30]))
    some.save_pretrained(plan.parent / "native.safetensors")
    Migration(plan).add(plan.parent / "native.safetensors")
    assert {*Migration(plan).order()} == {*one.old.ids[30:]}
    found = Migration(plan).run()
    assert (found.stage, found.rows, found.native) == ("switched", N + 1, 31)
    vector, mark = vectors_in(plan.parent / "docs")["x1"]
    assert mark is None and np.allclose(vector, world().new.data[0])


def test_rows_that_came_after_a_switch_are_not_lost_by_a_rollback(plan):
    Migration(plan).run()
    append(plan)
    one = world(queries=1.5)
    for again in (
        Migration.rollback,
        Migration.rollback,
        Migration.resume,
        lambda m: m.add(plan.parent / "new.safetensors"),
    ):
        with pytest.raises(AtlasError, match="has its old vectors back, and row 'x1' came after the switch"):
            again(Migration(plan))
        assert "x1" in vectors_in(plan.parent / "docs__shadow")
        assert "x1" not in vectors_in(plan.parent / "docs")
    # Once the old model has embedded it, too, nothing is in the way.
    more = Vectors.of(one.old.data[:1].clone(), one.old.space, ids=["x1"])
    write_index(plan.parent / "old-later", more, files=1)
    (plan.parent / "old-later" / "docs-0.parquet").rename(plan.parent / "docs" / "later-0.parquet")
    assert Migration(plan).rollback().stage == "planned"
    assert "x1" in vectors_in(plan.parent / "docs")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"store": "docs"}, "The store must be the URL of one, such as pgvector:///postgres/docs"),
        ({"way": "swap"}, "The format must be 1 and the way convert or bridge, got 1, 'swap'"),
        ({"gate": "ndcg"}, "A gate must be like"),
        ({"gaet": ""}, "Unknown field 'gaet'"),
    ],
)
def test_a_plan_that_is_none_is_refused(plan, change, sentence):
    from atlas.cards.yaml import dump_yaml, read_yaml

    plan.write_text(dump_yaml({**read_yaml(plan), **change}))
    with pytest.raises(AtlasError, match=sentence):
        Migration(plan)


@pytest.mark.parametrize("text", ["", "- store", "42"])
def test_a_file_that_is_no_plan_is_refused_with_the_way_to_one(plan, text):
    plan.write_text(text)
    with pytest.raises(AtlasError, match=r"plan.* is no plan - make one with 'atlas migrate advise \.\.\. --plan"):
        Migration(plan)


def test_documents_are_ordered_by_how_much_they_are_asked_for(plan):
    one = world(queries=1.5)
    found = Migration(plan).order()
    assert sorted(found) == sorted(one.old.ids)
    # A quarter of all is asked for.
    assert sum(int(i[1:]) % 3 == 0 and int(i[1:]) < 180 for i in found[:60]) > 30
    some = Vectors.of(one.new.data[:30], one.new.space, ids=list(one.new.ids[:30]))
    some.save_pretrained(plan.parent / "native.safetensors")
    Migration(plan).add(plan.parent / "native.safetensors")
    before = Migration(plan).order()
    assert {*before} == {*one.old.ids[30:]}
    Migration(plan).run()
    assert Migration(plan).order() == before
    Migration(plan).commit()
    assert {*Migration(plan).order()} == {*one.old.ids[30:]}


def test_a_store_that_another_plan_has_switched_is_left_to_it(plan):
    other = plan.with_name("other.yaml")
    other.write_bytes(plan.read_bytes())
    Migration(plan).run()
    there = content(plan.parent / "docs")
    for step in (Migration(other).run, Migration(other).rollback):
        with pytest.raises(AtlasError, match="another migration has switched to - commit that one, or roll it back"):
            step()
    assert content(plan.parent / "docs") == there
    Migration(plan).rollback()
    assert Migration(other).run().stage == "switched"


def test_a_shadow_of_other_work_is_neither_switched_to_nor_dropped(plan):
    migration = Migration(plan)
    migration.run()
    migration.commit()
    store, one = migration.plan.store, world(queries=1.5)
    atlas.drop_shadow(store)
    # The native vectors of all rows, so that another map may begin.
    one.new.save_pretrained(plan.parent / "all.safetensors")
    migration.add(plan.parent / "all.safetensors")
    migration.run()
    migration.commit()
    identity = atlas.fit("identity", source=one.new, target=one.new)
    atlas.apply(identity, store, out=store)
    assert Migration(plan).status().stage == "committed"
    assert Migration(plan).commit().stage == "committed"
    with pytest.raises(AtlasError, match="has been committed: the vectors of before are gone"):
        Migration(plan).rollback()
    assert atlas.store_status(store)["shadow"]["rows"] == N
