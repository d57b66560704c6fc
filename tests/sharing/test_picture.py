"""The picture of a model card shows what was measured."""

from __future__ import annotations

import pytest

from atlas.cards.kinds import Metric
from atlas.sharing.measuring import Point, table
from atlas.sharing.picture import _curve, _figures, png
from atlas.sharing.verifying import _holds

R2 = Metric("r2", 0.5, low=0.4, high=0.6, native=0.9, floor=0.1)
POINTS = [Point(10, 3, 0.2, 0.1, 0.3), Point(100, 1, 0.4, 0.4, 0.4)]


@pytest.fixture
def axes():
    return pytest.importorskip("matplotlib.figure").Figure().subplots()


def lines(axes):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def test_figures_stand_on_lines_from_floor_to_ceiling_the_first_on_top(axes):
    _figures(axes, [R2, Metric("cosine", 0.7, native=1.0)])
    assert lines(axes) == [([1.0], [0]), ([0.1, 0.9], [1, 1]), ([0.4, 0.6], [1, 1])]
    assert [dot.get_offsets().tolist() for dot in axes.collections] == [[[0.7, 0.0]], [[0.5, 1.0]]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cosine", "r2"]
    assert axes.get_title() == "From no alignment to the target's own vectors"


def test_a_curve_is_drawn_over_the_pairs_by_their_logarithm(axes):
    _curve(axes, POINTS, R2)
    assert axes.get_xscale() == "log" and (axes.get_xlabel(), axes.get_ylabel()) == ("pairs it is fitted on", "r2")
    assert lines(axes) == [([10, 100], [0.2, 0.4]), ([0, 1], [0.9, 0.9]), ([0, 1], [0.1, 0.1])]
    assert axes.get_title() == "How few pairs would do"
    notes = [(note.get_text(), note.xy) for note in axes.texts]
    assert notes == [("the target's own vectors", (10, 0.9)), ("no alignment", (10, 0.1))]


def test_a_curve_is_wide_and_figures_alone_are_not(axes):
    small, wide = (png([R2], points, R2) for points in ((), POINTS))
    # A PNG says its width and height, in pixels, in its first chunk.
    sizes = [[int.from_bytes(data[at : at + 4]) for at in (16, 20)] for data in (small, wide)]
    assert sizes == [[600, 400], [1100, 400]]


def test_a_curve_is_written_as_a_table():
    assert (
        table(POINTS, "r2") == "pairs,draws,r2,lowest,highest\n10,3,0.2000,0.1000,0.3000\n100,1,0.4000,0.4000,0.4000\n"
    )


def test_a_figure_holds_within_a_thousandth():
    for said, near, far in ((0.5, 0.5009, 0.5011), (-200.0, -200.19, -200.21)):
        assert _holds(Metric("r2", said), Metric("r2", near)) and not _holds(Metric("r2", said), Metric("r2", far))
