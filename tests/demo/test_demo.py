from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from atlas.cli import main
from atlas.demo.digits import METHODS, run
from atlas.demo.page import demo_page, demo_png
from atlas.errors import AtlasError


@pytest.fixture(scope="module")
def results():
    said: list[str] = []
    found = run(said.append)
    assert len(said) == 4
    return found


def test_every_method_is_far_above_no_alignment_and_below_the_ceiling(results):
    assert len(results.pairs) == 12
    for method in ("procrustes", "linear", "relative", "inverse"):
        assert results.mean("none") + 0.5 < results.mean(method) < results.mean("own")
        assert results.least(method) > 0.8


def test_two_halves_merged_know_what_neither_does(results):
    low, high, merged, whole = (row["accuracy"] for row in results.atlas)
    assert max(low, high) < 0.62
    assert whole - 0.05 < merged


def test_the_page_shows_every_figure_and_every_point(results):
    page = demo_page(results, METHODS)
    for row in results.pairs:
        assert f"{100 * row['inverse']:.1f}" in page
    own = page.split("<figcaption>digits-mlp-s0, its own vectors")[0].rsplit("<svg", 1)[1]
    assert own.count("<circle") == len(results.classes) == 597


def test_the_picture_is_the_same_each_time(results, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.png", "b.png"):
        demo_png(results, METHODS, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_without_matplotlib_the_picture_says_what_to_install(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(AtlasError, match=r"A PNG picture needs matplotlib - pip install 'latent-atlas\[plots\]'"):
        demo_png(results, METHODS, tmp_path / "a.png")


def test_the_command_prints_json_and_draws(tmp_path):
    done = CliRunner().invoke(main, ["demo", "--json", "--out", str(tmp_path / "here")], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert {row["method"] for row in found["methods"]} == set(METHODS)
    assert (tmp_path / "here" / "demo.html").read_text().startswith("<!doctype html>")
