"""The space of vectors is written down where they lie, nothing else changes, and another model's are refused."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import planted, space_of
from pagetools import run_page
from safetensors.torch import load_file, save_file
from storetools import CODE, make, rows

import atlas
from atlas.artefacts.sources.stamps import space_at
from atlas.cards.space import SPACE_KEY
from atlas.errors import AtlasError, AtlasWarning, CardError, NotFoundError, SpaceMismatchError
from atlas.plugins.catalogue import component

pytest_plugins = ["plugin_fixtures"]
DOCS = Path(__file__).parents[2] / "docs"
OLD, NEW = space_of("old", 6), space_of("new", 6)


@pytest.fixture
def assert_space(monkeypatch):
    """The file that others copy."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("assert_space")


def test_a_file_of_another_program_has_it_beside(tmp_path):
    path = tmp_path / "docs.faiss"
    path.write_bytes(b"anything")
    atlas.stamp_space(path, OLD)
    assert path.read_bytes() == b"anything"
    assert json.loads((tmp_path / "docs.faiss.space.json").read_text())["id"] == "old"
    assert atlas.check_space(path, OLD) == OLD
    with pytest.raises(SpaceMismatchError, match="Expected vectors of 'new', got those of 'old': name is new there"):
        atlas.check_space(path, NEW)


def test_where_no_space_is_written_down_is_told(tmp_path, pair):
    atlas.train("nearest-mean", pair.source).save_pretrained(tmp_path / "head")
    save_file({"x": torch.ones(2, 6)}, tmp_path / "x.safetensors")
    (tmp_path / "x.faiss").write_bytes(b"anything")
    for name, words in {
        "head": "head' is of kind head - expected space or vectors",
        "gone.parquet": "There is no file '.*gone.parquet'",
        "x.safetensors": "x.safetensors' has no stamp that says which space its vectors are of - atlas space st",
        "x.faiss": "x.faiss' has no stamp that says which space its vectors are of - atlas space stamp writes one",
    }.items():
        with pytest.raises(AtlasError, match=words):
            space_at(tmp_path / name)


def test_npy_vectors_are_of_the_space_beside_them(tmp_path):
    np.save(tmp_path / "x.npy", rows(5, 6))
    atlas.stamp_space(tmp_path / "x.npy", OLD)
    assert atlas.read_vectors(tmp_path / "x.npy").space == OLD


def test_safetensors_carry_it_and_keep_their_tensors(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"vectors": torch.from_numpy(rows(5, 6)), "labels": torch.arange(5)}
    save_file(tensors, path, {"theirs": "kept"})
    atlas.stamp_space(path, OLD)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(path).items())
    assert b'"theirs":"kept"' in path.read_bytes()
    assert atlas.read_vectors(path).space == OLD
    atlas.stamp_space(path, NEW)
    assert space_at(path) == NEW


def test_parquet_carries_it_in_the_column_and_keeps_its_rows(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows(50, 6).reshape(-1)), 6)
    table = pa.table({"id": [str(i) for i in range(50)], "vector": vectors, "n": list(range(50))})
    table = table.replace_schema_metadata({"theirs": "kept"})
    parquet.write_table(table, path, row_group_size=20)
    atlas.stamp_space(path, OLD)
    found = parquet.read_table(path)
    assert found.equals(table) and found.schema.metadata[b"theirs"] == b"kept"
    assert found.schema.field("vector").metadata[SPACE_KEY.encode()].decode() == OLD.to_json()
    assert parquet.ParquetFile(path).num_row_groups == 3
    assert space_at(path) == OLD


def test_a_store_carries_it(tmp_path, plant):
    plant("lite", CODE)
    url = make(tmp_path / "a.db", rows(5, 6))
    with pytest.raises(AtlasError, match="has no stamp that says which space its vectors are of - atlas space stamp"):
        atlas.check_space(url, OLD)
    atlas.stamp_space(url, OLD)
    assert atlas.check_space(url, OLD) == OLD and atlas.read_vectors(url).space == OLD
    with pytest.raises(AtlasError, match="has vectors of 6 dimensions, and 'x' has 7"):
        atlas.stamp_space(url, space_of("x", 7))


def test_a_space_is_found_where_vectors_are_stored(tmp_path):
    toy = planted()
    toy.source.save_pretrained(tmp_path / "vectors")
    assert space_at(tmp_path / "vectors") == toy.source.space


@pytest.mark.parametrize(
    ("where", "error", "sentence"),
    [
        ("nowhere.faiss", NotFoundError, "There is no file '.*nowhere.faiss'"),
        ("", AtlasError, "is a folder - stamp a file"),
    ],
)
def test_what_cannot_be_stamped_is_told(tmp_path, where, error, sentence):
    with pytest.raises(error, match=sentence):
        atlas.stamp_space(tmp_path / where, OLD)


@pytest.mark.parametrize("ending", [".npy", ".safetensors", ".parquet"])
def test_a_file_of_another_dimension_is_not_stamped(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    atlas.Vectors.of(rows(5, 6), OLD).save_pretrained(path)
    before = path.read_bytes()
    with pytest.raises(AtlasError, match=r"x\.\w+: has vectors of 6 dimensions, and 'x' has 7"):
        atlas.stamp_space(path, space_of("x", 7))
    assert path.read_bytes() == before and space_at(path) == OLD


def test_a_space_is_described_in_a_file_of_any_name(tmp_path):
    for name in ("space.json", "our-model.json"):
        (tmp_path / name).write_text(OLD.to_json())
        (tmp_path / "index.json").write_text("{}")
        atlas.stamp_space(tmp_path / "index.json", tmp_path / name)
        assert atlas.check_space(tmp_path / "index.json", tmp_path / name) == OLD
    (tmp_path / "docs.faiss").write_text("x")
    with pytest.raises(AtlasError, match=r"docs.faiss' has no stamp .* of a stored space or of a \.json file"):
        atlas.stamp_space(tmp_path / "index.json", tmp_path / "docs.faiss")


def test_a_damaged_stamp_is_told(tmp_path):
    (tmp_path / "a.faiss").write_text("x")
    (tmp_path / "a.faiss.space.json").write_text("{")
    with pytest.raises(CardError, match=r"the space under 'latent_atlas.space' is damaged: not JSON"):
        space_at(tmp_path / "a.faiss")


def test_the_file_to_copy_agrees_with_atlas_on_every_space(assert_space, tmp_path):
    odd = atlas.Space("odd", 3, "ä", {"b": {"z": 1.5, "a": [True, None, "é\n"]}, "a": 1e-7})
    for space in (OLD, NEW, odd, atlas.Space("bare", 3)):
        assert assert_space.fingerprint(json.loads(space.to_json())) == space.fingerprint
    np.save(tmp_path / "x.npy", rows(5, 6))
    atlas.stamp_space(tmp_path / "x.npy", OLD)
    save_file({"vectors": torch.zeros(2, 6)}, tmp_path / "y.safetensors")
    atlas.stamp_space(tmp_path / "y.safetensors", OLD)
    for stamp in (tmp_path / "x.npy", tmp_path / "x.npy.space.json", tmp_path / "y.safetensors", OLD.to_json()):
        for expected in (OLD.fingerprint, OLD.to_json(), json.loads(OLD.to_json())):
            assert_space.assert_space(rows(5, 6), stamp, expected)
        with pytest.raises(
            assert_space.SpaceError, match=f"Vectors are of 'old' .* not of 'new' .{NEW.fingerprint[:12]}"
        ):
            assert_space.assert_space(None, stamp, NEW.to_json())
    with pytest.raises(
        assert_space.SpaceError, match=r"Vectors have shape \(5, 7\), and their stamp says 6 dimensions"
    ):
        assert_space.assert_space(rows(5, 7), OLD.to_json(), OLD.to_json())
    with pytest.raises(assert_space.SpaceError, match="says nothing of its space"):
        assert_space.assert_space(None, tmp_path / "z.npy", OLD.to_json())
    with pytest.raises(assert_space.SpaceError, match=r"\(unknown\)"):
        assert_space.assert_space(None, atlas.Space("bare", 6).to_json(), atlas.Space("bare", 6).to_json())


def test_the_file_to_copy_needs_numpy_alone():
    found = {
        line.split()[1]
        for line in (DOCS / "assert_space.py").read_text().splitlines()
        if line[:5] in ("impor", "from ")
    }
    assert found == {"__future__", "hashlib", "json", "struct", "pathlib", "numpy"}


def test_the_page_runs(assert_space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_page(DOCS / "space-contract.md") == 8


def test_a_npy_file_that_atlas_wrote_carries_its_space_so_that_it_is_not_mapped_twice(stored, atlas_command):
    atlas_command("fit", "procrustes", "--source", "a", "--target", "b", "--out", "map")
    np.save("old.npy", atlas.load("a").data.numpy())
    atlas_command("apply", "map", "old.npy", "--out", "new.npy")
    assert np.load("new.npy").shape == (120, 8)
    assert "but the vectors are of 'b'" in atlas_command("apply", "map", "new.npy", "--out", "x", status=1).output
    # Another map writes there: what was beside the old file is not said of the new one.
    atlas_command("fit", "procrustes", "--source", "b", "--target", "a", "--out", "back")
    atlas_command("apply", "back", "new.npy", "--out", "new.npy", "--overwrite")
    assert space_at("new.npy").same(atlas.load("a").space)


def test_npy_shards_that_atlas_wrote_carry_their_space(stored, atlas_command):
    atlas_command("fit", "procrustes", "--source", "a", "--target", "b", "--out", "map")
    for i in range(2):
        np.save(f"old-{i}.npy", atlas.load("a").data.numpy()[i::2])
    atlas_command("apply", "map", "old-*.npy", "--out", "new")
    assert space_at("new/old-1.npy").same(atlas.load("b").space)
    assert "but the vectors are of 'b'" in atlas_command("apply", "map", "new", "--out", "x", status=1).output


def test_a_store_whose_stamp_is_of_other_vectors_is_refused():
    from types import SimpleNamespace

    from atlas.artefacts.sources import stores
    from atlas.cards.space import Space

    def fail(reason):
        return AtlasError(f"Store {reason}")

    store = SimpleNamespace(dim=lambda _: 6, stamped=lambda _: Space("old", 5), fail=fail)
    with pytest.raises(AtlasError, match=r"^Store is stamped with 'old' of 5 dimensions, but has vectors of 6$"):
        stores.space_of(store)
    store.stamped = lambda _: Space("old", 6)
    assert stores.space_of(store).id == "old"


def test_a_metric_is_written_down_and_compared_and_no_part_of_the_fingerprint(tmp_path, recwarn):
    named = {metric: replace(OLD, metric=metric) for metric in ("cosine", "l2")}
    assert {one.fingerprint for one in named.values()} == {OLD.fingerprint} and "metric" not in OLD.to_json()
    path = tmp_path / "docs.npy"
    np.save(path, rows(5, 6))
    assert atlas.stamp_space(path, OLD, metric="cosine").metric == "cosine"
    assert json.loads((tmp_path / "docs.npy.space.json").read_text())["metric"] == "cosine"
    assert atlas.read_vectors(path).space.metric == "cosine"
    atlas.check_space(path, named["cosine"])
    assert not recwarn.list
    with pytest.raises(
        SpaceMismatchError, match="Expected vectors of 'old' to be compared by l2, got cosine - find ou"
    ):
        atlas.check_space(path, named["l2"])
    with pytest.warns(
        AtlasWarning, match="The metric of 'old' was not compared: one side names cosine, the other none"
    ):
        atlas.check_space(path, OLD)
    with pytest.raises(CardError, match="Unknown metric 'euclid' - known: cosine, dot, l1, l2"):
        atlas.stamp_space(path, OLD, metric="euclid")


def test_a_metric_is_kept_on_a_card(tmp_path):
    atlas.Vectors.of(rows(5, 6), replace(OLD, metric="dot")).save_pretrained(tmp_path / "x")
    assert atlas.read_vectors(tmp_path / "x").space.metric == "dot"
    atlas.Vectors.of(rows(5, 6), OLD).save_pretrained(tmp_path / "y")
    assert "metric:" not in (tmp_path / "y" / "config.yaml").read_text()


def test_a_store_that_is_searched_by_another_metric_is_not_stamped_and_not_of_the_space(tmp_path, plant, monkeypatch):
    plant("lite", CODE)
    url = make(tmp_path / "a.db", rows(5, 6))
    cosine = replace(OLD, metric="cosine")
    lite = component(atlas.Store, "lite")
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "l2")
    words = r"a.db' is searched by l2, and vectors of 'old' are compared by cosine, so that .* - index it by cosine, or"
    with pytest.raises(SpaceMismatchError, match=words):
        atlas.stamp_space(url, cosine)
    atlas.stamp_space(url, OLD)
    with pytest.raises(SpaceMismatchError, match=words):
        atlas.check_space(url, cosine)
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "cosine")
    atlas.stamp_space(url, cosine)
    assert atlas.check_space(url, cosine) == OLD
    monkeypatch.setattr(lite, "metric_of", lambda self, place: "")
    with pytest.warns(AtlasWarning, match="was not compared: one side names cosine, the other none"):
        atlas.check_space(url, cosine)


def test_the_file_to_copy_compares_metrics_that_are_named(assert_space):
    named = {metric: replace(OLD, metric=metric).to_json() for metric in ("", "cosine", "l2")}
    for stamp, expected, metric in [("cosine", "cosine", "cosine"), ("", "l2", ""), ("l2", "", "l2"), ("", "", "dot")]:
        assert_space.assert_space(None, named[stamp], named[expected], metric)
    assert_space.assert_space(None, named["l2"], OLD.fingerprint, "l2")
    for stamp, expected, metric in [("cosine", "l2", ""), ("cosine", "", "l2"), ("", "cosine", "l2")]:
        with pytest.raises(assert_space.SpaceError, match="'old' are compared and searched by different metrics: cosi"):
            assert_space.assert_space(None, named[stamp], named[expected], metric)
