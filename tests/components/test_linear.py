"""LinearAligner: one pass, lazy solving, inverses; and the map that is given instead of fitted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from atlas.components.linear import Affine, LinearAligner
from atlas.errors import AtlasError
from atlas.numerics.moments import Moments
from atlas.testing.promises import paired_data


@dataclass
class MeanShift(LinearAligner):
    """Move the mean of the source onto the mean of the target."""

    name = "mean-shift"
    needs = ()
    solved = 0

    def solve(self, m):
        type(self).solved += 1
        return torch.eye(len(m.mean_x), len(m.mean_y), dtype=torch.float64)


@dataclass
class Infinite(LinearAligner):
    """Divide by zero."""

    name = "infinite"

    def solve(self, m):
        return m.get("xy") / 0


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_default_offset_moves_mean_onto_mean():
    X, Y = paired_data()
    Z = MeanShift().fit(X, Y).transform(X)
    torch.testing.assert_close(Z.mean(0), Y.mean(0), rtol=1e-6, atol=1e-6)


def test_batches_are_merged_and_solved_once_when_asked_for():
    X, Y = paired_data()
    aligner = MeanShift()
    before = MeanShift.solved
    for x, y in zip(X.split(50), Y.split(50), strict=True):
        aligner.partial_fit(x, y)
    assert MeanShift.solved == before and aligner.n_pairs == len(X)
    assert aligner.d_source == X.shape[1] and aligner.d_target == Y.shape[1]
    aligner.transform(X)
    assert MeanShift.solved == before + 1


def test_more_rows_after_solving_change_the_map():
    X, Y = paired_data()
    aligner = MeanShift().partial_fit(X[:50], Y[:50])
    early = aligner.transform(X)
    late = aligner.partial_fit(X[50:], Y[50:]).transform(X)
    assert not torch.equal(early, late)
    torch.testing.assert_close(late, MeanShift().fit(X, Y).transform(X), rtol=1e-6, atol=1e-6)


def test_one_pass_serves_several_aligners():
    X, Y = paired_data()
    m = Moments.of(X, Y)
    assert torch.equal(MeanShift().fit_moments(m).transform(X), MeanShift().fit(X, Y).transform(X))


def test_lists_and_arrays_are_taken():
    aligner = MeanShift().partial_fit([[1.0, 2.0]], [[3.0]])
    aligner.partial_fit(torch.tensor([[3.0, 4.0]]).numpy(), [[5]])
    assert aligner.transform(torch.tensor([[2.0, 9.0]])).tolist() == [[4.0]]


def test_inverse_is_exact_where_the_weight_has_full_row_rank():
    X = normal(20, 5)
    for shape in ((5, 5), (5, 8)):
        aligner = Affine.of(normal(*shape, seed=1), normal(shape[1], seed=2))
        torch.testing.assert_close(aligner.inverse_transform(aligner.transform(X)), X, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(aligner.inverse().transform(aligner.transform(X)), X, rtol=1e-4, atol=1e-4)


def test_inverse_of_dropped_dimensions_is_least_squares():
    weight, bias, Y = normal(8, 5, seed=1), normal(5, seed=2), normal(20, 5, seed=3)
    aligner = Affine.of(weight, bias)
    weight, bias = (aligner.state[name].double() for name in ("weight", "bias"))
    expected = torch.linalg.lstsq(weight.T, (Y - bias).T, driver="gelsd").solution.T
    torch.testing.assert_close(aligner.inverse_transform(Y), expected, rtol=1e-10, atol=1e-10)


def test_inverse_of_low_rank_does_not_blow_up_the_rounding_of_the_weight():
    low = normal(30, 4, seed=1) @ normal(4, 30, seed=2)
    aligner = Affine.of(low, torch.zeros(30))
    X = normal(50, 30)
    back = aligner.inverse_transform(aligner.transform(X))
    projector = torch.linalg.pinv(low.T) @ low.T
    torch.testing.assert_close(back, X @ projector.T, rtol=1e-4, atol=1e-4)
    assert float(aligner.inverse().state["weight"].norm()) < 10


def test_composition_is_one_after_the_other():
    a = Affine.of(normal(5, 7, seed=1), normal(7, seed=2))
    b = Affine.of(normal(7, 3, seed=3), normal(3, seed=4))
    X = normal(20, 5)
    torch.testing.assert_close(a.then(b).transform(X), b.transform(a.transform(X)), rtol=1e-5, atol=1e-5)


def test_affine_is_not_fitted():
    with pytest.raises(AtlasError, match="Aligner 'affine' is not fitted on data - use 'linear', 'procrustes'"):
        Affine().fit(*paired_data())


def test_what_is_not_finite_is_refused():
    with pytest.raises(AtlasError, match="Aligner 'infinite' found no finite map for these vectors - scale them"):
        Infinite().fit(*paired_data())


def test_batches_of_other_dimensions_are_refused():
    X, Y = paired_data(9, 12)
    aligner = MeanShift().partial_fit(X, Y)
    with pytest.raises(AtlasError, match=r"has been fitted on \(9, 12\) dimensions, got batches of \(8, 12\)"):
        aligner.partial_fit(X[:, :8], Y)


def test_one_row_in_all_batches_is_refused_when_it_is_used():
    aligner = MeanShift().partial_fit(normal(1, 3), normal(1, 3))
    with pytest.raises(AtlasError, match="Aligner 'mean-shift' needs at least 2 rows, got 1"):
        aligner.transform(normal(1, 3))


def test_rows_are_numbered_across_batches_in_messages():
    X, Y = paired_data()
    aligner = MeanShift().partial_fit(X[:100], Y[:100])
    Y[123, 0] = torch.nan
    with pytest.raises(AtlasError, match="the first in row 123 "):
        aligner.partial_fit(X[100:], Y[100:])


def test_a_loaded_map_refuses_more_rows():
    X, Y = paired_data()
    loaded = MeanShift().load_state_dict(MeanShift().fit(X, Y).state_dict())
    assert loaded.n_pairs == 0
    with pytest.raises(AtlasError, match=r"was loaded, and has no moments to add to - call fit\(\) with all rows"):
        loaded.partial_fit(X, Y)
    loaded.fit(X, Y)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.ones(2, 3)}, r"needs the tensors weight \(two-dimensional\) and bias, got weight"),
        ({"weight": torch.ones(2), "bias": torch.ones(3)}, r"needs the tensors weight \(two-dimensional\) and bias"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, r"needs a bias of 3, got shape \(2,\)"),
    ],
)
def test_tensors_that_are_no_map_are_refused(state, message):
    with pytest.raises(AtlasError, match=message):
        MeanShift().load_state_dict(state)
