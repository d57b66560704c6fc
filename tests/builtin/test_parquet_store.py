"""A folder of .parquet files as a store."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import space_of
from storetools import rows

import atlas
from atlas.artefacts.sources.transfer import transfer
from atlas.authors import SHADOW, VECTORS, Address
from atlas.components.linear import Affine
from atlas.testing import check_store
from atlas_builtin import parquet as module
from atlas_builtin.parquet import Parquet

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

_count = itertools.count()
N, D, K = 60, 6, 9


def store_at(url):
    return Parquet.at(Address.parse(url))


@pytest.fixture
def fill(tmp_path):
    """Return a function that writes rows to the files of a folder, and returns its URL."""

    def making(X, ids=None, files=3, group=5, number=None, fixed=False):
        folder = tmp_path / f"docs{next(_count)}"
        folder.mkdir()
        number = number or pa.float32()
        kind = pa.list_(number, X.shape[1]) if fixed else pa.list_(number)
        ids = [f"item-{i:05}" for i in range(len(X))] if ids is None else list(ids)
        X = [None if np.isnan(x).all() else x for x in X]
        for k, part in enumerate(np.array_split(np.arange(len(X)), files)):
            lists = pa.array([X[i] for i in part], kind)
            years = pa.array([1900 + i for i in part], pa.int16())
            table = pa.table({"year": years, "id": [ids[i] for i in part], "embedding": lists})
            parquet.write_table(table, folder / f"part-{k}.parquet", row_group_size=group)
        return f"parquet://{folder}"

    return making


@pytest.fixture
def alignment():
    """An affine map from 6 to 9 dimensions."""
    weight, bias = torch.from_numpy(rows(D, K, 1)), torch.ones(K)
    return atlas.Alignment.of(Affine.of(weight, bias), space_of("old", D), space_of("new", K), "old-new")


def digests(folder):
    """Return the bytes of all files of a folder."""
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def test_it_keeps_the_promises_of_stores(fill):
    check_store(lambda ids, X: store_at(fill(X, ids)))


def test_it_keeps_them_with_whole_numbers_and_half_precision_in_one_file(fill):
    half = {"files": 1, "group": 100, "number": pa.float16(), "fixed": True}
    check_store(lambda ids, X: store_at(fill(X.astype("float16"), map(int, ids), **half)), [*map(str, range(-9, 31))])


def test_a_folder_is_mapped_switched_to_and_taken_back_to_the_byte(fill, alignment):
    X = rows(N, D)
    url = fill(X)
    folder = url.removeprefix("parquet://")
    before = digests(folder)
    assert len(transfer(alignment, url, url, size=25)) == N
    assert digests(folder) == before
    atlas.switch_store(url)
    made = atlas.read_vectors(folder)
    assert made.space == alignment.target
    np.testing.assert_allclose(made.data, alignment(X), atol=1e-5)
    table = parquet.read_table(folder)
    assert table.column_names == ["year", "id", "embedding", "embedding__mark"]
    assert table.column("year").type == pa.int16()
    assert table.column("year").to_pylist() == [*range(1900, 1900 + N)]
    assert [file.name for file in sorted(Path(folder).glob("*.parquet"))] == [
        f"part-0000{k}.parquet" for k in (1, 2, 3)
    ]
    atlas.switch_store(url)
    assert digests(folder) == before
    atlas.drop_shadow(url)
    assert [path.name for path in Path(folder).parent.iterdir()] == [Path(folder).name]


def test_names_that_cannot_be_exchanged_in_one_step_are_in_three_of_which_each_is_taken_up(
    fill, alignment, monkeypatch
):
    url = fill(rows(N, D))
    folder = Path(url.removeprefix("parquet://"))
    before = digests(folder)
    atlas.apply(alignment, url, out=url)
    monkeypatch.setattr(module, "exchange", lambda a, b: False)
    atlas.switch_store(url)
    assert store_at(url).dim(VECTORS) == K
    atlas.switch_store(url)
    assert digests(folder) == before
    folder.rename(f"{folder}__swap")
    assert (store_at(url).dim(VECTORS), store_at(url).dim(SHADOW)) == (K, D)
    atlas.switch_store(url)
    folder.rename(f"{folder}__swap")
    Path(f"{folder}__shadow").rename(folder)
    assert (store_at(url).dim(VECTORS), store_at(url).dim(SHADOW)) == (K, D)


def test_rows_without_a_vector_are_not_counted_and_left_out(fill, alignment):
    X = rows(N, D)
    X[[4, 50]] = np.nan
    url = fill(X)
    assert store_at(url).count(VECTORS) == N - 2
    with pytest.warns(atlas.AtlasWarning, match="are left out: 2, the first is 'item-00004'"):
        assert len(atlas.apply(alignment, url, out=url)) == N - 2


def test_a_file_that_comes_meanwhile_is_mapped_by_the_next_run(fill, alignment):
    url = fill(rows(N, D))
    folder = Path(url.removeprefix("parquet://"))
    atlas.apply(alignment, url, out=url)
    more = pa.table({"year": [2000], "id": ["new"], "embedding": pa.array([rows(1, D)[0]], pa.list_(pa.float32()))})
    parquet.write_table(more, folder / "a.parquet")
    with pytest.raises(atlas.AtlasError, match="61 rows, and 60 in its shadow"):
        atlas.switch_store(url)
    assert len(atlas.apply(alignment, url, out=url)) == N + 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f"parquet://{f}x", "is not there - check the path"),
        (lambda f: f"parquet://{f}/part-0.parquet", "is a file - move it into a folder"),
        (lambda f: f"parquet://{f}?id=", "has more than one row 'a'"),
        (lambda f: f"parquet://{f}?id=years", "did you mean 'year'"),
        (lambda f: f"parquet://{f}?vector=year", "Column 'year' must hold a list or an array of numbers"),
        (lambda f: f"parquet://elsewhere{f}", "is not on this machine"),
    ],
)
def test_a_wrong_folder_is_told_in_a_sentence(fill, alignment, change, sentence):
    url = change(fill(rows(3, D), ["a", "b", "a"]).removeprefix("parquet://"))
    with pytest.raises(atlas.AtlasError, match=sentence) as raised:
        atlas.apply(alignment, url, out=url)
    assert "\n" not in str(raised.value)


def test_ids_that_are_missing_are_told_of(fill, alignment):
    url = fill(rows(3, D), ["a", None, "b"])
    with pytest.raises(atlas.AtlasError, match="has a row without an id - give every row one of its own"):
        atlas.apply(alignment, url, out=url)


@pytest.mark.parametrize("name", ["notes.txt", "p=1/part.parquet", "_delta_log/0.json"])
def test_what_a_switch_would_leave_behind_is_refused(fill, alignment, name):
    url = fill(rows(20, D))
    folder = Path(url.removeprefix("parquet://"))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    before = {file.name for file in folder.iterdir()}
    there = name.partition("/")[0]
    told = f"holds the (file|folder) '{there}' beside its tables .* - move it elsewhere"
    with pytest.raises(atlas.AtlasError, match=told):
        atlas.apply(alignment, url, out=url)
    assert {file.name for file in folder.iterdir()} == before
    shadow = folder.with_name(f"{folder.name}__shadow")
    assert not shadow.exists()
    (folder / name).unlink()
    if there != name:
        (folder / there).rmdir()
    (folder / "_SUCCESS").touch()
    atlas.apply(alignment, url, out=url)
    atlas.switch_store(url)
    (shadow / "late.txt").write_text("mine")
    with pytest.raises(atlas.AtlasError, match=r"holds the file 'late\.txt' beside its tables"):
        atlas.drop_shadow(url, old=True)
    assert (shadow / "late.txt").read_text() == "mine"
