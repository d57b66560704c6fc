"""Tables of a recipe: which figures are averaged, and how the means are laid out and drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from atlas.cards.kinds import Metric
from atlas.errors import AtlasError
from atlas.pictures import plots
from atlas.recipes.tables import Summary, draw, figure, pivot, summarise

TABLE = Summary("t", ("m",), "r2", "value", ("n",), "method")


def found(**fields):
    return {"step": "m", "metric": "r2", "method": "linear", "n": 1, "value": 1.0, **fields}


def test_a_figure_leaves_out_what_is_not_known():
    assert figure(Metric("r2", 0.0, n=9)) == {"metric": "r2", "value": 0.0, "items": 9}
    everything = {"metric": "r2", "value": 0.5, "low": 0.0, "high": 0.9, "items": 0}
    assert figure(Metric("r2", 0.5, low=0.0, high=0.9, n=0)) == everything


def test_means_are_of_the_figures_that_a_table_is_of():
    results = [found(value=2.0), found(value=5.0), found(n=2, value=7.0, native=3.0)]
    others = [found(step="x"), found(metric="mse"), found(value=None)]
    assert summarise(TABLE, results + others) == [
        {"n": 1, "method": "linear", "mean": 3.5, "sd": pytest.approx(1.5 * 2**0.5), "count": 2},
        {"n": 2, "method": "linear", "mean": 7.0, "sd": None, "count": 1},
    ]
    of_some = replace(TABLE, where={"n": 2}, columns="", figure="native")
    assert summarise(of_some, results) == [{"n": 2, "mean": 3.0, "sd": None, "count": 1}]
    assert summarise(replace(TABLE, where={"n": 3}), results) == []


def test_several_metrics_are_averaged_apart_or_not_at_all():
    results = [found(), found(metric="mse", value=3.0)]
    with pytest.raises(AtlasError, match="Table 't' has figures of mse, r2 - say which with 'metric'"):
        summarise(replace(TABLE, metric=""), results)
    apart = summarise(replace(TABLE, metric="", rows=("metric",)), results)
    assert [(cell["metric"], cell["mean"]) for cell in apart] == [("r2", 1.0), ("mse", 3.0)]
    # A table of no figure of any metric has no cells.
    assert summarise(replace(TABLE, metric="cka"), results) == []


def cells(*rows):
    return [{"n": n, "method": method, "mean": mean, "sd": sd, "count": 2} for n, method, mean, sd in rows]


def test_cells_are_laid_out_in_rows_and_columns():
    given = cells((1, "b", 0.25, 0.5), (1, "a", 1.0, None), (2, "a", 2.0, 0.0))
    assert pivot(TABLE, given) == (
        ["n", "method=b", "method=a"],
        [["1", "0.2500 ± 0.5000", "1.0000"], ["2", "", "2.0000 ± 0.0000"]],
    )
    assert pivot(replace(TABLE, columns=""), given[1:]) == (["n", "value"], [["1", "1.0000"], ["2", "2.0000 ± 0.0000"]])
    # Where rows and columns are of the same things, they have one order.
    square = replace(TABLE, rows=("method",), columns="n")
    turned = [{"n": n, "method": m, "mean": 0.0, "sd": None} for m, n in (("x", "y"), ("y", "x"), ("x", "x"))]
    assert pivot(square, turned)[0] == ["method", "n=x", "n=y"]
    assert pivot(square, turned[:1])[0] == ["method", "n=y"]


@pytest.fixture
def drawn(monkeypatch):
    """What was given to the functions that draw."""
    given: list[tuple] = []
    for name in ("heat_map", "lines"):
        monkeypatch.setattr(plots, name, lambda *args, **more: given.append((*args[:-1], more)))
    return given


def test_lines_are_drawn_along_the_rows_one_for_each_column(drawn):
    summary = replace(TABLE, picture="lines")
    given = cells((1, "b", 0.5, 0.25), (2, "b", 1.0, None), (2, "a", 2.0, 0.125))
    draw(summary, given, Path("x.png"))
    draw(replace(summary, columns="", metric=""), given[:1], Path("x.png"))
    assert drawn == [
        ({"b": [(1, 0.5, 0.25), (2, 1.0, 0.0)], "a": [(2, 2.0, 0.125)]}, {"title": "t", "x": "n", "y": "r2"}),
        ({"value": [(1, 0.5, 0.25)]}, {"title": "t", "x": "n", "y": "value"}),
    ]


def test_a_heat_map_has_a_place_for_every_row_and_column(drawn):
    summary = replace(TABLE, picture="heat-map", rows=("n", "method"), columns="seed")
    given = [{**cell, "seed": seed} for cell in cells((1, "a", 0.5, None), (2, "a", 1.0, None)) for seed in (8, 9)][:3]
    draw(summary, given, Path("x.png"))
    assert drawn == [(["1 → a", "2 → a"], ["8", "9"], [[0.5, 0.5], [1.0, None]], {"title": "t"})]
