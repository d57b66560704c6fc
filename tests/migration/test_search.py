"""Search in parts, and re-ordering, against the slow way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted import normal

from atlas import AtlasError, create
from atlas.authors import unit
from atlas.components.aligner import Aligner
from atlas.migration.methods import TRIED, choose
from atlas.migration.searching import mapped, merged, nearest
from atlas.migration.trial import Maps, Pairs, Trial
from atlas.storage.rows import Rows


@pytest.mark.parametrize("size", [1, 7, 50])
def test_batches_find_what_all_rows_at_once_do(size):
    queries, index = normal(9, 5), normal(50, 5, seed=1)
    expected = (unit(queries) @ unit(index).T).topk(6).indices
    assert torch.equal(nearest(queries, index.split(size), 6), expected)
    parts = ((queries, index[rows], rows) for rows in torch.randperm(50).split(size))
    scores, rows = merged(parts, 6)
    assert torch.equal(rows, expected)
    assert torch.allclose(scores.double(), (unit(queries) @ unit(index).T).gather(1, expected), atol=1e-6)


def test_of_equals_the_first_is_found_first():
    assert nearest(torch.ones(1, 3), torch.ones(6, 3).split(2), 3).tolist() == [[0, 1, 2]]


def test_an_index_of_fewer_rows_gives_all_of_them():
    assert nearest(normal(2, 3), [normal(4, 3)], 10).shape == (2, 4)


def trial(part=1.0, known=range(0, 40, 2)):
    native = torch.tensor([*known])
    old, new = normal(40, 5), normal(40, 5, seed=1)
    pairs = Pairs(old[native], new[native], native)
    ids = [str(i) for i in range(40)]
    return Trial(ids, Rows(old), native, new[native], ids[:6], normal(6, 5, seed=2), normal(6, 5, seed=3), pairs, part)


def test_candidates_are_re_ordered_by_the_new_model_and_unknown_ones_left_out():
    one = trial()
    candidates = one.stay(20)
    for query, row, found in zip(one.queries_new, candidates.tolist(), one.re_order(candidates), strict=True):
        known = [i for i in row if i % 2 == 0]
        score = {i: float(unit(query[None]) @ unit(one.new[i // 2][None]).T) for i in known}
        assert found == sorted(known, key=lambda i: -score[i])[:10]
    assert one.known(candidates) == pytest.approx(float((candidates % 2 == 0).double().mean()))


def test_depth_is_that_of_the_whole_index():
    assert (trial().candidates(20), trial(part=0.6).candidates(50), trial(part=0.1).candidates(50)) == (20, 30, 10)


@pytest.mark.parametrize("way, row", [("convert", 3), ("bridge", 3)])
def test_what_a_pair_says_does_not_matter_to_its_own_document(way, row):
    one, aligner = trial(known=range(40)), create(Aligner, "linear", {"ridge": 0.1})
    other = replace(one, pairs=Pairs(one.pairs.old, one.pairs.new.clone(), one.pairs.at))
    other.pairs.new[row] = 100 * one.queries_new[0]
    fold = set(range(row % 10, 40, 10))
    # Documents of one fold are served by one map, which the wrong pair is no part of: their order stays.
    found = [
        [[i for i in found if i in fold] for found in search(each, way, aligner).tolist()] for each in (one, other)
    ]
    assert found[0] == found[1]
    assert not torch.equal(search(one, way, aligner), search(other, way, aligner))


@pytest.mark.parametrize("way", ["convert", "bridge"])
def test_pairs_that_are_no_documents_are_fitted_on_once_and_all_of_them(way):
    one, aligner = trial(known=range(40)), create(Aligner, "linear", {"ridge": 0.1})
    strangers = replace(one.pairs, at=torch.full_like(one.pairs.at, -1))
    maps = Maps.of(aligner, strangers, way)
    assert maps.fits == []
    whole = replace(one, pairs=strangers)
    folded = Maps(Maps.of(aligner, one.pairs, way).fits, maps.whole)
    finds = [whole.bridge(m, 40) if way == "bridge" else whole.convert(m) for m in (maps, folded)]
    assert torch.equal(*finds)


def search(one, way, aligner):
    """Return all documents in the order they are found in."""
    maps = Maps.of(aligner, one.pairs, way)
    return one.bridge(maps, 40) if way == "bridge" else nearest(one.queries_new, one.converted(maps), 40)


def test_rows_that_are_not_finite_are_told_of_by_their_number():
    bad = normal(30, 5).float()
    bad[17, 2] = torch.nan
    aligner = create(Aligner, "identity").fit(normal(30, 5), normal(30, 5))
    with pytest.raises(AtlasError, match="The old index has 1 value that is NaN or infinite, the first in row 17"):
        list(mapped(aligner, Rows(bad), "The old index"))


def test_a_row_that_is_no_number_is_named_by_its_place_in_the_whole_index(monkeypatch):
    monkeypatch.setattr("atlas.migration.searching.BATCH", 4)
    rows = normal(11, 3)
    rows[9, 1] = torch.nan
    aligner = create(Aligner, "identity").fit(normal(5, 3), normal(5, 3))
    with pytest.raises(AtlasError, match="row 9"):
        list(mapped(aligner, Rows(rows), "the index"))


def test_without_names_the_methods_of_the_role_are_tried():
    old, new = normal(60, 6), normal(60, 6, seed=1)
    pairs = Pairs(old, new, torch.arange(60))
    for role, tried in TRIED.items():
        found = choose(pairs, role)
        assert sorted((m.aligner, str(m.options)) for m in found) == sorted((n, str(o)) for n, o in tried)
    assert [m.aligner for m in choose(pairs, "index", ["identity"])] == ["identity"]
