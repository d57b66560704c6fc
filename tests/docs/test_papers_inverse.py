"""Inverse relative projection, small: what the paper claims, and where it fails."""

from __future__ import annotations

import pytest
from papertools import PAPERS, mean, pictures, run_page, shared_run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return shared_run("inverse", tmp_path_factory)


@pytest.fixture
def results(ran):
    return ran[0]


@pytest.fixture
def folder(ran):
    return ran[1]


def through(results, way, n, metric="accuracy", **scope):
    return mean(results, recipe="images", step="through-anchors", way=way, n=n, metric=metric, **scope)


def test_two_halves_fitted_alone_come_close_to_a_fit_on_pairs(results):
    direct = mean(results, recipe="images", step="directly", way="procrustes", n=256, metric="accuracy")
    nothing = mean(results, recipe="images", step="directly", way="identity", n=256, metric="accuracy")
    assert through(results, "all", 256) > direct - 0.05
    assert through(results, "all", 256) > nothing + 0.6


def test_whitened_halves_do_what_least_squares_on_the_pairs_does(results):
    for metric in ("accuracy", "cosine"):
        direct = mean(results, recipe="images", step="directly", way="linear", n=256, metric=metric)
        assert through(results, "whitened", 256, metric) > direct - 0.02
        assert through(results, "whitened", 256, metric) > through(results, "all", 256, metric)


def test_as_many_anchors_as_dimensions_fail_without_a_ridge(results):
    assert through(results, "all without a ridge", 64, target="conv") < 0.6
    assert through(results, "all", 64, target="conv") > 0.85
    assert through(results, "mean of 8 choices of 16", 64, target="conv") > 0.85


def test_averaging_helps_few_anchors(results):
    for metric in ("accuracy", "cosine"):
        averaged = through(results, "mean of 8 choices of 16", 256, metric)
        assert averaged > through(results, "one choice of 16", 256, metric) + 0.01


def test_classifiers_hardly_notice_longer_vectors(results):
    scale = {"step": "scale", "moved": True}
    assert abs(mean(results, scale=4.0, **scale) - mean(results, scale=1.0, **scale)) < 0.03


def test_texts_are_read_from_images_and_images_from_texts(results):
    for source, target in (("mlp", "words"), ("words", "mlp")):
        both = {"recipe": "modalities", "source": source, "target": target, "metric": "accuracy"}
        assert mean(results, step="through-anchors", way="all", **both) > 0.5
        assert mean(results, step="directly", way="identity", **both) < 0.3


def test_two_parties_who_never_meet_do_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown, printed = (text.splitlines()[-1].split() for text in run_page("inverse"))
    assert sorted(path.name for path in (tmp_path / "published" / "alignments").iterdir()) == ["conv-half", "mlp-half"]
    assert shown[0] == printed[0] == "accuracy"
    assert float(printed[1]) == pytest.approx(float(shown[1]), abs=0.02)
    assert float(printed[1]) > float(printed[4]) + 0.6


def test_the_pictures_of_the_page_are_drawn(results, folder):
    pytest.importorskip("matplotlib")
    for name in pictures("inverse"):
        assert (PAPERS / "inverse" / name).is_file()
        assert any(path.read_bytes().startswith(b"\x89PNG") for path in folder.rglob(name)), name
