"""The store keeps the promises of stores on Lance datasets."""

from __future__ import annotations

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from conftest import table_of
from pagetools import run_page
from storetools import refuses_another_metric, rows

import atlas
from atlas.authors import SHADOW, VECTORS, Address, Batch
from atlas.testing import check_store
from atlas_lance import Lance


def store_at(url):
    return Lance.at(Address.parse(url))


def test_it_keeps_the_promises_of_stores(fill):
    check_store(lambda ids, X: store_at(fill(X, ids)))


def test_it_keeps_them_with_ids_that_are_numbers(fill):
    check_store(lambda ids, X: store_at(fill(X, [int(one) for one in ids])), [str(7 * i - 20) for i in range(40)])


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_it_keeps_them_with_ids_that_are_other_texts(fill, kind):
    check_store(lambda ids, X: store_at(fill(X, pa.array(ids).cast(kind))))


def test_ids_and_vectors_of_other_types_are_refused(fill, alignment):
    url = fill(rows(3, 6), [0.5, 1.5, 2.5])
    with pytest.raises(atlas.AtlasError, match="has a column 'id' of double - name one of texts or whole numbers"):
        atlas.apply(alignment, url, out=url)
    path = url.removeprefix("lance://")
    bits = pa.array([[1] * 6] * 3, pa.list_(pa.int8(), 6))
    lance.write_dataset(pa.table({"id": ["a", "b", "c"], "vector": bits}), path, mode="overwrite")
    with pytest.raises(atlas.AtlasError, match="has a column 'vector' that is no list of fixed size, of floating-poi"):
        atlas.apply(alignment, url, out=url)


def test_ids_of_a_shadow_are_read_once_whatever_the_number_of_batches(fill, monkeypatch):
    store = store_at(fill(rows(4, 6)))
    store.begin(6)
    reads, plain = [], lance.LanceDataset.to_batches

    def counted(self, *arguments, **options):
        reads.append(options)
        return plain(self, *arguments, **options)

    monkeypatch.setattr(lance.LanceDataset, "to_batches", counted)
    X = rows(40, 6)
    for start in (0, 5, 10, 3, 15, 25, 20, 30, 35, 12):
        store.put(Batch([str(i) for i in range(start, start + 5)], X[start : start + 5], "", ["m"] * 5))
    assert len(reads) == 1
    found = store_at(str(store.address)).read(SHADOW, "", 100)
    assert sorted(map(int, found.ids)) == list(range(40))
    assert np.array_equal(found.vectors[np.argsort([int(one) for one in found.ids])], X)
    assert not any(map(store._has, [store._dataset(SHADOW)] * 2, [["40"], ["41"]]))
    assert all(map(store._has, [store._dataset(SHADOW)] * 40, [[str(i)] for i in range(40)]))


def test_a_dataset_without_rows_is_mapped(fill, alignment):
    url = fill(rows(0, 6))
    assert len(atlas.apply(alignment, url, out=url)) == 0
    assert atlas.switch_store(url)["vectors"]["dim"] == 9


def test_vectors_are_mapped_switched_to_and_taken_back(fill, alignment):
    X = rows(60, 6)
    X[5] = np.nan
    url = fill(X)
    with pytest.warns(atlas.AtlasWarning, match="rows without a vector, which are left out: 1, the first is '5'"):
        assert len(atlas.apply(alignment, url, out=url)) == 59
    atlas.switch_store(url)
    table = lance.dataset(url.removeprefix("lance://")).to_table(filter="id = 7")
    np.testing.assert_allclose(table.column("vector").to_pylist()[0], alignment(X[7:8])[0], atol=1e-5)
    assert table.column("title").to_pylist() == ["title 7"]
    assert atlas.read_vectors(url).space == alignment.target
    atlas.switch_store(url)
    atlas.drop_shadow(url)
    assert lance.dataset(url.removeprefix("lance://")).count_rows() == 60
    assert store_at(url).dim(SHADOW) == 0


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_dataset_whose_index_is_of_another_metric_is_left_as_it_was(fill, by_metric, metric):
    url = fill(rows(300, 6))
    path, other = url.removeprefix("lance://"), "l2" if metric == "cosine" else "cosine"
    lance.dataset(path).create_index("vector", "IVF_FLAT", num_partitions=2, metric=metric)
    refuses_another_metric(url, by_metric, metric)
    lance.dataset(f"{path}__shadow").create_index("vector", "IVF_FLAT", num_partitions=2, metric=other)
    with pytest.raises(
        atlas.AtlasError, match=f"is searched by {other}, and vectors of 'new' are compared by {metric}"
    ):
        atlas.switch_store(url)
    lance.dataset(f"{path}__shadow").create_index("vector", "IVF_FLAT", num_partitions=2, metric=metric, replace=True)
    assert atlas.switch_store(url)["vectors"]["metric"] == metric


@pytest.mark.parametrize("renamed", [1, 2])
def test_a_switch_that_was_cut_off_is_finished(fill, alignment, renamed):
    url = fill(rows(20, 6))
    atlas.apply(alignment, url, out=url)
    path = Path(url.removeprefix("lance://"))
    names = [(path, path.with_name(f"{path.name}__swap")), (path.with_name(f"{path.name}__shadow"), path)]
    for before, after in names[:renamed]:
        before.rename(after)
    status = atlas.store_status(url)
    assert (status["vectors"]["dim"], status["shadow"]["dim"]) == (9, 6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: f"{url}s", "is no Lance dataset - check the path"),
        (lambda url: f"{url}?vector=x", "has no column 'x', only id, vector, title - name it, as in ?vector=NAME"),
        (lambda url: f"{url}?vector=title", "has a column 'title' that is no list of fixed size"),
        (lambda url: "lance://ann:hunter2@host/docs", "is not on this machine - give the path of a folder"),
    ],
)
def test_a_wrong_url_is_told_in_a_sentence(fill, alignment, change, sentence):
    url = change(fill(rows(5, 6)))
    with pytest.raises(atlas.AtlasError) as raised:
        atlas.apply(alignment, url, out=url)
    assert sentence in str(raised.value) and "hunter2" not in str(raised.value)


def test_a_dataset_of_others_stays(fill, alignment):
    url = fill(rows(3, 6))
    other = lance.write_dataset(pa.table({"x": [1]}), f"{url.removeprefix('lance://')}__shadow")
    for work in (lambda: atlas.apply(alignment, url, out=url), lambda: atlas.drop_shadow(url, old=True)):
        with pytest.raises(atlas.AtlasError, match=r"has a dataset '.*__shadow' beside it that Atlas did not make"):
            work()
    assert other.count_rows() == 1


def test_vectors_are_read_once_of_each_version_to_count_them_and_not_where_none_can_be_missing(fill, monkeypatch):
    X = rows(20, 6)
    X[3] = np.nan
    store, counted = store_at(fill(X)), lance.LanceDataset.count_rows
    filters = []
    monkeypatch.setattr(
        lance.LanceDataset,
        "count_rows",
        lambda self, *given, **how: filters.append(given) or counted(self, *given, **how),
    )
    assert [store.count(VECTORS) for _ in range(3)] == [19] * 3 and len(filters) == 1
    path = store.address.path
    lance.write_dataset(table_of(rows(2, 6), pa.array([90, 91])), path, mode="append")
    assert store.count(VECTORS) == 21 and len(filters) == 2
    whole = table_of(rows(4, 6), pa.array(range(4)))
    fields = [field.with_nullable(False) for field in whole.schema]
    lance.write_dataset(whole.cast(pa.schema(fields)), path, mode="overwrite")
    assert store.count(VECTORS) == 4 and filters[2] == ()


def test_labels_are_read(fill):
    assert atlas.read_vectors(f"{fill(rows(3, 6))}?labels=title").classes == ("title 0", "title 1", "title 2")


def test_the_page_runs(folder):
    assert run_page(Path(__file__).parents[1] / "README.md") == 7
