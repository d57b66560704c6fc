"""Which method when, small: what the page recommends is what does best."""

from __future__ import annotations

import pytest
from papertools import mean, shared_run

from atlas.plugins.catalogue import plugins


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


def test_every_aligner_that_comes_with_atlas_is_measured_and_timed(results):
    timed = {r["method"] for r in results if r["metric"] == "seconds" and r["value"] > 0}
    aligners = {cls.name for plugin in plugins(own=True) for cls in plugin.classes["aligner"]}
    # The halves are of 'relative', and one way of 'two-way' is 'linear'.
    assert aligners - timed == {"relative", "two-way"}
    assert {"halves, whitened", "halves, cosine"} <= timed


def test_the_largest_of_powers_of_cosines_are_enough_for_a_head_of_others(results):
    def others(kind):
        return mean(results, step="read", kind=kind, reads="others")

    assert others("the same, but for the 100 largest zero") > others("cosine, centred, power 4") - 0.01


def test_in_an_atlas_of_all_canonical_correlations_find_the_same_item_most_often(results):
    def found(method):
        return mean(results, step="atlases", metric="found", n=1000, method=method)

    assert found("generalized-cca") > found("generalized-procrustes")
    assert mean(results, step="atlases", metric="accuracy", n=1000) > 0.5
