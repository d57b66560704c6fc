"""Calibrating a map: its figures, its file, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted import normal, turn

import atlas
from atlas.cards.folder import read_card
from atlas.errors import AtlasError, CardError, SpaceMismatchError
from atlas.numerics.calibration import Calibration

N, QUERIES, D = 400, 120, 16


@pytest.fixture(scope="module")
def world():
    """Documents and queries of two models, turned against each other and noisy, and a map of other items between."""
    R = turn(D, D)

    def both(X, name, seed):
        Y = X @ R + 0.5 * normal(len(X), D, seed=seed)
        ids = [f"{name}{i}" for i in range(len(X))]
        return tuple(atlas.Vectors.of(Z.float(), space, ids=ids) for Z, space in ((X, "new"), (Y, "old")))

    X = normal(N, D, seed=2)
    # Queries ask for a document, more or less clearly.
    asked = X[:QUERIES] + torch.linspace(0, 2, QUERIES)[:, None] * normal(QUERIES, D, seed=4)
    pairs, documents, queries = both(normal(N, D), "p", 1), both(X, "d", 3), both(asked, "q", 5)
    return atlas.fit("procrustes", source=pairs[0], target=pairs[1]), pairs, documents, queries


def first(Q, D):
    return (Q / Q.norm(dim=1, keepdim=True) @ (D / D.norm(dim=1, keepdim=True)).T).argmax(1)


def test_thirds_by_confidence_count_first_results(world):
    made, _, documents, queries = world
    found = atlas.calibrate(made, source=queries[0], target=queries[1], index=documents[1])
    right = first(made(queries[0].data), documents[1].data) == first(queries[1].data, documents[1].data)
    figures = [one for one in found.metrics if one.name == "first-result"]
    assert sum(one.value * one.n for one in figures) == pytest.approx(float(right.sum()))
    surest, _, least = figures
    assert surest.split == "queries mapped, surest third"
    assert surest.low > least.value
    assert {one.floor for one in figures} == {1 / N}


def test_it_is_kept_in_the_file(world, tmp_path):
    made, _, documents, queries = world
    found = atlas.calibrate(made, source=queries[0], target=queries[1], index=documents[1])
    found = atlas.calibrate(found, source=documents[0], target=documents[1], queries=queries[1])
    found.save_pretrained(tmp_path / "map")
    back = atlas.load(tmp_path / "map")
    assert sorted(back.calibration) == ["index", "queries"]
    for role, calibration in found.calibration.items():
        assert torch.equal(back.calibration[role].values, calibration.values)
    assert read_card(tmp_path / "map").plain
    assert len(back.metrics) == 6


def test_a_map_without_one_is_stored_as_ever(world, tmp_path):
    world[0].save_pretrained(tmp_path / "map")
    assert atlas.load(tmp_path / "map").calibration == {}


def test_items_fitted_on_are_mapped_by_fits_without_them(world):
    made, pairs, *_ = world
    seen = atlas.calibrate(made, source=pairs[0], target=pairs[1])
    fresh = atlas.calibrate(made.with_card(fitted_on=""), source=pairs[0], target=pairs[1])
    assert not torch.equal(seen.calibration["queries"].values, fresh.calibration["queries"].values)


def test_documents_among_the_queries_do_not_find_themselves(world):
    made, _, documents, _ = world
    alone = atlas.calibrate(made, source=documents[0], target=documents[1])
    among = atlas.calibrate(made, source=documents[0], target=documents[1], index=documents[1])
    assert torch.equal(alone.calibration["queries"].values, among.calibration["queries"].values)


def test_documents_that_search_a_mapped_index_do_not_find_themselves(world):
    made, _, documents, _ = world
    found = atlas.calibrate(made, source=documents[0], target=documents[1], queries=documents[1])
    X, Y = made(documents[0].data), documents[1].data
    both = [Y / Y.norm(dim=1, keepdim=True) @ (Z / Z.norm(dim=1, keepdim=True)).T for Z in (X, Y)]
    firsts = [scores.fill_diagonal_(-1).argmax(1) for scores in both]
    right = sum(one.value * one.n for one in found.metrics)
    assert right == pytest.approx(float((firsts[0] == firsts[1]).sum()))


def test_documents_that_are_there_twice_are_both_right(world):
    made, _, documents, queries = world
    twice = atlas.Vectors.of(torch.cat([documents[1].data] * 2), "old", ids=[f"t{i}" for i in range(2 * N)])
    found = atlas.calibrate(made, source=queries[0], target=queries[1], index=twice)
    once = atlas.calibrate(made, source=queries[0], target=queries[1], index=documents[1])
    assert sum(m.value for m in found.metrics) == pytest.approx(sum(m.value for m in once.metrics))


def test_either_queries_or_an_index(world):
    made, _, documents, queries = world
    with pytest.raises(AtlasError, match="give index or queries, not both"):
        atlas.calibrate(made, source=queries[0], target=queries[1], index=documents[1], queries=queries[1])


def test_few_queries_are_refused(world):
    made, _, documents, queries = world
    some = torch.arange(10)
    with pytest.raises(AtlasError, match="at least 30 queries, got 10"):
        atlas.calibrate(made, source=queries[0].take(some), target=queries[1].take(some), index=documents[1])


def test_an_index_of_one_document_is_refused(world):
    made, _, documents, queries = world
    with pytest.raises(AtlasError, match="The index must hold at least 2 vectors, got 1"):
        atlas.calibrate(made, source=queries[0], target=queries[1], index=documents[1].take(torch.arange(1)))


def test_vectors_of_another_space_are_refused(world):
    made, _, _, queries = world
    wrong = atlas.Vectors.of(normal(50, D + 1).float(), "other")
    with pytest.raises(SpaceMismatchError, match="maps to 'old', but the index"):
        atlas.calibrate(made, source=queries[0], target=queries[1], index=wrong)


def test_nan_is_refused(world):
    made, _, documents, queries = world
    X = queries[0].data.clone()
    X[3, 0] = torch.nan
    with pytest.raises(AtlasError, match="NaN"):
        atlas.calibrate(
            made, source=atlas.Vectors.of(X, "new", ids=queries[0].ids), target=queries[1], index=documents[1]
        )


def test_a_chain_cannot_leave_out_items_it_was_fitted_on(world):
    made, pairs, *_ = world
    chain = atlas.compose(made, atlas.fit("procrustes", source=pairs[1], target=pairs[0]))
    with pytest.raises(AtlasError, match="cannot be fitted without them - give others"):
        atlas.calibrate(chain, source=pairs[0], target=pairs[0])


def test_a_damaged_calibration_is_told(world, tmp_path):
    made, _, documents, queries = world
    found = atlas.calibrate(made, source=queries[0], target=queries[1], index=documents[1])
    wrong = Calibration(found.calibration["queries"].values * -1)
    replace(found, calibration={"queries": wrong}).save_pretrained(tmp_path / "map")
    with pytest.raises(CardError, match=r"model.safetensors: A calibration must be 6 numbers .* the first above 0"):
        atlas.load(tmp_path / "map")
