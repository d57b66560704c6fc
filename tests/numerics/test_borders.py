"""Where rounding ends and data begin: the borders that are stated, each from both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import normal

from atlas.errors import AtlasError
from atlas.metrics.similarity import cca_correlations
from atlas.numerics.arrays import as_matrix, check_unit, far_from_zero, lengths
from atlas.numerics.calibration import chance
from atlas.numerics.moments import Moments, float32_tells, row_hashes
from atlas.numerics.near import near_pairs

# Of the rows 0 1 4, 9 16 25, 36 49 64 and 81 100 121, as source and as target.
HASHES = (
    [181803940681974385, 8723508418457940359, 3420371644547716496, 225791306880222208],
    [-3075258701884675764, 8930757269421454434, -1282823655105736386, 3802163902205169727],
)


def alike(share: float, n: int = 60) -> torch.Tensor:
    """Return two columns (n, 2) of size 1 whose correlation has eigenvalues of which one is this share of the other."""
    a, b = torch.linalg.qr(torch.cat([torch.ones(n, 1).double(), normal(n, 2)], 1)).Q[:, 1:].T
    # (1 - c) / (1 + c) is the share; the sine is computed without cancellation.
    sine = 2 * share**0.5 / (1 + share)
    return torch.stack([a, (1 - share) / (1 + share) * a + sine * b], 1)


def test_float32_does_for_directions_of_a_hundred_thousandth_of_the_largest_variance():
    assert [float32_tells(alike(share)) for share in (1.1e-5, 0.9e-5)] == [True, False]
    # What is less than the rounding of float32 rows is none of theirs.
    assert [float32_tells(alike(share)) for share in (1.1e-12, 0.9e-12)] == [False, True]


def test_float32_does_for_columns_from_a_trillionth_to_a_trillion():
    column = torch.tensor([1.0, -1.0])[:, None]
    assert [float32_tells(column * 2.0**k) for k in (-41, -40, 40, 41)] == [False, True, True, False]


def test_rows_beside_their_spread_are_far_from_zero_from_ten_thousand_deviations_on():
    rows = torch.tensor([[-1.0], [1.0]]).double()
    sizes = [0.999e4, 1.001e4]
    assert [far_from_zero(rows + (size**2 - 1) ** 0.5) for size in sizes] == [False, True]
    spreads = [2.0**k for k in (-42, -39, 39, 42)]
    assert [far_from_zero(rows / 2**0.5 * spread) for spread in spreads] == [True, False, False, True]


@pytest.mark.parametrize(("k", "fits"), [(-251, False), (-250, False), (-249, True), (249, True), (250, False)])
def test_float64_holds_the_squares_of_numbers_of_250_binary_digits(k, fits):
    rows = torch.tensor([[0.0, -(2.0**k)], [0.0, 0.0]], dtype=torch.float64)
    check_unit(rows * 0)
    if fits:
        check_unit(rows)
    else:
        with pytest.raises(AtlasError, match="Float64 cannot hold the squares of these vectors"):
            check_unit(rows)


def test_canonical_directions_end_at_a_millionth_of_the_largest_deviation():
    found = [
        len(cca_correlations(Moments.of(alike(share), normal(60, 2), ("xy", "xx", "yy"))))
        for share in (1.1e-12, 0.9e-12)
    ]
    assert found == [2, 1]


@pytest.mark.parametrize(("apart", "found"), [(0.195, 1), (0.205, 0)])
@pytest.mark.parametrize("side", [0, 1])
def test_pairs_are_near_within_a_fifth_of_the_usual_distance_on_both_sides(apart, found, side):
    X = normal(45, 15)
    usual = float((X - X.mean(0)).square().sum(1).mean().mul(2).sqrt())
    step = torch.zeros(15).double()
    step[3] = apart * usual
    sides = [torch.cat([X, X[7:8] + (step if side == k else 0)]) for k in (0, 1)]
    assert near_pairs(*(rows[1:] for rows in sides)) == found


def test_two_pairs_tell_no_usual_distance():
    X = normal(1, 15).repeat(3, 1)
    assert near_pairs(X[:2], X[:2]) == 0 and near_pairs(X, X) == 2


def test_a_tie_has_a_margin_of_a_ten_thousandth():
    weights = torch.tensor([0.0, 1.0, 0.0]).double()
    margins = torch.tensor([0.0, 1e-4, 0.5]).double()
    scores = torch.stack([margins, margins * 0], 1)
    torch.testing.assert_close(chance(scores, weights), (1 + 1 / (margins + 1e-4)).reciprocal())


def test_hashes_of_rows_are_those_of_moments_that_were_published_before():
    rows = torch.arange(12.0).reshape(4, 3) ** 2
    assert row_hashes(rows, 0).tolist() == HASHES[0] and row_hashes(rows, 1).tolist() == HASHES[1]


class Sparse:
    """What scipy's sparse matrices are to Atlas, of any size."""

    nnz, dtype = 0, np.dtype(np.float64)

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def toarray(self) -> np.ndarray:
        return np.ones((2, 2))


def test_a_sparse_matrix_is_made_dense_up_to_2_gib():
    assert as_matrix(Sparse(2**14, 2**14), "X").tolist() == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(AtlasError, match=r"X of shape \(8192, 32769\) would take 2.0 GiB if it were not sparse"):
        as_matrix(Sparse(2**13, 2**15 + 1), "X")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lengths_of_any_size_stand_beside_one_another(dtype):
    tiny = torch.finfo(dtype).tiny
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3 * tiny, 4 * tiny], [3e30, 4e30]], dtype=dtype)
    torch.testing.assert_close(
        lengths(rows)[:, 0], torch.tensor([5.0, 0.0, 5 * tiny, 5e30], dtype=dtype), rtol=1e-6, atol=0
    )
