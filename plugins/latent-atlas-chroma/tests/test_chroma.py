"""The store keeps the promises of stores on Chroma in a folder."""

from __future__ import annotations

from pathlib import Path

import chromadb
import numpy as np
import pytest
from pagetools import run_page
from storetools import refuses_another_metric, rows

import atlas
from atlas.authors import SHADOW, VECTORS, Address
from atlas.testing import check_store
from atlas_chroma import Chroma


def store_at(url):
    return Chroma.at(Address.parse(url))


def test_it_keeps_the_promises_of_stores(fill):
    check_store(lambda ids, X: store_at(fill(X, ids)))


@pytest.mark.parametrize("space", ["l2", "cosine"])
def test_vectors_are_mapped_switched_to_and_taken_back(fill, alignment, space):
    X = rows(60, 6)
    url = fill(X, space=space)
    path, name = url.removeprefix("chroma://").rsplit("/", 1)
    assert len(atlas.apply(alignment, url, out=url)) == 60
    np.testing.assert_allclose(atlas.read_vectors(url).data, X, atol=1e-6)
    atlas.switch_store(url)
    found = chromadb.PersistentClient(path=path).get_collection(name, embedding_function=None)
    one = found.get(ids=["item-00007"], include=["embeddings", "metadatas", "documents"])
    np.testing.assert_allclose(one["embeddings"][0], alignment(X)[7], atol=1e-5)
    assert one["documents"] == ["text 7"] and one["metadatas"][0]["title"] == "title 7"
    assert found.configuration_json["hnsw"]["space"] == space
    assert atlas.read_vectors(url).space == alignment.target
    atlas.switch_store(url)
    atlas.drop_shadow(url)
    np.testing.assert_allclose(atlas.read_vectors(url).data, X, atol=1e-6)
    assert store_at(url).dim(SHADOW) == 0


@pytest.mark.parametrize(("space", "metric"), [("cosine", "cosine"), ("ip", "dot"), ("l2", "l2")])
def test_a_collection_of_another_space_is_left_as_it_was(fill, by_metric, space, metric):
    url = fill(rows(20, 6), space=space)
    refuses_another_metric(url, by_metric, metric)
    assert atlas.switch_store(url)["vectors"]["metric"] == metric


def test_the_metric_is_also_read_where_it_is_in_the_metadata(tmp_path):
    client = chromadb.PersistentClient(path=str(tmp_path / "db"))
    client.create_collection("docs", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    assert store_at(f"chroma://{tmp_path / 'db'}/docs").metric_of(VECTORS) == "cosine"


@pytest.mark.parametrize("renamed", [1, 2])
def test_a_switch_that_was_cut_off_is_finished(fill, alignment, renamed):
    url = fill(rows(20, 6))
    path, name = url.removeprefix("chroma://").rsplit("/", 1)
    atlas.apply(alignment, url, out=url)
    client = chromadb.PersistentClient(path=path)
    names = [(name, f"{name}__swap"), (f"{name}__shadow", name)]
    for before, after in names[:renamed]:
        client.get_collection(before, embedding_function=None).modify(name=after)
    status = atlas.store_status(url)
    assert (status["vectors"]["dim"], status["shadow"]["dim"]) == (9, 6)
    atlas.switch_store(url)
    assert store_at(url).dim(VECTORS) == 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: f"{url}s", "has no vectors - check its name and the options of the URL"),
        (lambda url: "chroma:///nowhere/docs", "is no folder of Chroma - check the path"),
        (lambda url: "chroma://ann:hunter2@host/docs", "is no folder of Chroma - check the path"),
    ],
)
def test_a_wrong_url_is_told_in_a_sentence(fill, alignment, change, sentence):
    url = change(fill(rows(5, 6)))
    with pytest.raises(atlas.AtlasError) as raised:
        atlas.apply(alignment, url, out=url)
    assert sentence in str(raised.value) and "hunter2" not in str(raised.value)


def test_labels_are_read(fill):
    assert atlas.read_vectors(f"{fill(rows(4, 6))}?labels=title").classes == ("title 1", "title 3")


def test_the_page_runs(folder):
    assert run_page(Path(__file__).parents[1] / "README.md") == 7
