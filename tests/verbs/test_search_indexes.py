"""One search over indexes of several models, against brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import normal, turn

import atlas
from atlas.errors import AtlasError, AtlasWarning, SpaceMismatchError

N, QUERIES, D = 200, 60, 12


@pytest.fixture(scope="module")
def world():
    """The same documents and queries in three models that are turns of each other, of 12, 12 and 16 dimensions."""
    X, Q = normal(N, D), normal(QUERIES, D, seed=1)
    turns = {"a": torch.eye(D).double(), "b": turn(D, D, seed=2), "c": turn(D, 16, seed=3)}
    names = [f"d{i}" for i in range(N)], [f"q{i}" for i in range(QUERIES)]
    return {
        name: tuple(atlas.Vectors.of((Z @ R).float(), name, ids=ids) for Z, ids in zip((X, Q), names, strict=True))
        for name, R in turns.items()
    }


@pytest.fixture(scope="module")
def b_to_a(world):
    return atlas.fit("procrustes", source=world["b"][0], target=world["a"][0])


def brute(queries, documents, k=10):
    unit = [X.data / X.data.norm(dim=1, keepdim=True) for X in (queries, documents)]
    order = (unit[0] @ unit[1].T).topk(k).indices.tolist()
    return [tuple(documents.ids[i] for i in row) for row in order]


def ids(answers):
    return [answer.ids for answer in answers]


def test_queries_of_the_source_are_mapped(world, b_to_a):
    assert ids(atlas.search(b_to_a, world["b"][1], world["a"][0])) == brute(world["a"][1], world["a"][0])


def test_an_index_of_the_source_is_mapped(world, b_to_a):
    assert ids(atlas.search(b_to_a, world["a"][1], world["b"][0])) == brute(world["a"][1], world["a"][0])


def test_an_index_of_the_queries_model_is_searched_as_it_is(world, b_to_a):
    assert ids(atlas.search(b_to_a, world["b"][1], world["b"][0], k=3)) == brute(world["b"][1], world["b"][0], 3)


def test_an_index_of_the_queries_model_is_known_by_dimension_beside_mapped_ones(world):
    a_to_c = atlas.fit("procrustes", source=world["a"][0], target=world["c"][0])
    halves = [world["c"][0].take(torch.arange(100)), world["a"][0].take(torch.arange(100, N))]
    bare = [atlas.Vectors.of(one.data, f"file{i}", ids=list(one.ids)) for i, one in enumerate(halves)]
    asked = atlas.Vectors.of(world["c"][1].data, "asked", ids=list(world["c"][1].ids))
    assert ids(atlas.search(a_to_c, asked, bare)) == brute(world["c"][1], world["c"][0])
    with pytest.raises(SpaceMismatchError, match=r"or back - fit one, or name the spaces .*: \{space: index\}"):
        atlas.search(a_to_c, asked, bare[0])


@pytest.mark.parametrize("k", [1, 7])
def test_indexes_of_three_models_are_as_one(world, b_to_a, k):
    c_to_a = atlas.fit("procrustes", source=world["c"][0], target=world["a"][0])
    parts = [world[name][0].take(torch.arange(i, N, 3)) for i, name in enumerate("abc")]
    found = atlas.search([b_to_a, c_to_a], world["a"][1], parts, k=k)
    assert ids(found) == brute(world["a"][1], world["a"][0], k)
    assert [found[0].indexes[0]] == [int(found[0].ids[0][1:]) % 3]


def test_an_atlas_searches_all_of_its_spaces(world):
    made = atlas.aggregate("generalized-procrustes", *(world[name][0] for name in "abc"))
    parts = {name: world[name][0].take(torch.arange(i, N, 3)) for i, name in enumerate("abc")}
    found = ids(atlas.search(made, world["c"][1], parts, k=5))
    kept = [len({*a} & {*b}) / 5 for a, b in zip(found, brute(world["a"][1], world["a"][0], 5), strict=True)]
    assert np.mean(kept) > 0.9


def test_arrays_are_told_apart_by_the_spaces_that_are_named(world, b_to_a):
    indexes = {"a": world["a"][0].data[::2].numpy(), "b": world["b"][0].data[1::2].numpy()}
    queries = atlas.Vectors.of(world["a"][1].data, "a")
    found = atlas.search(b_to_a, queries, indexes, k=1)
    truth = [int(one[0][1:]) for one in brute(world["a"][1], world["a"][0], 1)]
    assert [2 * int(one.ids[0]) + one.indexes[0] for one in found] == truth


def test_a_document_in_two_indexes_counts_once(world, b_to_a):
    found = atlas.search(b_to_a, world["a"][1], [world["a"][0], world["b"][0]])
    assert ids(found) == brute(world["a"][1], world["a"][0])


def test_by_rank_each_index_gives_as_much(world, b_to_a):
    parts = [world["a"][0].take(torch.arange(0, N, 2)), world["b"][0].take(torch.arange(1, N, 2))]
    found = atlas.search(b_to_a, world["a"][1], parts, k=4, merge="rank")
    assert all(sorted(answer.indexes) == [0, 0, 1, 1] for answer in found)
    assert found[0].scores == pytest.approx([1 / 61, 1 / 61, 1 / 62, 1 / 62])


def test_a_calibrated_map_gives_chances_and_the_scores_to_expect(world):
    Y = world["a"][0].data + 0.5 * normal(N, D, seed=9).float()
    noisy = atlas.Vectors.of(Y, "noisy", ids=world["a"][0].ids)
    made = atlas.fit("procrustes", source=world["b"][0], target=noisy)
    made = atlas.calibrate(made, source=world["b"][0], target=noisy)
    plain = atlas.search(atlas.Alignment(made.card, made.aligner), world["b"][1], noisy)
    found = atlas.search(made, world["b"][1], noisy)
    scores = torch.tensor([one.scores for one in plain])
    calibration = made.calibration["queries"]
    torch.testing.assert_close(torch.tensor([one.scores for one in found]), calibration.scores(scores))
    torch.testing.assert_close(torch.tensor([one.chance for one in found]), calibration.chance(scores))
    assert [one.chance for one in plain] == [None] * QUERIES


def test_one_vector_and_none(world, b_to_a):
    one = world["b"][1].data[0].numpy()
    assert ids(atlas.search(b_to_a, one, world["a"][0]))[0] == brute(world["a"][1], world["a"][0])[0]
    assert atlas.search(b_to_a, one[None][:0], world["a"][0]) == []


def test_an_index_smaller_than_k(world, b_to_a):
    few = world["a"][0].take(torch.arange(3))
    assert {len(answer.ids) for answer in atlas.search(b_to_a, world["b"][1], few)} == {3}
    assert atlas.search(b_to_a, world["b"][1], few.take(torch.arange(1)))[0].ids == ("d0",)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [({"k": 0}, "k of at least 1, got 0"), ({"merge": "votes"}, "by cosine or by rank, got 'votes'")],
)
def test_wrong_options_are_told(world, b_to_a, how, sentence):
    with pytest.raises(AtlasError, match=sentence):
        atlas.search(b_to_a, world["b"][1], world["a"][0], **how)


def test_cosines_of_several_spaces_are_told_of(world, b_to_a):
    with pytest.warns(AtlasWarning, match="merge by rank"):
        atlas.search(b_to_a, world["b"][1], [world["a"][0], world["b"][0]])
    atlas.search(b_to_a, world["b"][1], [world["a"][0], world["b"][0]], merge="rank")


def test_no_index_is_told(world, b_to_a):
    with pytest.raises(AtlasError, match="There is no index to search"):
        atlas.search(b_to_a, world["b"][1], {})


def test_queries_that_no_map_takes_are_told(world, b_to_a):
    with pytest.raises(SpaceMismatchError, match=r"None of 'b__a__procrustes' leads from the queries, of 'c' \(16 dim"):
        atlas.search(b_to_a, world["c"][1], world["a"][0])


def test_nan_is_refused_in_queries_and_index(world, b_to_a):
    Q, X = world["b"][1].data.clone(), world["a"][0].data.clone()
    Q[2, 1], X[5, 0] = torch.nan, torch.inf
    with pytest.raises(AtlasError, match="The set of queries has"):
        atlas.search(b_to_a, atlas.Vectors.of(Q, "b"), world["a"][0])
    with pytest.raises(AtlasError, match="The index of 'a'"):
        atlas.search(b_to_a, world["b"][1], atlas.Vectors.of(X, "a"))


@pytest.fixture
def files(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noisy = atlas.Vectors.of(world["a"][0].data + 0.5 * normal(N, D, seed=9).float(), "a", ids=world["a"][0].ids)
    for name, vectors in {"index": noisy, "old": world["b"][0], "queries": world["b"][1]}.items():
        vectors.save_pretrained(name)
    atlas.fit("procrustes", source=world["b"][0], target=noisy).save_pretrained("map")


def test_the_commands_find_and_list_unsure_queries(files, atlas_command):
    atlas_command("calibrate", "map", "--source", "old", "--target", "index", "--out", "sure")
    asked = (
        "search",
        "queries",
        "index",
        "--map",
        "sure",
        "-k",
        2,
        "--fallback",
        "unsure.txt",
        "--least",
        0.7,
        "--json",
    )
    found = json.loads(atlas_command(*asked).stdout)
    assert Path("unsure.txt").read_text().split() == [one["query"] for one in found if one["chance"] < 0.7]
    assert {len(one["ids"]) for one in found} == {2}
    assert "--overwrite" in atlas_command(*asked, status=1).stderr


def test_unsure_queries_need_a_calibrated_map(files, atlas_command):
    done = atlas_command("search", "queries", "index", "--map", "map", "--fallback", "unsure.txt", status=1)
    assert "run 'atlas calibrate' on the map" in done.stderr
