"""The store keeps the promises of stores in Qdrant's local mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from migrationtools import OLD, check_migration, check_that_it_goes_on
from pagetools import run_page
from qdrant_client import QdrantClient, models
from storetools import refuses_another_metric, rows

import atlas
from atlas.authors import SHADOW, VECTORS, Address
from atlas.testing import check_store
from atlas_qdrant import Qdrant

IDS = [*(str(7 * i) for i in range(20)), *(f"00000000-0000-4000-8000-{7 * i:012}" for i in range(20))]


def store_at(url):
    return Qdrant.at(Address.parse(url))


def numbers(ids):
    return [int(one) if one.isdigit() else one for one in ids]


@pytest.mark.parametrize("distance", ["Dot", "Cosine"])
def test_it_keeps_the_promises_of_stores(fill, distance):
    check_store(lambda ids, X: store_at(fill(X, numbers(ids), distance)), IDS)


def test_it_keeps_them_with_a_named_vector(fill):
    check_store(lambda ids, X: store_at(fill(X, numbers(ids), name="text") + "?vector=text"), IDS)


@pytest.mark.parametrize("distance", ["Dot", "Cosine"])
def test_vectors_are_mapped_switched_to_and_taken_back(fill, alignment, distance):
    X = rows(60, 6)
    url = fill(X, distance=distance)
    folder = url.removeprefix("qdrant://").removesuffix("/docs")
    before = atlas.read_vectors(url).data.clone()
    assert len(atlas.apply(alignment, url, out=url)) == 60
    atlas.switch_store(url)
    client = QdrantClient(path=folder)
    [point] = client.retrieve("docs__live", [7], with_vectors=True)
    due = alignment(before[7:8].numpy())[0]
    due = due / np.linalg.norm(due) if distance == "Cosine" else due
    np.testing.assert_allclose(point.vector, due, atol=1e-5)
    assert point.payload["title"] == "title 7"
    client.close()
    assert atlas.read_vectors(url).space == alignment.target
    atlas.switch_store(url)
    assert atlas.read_vectors(url).data.equal(before)
    atlas.drop_shadow(url)
    assert store_at(url).dim(SHADOW) == 0


@pytest.mark.parametrize(
    ("distance", "metric"), [("Cosine", "cosine"), ("Dot", "dot"), ("Euclid", "l2"), ("Manhattan", "l1")]
)
def test_a_collection_of_another_distance_is_left_as_it_was(fill, by_metric, distance, metric):
    url = fill(rows(20, 6), distance=distance)
    refuses_another_metric(url, by_metric, metric)
    assert atlas.switch_store(url)["vectors"]["metric"] == metric


def test_an_alias_of_ones_own_is_switched(fill, alignment):
    url = fill(rows(20, 6))
    folder = url.removeprefix("qdrant://").removesuffix("/docs")
    client = QdrantClient(path=folder)
    alias = models.CreateAlias(collection_name="docs", alias_name="search")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    client.close()
    url = url.replace("/docs", "/search")
    atlas.apply(alignment, url, out=url)
    atlas.switch_store(url)
    client = QdrantClient(path=folder)
    assert {one.alias_name: one.collection_name for one in client.get_aliases().aliases} == {"search": "docs__shadow"}
    client.close()
    atlas.drop_shadow(url, old=True)
    assert store_at(url).dim(VECTORS) == 9


def test_other_vectors_of_a_point_go_along(fill, alignment, tmp_path):
    folder = tmp_path / "two"
    client = QdrantClient(path=str(folder))
    params = {"text": 6, "image": 3}
    client.create_collection("docs", {k: models.VectorParams(size=d, distance="Dot") for k, d in params.items()})
    X = rows(5, 6)
    points = [models.PointStruct(id=i, vector={"text": x, "image": [i, 2, 3]}) for i, x in enumerate(X.tolist())]
    points.append(models.PointStruct(id=9, vector={"image": [1, 1, 1]}))
    client.upsert("docs", points)
    client.close()
    url = f"qdrant://{folder}/docs?vector=text"
    with pytest.warns(atlas.AtlasWarning, match="rows without a vector, which are left out: 1, the first is '9'"):
        assert len(atlas.apply(alignment, url, out=url)) == 5
    atlas.switch_store(url)
    client = QdrantClient(path=str(folder))
    [point] = client.retrieve("docs__live", [4], with_vectors=True)
    assert point.vector["image"] == [4, 2, 3] and len(point.vector["text"]) == 9
    client.close()


def test_two_collections_of_a_folder_are_open_at_once(fill, alignment):
    url = fill(rows(20, 6))
    folder = url.removeprefix("qdrant://").removesuffix("/docs")
    client = QdrantClient(path=folder)
    client.create_collection("other", models.VectorParams(size=9, distance="Dot"))
    client.close()
    other = url.replace("/docs", "/other")
    assert len(atlas.apply(alignment, url, out=other)) == 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: url + "s", "has no vectors - check its name and the options of the URL"),
        (lambda url: url + "?vector=x", "has no vector 'x', only '' - name it in the URL, as in ?vector=NAME"),
        (lambda url: "qdrant:///nowhere/docs", "is no folder of Qdrant's local mode - check the path"),
        (lambda url: "qdrant://ann:hunter2@127.0.0.1:1/docs?https=true", "failed: ResponseHandlingException: "),
    ],
)
def test_a_wrong_url_is_told_in_a_sentence(fill, alignment, change, sentence):
    url = change(fill(rows(5, 6)))
    with pytest.raises(atlas.AtlasError) as raised:
        atlas.apply(alignment, url, out=url)
    assert sentence in str(raised.value) and str(raised.value).startswith("Store 'qdrant://")
    assert "hunter2" not in str(raised.value) and "\n" not in str(raised.value)


# The library leaves its lock file open.
@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_another_program_has_open_is_told(fill, alignment):
    url = fill(rows(5, 6))
    client = QdrantClient(path=url.removeprefix("qdrant://").removesuffix("/docs"))
    with pytest.raises(atlas.AtlasError, match="is already accessed by another instance of Qdrant client"):
        atlas.apply(alignment, url, out=url)
    client.close()


def test_the_page_runs(folder):
    assert run_page(Path(__file__).parents[1] / "README.md") == 7


def test_a_plan_is_carried_out_taken_back_and_made_final(fill, tmp_path):
    check_migration(fill(OLD), [str(i) for i in range(len(OLD))], tmp_path)


def test_a_plan_goes_on_after_the_disk_was_full(fill, tmp_path, monkeypatch):
    def cut():
        raise OSError(28, "No space left on device")

    check_that_it_goes_on(fill(OLD), [str(i) for i in range(len(OLD))], tmp_path, cut, monkeypatch)
