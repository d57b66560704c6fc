"""Inverse relative projection, small: what the paper claims, and where it fails."""

from __future__ import annotations

import pytest
from papertools import mean, shared_run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return shared_run("inverse", tmp_path_factory)[0]


def through(results, way, n, metric="accuracy", **scope):
    return mean(results, recipe="images", step="through-anchors", way=way, n=n, metric=metric, **scope)


def test_two_halves_fitted_alone_come_close_to_a_fit_on_pairs(results):
    direct = mean(results, recipe="images", step="directly", way="procrustes", n=256, metric="accuracy")
    nothing = mean(results, recipe="images", step="directly", way="identity", n=256, metric="accuracy")
    assert through(results, "all", 256) > direct - 0.05
    assert through(results, "all", 256) > nothing + 0.6


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
