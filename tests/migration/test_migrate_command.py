"""`atlas migrate advise`: what it prints, its exit status, and its plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from worlds import world

import atlas

pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
NAMES = ("old", "new", "queries_old", "queries_new")


@pytest.fixture
def advised(tmp_path, monkeypatch, atlas_command):
    """Run the command on a world, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(one, *more, status=0, left_out=()):
        words = []
        for name in NAMES:
            getattr(one, name).save_pretrained(name, overwrite=True) if not (tmp_path / name).exists() else None
            words += [] if name in left_out else [f"--{name.replace('_', '-')}", name]
        lines = [f"{q} 0 {d} {grade}" for q, grades in one.judgements.items() for d, grade in grades.items()]
        (tmp_path / "judged.qrels").write_text("\n".join(lines))
        judged = () if "judgements" in left_out else ("--judgements", "judged.qrels")
        return atlas_command("migrate", "advise", *words, *judged, "--aligner", "procrustes", *more, status=status)

    return run


def test_six_ways_and_a_verdict_are_printed(advised):
    result = advised(world(documents=0.7), "--rate", 10, "--tokens", 20)
    for way in ("stay", "swap", "convert", "bridge", "re-order", "re-embed"):
        assert f"\n{way} " in result.stdout
    assert "Points (of 100) for 60 queries, judged, in 240 of 240 documents" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Verdict: recall and re-order - re-order from the top ")
    assert "hours" in result.stdout
    assert "First results that are the new model's own, of 100, surest queries first; 0.4 by chance:" in result.stdout
    assert "for      surest third" in result.stdout


def test_what_may_be_chance_says_so(advised):
    result = advised(world(documents=0.1))
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("re-embed")]
    assert "not significant" in line


def test_json_has_everything(advised):
    found = json.loads(advised(world(queries=1.5), "--json").stdout)
    assert (found["verdict"], found["judged"], found["pairs"]) == ("convert", True, 240)
    assert found["ways"][0]["figures"]["ndcg@10"].keys() == {"value", "low", "high"}
    assert found["methods"]["convert"][0]["aligner"] == "procrustes"
    assert found["sure"]["convert"]["surest third"]["value"] == 1
    assert found["chance"] == pytest.approx(1 / 240)


@pytest.mark.parametrize("noise, status", [(0.7, 0), (50.0, 1)])
def test_a_gate_decides_on_the_exit_status(advised, noise, status):
    result = advised(world(documents=noise, queries=noise), "--gate", "ndcg@10>=0.98", status=status)
    assert "Verdict: " in result.stdout


def test_a_gate_that_is_none_is_refused(advised):
    result = advised(world(), "--gate", "ndcg>0.9", status=1)
    assert result.stderr.startswith("Error: A gate must be like 'ndcg@10>=0.95'")


def test_a_plan_is_carried_out_taken_back_and_made_final(advised, atlas_command):
    from migrations import content, write_index

    one = world(queries=1.5)
    write_index(Path("docs"), one.old)
    before = content(Path("docs"))
    said = advised(one, "--plan", "plan.yaml", "--store", "docs")
    assert "Wrote the plan to plan.yaml - next: atlas migrate run plan.yaml" in said.stderr
    assert "planned" in atlas_command("migrate", "status", "plan.yaml").stdout
    shown = atlas_command("migrate", "run", "plan.yaml")
    assert shown.stdout.splitlines()[0] == "convert by procrustes: switched"
    assert (
        "expected: 100.0 [100.0, 100.0] % of the new model's ndcg@10, of documents the map has not seen\n"
        in shown.stdout
    )
    assert "rows: 240 of 240, of which 0 native" in shown.stdout
    assert "Next: atlas migrate commit plan.yaml, or atlas migrate rollback plan.yaml" in shown.stderr
    assert atlas.metrics.cosine(atlas.read_vectors("docs").data, one.new.data) > 0.999
    ordered = atlas_command("migrate", "order", "plan.yaml", "--out", "ids.txt").stderr
    assert "next: atlas migrate commit plan.yaml, then atlas migrate add plan.yaml VECTORS" in ordered
    atlas_command("migrate", "rollback", "plan.yaml")
    assert content(Path("docs")) == before
    atlas_command("migrate", "add", "plan.yaml", "new")
    assert json.loads(atlas_command("migrate", "resume", "plan.yaml", "--json").stdout)["native"] == 240
    assert "committed" in atlas_command("migrate", "commit", "plan.yaml").stdout


def test_a_plan_needs_a_place_where_vectors_can_be_mapped(advised):
    said = advised(world(queries=1.5), "--plan", "plan.yaml", status=1)
    assert "is neither the URL of a store nor a folder of .parquet files" in said.stderr
    assert not Path("plan.yaml").exists()


def test_a_plan_that_has_been_begun_is_not_replaced_and_a_place_is_looked_at_first(advised, atlas_command, monkeypatch):
    from migrations import write_index

    one = world(queries=1.5)
    write_index(Path("docs"), one.old)
    advised(one, "--plan", "plan.yaml", "--store", "docs")
    atlas_command("migrate", "run", "plan.yaml")
    before = Path("plan.yaml").read_bytes()
    monkeypatch.setattr("atlas.migration.advising.advise", lambda **_: pytest.fail("measured"))
    said = advised(one, "--plan", "plan.yaml", status=1).stderr
    assert said.startswith(
        "Error: 'plan.yaml' is a plan that has been begun, as 'plan.journal.yaml' says - give another"
    )
    assert "'docs' is a folder - give the file" in advised(one, "--plan", "docs", status=1).stderr
    assert "'nowhere' is neither" in advised(one, "--plan", "b.yaml", "--store", "nowhere", status=1).stderr
    assert Path("plan.yaml").read_bytes() == before
    assert "planned" in atlas_command("migrate", "rollback", "plan.yaml").stdout


def test_a_store_goes_with_a_plan(advised):
    said = advised(world(), "--store", "parquet:///nowhere", status=2).stderr
    assert said.endswith("Error: --store goes with --plan, the file that says how its vectors are mapped\n")


def test_a_password_never_reaches_a_plan(advised):
    store = "pgvector://ann:hunter2@host/db/docs?vector=v"
    said = advised(world(queries=1.5), "--plan", "plan.yaml", "--store", store)
    assert "hunter2" not in Path("plan.yaml").read_text() + said.output
    assert "store: pgvector://ann@host/db/docs?vector=v" in Path("plan.yaml").read_text()


def test_a_plan_where_the_old_model_is_gone_maps_queries(advised, atlas_command):
    advised(world(documents=0.7), "--plan", "plan.yaml", left_out=["queries_old"])
    shown = atlas_command("migrate", "run", "plan.yaml")
    assert shown.stdout.splitlines()[0] == "bridge by procrustes: fitted"
    assert "Next: atlas export numpy plan.map --out FOLDER" in shown.stderr
    assert atlas.load("plan.map").source.id == "new-model"
    for words, said in (
        (["add", "plan.yaml", "new"], "maps queries, and the index stays as it is - there is nothing to add"),
        (["order", "plan.yaml", "--out", "ids.txt"], "maps queries, and no document - there is nothing to embed anew"),
        (["commit", "plan.yaml"], "maps queries, and the index stays as it is - nothing is to be deleted"),
    ):
        assert said in atlas_command("migrate", *words, status=1).stderr


def test_what_needs_no_map_has_no_plan(advised):
    result = advised(world(), "--plan", "plan.yaml")
    assert "No plan was written: 'stay' needs no map" in result.stderr
    assert not Path("plan.yaml").exists()


def test_without_judgements_it_says_so(advised):
    result = advised(world(queries=1.5), left_out=["judgements"])
    assert "found by the new model" in result.stdout
    assert "Note: There are no judgements" in result.stdout


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Write the vectors of a world to tables whose columns nobody could guess."""
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    one = world(queries=1.5)

    def write(path, given, ids, vectors):
        lists = pa.array(list(given.data.numpy()), pa.list_(pa.float32()))
        # Another list, and another column that is called as ids are.
        others = {"id": ["same"] * len(given), "shape": lists.take([0] * len(given))}
        parquet.write_table(pa.table({ids: [*given.ids], vectors: lists, **others}), path)

    Path("docs").mkdir()
    write("docs/all.parquet", one.old, ids="pk", vectors="emb")
    write("some.parquet", one.new.take(torch.arange(0, 240, 2)), ids="pk", vectors="emb")
    write("more.parquet", one.new.take(torch.arange(40)), ids="number", vectors="v")
    for name in ("queries_old", "queries_new"):
        write(f"{name}.parquet", getattr(one, name), ids="qid", vectors="asked")
    Path("a.qrels").write_text("".join(f"{q} 0 {d} 1\n" for q, found in one.judgements.items() for d in found))
    return one


def test_columns_that_are_named_go_with_the_plan(tables, atlas_command):
    given = ["--old", "docs", "--new", "some.parquet", "--queries-new", "queries_new.parquet"]
    given += ["--queries-old", "queries_old.parquet", "--judgements", "a.qrels", "--aligner", "procrustes"]
    documents, queries = ["--id-column", "pk", "--vector-column", "emb"], ["--query-id-column", "qid"]
    said = atlas_command("migrate", "advise", *given, *documents, *queries, "--plan", "plan.yaml", status=1).stderr
    assert said == "Error: queries_new.parquet: unknown column 'emb' - known: asked, shape\n"
    queries += ["--query-vector-column", "asked"]
    shown = atlas_command("migrate", "advise", *given, *documents, *queries, "--plan", "plan.yaml")
    assert "for 30 queries, judged, in 120 of 240 documents" in shown.stdout
    plan = Path("plan.yaml").read_text()
    assert "\n  columns: {vectors: emb, ids: pk, query_vectors: asked, query_ids: qid}\n" in plan
    assert f"store: parquet://{Path.cwd()}/docs?id=pk&vector=emb\n" in plan
    assert "rows: 240 of 240, of which 0 native" in atlas_command("migrate", "run", "plan.yaml").stdout
    found = atlas.read_vectors("docs", id_column="pk", vector_column="emb")
    assert found.ids == tables.new.ids and atlas.metrics.cosine(found.data, tables.new.data) > 0.999
    assert [metric.name for metric in atlas.load("plan.map").metrics] == ["first-result"] * 3
    atlas_command("migrate", "rollback", "plan.yaml")
    atlas_command("migrate", "add", "plan.yaml", "more.parquet", "--id-column", "number", "--vector-column", "v")
    assert json.loads(atlas_command("migrate", "run", "plan.yaml", "--json").stdout)["native"] == 40
    atlas_command("migrate", "commit", "plan.yaml")
    atlas_command("migrate", "order", "plan.yaml", "--out", "ids.txt")
    assert {*Path("ids.txt").read_text().split()} == {f"d{i}" for i in range(40, 240)}


def test_rows_that_are_numbered_cannot_be_written_beside_others(tables, atlas_command):
    given = ["--old", "docs", "--new", "docs", "--queries-new", "queries_new.parquet", "--vector-column", "emb"]
    given += ["--query-vector-column", "asked", "--aligner", "procrustes", "--id-column", ""]
    said = atlas_command("migrate", "advise", *given, "--plan", "plan.yaml", status=1).stderr
    assert (
        "Error: The rows of 'docs' are numbered, and vectors are written beside the old ones by ids - name the" in said
    )
    assert not Path("plan.yaml").exists()
