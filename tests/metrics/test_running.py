"""Figures from batches are those of all rows at once."""

from __future__ import annotations

import pytest
import torch

from atlas.errors import AtlasError
from atlas.metrics import METRICS, find, running

STREAMED = [name for name, measure in METRICS.items() if running(measure)]


def pair(d: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(300, d, generator=generator) * 3 + 7
    return X, X + torch.randn(300, d, generator=generator)


def classes() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, (300,), generator=generator), torch.randint(-1, 3, (300,), generator=generator)


def test_what_is_made_of_rows_and_of_moments_is_streamed():
    assert {"cosine", "mse", "r2", "accuracy", "cka", "cca", "procrustes-distance"} <= set(STREAMED)
    assert not {"recall", "mrr", "mutual-knn", "rbf-cka", "separability"} & set(STREAMED)


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("size", [1, 7, 300])
def test_batches_give_the_figure_of_all_rows(name, size):
    measure = find(name)
    X, Y = classes() if measure.takes == "classes" else pair()
    figure = running(measure)
    assert figure is not None
    for x, y in zip(X.split(size), Y.split(size), strict=True):
        figure.add(x, y)
    value, rows = figure.figure()
    assert value == pytest.approx(measure(X, Y), rel=1e-5)
    expected = measure.per_row(X, Y)
    assert (rows is None) == (expected is None)
    if rows is not None and expected is not None:
        torch.testing.assert_close(rows, expected)


@pytest.mark.parametrize("name", ["cosine", "mse"])
def test_a_mean_without_an_interval_keeps_no_row(name):
    figure, (X, Y) = running(find(name), interval=False), pair()
    assert figure is not None
    for x, y in zip(X.split(7), Y.split(7), strict=True):
        figure.add(x, y)
    assert figure.figure() == (pytest.approx(find(name)(X, Y), rel=1e-12), None)


def test_a_bad_value_is_named_by_its_row_among_all_batches():
    figure, (X, Y) = running(find("cka")), pair()
    assert figure is not None
    Y[9, 2] = torch.nan
    figure.add(X[:7], Y[:7])
    with pytest.raises(AtlasError, match="Y has 1 value that is NaN or infinite, the first in row 9"):
        figure.add(X[7:14], Y[7:14])


def test_r2_far_from_zero_loses_nothing():
    X, Y = (side.double() + 1e6 for side in pair())
    figure = running(find("r2"))
    assert figure is not None
    for x, y in zip(X.split(7), Y.split(7), strict=True):
        figure.add(x, y)
    assert figure.figure()[0] == pytest.approx(find("r2")(X, Y), rel=1e-9)


def test_r2_of_rows_that_are_all_equal_is_undefined():
    figure = running(find("r2"))
    assert figure is not None
    figure.add(torch.ones(3, 2), torch.ones(3, 2))
    figure.add(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(AtlasError, match="R2 is undefined: the rows of Y are all equal"):
        figure.figure()


def test_r2_says_why_there_is_none_as_that_of_whole_sets_does():
    Y = torch.tensor([[1.0, 0.0], [1.0, 2.0**-600]], dtype=torch.float64)
    figure = running(find("r2"))
    assert figure is not None
    figure.add(Y[:1], Y[:1])
    figure.add(Y[1:], Y[1:])
    with pytest.raises(AtlasError, match="Float64 cannot hold the squares of these vectors"):
        find("r2")(Y, Y)
    with pytest.raises(AtlasError, match="Float64 cannot hold the squares of these vectors"):
        figure.figure()
