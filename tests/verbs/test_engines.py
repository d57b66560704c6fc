"""Shards worked on by engines: the same bytes as without, finished shards left alone, mistakes told in a sentence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import atlas
from atlas.artefacts.sources.shard_writing import STAMPS
from atlas.cli import main

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N, D, SHARDS = 300, 5, 4


def write(folder, X, names, ends=None):
    """Write rows as shards that end where they are told to."""
    folder.mkdir()
    ends = ends or [N * (k + 1) for k in range(SHARDS)]
    for k, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(X[start:stop].reshape(-1)), D)
        table = pa.table({"id": names[start:stop], "vector": vectors, "title": names[start:stop]})
        parquet.write_table(table, folder / f"part-{k}.parquet", row_group_size=70)
    return folder


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two sets of shards, 'x' and 'y', and a map between them, 'map', in the working folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    X = random.normal(size=(N * SHARDS, D)).astype("float32") + 3
    names = [f"item-{i}" for i in range(len(X))]
    write(tmp_path / "x", X, names)
    write(tmp_path / "y", X @ random.normal(size=(D, D)).astype("float32"), names)
    atlas.fit("linear", source="x", target="y").save_pretrained("map")
    return tmp_path, X, names


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.mark.parametrize("engine", ["processes:workers=1", "processes:workers=2"])
def test_shards_are_mapped_to_the_same_bytes(world, engine):
    folder, *_ = world
    atlas.apply("map", "x", out="alone")
    result = run("apply", "map", "x", "--out", "many", "--engine", engine)
    assert result.exit_code == 0, result.output
    assert contents(folder / "many") == contents(folder / "alone")


@pytest.mark.parametrize("engine", ["processes:workers=1", "processes:workers=2"])
def test_moments_are_the_same_bytes(world, engine):
    folder, *_ = world
    atlas.moments(source="x", target="y").save_pretrained("alone")
    result = run("moments", "--source", "x", "--target", "y", "--out", "many", "--engine", engine)
    assert result.exit_code == 0, result.output
    for name in ("config.yaml", "model.safetensors"):
        assert (folder / "many" / name).read_bytes() == (folder / "alone" / name).read_bytes()


def test_an_executor_of_python_is_an_engine(world):
    with ThreadPoolExecutor(2) as pool:
        mapped = atlas.apply("map", "x", out="many", engine=pool)
        sums = atlas.moments(source="x", target="y", engine=pool).sums
    assert torch.equal(mapped.data, atlas.apply("map", "x", out="alone").data)
    assert torch.equal(sums.xy, atlas.moments(source="x", target="y").sums.xy)


def test_moments_are_those_of_all_rows_at_once(world):
    _, X, names = world
    whole = atlas.moments(source=atlas.Vectors.of(X, "x", ids=names), target="y").sums
    np.testing.assert_allclose(atlas.moments(source="x", target="y").sums.xy, whole.xy, rtol=1e-12)


def test_shards_that_end_elsewhere_are_summed_up_all_the_same(world):
    folder, X, names = world
    write(folder / "z", X * 2, names, [150, 160, 1000, N * SHARDS])
    with ThreadPoolExecutor(2) as pool:
        sums = atlas.moments(source="x", target="z", engine=pool).sums
    np.testing.assert_allclose(sums.xy, 2 * np.cov(X.T, bias=True) * len(X), rtol=1e-6)


def test_finished_shards_are_left_alone(world):
    folder, *_ = world
    atlas.apply("map", "x", out="many")
    (folder / "many" / "part-2.parquet").unlink()
    kept = (folder / "many" / "part-1.parquet").stat().st_mtime_ns
    worked = []

    class Counting:
        def map(self, function, items):
            worked.extend(items)
            return map(function, items)

    atlas.apply("map", "x", out="many", engine=Counting())
    assert [target.name for target, _ in worked] == ["part-2.parquet"]
    assert (folder / "many" / "part-1.parquet").stat().st_mtime_ns == kept


def test_a_bad_row_is_told_by_its_shard_and_the_others_stay(world):
    folder, X, names = world
    X = X.copy()
    X[2 * N + 7] = np.nan
    write(folder / "bad", X, names)
    result = run("apply", "map", "bad", "--out", "many", "--engine", "processes:workers=1")
    assert result.exit_code == 1
    assert "'bad/part-2.parquet' has 5 values that are NaN or infinite, the first in row 7" in result.stderr
    assert {path.name for path in (folder / "many").glob("*.parquet")} >= {"part-0.parquet", "part-1.parquet"}
    assert not list((folder / "many").glob("*.tmp")) and (folder / "many" / STAMPS).is_dir()


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Three files of texts, 'texts', and an encoder that is fitted on one of them, 'space', in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    for part in (0, 1, 10):
        rows = [
            f'{{"id": "{part}-{i}", "text": "{one} word {part}", "label": "{i}"}}'
            for i, one in enumerate(("red fox", "blue dog", "fox"))
        ]
        (tmp_path / "texts" / f"part-{part}.jsonl").write_text("\n".join(rows))
    atlas.encode("tfidf-svd", "texts/part-0.jsonl", save_space="space", dim=2, min_df=1)
    return tmp_path


def test_a_set_of_files_is_encoded_to_the_same_bytes(texts):
    alone = atlas.encode("space", "texts", out="alone")
    result = run("encode", "space", "texts/*.jsonl", "--out", "many", "--engine", "processes:workers=2")
    assert result.exit_code == 0, result.output
    assert contents(texts / "many") == contents(texts / "alone")
    found = [atlas.encode("space", f"texts/part-{part}.jsonl") for part in (0, 1, 10)]
    assert list(alone.ids) == [id for one in found for id in one.ids] and alone.space == found[0].space
    assert alone.label_names() == [label for one in found for label in one.label_names()]
    assert torch.equal(torch.cat(list(alone.rows.batches())), torch.cat([one.data for one in found]))


def test_a_second_run_encodes_changed_files_alone(texts):
    atlas.encode("space", "texts", out="many", engine=ThreadPoolExecutor(2))
    states = {path.name: path.stat().st_mtime_ns for path in (texts / "many").glob("*.parquet")}
    (texts / "texts" / "part-1.jsonl").write_text('{"id": "other", "text": "a word"}')
    assert "other" in atlas.encode("space", "texts", out="many").ids
    changed = {path.name for path in (texts / "many").glob("*.parquet") if path.stat().st_mtime_ns != states[path.name]}
    assert changed == {"part-1.parquet"}


def test_lines_of_a_set_without_ids_are_numbered_through(texts):
    (texts / "lines").mkdir()
    for name in ("a.txt", "b.txt"):
        (texts / "lines" / name).write_text("one word\n\ntwo words\n")
    assert list(atlas.encode("space", "lines", out="many").ids) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["space", "texts", "--out", "many.npy"], "is a set of files, which become a folder of shards"),
        (["space", "texts", "--out", "many", "--skip-bad", "bad.txt"], "of which no items are left out"),
        (["tfidf-svd", "texts", "--out", "many"], "is fitted on items, and 'texts' is a set of files"),
        (["space", "texts/part-0.jsonl", "--out", "many", "--engine", "processes"], "encodes a set of files side"),
    ],
)
def test_a_set_that_cannot_be_encoded_is_refused_in_a_sentence(texts, words, sentence):
    result = run("encode", *words)
    assert result.exit_code == 1 and sentence in result.stderr
    assert not (texts / "many").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["apply", "map", "x", "--out", "many", "--engine", "dask"], "Unknown engine 'dask' - known: "),
        (["apply", "map", "x", "--out", "many", "--engine", "processes:workers=0"], "needs at least 1 worker, got 0"),
        (["apply", "map", "x", "--out", "many", "--engine", "processes:cores=2"], "Unknown option 'cores'"),
        (["apply", "map", "x", "--out", "many.npy", "--engine", "processes"], "An engine writes shards to a folder"),
        (["apply", "map", "x/part-1.parquet", "--out", "many", "--engine", "processes"], "An engine writes shards"),
        (
            ["moments", "--source", "x", "--target", "y/part-1.parquet", "--out", "many", "--engine", "processes"],
            "An engine sums up shards, of the same items in the same order on both sides",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_told_in_a_sentence(world, words, sentence):
    result = run(*words)
    assert result.exit_code == 1
    assert sentence in result.stderr
