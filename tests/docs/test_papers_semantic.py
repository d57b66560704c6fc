"""Semantic alignment, small: estimators, scalings, and a decoder that was trained on the target's own vectors."""

from __future__ import annotations

import pytest
from papertools import mean, pictures, shared_run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return shared_run("semantic", tmp_path_factory)


@pytest.mark.parametrize("scaling", ["standard", "length 1"])
def test_rotations_and_ridge_regressions_are_read_nearly_as_the_decoders_own(ran, scaling):
    own = mean(ran[0], step="own", reads="own")
    for estimator in ("ortho", "affine"):
        assert mean(ran[0], step="translated", scaling=scaling, estimator=estimator, n=256) > own - 0.05


def test_least_squares_needs_more_anchors_than_a_rotation(ran):
    few = {e: mean(ran[0], step="translated", scaling="standard", estimator=e, n=64) for e in ("linear", "ortho")}
    assert few["linear"] < few["ortho"] - 0.05


def test_relative_vectors_of_others_are_read_worse_than_translated_ones(ran):
    translated = mean(ran[0], step="translated", estimator="ortho", scaling="standard", n=256)
    assert mean(ran[0], step="relative", reads="others", n=256) < translated - 0.1


def test_all_pictures_of_the_page_are_drawn(ran):
    assert all((ran[1] / name).stat().st_size > 5000 for name in pictures("semantic"))
