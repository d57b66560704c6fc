"""Choosing among aligners by the neighbours that left-out rows keep."""

from __future__ import annotations

import pytest
import torch
from planted import normal, turn
from torch.testing import assert_close

from atlas import create
from atlas.components.aligner import Aligner
from atlas.components.choosing import chosen, cross_fit, kept, left_out
from atlas.errors import AtlasError


def pair(n=120, d=8, noise=0.2):
    X = normal(n, d)
    return X, X @ turn(d, d, seed=2) + noise * normal(n, d, seed=1)


def test_a_row_is_mapped_by_a_fit_that_has_not_seen_it():
    X, Y = pair()
    aligner = create(Aligner, "linear", {"ridge": 0.1})
    before = left_out(cross_fit(aligner, X, Y, 4), X)
    other = Y.clone()
    other[5] += 100
    after = left_out(cross_fit(aligner, X, other, 4), X)
    same_fold = torch.arange(len(X)) % 4 == 1
    assert_close(after[same_fold], before[same_fold])
    assert not torch.allclose(after[~same_fold], before[~same_fold])


def test_left_out_rows_are_those_of_fits_by_hand():
    X, Y = pair()
    held = torch.arange(len(X)) % 5 == 3
    fitted = create(Aligner, "procrustes").fit(X[~held], Y[~held])
    assert_close(left_out(cross_fit(create(Aligner, "procrustes"), X, Y, 5), X)[held], fitted.transform(X[held]))


@pytest.mark.parametrize("role", ["index", "queries"])
def test_exact_rows_keep_all_neighbours_and_others_hardly_any(role):
    X = normal(200, 8)
    Y = X @ turn(8, 8, seed=2)
    assert kept(Y, X, Y, role).mean() == 1
    assert kept(normal(200, 8, seed=3), X, Y, role).mean() < 0.15


def test_neighbours_are_those_of_the_newer_model():
    # The target has lost what tells rows apart in the source: only as an index's space can it be kept.
    X = normal(200, 8)
    Y = X * torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])
    assert kept(Y, X, Y, "index").mean() == 1
    assert kept(Y, X, Y, "queries").mean() < 0.6


@pytest.mark.parametrize("role", ["index", "queries"])
def test_ten_neighbours_are_looked_at_and_of_few_rows_all_others(role):
    X = normal(40, 8)
    Y, other = X @ turn(8, 8, seed=2), normal(40, 8, seed=3)
    given = (other, X, Y, role)
    assert_close(kept(*given), kept(*given, k=10), rtol=0, atol=0)
    assert not torch.equal(kept(*given), kept(*given, k=9))
    assert kept(other[:6], X[:6], Y[:6], role).tolist() == [1.0] * 6


def test_the_better_method_is_chosen():
    X, Y = pair()
    methods = [create(Aligner, "identity"), create(Aligner, "procrustes")]
    best, shares = chosen(methods, X, Y, "index")
    assert best is methods[1]
    assert shares[1] > shares[0] + 0.3


def test_too_few_pairs_choose_the_first():
    X, Y = pair(n=10)
    methods = [create(Aligner, "identity"), create(Aligner, "procrustes")]
    best, shares = chosen(methods, X, Y, "index")
    assert best is methods[0]
    assert shares.isnan().all()


def test_twenty_pairs_tell_and_nineteen_do_not():
    X, Y = pair(20)
    candidates = [create(Aligner, "identity"), create(Aligner, "procrustes")]
    best, shares = chosen(candidates, X, Y, "index", folds=4)
    assert best is candidates[1] and shares[1] > shares[0]
    best, shares = chosen(candidates, X[:19], Y[:19], "index", folds=4)
    assert best is candidates[0] and bool(shares.isnan().all())


@pytest.mark.parametrize("role", ["index", "queries"])
def test_what_aligners_share_is_computed_once_and_changes_no_share(role, monkeypatch):
    X, Y = pair()
    tried = [("cca", {"ridge": 1.0}), ("kernel", {}), ("linear", {"ridge": 0.3}), ("cca", {"ridge": 3.0})]
    candidates = [create(Aligner, name, options) for name, options in (*tried, ("auto", {}), ("procrustes", {}))]
    due = torch.stack([kept(left_out(cross_fit(one, X, Y, 3), X), X, Y, role).mean() for one in candidates])
    decomposed, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda A: decomposed.append(len(A)) or eigh(A))
    assert_close(chosen(candidates[:4], X, Y, role)[1], due[:4])
    # Of each of three folds, both sides.
    assert len(decomposed) == 6
    assert_close(chosen(candidates, X, Y, role)[1], due)


@pytest.mark.parametrize("role", ["index", "queries"])
def test_copies_of_a_pair_count_once(role):
    X, Y = pair(60)
    copies = torch.arange(60).repeat(10)[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    first = torch.tensor(list(dict.fromkeys(copies.tolist())))
    candidates = [create(Aligner, "cca", {"ridge": ridge}) for ridge in (0.3, 3.0)]
    assert_close(chosen(candidates, X[copies], Y[copies], role)[1], chosen(candidates, X[first], Y[first], role)[1])


@pytest.mark.parametrize("role", ["index", "queries"])
@pytest.mark.parametrize("kinds", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_sides_may_differ_in_precision(role, kinds):
    X, Y = (side.to(kind) for side, kind in zip(pair(), kinds, strict=True))
    fitted = create(Aligner, "auto", {"role": role}).fit(X, Y)
    assert fitted.transform(X).shape == Y.shape


def test_one_that_cannot_be_fitted_keeps_none_and_is_an_error_if_none_can():
    X, Y = pair()
    candidates = [create(Aligner, name) for name in ("procrustes", "linear")]
    best, shares = chosen(candidates, X, torch.ones_like(Y), "queries", slack=1.0)
    assert best is candidates[1] and shares[0] == 0 and shares[1] > 0
    with pytest.raises(AtlasError, match="Aligner 'procrustes' needs rows that differ"):
        chosen(candidates[:1], X, torch.ones_like(Y), "index")
