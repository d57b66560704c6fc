"""What more pairs would bring, against what they bring."""

from __future__ import annotations

import pytest
import torch
from planted import normal
from worlds import N

from atlas.migration.learning import Curve, sizes_of

SIZES = [25, 50, 100, 200, 400]


def curve(power=0.6, top=0.8, noise=0.1):
    """Return a curve that rises to a limit, of 300 queries and two choices of pairs."""
    means = torch.tensor([top - 2 * size**-power for size in SIZES]).double()
    return Curve(SIZES, means[:, None, None] + noise * normal(len(SIZES), 2, 300), torch.full((300,), top).double())


@pytest.mark.parametrize("power", [0.3, 0.6, 1.0])
def test_a_power_law_is_carried_on(power):
    expected = 0.8 - 2 * 1600**-power
    figure = curve(power).at([1600])[0]
    assert figure.value == pytest.approx(expected, abs=0.04)
    assert figure.low < expected < figure.high


def test_the_interval_grows_with_the_distance():
    near, far = curve(0.3).at([400, 6400])
    assert far.high - far.low > 1.2 * (near.high - near.low)


def test_nothing_exceeds_the_ceiling():
    one = curve(top=0.8)
    low = Curve(one.sizes, one.values, torch.full((300,), 0.6, dtype=torch.float64))
    assert low.at([10**6])[0].value <= 0.6


def test_a_fall_is_not_carried_on():
    values = torch.tensor([0.5, 0.48, 0.46, 0.44, 0.42]).double()[:, None, None].expand(-1, 2, 50)
    assert Curve(SIZES, values, torch.ones(50).double()).at([10_000])[0].value == pytest.approx(0.46)


def test_how_many_pairs_a_figure_needs():
    one = curve(power=0.6, noise=0.0)
    reached = one.needed(0.8 - 2 * 3000**-0.6, most=100_000)
    assert reached == 3200
    assert one.needed(0.1, most=100_000) == 400
    assert one.needed(0.9, most=100_000) is None


def test_sizes_are_parts_of_what_is_there():
    assert sizes_of(1600) == [200, 400, 800, 1600]
    assert sizes_of(100) == [25, 50, 100]
    assert sizes_of(N)[-1] == N
