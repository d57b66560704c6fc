"""The commands, one after another, as a person uses them: exit status, stdout and stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from atlas.artefacts.loading import load, read_vectors
from atlas.artefacts.vectors import Vectors
from atlas.cli import COMMANDS, main
from atlas.cli.output import cell, put, results_alone, table

Run = Callable[..., Result]


@pytest.fixture
def zoo(stored: Path, atlas_command: Run) -> Path:
    """Vectors a and b, anchors, an alignment 'map' and a head 'head' of b, in a folder."""
    atlas_command("sample", "uniform", "a", "-n", "60", "--out", "anchors")
    atlas_command("fit", "procrustes", "--source", "a", "--target", "b", "--anchors", "anchors", "--out", "map")
    atlas_command("train", "nearest-mean", "b", "--out", "head")
    return stored


def test_help_lists_every_command_in_its_section(atlas_command):
    text = atlas_command("--help").stdout
    for title, section in COMMANDS.items():
        assert f"\n{title}:\n" in text
        for name, (_, help) in section.items():
            assert name in text and help in text
    assert atlas_command("-h").stdout == text


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_every_command_has_help_that_fits(name, atlas_command):
    text = atlas_command(name, "--help").stdout
    assert text.startswith(f"Usage: atlas {name} ")
    assert max(map(len, text.splitlines())) <= 80
    summary = next(section[name][1] for section in COMMANDS.values() if name in section)
    assert summary[0].isupper() and summary.endswith(".")


def test_an_unknown_command_is_wrong_usage_and_the_nearest_is_named():
    result = CliRunner().invoke(main, ["comapre", "a", "b"])
    assert result.exit_code == 2 and "Unknown command 'comapre' - did you mean 'compare'?" in result.stderr
    assert CliRunner().invoke(main, ["xyzzy"]).exit_code == 2
    assert CliRunner().invoke(main, ["fit", "--sourec", "a"]).exit_code == 2


def test_the_version(atlas_command):
    import atlas

    assert atlas_command("--version").stdout == f"atlas, version {atlas.__version__}\n"


# Make


def test_sample_says_what_it_wrote(stored, atlas_command):
    result = atlas_command("sample", "uniform", "a", "-n", "60", "--seed", "3", "--also", "b", "--out", "anchors")
    assert (result.stdout, result.stderr) == ("", "Wrote 60 anchors 'toy-uniform-60-s3' to anchors\n")
    anchors = load("./anchors", "anchors")
    assert anchors.seed == 3 and [space.id for space in anchors.spaces] == ["a", "b"]


def test_fit_says_what_it_wrote_and_what_may_be_next(stored, atlas_command):
    result = atlas_command(
        "fit", "procrustes", "--source", "a", "--target", "b", "-o", "scale", "false", "--id", "mine", "--out", "map"
    )
    assert result.stdout == ""
    assert result.stderr == (
        "Wrote alignment 'mine' (8 to 8 dimensions, fitted on 120 items) to map - next: atlas apply map VECTORS\n"
    )
    assert load("./map").config["scale"] is False and load("./map").id == "mine"


def test_options_are_parsed_by_their_type(stored, atlas_command):
    for text, expected in (("1e-3", 0.001), ("2", 2.0), ("none", None)):
        atlas_command(
            "fit", "linear", "--source", "a", "--target", "b", "-o", "ridge", text, "--out", "map", "--overwrite"
        )
        assert load("./map").config["ridge"] == expected


def test_apply_there_and_back(zoo, atlas_command, pair):
    atlas_command("apply", "map", "a", "--out", "there")
    result = atlas_command("apply", "map", "there", "--inverse", "--out", "back.npy")
    assert result.stderr == "Wrote 120 vectors of 'a' (8 dimensions) to back.npy\n"
    assert np.allclose(np.load("back.npy"), pair.source.data, atol=1e-4)


def test_a_bare_file_is_noted_once_on_stderr(zoo, atlas_command, pair):
    np.save("x.npy", pair.source.data.numpy())
    result = atlas_command("apply", "map", "x.npy", "--out", "y.npy")
    note = "Note: 'x.npy' does not say which encoder made the vectors - only the dimension was checked\n"
    assert result.stderr.startswith(note) and result.stderr.count("Note") == 1


def test_an_inverse_relative_projection_is_composed(stored, atlas_command, pair):
    atlas_command("sample", "uniform", "a", "-n", "60", "--out", "anchors")
    for name in ("a", "b"):
        atlas_command("fit", "relative", "--source", name, "--anchors", "anchors", "--out", f"half-{name}")
    atlas_command("compose", "half-a", "half-b", "--inverse", "half-b", "--out", "through")
    made = load("./through")
    assert (made.source.id, made.target.id) == ("a", "b")
    found = json.loads(
        atlas_command("evaluate", "through", "--source", "a", "--target", "b", "--metric", "cosine", "--json").stdout
    )
    assert found[0]["value"] > 0.9


def test_only_what_is_composed_is_run_backwards(zoo, atlas_command):
    said = atlas_command("compose", "map", "--inverse", "mpa", "--out", "back", status=1).stderr
    assert said == "Error: Unknown alignment to run backwards 'mpa' - did you mean 'map'? known: map\n"
    said = atlas_command("compose", "map", "--inverse", "map", "--out", "back").stderr
    assert said == "Wrote alignment 'b__a__affine' (8 to 8 dimensions, fitted on 60 items) to back\n"


def test_an_atlas_is_aggregated_and_applied(stored, atlas_command):
    result = atlas_command("aggregate", "generalized-procrustes", "a", "b", "--id", "both", "--out", "both")
    assert result.stderr.startswith("Wrote atlas 'both' of 2 spaces (8 dimensions) to both - next: atlas apply both")
    atlas_command("apply", "both", "a", "b", "--out", "joint")
    assert len(read_vectors("./joint")) == 120 and read_vectors("./joint").space.id == "both"


def test_an_atlas_is_extended_and_taken_apart(stored, atlas_command):
    atlas_command("sample", "uniform", "a", "-n", "60", "--out", "anchors")
    atlas_command(
        "aggregate", "generalized-procrustes", "a", "b", "--anchors", "anchors", "--id", "two", "--out", "two"
    )
    source = read_vectors("./a")
    Vectors.of(source.data.flip(1), "c", ids=source.ids).save_pretrained("c")
    result = atlas_command("extend", "two", "c", "--id", "three", "--out", "three")
    assert result.stderr.endswith("Wrote atlas 'three' of 3 spaces (8 dimensions) to three\n")
    for space in ("a", "b", "c"):
        atlas_command("chart", "three", space, "--out", f"of-{space}")
    assert load("./of-c").id == "three__c"
    atlas_command("compose", "of-a", "of-b", "--inverse", "of-b", "--out", "translation")
    command = ("evaluate", "translation", "--source", "a", "--target", "b", "--metric", "cosine", "--json")
    assert json.loads(atlas_command(*command).stdout)[0]["value"] > 0.9
    message = atlas_command("chart", "three", "d", "--out", "of-d", status=1).stderr
    assert message == "Error: Unknown chart 'd' - known: a, b, c\n"


def test_encode_and_store_the_space(stored, atlas_command, pair):
    np.save("x.npy", pair.source.data.numpy())
    result = atlas_command("encode", "pixels", "x.npy", "--out", "x", "--save-space", "space", "--batch-size", "7")
    assert result.stderr == ("Wrote 120 vectors of 'space' (8 dimensions) to x\nWrote space 'space' to space\n")
    again = atlas_command("encode", "./space", "x.npy", "--out", "y")
    assert read_vectors("./x").space == read_vectors("./y").space
    assert "of 'space'" in again.stderr
    atlas_command("encode", "pixels", "x.npy", "--out", "z", "--save-space", "space-z", "--id", "mine")
    assert load("./space-z").space().id == read_vectors("./z").space.id == "mine"


def test_columns_of_a_table_are_chosen(stored, atlas_command):
    Path("t.csv").write_text("key,body,kind\nx,some words here,p\ny,more words here,q\nz,words and words,p\n")
    atlas_command(
        *("encode", "tfidf-svd", "t.csv", "-o", "dim", "2", "-o", "min_df", "1", "--out", "t"),
        *("--text-column", "body", "--label-column", "kind", "--id-column", "key"),
    )
    made = read_vectors("./t")
    assert list(made.ids) == ["x", "y", "z"] and made.classes == ("p", "q")


# Use and measure


def test_evaluate_prints_a_table_with_ceiling_and_floor(zoo, atlas_command):
    lines = atlas_command(
        "evaluate", "map", "--source", "a", "--target", "b", "--head", "head", "--metric", "accuracy", "--metric", "r2"
    ).stdout.splitlines()
    assert lines[0].split("  ")[0] == "metric" and "target's own" in lines[0] and "no alignment" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["accuracy", "r2"]


def test_evaluate_as_json_and_in_the_card(zoo, atlas_command):
    command = (
        "evaluate",
        "map",
        "--source",
        "a",
        "--target",
        "b",
        "--metric",
        "cosine",
        "--metric",
        "self-recall@5",
        "--json",
    )
    found = json.loads(atlas_command(*command).stdout)
    assert [figure["name"] for figure in found] == ["cosine", "self-recall@5"]
    assert set(found[0]) == {"name", "value", "low", "high", "native", "floor", "dataset", "split", "n", "overlap"}
    assert load("./map").metrics == ()
    before = load("./map").card
    for split in ("test", "test", "train"):
        atlas_command(*command, "--save", "--split", split)
    card = load("./map").card
    assert [(m.name, m.split) for m in card.metrics] == [
        ("cosine", "test"),
        ("self-recall@5", "test"),
        ("cosine", "train"),
        ("self-recall@5", "train"),
    ]
    assert card.metrics[0].value == pytest.approx(found[0]["value"]) and (card.id, card.config) == (
        before.id,
        before.config,
    )
    assert "self-recall@5" in atlas_command("show", "map").stdout
    assert atlas_command("check", ".").stderr == "5 artefacts checked, none with problems\n"


def test_heads_and_atlases_are_evaluated(zoo, atlas_command):
    found = json.loads(atlas_command("evaluate", "head", "--vectors", "b", "--json").stdout)
    assert [figure["name"] for figure in found] == ["accuracy"] and found[0]["value"] > 0.9
    said = atlas_command("evaluate", "head", "--vectors", "b", "--save", "--split", "test").stderr
    wrote, note = said.splitlines()
    assert note.startswith("Note: it was fitted on ") and note.endswith("measured on - measure it on others")
    assert wrote == "Wrote the figures to head"
    assert [(m.name, m.split) for m in load("./head").card.metrics] == [("accuracy", "test")]
    atlas_command("aggregate", "generalized-procrustes", "a", "b", "--out", "both")
    atlas_command("apply", "both", "a", "b", "--out", "joint")
    atlas_command("train", "nearest-mean", "joint", "--out", "reader")
    atlas_command("evaluate", "both", "--vectors", "a", "b", "--head", "reader", "--save")
    assert load("./both").card.metrics[0].value > 0.9
    assert atlas_command("check", ".").stderr == "8 artefacts checked, none with problems\n"


@pytest.mark.parametrize("given", [("--source", "a"), ("--vectors", "a"), ()])
def test_an_alignment_is_measured_on_source_and_target(zoo, atlas_command, given):
    said = atlas_command("evaluate", "map", *given, status=1).stderr
    needs = "vectors of its source and of its target, and perhaps a head of the target"
    assert said == f"Error: Alignment 'a__b__procrustes' is measured on {needs} - give --source and --target\n"


def test_compare_two_or_more_spaces(zoo, atlas_command):
    lines = atlas_command("compare", "a", "b").stdout.splitlines()
    assert lines[0].split()[:4] == ["metric", "of", "and", "value"] and lines[1].split()[:3] == ["cka", "a", "b"]
    atlas_command("apply", "map", "a", "--out", "c")
    found = json.loads(
        atlas_command("compare", "a", "b", "--metric", "mutual-knn@5", "--metric", "cka", "--json").stdout
    )
    assert [one["metric"] for one in found] == ["mutual-knn@5", "cka"]
    assert found[0]["chance"] == pytest.approx(5 / 119) and found[0]["value"] > 0.5


def test_stitch_prints_accuracy_and_writes_predictions(stored, atlas_command, pair):
    pair.source.save_pretrained("items.safetensors")
    atlas_command("encode", "precomputed", "a", "-o", "model", "x", "--out", "x", "--save-space", "space")
    atlas_command("fit", "procrustes", "--source", "x", "--target", "b", "--out", "map")
    atlas_command("train", "nearest-mean", "b", "--out", "head")
    result = atlas_command("stitch", "./space", "map", "head", "a", "--out", "p.csv")
    assert result.stdout.splitlines()[1].split()[0] == "accuracy" and "no alignment" in result.stdout
    assert result.stderr == "Wrote the predictions to p.csv\n"
    assert Path("p.csv").read_text().splitlines()[0] == "id,predicted,label,score"
    found = json.loads(atlas_command("stitch", "./space", "map", "head", "a", "--json").stdout)
    assert found[0]["value"] > 0.9 > found[0]["floor"]
    np.save("bare.npy", pair.source.data.numpy())
    unlabelled = atlas_command("stitch", "./space", "map", "head", "bare.npy")
    assert unlabelled.stdout == "" and unlabelled.stderr == "The items have no classes to compare with\n"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_stitch_with_too_few_or_many_parts_is_wrong_usage(count):
    result = CliRunner().invoke(main, ["stitch", *["x"] * count])
    assert result.exit_code == 2 and f"Expected ENCODER [ALIGNMENT] HEAD INPUT, got {count} argument" in result.stderr


# Find


def test_list_tells_what_there_is(zoo, atlas_command):
    lines = atlas_command("list", "--registry", ".").stdout.splitlines()
    assert lines[0].split() == ["kind", "id", "from", "to", "method", "dim", "n"]
    assert [line.split()[0] for line in lines[1:]] == ["vectors", "anchors", "vectors", "head", "alignment"]
    assert lines[-1].split() == ["alignment", "a__b__procrustes", "a", "b", "procrustes", "8", "60"]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["procrustes"], ["a__b__procrustes"]),
        (["toy", "uniform"], ["toy-uniform-60-s0"]),
        (["--kind", "vectors"], ["a", "b"]),
        (["--source", "a", "--target", "b"], ["a__b__procrustes"]),
        (["--source", "b"], []),
    ],
)
def test_list_finds_by_words_kind_and_space(zoo, atlas_command, arguments, ids):
    result = atlas_command("list", *arguments, "--registry", ".", "--json")
    assert sorted(card["id"] for card in json.loads(result.stdout)) == ids


def test_nothing_found_is_said_on_stderr(zoo, atlas_command):
    result = atlas_command("list", "no-such-thing", "--registry", ".")
    assert (result.stdout, result.stderr) == ("", "Nothing found\n")


def test_a_metric_that_no_card_has_is_told_of(zoo, atlas_command):
    result = atlas_command("list", "--least", "nope", "0.5", "--registry", ".")
    assert result.stderr.startswith("Note: no card here has a figure of 'nope' - there are figures of ")
    assert result.stderr.endswith("\nNothing found\n")


def test_cards_that_cannot_be_read_are_noted(zoo, atlas_command):
    Path("head/config.yaml").write_text("format: 3")
    result = atlas_command("list", "--registry", ".")
    assert result.stderr == "Note: 1 card cannot be read - 'atlas check' says why\n"
    assert len(result.stdout.splitlines()) == 5


def test_ids_are_looked_up_in_registries(zoo, atlas_command, monkeypatch):
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    atlas_command("apply", "a__b__procrustes", "../a", "--out", "x", "--registry", "..")
    monkeypatch.setenv("ATLAS_REGISTRY", str(zoo))
    atlas_command("apply", "a__b__procrustes", "a", "--out", "y")
    assert torch.equal(read_vectors("./x").data, read_vectors("./y").data)
    monkeypatch.delenv("ATLAS_REGISTRY")
    atlas_command("apply", "a__b__procrustes", "../a", "--out", "z", status=1)


def test_show_prints_a_card(zoo, atlas_command, pair):
    text = atlas_command("show", "map").stdout
    assert text.startswith("alignment a__b__procrustes\n")
    assert "  source     a (8 dimensions, made by planted)\n" in text and "weight F32 [8, 8]" in text
    card = json.loads(atlas_command("show", "map", "--json").stdout)
    assert card["aligner"] == "procrustes" and card["folder"] == "map" and card["source"]["dim"] == 8
    np.save("x.npy", pair.source.data.numpy())
    assert json.loads(atlas_command("show", "x.npy", "--json").stdout)["n"] == 120


def test_check_reports_every_problem(zoo, atlas_command):
    assert atlas_command("check", ".").stderr == "5 artefacts checked, none with problems\n"
    raw = bytearray(Path("map/model.safetensors").read_bytes())
    raw[-1] ^= 1
    Path("map/model.safetensors").write_bytes(raw)
    Path("head/config.yaml").write_text("format: 3")
    result = atlas_command("check", ".", status=1)
    assert len(result.stdout.splitlines()) == 2 and result.stderr == "5 artefacts checked, 2 with problems\n"
    assert atlas_command("check", "map", "a", status=1).stderr == "2 artefacts checked, 1 with problems\n"
    found = json.loads(atlas_command("check", ".", "--json", status=1).stdout)
    assert len(found) == 5 and len(found["map"]) == len(found["head"]) == 1 and found["a"] == []


# Components


@pytest.mark.parametrize("kind", ["encoders", "samplers", "aligners", "aggregators", "heads"])
def test_components_are_listed_and_shown(atlas_command, kind):
    listed = json.loads(atlas_command(kind, "--json").stdout)
    assert listed and set(listed[0]) == {"name", "summary", "plugin", "options"}
    lines = atlas_command(kind).stdout.splitlines()
    assert len(lines) == len(listed) + 1
    for one in listed:
        text = atlas_command(kind, "show", one["name"]).stdout
        assert one["summary"] in text and all(f"-o {opt['name']}" in text for opt in one["options"])
        assert json.loads(atlas_command(kind, "show", one["name"], "--json").stdout) == one


def test_metrics_are_listed(atlas_command):
    listed = json.loads(atlas_command("metrics", "--json").stdout)
    assert {"cka", "accuracy", "mutual-knn"} <= {one["name"] for one in listed}
    assert len(atlas_command("metrics").stdout.splitlines()) == len(listed) + 1


# Printing


def test_a_table_is_aligned_and_leaves_out_empty_columns():
    text = table(["name", "n", "note", "x"], [["a", 5, "", 0.5], ["bcd", 12345, None, 123456.0], ["e", None, "", 1e-9]])
    assert text == "name      n          x\na         5     0.5000\nbcd   12345  1.235e+05\ne            1.000e-09"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0000"), (-0.25, "-0.2500"), (True, "yes"), (None, ""), (3, "3"), (float("nan"), "nan")]
)
def test_cells(value, text):
    assert cell(value) == text


def test_json_holds_null_for_what_is_not_finite(capsys):
    from atlas.cli.output import put_json

    put_json({"a": float("nan"), "b": [float("inf"), 1.5], "é": ()})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "é": []}


def test_warnings_of_atlas_are_lines_on_stderr_and_others_are_not(monkeypatch, atlas_command):
    import warnings

    from atlas.errors import AtlasWarning

    def warn(*_, **__):  # type: ignore[no-untyped-def]
        warnings.warn("too few pairs", AtlasWarning, stacklevel=1)
        return []

    monkeypatch.setattr("atlas.storage.registry.Registry.list", warn)
    assert atlas_command("list").stderr == "Warning: too few pairs\nNothing found\n"


def test_python_m_atlas_is_the_command():
    import subprocess
    import sys

    process = subprocess.run([sys.executable, "-m", "atlas", "--version"], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("atlas, version ")


def test_columns_of_a_table_are_named(stored, atlas_command, pair):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    about = {"pk": list(pair.source.ids), "use": list(pair.source.data.numpy()), "other": [[0.0]] * 120}
    parquet.write_table(pa.table(about), "x.parquet")
    fit = ("fit", "linear", "--source", "x.parquet", "--target", "b", "--vector-column", "use", "--out", "m")
    message = atlas_command(*fit, status=1).stderr
    assert (
        "Note: the rows of 'x.parquet' have no ids and are numbered from 0 - name the column that holds ids" in message
    )
    assert "Vectors of 'x' have row numbers for ids, those of 'b' ids of their own" in message
    assert "fitted on 120 items" in atlas_command(*fit, "--id-column", "pk").stderr
    atlas_command("apply", "m", "x.parquet", "--vector-column", "use", "--id-column", "pk", "--out", "mapped")
    assert load("./mapped").ids == pair.source.ids
    message = atlas_command("compare", "x.parquet", "b", "--id-column", "pk", "--vector-column", "no", status=1).stderr
    assert "x.parquet: unknown column 'no' - known: other, use" in message


def test_rows_that_are_paired_by_their_numbers_are_told_of(stored, atlas_command, pair):
    for name in "xy":
        np.save(f"{name}.npy", pair.source.data.numpy())
    result = atlas_command("compare", "x.npy", "y.npy")
    assert "Note: the rows of 'x.npy' and 'y.npy' have no ids and are numbered from 0\n" in result.stderr
    Path("docs.csv").write_text("pk,text\n7,red fox\n8,red hen\n9,red fox\n")
    result = atlas_command("encode", "tfidf-svd", "docs.csv", "-o", "dim", "1", "--out", "t")
    note = "Note: the rows of 'docs.csv' have no ids and are numbered from 0 - name the column that holds ids"
    assert note in result.stderr
    result = atlas_command("encode", "tfidf-svd", "docs.csv", "-o", "dim", "1", "--id-column", "pk", "--out", "u")
    assert "Note" not in result.stderr and load("./u").ids == ["7", "8", "9"]


def test_results_of_a_command_that_another_one_runs_go_to_stdout_alone(capsys):
    with results_alone(), results_alone():
        put("a figure")
        print("anything else")
    assert capsys.readouterr() == ("a figure\n", "anything else\n")
