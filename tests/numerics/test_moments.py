"""Moments: exact merging, stated precision, and messages."""

from __future__ import annotations

import pytest
import torch
from planted import normal

from atlas.errors import AtlasError
from atlas.numerics import moments
from atlas.numerics.moments import Moments
from atlas.testing.promises import paired_data

ALL = ("xy", "xx", "yy")
SECOND = (*ALL, "ssx", "ssy")


def slow(X, Y):
    """Return the centred second moments as they are defined, in float64."""
    X, Y = X.double(), Y.double()
    X, Y = X - X.mean(0), Y - Y.mean(0)
    return {"xy": X.T @ Y, "xx": X.T @ X, "yy": Y.T @ Y, "ssx": X.square().sum(0), "ssy": Y.square().sum(0)}


def error(m, expected):
    """Return the largest error of a second moment, relative to the norm of that moment."""
    return max(float((getattr(m, name) - t).norm() / t.norm()) for name, t in expected.items())


@pytest.fixture
def data():
    return paired_data(n=500)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", 64)


def test_float64_rows_have_moments_as_defined(data):
    m = Moments.of(*data, ALL)
    assert m.n == 500 and m.eps == torch.finfo(torch.float64).eps
    assert error(m, slow(*data)) < 1e-14
    torch.testing.assert_close(m.mean_x, data[0].mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(m.mean_y, data[1].mean(0), rtol=1e-14, atol=0)


def test_chunks_and_merged_moments_equal_one_pass(data, small_chunks):
    X, Y = data
    expected = slow(X, Y)
    assert error(Moments.of(X, Y, ALL), expected) < 1e-14
    merged = Moments.of(X[:1], Y[:1], ALL) + Moments.of(X[1:30], Y[1:30], ALL) + Moments.of(X[30:], Y[30:], ALL)
    assert error(merged, expected) < 1e-14
    torch.testing.assert_close(merged.mean_x, X.mean(0), rtol=1e-13, atol=0)
    assert merged.n == 500


def test_merged_moments_are_as_coarse_as_their_coarse_share(data):
    X, Y = data
    coarse, fine = Moments.of(X[:9].float(), Y[:9].float()), Moments.of(X, Y)
    share = float(coarse.ssx.sum() / (coarse + fine).ssx.sum())
    assert (coarse + fine).eps == (fine + coarse).eps == pytest.approx(share * torch.finfo(torch.float32).eps, rel=0.5)


def test_merging_changes_neither_side(data):
    X, Y = data
    a, b = Moments.of(X[:200], Y[:200], ALL), Moments.of(X[200:], Y[200:], ALL)
    before = [getattr(m, name).clone() for m in (a, b) for name in SECOND]
    _ = a + b
    _ = b + a
    after = [getattr(m, name) for m in (a, b) for name in SECOND]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_float32_rows_lose_no_more_than_their_rounding(data, small_chunks, offset):
    # What float32 rows of offset 100 say of data of size 1 is good to 100 * 6e-8; products about zero would be good to
    # 100^2 * 6e-8 * the number of chunks. The reference is computed from the same rounded rows.
    X, Y = ((t / t.std() + offset).float() for t in data)
    m = Moments.of(X, Y, ALL)
    assert error(m, slow(X, Y)) < 2e-6
    assert 0.8 < m.eps / torch.finfo(torch.float32).eps <= 1


def test_rows_far_from_zero_are_centred_exactly():
    g = torch.Generator().manual_seed(0)
    X, Y = torch.randn(500, 4, generator=g) + 3e6, torch.randn(500, 3, generator=g) - 3e6
    # The mean of such rows, as float32 has it, is off by a tenth of their size.
    assert error(Moments.of(X, Y, ALL), slow(X, Y)) < 1e-6
    assert error(Moments.of(X, Y), {"ssx": slow(X, Y)["ssx"]}) < 1e-6


def test_drifting_float32_batches_keep_the_precision(small_chunks):
    g = torch.Generator().manual_seed(0)
    drift = torch.linspace(0, 1000, 3000)[:, None]
    X, Y = torch.randn(3000, 4, generator=g) + drift, torch.randn(3000, 3, generator=g) - drift
    assert error(Moments.of(X, Y, ALL), slow(X, Y)) < 1e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rows_are_computed_in_float32(data, dtype):
    X, Y = (t.to(dtype) for t in data)
    m = Moments.of(X, Y, ALL)
    assert error(m, slow(X, Y)) < 1e-6
    assert m.xy.dtype == torch.float64


def test_dtypes_may_differ(data):
    X, Y = data[0].float(), data[1]
    assert error(Moments.of(X, Y, ALL), slow(X, Y)) < 1e-14
    assert error(Moments.of(X.half(), Y.float(), ALL), slow(X.half(), Y.float())) < 1e-6


@pytest.mark.parametrize("size", [1e15, 1e25, 1e35])
def test_large_float32_rows_do_not_overflow(data, size):
    X, Y = (t.double() * size for t in data)
    X32, Y32 = X.float(), Y.float()
    assert error(Moments.of(X32, Y32), {"xy": slow(X32, Y32)["xy"]}) < 1e-6
    m = Moments.of(X32, Y32)
    assert bool(torch.isfinite(m.ssx).all() and torch.isfinite(m.ssy).all())


def test_only_what_is_asked_for_is_computed(data):
    m = Moments.of(*data, ("xx",))
    assert m.xy is None and m.yy is None
    expected = slow(*data)
    torch.testing.assert_close(m.ssx, expected["ssx"])
    torch.testing.assert_close(m.ssy, expected["ssy"])
    with pytest.raises(AtlasError, match="Moment 'xy' was not computed - name it in `needs`"):
        m.get("xy")


def test_a_moment_that_one_side_lacks_is_lost_in_merging(data):
    X, Y = data
    merged = Moments.of(X[:9], Y[:9], ALL) + Moments.of(X[9:], Y[9:])
    assert merged.xx is None and merged.xy is not None


def test_moments_about_zero_are_those_of_the_rows(data):
    X, Y = data
    m = Moments.of(X, Y, ALL).about_zero()
    expected = {"xy": X.T @ Y, "xx": X.T @ X, "yy": Y.T @ Y, "ssx": X.square().sum(0), "ssy": Y.square().sum(0)}
    assert error(m, expected) < 1e-14
    assert not m.mean_x.any() and not m.mean_y.any()


def test_scaled_moments_are_those_of_scaled_columns(data):
    X, Y = data
    x, y = torch.arange(1.0, 10.0).double(), torch.arange(1.0, 13.0).double()
    m, expected = Moments.of(X, Y, ALL).scaled(x, y), Moments.of(X * x, Y * y, ALL)
    for name in (*SECOND, "mean_x", "mean_y"):
        torch.testing.assert_close(getattr(m, name), getattr(expected, name), rtol=1e-12, atol=1e-9)


def test_deviations_are_those_of_the_columns_and_zero_for_rounding(data):
    X, Y = data
    x, y = Moments.of(X, Y).deviations()
    torch.testing.assert_close((x, y), (X.std(0), Y.std(0)), rtol=1e-12, atol=0)
    # Of a single row there is no deviation.
    assert not any(side.any() for side in Moments.of(X[:1], Y[:1]).deviations())
    eps = torch.finfo(torch.float32).eps
    spread = torch.tensor([-1.0, 1.0]).repeat(50)[:, None].float()
    for size, seen in ((1.5, False), (3.0, True)):
        far = 1000 + spread * 1000 * size * eps
        assert bool(Moments.of(far, far).deviations()[0].any()) == seen


def test_distinct_rows_are_told_up_to_so_many_and_so_many_for_each_dimension():
    assert [moments.most_distinct(d) for d in (1, 512, 513, 1000)] == [4096, 4096, 4104, 8000]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bad_value_is_named_with_its_row(data, small_chunks, bad, dtype):
    X, Y = (t.to(dtype) for t in data)
    Y[130, 2] = bad
    with pytest.raises(AtlasError, match=r"Y has 1 value that is NaN or infinite, the first in row 130 - remove"):
        Moments.of(X, Y)
    with pytest.raises(AtlasError, match=r"the first in row 1130 "):
        Moments.of(X, Y, first_row=1000)


def test_unequal_lengths_are_refused(data):
    with pytest.raises(AtlasError, match="Moments need paired rows, got 500 in X and 499 in Y"):
        Moments.of(data[0], data[1][1:])


ROWS = ("xy", "rows")


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distinct_rows_are_counted_whatever_the_batches(data, small_chunks, offset):
    X, Y = (torch.cat([t, t[:50], t[7:8].expand(30, -1)]) + offset for t in data)
    m = Moments.of(X, Y, ROWS)
    assert (m.n, m.n_distinct) == (580, 500)
    parts = [Moments.of(x, y, ROWS) for x, y in zip(X.split(77), Y.split(77), strict=True)]
    assert torch.equal(sum(parts[1:], parts[0]).rows, m.rows)
    turned = Moments.of(X.flip(0), Y.flip(0), ROWS)
    assert torch.equal(turned.rows, m.rows) and torch.equal(turned.scaled(X[0], Y[0]).about_zero().rows, m.rows)


def test_rows_of_few_digits_or_one_column_are_told_apart():
    X = torch.eye(300)
    assert Moments.of(X, X, ROWS).n_distinct == 300
    assert Moments.of(X, X[:, :1], ROWS).n_distinct == 300
    column = torch.arange(300.0)[:, None]
    assert Moments.of(column, torch.zeros(300, 1), ROWS).n_distinct == 300
    assert Moments.of(column.expand(-1, 384), torch.zeros(300, 3), ROWS).n_distinct == 300
    assert Moments.of(torch.zeros(9, 4), torch.zeros(9, 2), ROWS).n_distinct == 1


def test_pairs_that_differ_on_one_side_are_distinct(data):
    X, Y = data
    assert Moments.of(X[:1].expand(500, -1), Y, ROWS).n_distinct == 500


def test_rows_that_differ_by_rounding_are_repeats():
    X = torch.randn(1000, 384, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Moments.of(torch.cat([X, X.float().double()]), torch.cat([X, X.float().double()]), ROWS).n_distinct
    assert 1000 <= found < 1010


def test_too_many_distinct_rows_are_not_counted(data, monkeypatch):
    X, Y = data
    monkeypatch.setattr(moments, "MOST_DISTINCT", (100, 8))
    few, many = Moments.of(X[:100], Y[:100], ROWS), Moments.of(X[:101], Y[:101], ROWS)
    assert len(few.rows) == 100 and many.rows is None and many.n_distinct == 101
    assert (few + Moments.of(X[50:100], Y[50:100], ROWS)).n_distinct == 100
    assert (few + Moments.of(X[100:101], Y[100:101], ROWS)).rows is None
    assert (few + Moments.of(X[:9], Y[:9])).n_distinct == 109


def test_rows_that_a_constant_column_hides_are_not_taken_for_repeats():
    X, Y = torch.randn(91, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).split([5, 3], 1)
    wide = torch.cat([X * 4e-4, torch.full((91, 1), 2.3e4)], 1)
    far = 5e-14 * Y + 3.4e-10 * torch.tensor([1.0, -1.0, 1.0])
    assert Moments.of(wide, far, ROWS).n_distinct == 91
    assert Moments.of(X.repeat(2, 1), Y.repeat(2, 1), ROWS).n_distinct == 91


@pytest.mark.parametrize("side", [0, 1])
def test_vectors_whose_squares_do_not_fit_float64_are_refused(side):
    sides = [normal(20, 3), normal(20, 4, seed=1)]
    sides[side] = sides[side] * 1e300
    with pytest.raises(
        AtlasError, match=r"^Float64 cannot hold the squares of these vectors - bring them to another unit"
    ):
        Moments.of(*sides)
