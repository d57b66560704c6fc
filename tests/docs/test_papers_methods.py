"""Which method when, small: what the page recommends is what does best."""

from __future__ import annotations

import pytest
from papertools import mean, shared_run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return shared_run("methods", tmp_path_factory)[0]


def test_whitened_halves_translate_as_least_squares_on_the_pairs_and_better_than_cosines(results):
    for n in (100, 1000):
        found = {
            method: mean(results, step="classes", metric="accuracy", n=n, method=method)
            for method in ("linear", "halves, whitened", "halves, cosine")
        }
        assert found["halves, whitened"] > found["linear"] - 0.01
        assert found["halves, whitened"] > found["halves, cosine"] + 0.01


def test_a_linear_head_reads_powers_of_cosines_of_others_far_better_than_cosines(results):
    def others(kind):
        return mean(results, step="read", kind=kind, reads="others")

    assert others("cosine, centred, power 4") > others("cosine, centred") + 0.2
    assert others("cosine, centred, power 4") > mean(results, step="read", kind="cosine, centred", reads="own") - 0.05


def test_every_method_is_timed(results):
    assert mean(results, step="classes", metric="seconds") > 0


def test_in_an_atlas_of_all_canonical_correlations_find_the_same_item_most_often(results):
    def found(method):
        return mean(results, step="atlases", metric="found", n=1000, method=method)

    assert found("generalized-cca") > found("generalized-procrustes")
    assert mean(results, step="atlases", metric="accuracy", n=1000) > 0.5
