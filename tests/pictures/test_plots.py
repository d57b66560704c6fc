"""Pictures show the figures they are given, and nobody's matplotlib is touched."""

from __future__ import annotations

import sys

import pytest
import torch

from atlas.artefacts.vectors import Vectors
from atlas.cards.space import Space
from atlas.errors import AtlasError
from atlas.pictures import plots
from atlas.pictures.projections import plane, projected

pytest.importorskip("matplotlib")
SERIES = {"a": [(100, 0.6, 0.1), (10, 0.5, 0.2)], "b": [(10, 0.3, 0.0), (1000, 0.9, 0.0)]}


@pytest.fixture
def axes():
    return plots.blank(4, 4).subplots()


def test_lines_go_through_the_means_in_order_with_the_spread_about_them(axes):
    plots.draw_lines(axes, SERIES)
    first, second = axes.lines
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([10, 100], [0.5, 0.6])
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([10, 1000], [0.3, 0.9])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (pytest.approx(0.3), pytest.approx(0.7))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_an_axis_is_logarithmic_only_where_points_span_more_than_ten(axes):
    plots.draw_lines(axes, SERIES)
    assert axes.get_xscale() == "log"
    near = plots.blank(4, 4).subplots()
    plots.draw_lines(near, {"a": [(1, 0.5, 0.0), (10, 0.6, 0.0)]})
    assert near.get_xscale() == "linear" and near.get_legend() is None
    below = plots.blank(4, 4).subplots()
    plots.draw_lines(below, {"a": [(-100, 0.5, 0.0), (10, 0.6, 0.0)]})
    assert below.get_xscale() == "linear"


def test_a_heat_map_writes_every_value_into_its_cell_and_leaves_unknown_ones_empty(axes):
    plots.draw_heat_map(axes, ["r", "s"], ["x", "y"], [[0.1, None], [0.25, 1.0]])
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "0.100"),
        ((0, 1), "0.250"),
        ((1, 1), "1.000"),
    }
    assert axes.images[0].get_array().filled(-1).tolist() == [[0.1, -1], [0.25, 1.0]]


def test_equal_values_can_be_drawn(tmp_path):
    plots.heat_map(["r"], ["x", "y"], [[0.5, 0.5]], tmp_path / "map.png", title="Equal")


def test_points_are_coloured_by_class_and_grey_without(axes):
    plots.draw_points(axes, torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), [0, 1, -1])
    colours = [tuple(round(255 * c) for c in colour[:3]) for colour in axes.collections[0].get_facecolors()]
    assert colours == [(0x4E, 0x79, 0xA7), (0xF2, 0x8E, 0x2B), (0xCC, 0xCC, 0xCC)]
    assert axes.get_xlim() == axes.get_ylim() == (pytest.approx(-2.1), pytest.approx(2.1))


def test_of_very_many_points_some_are_shown(axes):
    plots.draw_points(axes, torch.rand(5500, 2), [0] * 5500)
    assert 900 <= len(axes.collections[0].get_offsets()) <= plots.MOST_POINTS


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 3, 8, 8)])
def test_images_are_drawn_the_same_each_time(tmp_path, shape):
    rows = {"own": torch.rand(shape, generator=torch.Generator().manual_seed(0)), "few": torch.full(shape, 7.0)[:1]}
    for name in "ab":
        plots.images(rows, tmp_path / name, title="Images")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_picture_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(AtlasError, match=r"A PNG picture needs matplotlib - pip install 'latent-atlas\[plots\]'"):
        plots.lines(SERIES, tmp_path / "a.png", title="", x="", y="")


def test_the_plane_holds_the_two_directions_of_most_variance():
    X = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    X = X * torch.tensor([1.0, 9.0, 0.1, 4.0, 1.0]) + 7
    mean, axes = plane(X)
    torch.testing.assert_close(mean, X.mean(0))
    assert axes.abs().argmax(0).tolist() == [1, 3]
    assert bool((axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0.9).all())


def test_one_dimension_lies_on_a_line_in_the_plane():
    points = projected({"a": Vectors.of(torch.tensor([[1.0], [3.0]]), "a")})["a"]
    assert points.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_what_is_of_the_last_space_is_seen_in_its_plane_and_others_in_their_own():
    generator = torch.Generator().manual_seed(0)
    space, other = (Space(name, 4, "planted", {"name": name}) for name in "ab")
    Y = torch.randn(50, 4, generator=generator)
    mapped, far = Y + 0.5, Y + 100
    found = projected({"far": Vectors.of(far, other), "mapped": Vectors.of(mapped, space), "own": Vectors.of(Y, space)})
    mean, axes = plane(Y)
    torch.testing.assert_close(found["mapped"], (mapped.double() - mean) @ axes)
    assert float(found["far"].mean(0).abs().max()) < 1e-4
