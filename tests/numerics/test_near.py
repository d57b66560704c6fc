"""Pairs of rows that are almost alike, counted, and kept with the moments."""

from __future__ import annotations

import pytest
import torch
from planted import normal

from atlas.numerics.moments import Moments
from atlas.numerics.near import near_pairs


def pairs(n=90, d_source=40, d_target=30):
    return normal(n, d_source, seed=1), normal(n, d_target, seed=2)


def with_copies(X, Y, k, apart):
    return torch.cat([X, X[:k] + apart * normal(k, X.shape[1], seed=3)]), torch.cat(
        [Y, Y[:k] + apart * normal(k, Y.shape[1], seed=4)]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 2.0**-60, 2.0**60])
def test_pairs_that_are_almost_alike_are_counted_whatever_their_unit(dtype, scale):
    for k, apart, expected in ((0, 0, 0), (7, 1e-3, 7), (7, 0.1, 7), (7, 1.0, 0), (7, 0.0, 7)):
        X, Y = with_copies(*pairs(), k, apart)
        assert near_pairs((X * scale).to(dtype), (Y * scale).to(dtype)) == expected


@pytest.mark.parametrize("scale", [2.0**-240, 2.0**240])
def test_pairs_are_counted_in_all_units_that_float64_holds(scale):
    X, Y = with_copies(*pairs(), 7, 0.1)
    assert near_pairs(X * scale, Y * scale) == 7


def test_three_alike_are_two_that_are_like_one_before_them():
    X, Y = pairs(30)
    rows = torch.tensor([*range(30), 0, 0, 4])
    assert near_pairs(X[rows], Y[rows]) == 3


def test_rows_alike_on_one_side_alone_are_not_near():
    X, Y = pairs()
    assert near_pairs(torch.cat([X, X[:7]]), torch.cat([Y, normal(7, 30, seed=9)])) == 0
    assert near_pairs(torch.cat([X, normal(7, 40, seed=9)]), torch.cat([Y, Y[:7]])) == 0


def test_many_rows_are_not_compared():
    X, Y = pairs(113)
    assert near_pairs(*with_copies(X, Y, 7, 1e-3)) == 7
    assert near_pairs(*with_copies(X, Y, 8, 1e-3)) == 0
    assert near_pairs(*with_copies(X, Y, 7, 1e-3), rows_before=1) == 0


def test_rows_of_later_parts_are_compared_with_those_of_earlier_ones():
    X, Y = normal(900, 400, seed=1), normal(900, 8, seed=2)
    assert near_pairs(*with_copies(X, Y, 200, 1e-3)) == 200


def test_moments_count_near_pairs_beside_repeated_ones():
    X, Y = with_copies(*pairs(80), 7, 1e-3)
    X, Y = torch.cat([X, X[20:25]]), torch.cat([Y, Y[20:25]])
    m = Moments.of(X, Y, ("xy", "rows"))
    assert (m.n, m.n_distinct, m.near) == (92, 87, 7)
    assert m.reversed().near == m.anonymous().near == Moments.from_tensors(m.tensors(), 40, 30).near == 7
    assert (m + Moments.of(*pairs(20), ("xy", "rows"))).near == 7 and (m + m).near == 14
    assert Moments.of(X, Y, ("xy",)).near == 0


def test_moments_kept_before_near_pairs_were_counted_have_none():
    tensors = Moments.of(*with_copies(*pairs(80), 7, 1e-3), ("xy", "rows")).tensors()
    del tensors["near"]
    assert Moments.from_tensors(tensors, 40, 30).near == 0
