"""Calibration: planted lines and chances are found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import normal
from sklearn.linear_model import LogisticRegression

from atlas.errors import AtlasError
from atlas.numerics.calibration import Calibration, logistic, thirds


def results(n, seed=0):
    """Return scores (n, 5) of which the first rise above the second by any margin."""
    rest = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed)).mul(0.3).sort(1, descending=True).values
    margin = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed + 1)) ** 2 * 0.5
    return torch.cat([rest[:, :1] + margin, rest], 1)


def planted(n, seed=0):
    """Return scores, true scores on a line, and first results that are right by a chance that rises with the margin."""
    scores = results(n, seed)
    truth = torch.sigmoid(3 + (scores[:, 0] - scores[:, 1] + 1e-4).log())
    right = torch.rand(n, generator=torch.Generator().manual_seed(seed + 2)) < truth
    return scores, 0.7 * scores + 0.2, right, truth


def test_a_line_of_scores_is_found():
    scores, true, right, _ = planted(200)
    torch.testing.assert_close(Calibration.of(scores, true, right).scores(scores), true, atol=1e-6, rtol=0)


def test_a_planted_chance_is_found_on_other_queries():
    found = Calibration.of(*planted(4000)[:3])
    scores, _, _, truth = planted(1000, seed=10)
    assert float((found.chance(scores) - truth).abs().mean()) < 0.02


def test_the_regression_is_that_of_scikit_learn():
    X = normal(300, 2) * torch.tensor([1.0, 5.0]).double() + 2
    y = (normal(300, seed=1) + X[:, 0] > 2).double()
    spread = X.std(0)
    A = ((X - X.mean(0)) / spread).numpy()
    # Platt's targets, as weights of either class.
    ones = float(y.sum())
    high, low = (ones + 1) / (ones + 2), 1 / (300 - ones + 2)
    t = torch.where(y > 0, high, low).numpy()
    theirs = LogisticRegression(C=1.0, tol=1e-10).fit(
        np.concatenate([A, A]), np.r_[np.ones(300), np.zeros(300)], sample_weight=np.r_[t, 1 - t]
    )
    torch.testing.assert_close(logistic(X, y)[1:] * spread, torch.tensor(theirs.coef_[0]).double(), atol=1e-4, rtol=0)


def test_thirds_are_by_a_chance_that_was_learned_from_the_other_half():
    scores, _, right, truth = planted(1200)
    found = thirds(scores, right)
    assert list(found) == ["surest third", "middle third", "least sure third"]
    assert [len(one) for one in found.values()] == [400] * 3
    assert sum(float(one.sum()) for one in found.values()) == float(right.sum())
    shares = [float(one.mean()) for one in found.values()]
    best = [float(part.mean()) for part in truth.sort(descending=True).values.tensor_split(3)]
    assert shares == pytest.approx(best, abs=0.05)
    # What is learned from a half is not asked of it: there, chances of the wrong sign would be the right ones.
    turned = torch.where(torch.arange(1200) % 2 == 0, right, ~right)
    assert float(thirds(scores, turned)["surest third"].mean()) < 0.5


@pytest.mark.parametrize("right", [torch.ones(50), torch.zeros(50)])
def test_where_all_or_none_are_right_chances_stay_finite(right):
    scores, true, *_ = planted(50)
    chance = Calibration.of(scores, true, right.bool()).chance(scores)
    assert bool(torch.isfinite(chance).all())
    assert float((chance - right).abs().max()) < 0.2


def test_ties_have_a_low_chance():
    found = Calibration.of(*planted(4000)[:3])
    tied, clear = torch.full((1, 5), 0.3), torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1]])
    assert float(found.chance(tied)) < 0.1 < 0.8 < float(found.chance(clear))


def test_a_single_document_has_no_rival():
    assert Calibration.of(*planted(100)[:3]).chance(torch.tensor([[0.2]])).tolist() == [1.0]


def test_few_queries_are_refused():
    with pytest.raises(AtlasError, match="at least 30 queries, got 29"):
        Calibration.of(*planted(29)[:3])


def test_scores_that_fall_where_true_ones_rise_are_refused():
    scores, true, right, _ = planted(50)
    with pytest.raises(AtlasError, match="do not rise"):
        Calibration.of(scores, -true, right)


@pytest.mark.parametrize(
    ("role", "values", "sentence"),
    [
        ("queries", torch.ones(5), r"must be 6 numbers in float32, the first above 0, got \(5,\)"),
        ("queries", torch.zeros(6), "the first above 0"),
        ("queries", torch.ones(6).double(), "float32"),
        ("answers", torch.ones(6), "for queries or index, got 'answers'"),
    ],
)
def test_a_stored_calibration_is_checked(role, values, sentence):
    with pytest.raises(AtlasError, match=sentence):
        Calibration.of_role(role, values)
