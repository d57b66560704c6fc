"""Matrices come in as anything, and come out as they went in or not at all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from planted import normal, turn
from torch.testing import assert_close

import atlas
from atlas.errors import AtlasError
from atlas.numerics.arrays import all_equal, as_matrix, as_pairs, far_from_zero, frozen, lengths, unit
from atlas.numerics.moments import float32_tells

VALUES = np.arange(12.0).reshape(4, 3) - 5


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">f4", "<f2", ">i8", np.longdouble, "u2", "u4", "u8", ">u2", "i1"])
@pytest.mark.parametrize("turn", [np.copy, np.flipud, np.fliplr, np.asfortranarray], ids=lambda turn: turn.__name__)
def test_an_array_of_any_order_and_number_is_read_by_value(dtype, turn):
    given = turn(np.abs(VALUES).astype(dtype))
    assert_close(as_matrix(given, "X").double(), torch.from_numpy(turn(np.abs(VALUES)).copy()))


def test_memory_is_shared_where_torch_can_read_it():
    for given in (VALUES.copy(), np.asfortranarray(VALUES), VALUES.copy()[::2, 1:]):
        assert as_matrix(given, "X").data_ptr() == given.__array_interface__["data"][0]


def test_an_array_that_must_not_be_written_to_is_read_without_a_word():
    given = VALUES.copy()
    given.flags.writeable = False
    assert_close(as_matrix(given, "X"), torch.from_numpy(VALUES.copy()))


def test_what_gives_an_array_is_one():
    class Frame:
        def __array__(self, dtype=None, copy=None):  # type: ignore[no-untyped-def]
            return VALUES

    assert_close(as_matrix(Frame(), "X"), torch.from_numpy(VALUES.copy()))


def test_masked_values_are_refused_and_a_mask_of_nothing_is_not():
    masked = np.ma.masked_array(VALUES, mask=VALUES > 4)
    with pytest.raises(AtlasError, match=r"^X has 2 values that are masked - remove those rows, or fill them$"):
        as_matrix(masked, "X")
    assert_close(as_matrix(np.ma.masked_array(VALUES), "X"), torch.from_numpy(VALUES.copy()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([["a", "b"]], "list"),
        (np.array([["a", "b"]]), "ndarray of <U1"),
        (np.array([[None, 1]]), "ndarray of object"),
        (np.array([["2020-01-01"]], "datetime64[D]"), r"ndarray of datetime64\[D\]"),
        ([[1.0], [1.0, 2.0]], "list"),
        ([[10**400]], "list"),
        (object(), "object"),
    ],
)
def test_what_holds_no_numbers_is_refused_in_words_of_ours(given, words):
    with pytest.raises(AtlasError, match=f"^X must be a tensor or an array of numbers, got {words}$"):
        as_matrix(given, "X")


def test_pairs_may_be_any_array_of_whole_numbers():
    given = np.array([[0, 1], [1, 0]], ">u2")[::-1]
    assert as_pairs(given, 2, 2).tolist() == [[1, 0], [0, 1]]


def fitted() -> atlas.Aligner:
    X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return atlas.create(atlas.Aligner, "linear").fit(X, 1e5 * X)


def test_a_result_that_does_not_fit_its_dtype_is_refused():
    aligner = fitted()
    small = torch.full((2, 3), 0.01, dtype=torch.float16)
    assert aligner.transform(small).dtype == torch.float16
    with pytest.raises(AtlasError, match=r"maps these vectors to numbers too large for torch.float16 - give them in"):
        aligner.transform(torch.ones(2, 3, dtype=torch.float16))
    assert_close(aligner.transform(torch.ones(2, 3)), torch.full((2, 3), 1e5), rtol=1e-4, atol=0)
    with pytest.raises(AtlasError, match=r"maps these vectors to numbers too large for torch.float32 - give them in"):
        aligner.transform(torch.full((2, 3), 1e35))
    assert torch.isfinite(aligner.transform(torch.full((2, 3), 1e35, dtype=torch.float64))).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_is_named_when_it_is_mapped(dtype, value):
    X = torch.zeros(5, 3, dtype=dtype)
    X[3, 1] = value
    with pytest.raises(AtlasError, match=r"^X has 1 value that is NaN or infinite, the first in row 3 - remove"):
        fitted().transform(X)


def test_a_sum_that_overflows_is_not_taken_for_a_value_that_does():
    identity = atlas.create(atlas.Aligner, "identity").fit(torch.ones(2, 3), torch.ones(2, 3))
    for dtype, value in ((torch.float16, 6e4), (torch.float32, 3e38)):
        X = torch.full((40, 3), value, dtype=dtype)
        assert torch.equal(identity.transform(X), X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lengths_neither_overflow_nor_vanish(dtype):
    X = normal(5, 3)
    for size in (1e-37, 1e-20, 1.0, 1e20, 1e37):
        rows = (X * size).to(dtype)
        torch.testing.assert_close(lengths(rows)[:, 0].double() / size, X.norm(dim=1), rtol=1e-6, atol=0)
        torch.testing.assert_close(unit(rows).double(), X / X.norm(dim=1, keepdim=True), rtol=0, atol=1e-6)
    assert not unit(torch.zeros(2, 3, dtype=dtype)).any()
    assert unit(torch.zeros(0, 3, dtype=dtype)).shape == (0, 3)
    unknown = unit(torch.tensor([[3, 4], [torch.nan, 1]], dtype=dtype))
    assert torch.allclose(unknown[0], torch.tensor([0.6, 0.8], dtype=dtype)) and unknown[1].isnan().all()


def test_what_float32_cannot_hold_is_not_saved():
    assert frozen({"a": torch.tensor([1e38], dtype=torch.float64)})["a"].dtype == torch.float32
    with pytest.raises(AtlasError, match="Tensor 'a' holds numbers too large for float32 - scale the vectors"):
        frozen({"a": torch.tensor([1e39], dtype=torch.float64)})


def test_rows_are_all_equal_to_the_bit_or_not():
    X = torch.full((9, 2), 0.1, dtype=torch.float64)
    assert all_equal(X)
    X[4, 1] += 2e-17
    assert not all_equal(X)


@pytest.mark.parametrize(("kind", "kept"), [("int16", "float32"), ("uint8", "float32"), ("int32", "float64")])
def test_whole_numbers_keep_their_digits(kind, kept):
    assert as_matrix(torch.ones(2, 2, dtype=getattr(torch, kind)), "X").dtype == getattr(torch, kept)


def test_rows_far_from_zero_or_of_extreme_size_are_looked_at():
    X = normal(40, 3)
    assert [far_from_zero(t) for t in (X, X + 100, X + 1e6, X * 1e20, X * 1e-20)] == [False, False, True, True, True]


def test_float32_does_unless_a_direction_is_lost_beside_a_wide_one():
    X = normal(300, 16)
    wide = X * torch.tensor([3000.0, *[1.0] * 15])
    copies, repeated = torch.cat([X, X], 1), X[:10].repeat(30, 1)
    for rows in (X, wide, X + 100, copies, repeated, X[:9], X.new_ones(4, 4)):
        assert float32_tells(rows.float())
    for rows in (wide @ turn(16, 16), X * 1e-20, X * 1e20):
        assert not float32_tells(rows.float())


def test_numbers_of_8_bits_become_float32():
    X = torch.tensor([[0.5, -2.0], [4.0, 1.0]])
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        assert torch.equal(as_matrix(X.to(dtype), "X"), X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(X, 0.5, 0, torch.qint8)
    assert torch.equal(as_matrix(quantized, "X"), X)


def test_a_tensor_without_numbers_is_refused():
    with pytest.raises(AtlasError, match="X must hold numbers, got a tensor of device 'meta', which has none"):
        as_matrix(torch.zeros(2, 2, device="meta"), "X", finite=True)
