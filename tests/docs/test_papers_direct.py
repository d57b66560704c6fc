"""Direct alignment, small: what the paper claims, where it fails, and what its page says."""

from __future__ import annotations

import pytest
from papertools import PAPERS, mean, pictures, shared_run, values

L, ALL = 10, 1200


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return shared_run("direct", tmp_path_factory)


@pytest.fixture
def results(ran):
    return ran[0]


@pytest.fixture
def folder(ran):
    return ran[1]


def error(results, method, n, way="conv to mlp", step="pairs", dim=L):
    return mean(results, step=step, dim=dim, way=way, method=method, n=n)


WAYS = ["conv to conv", "conv to mlp", "mlp to conv"]
within = pytest.mark.parametrize("way", WAYS[:2])
across = pytest.mark.parametrize("way", WAYS[1:])
every = pytest.mark.parametrize("way", WAYS)


@every
def test_a_linear_map_reconstructs_better_than_a_rigid_one(results, way):
    for n in (2 * L, ALL):
        assert error(results, "linear", n, way) < 0.98 * error(results, "rigid", n, way)


@across
def test_one_scale_makes_up_for_most_of_what_a_rigid_map_lacks(results, way):
    rigid, similarity, linear = (error(results, m, ALL, way) for m in ("rigid", "similarity", "linear"))
    assert rigid - similarity > 0.6 * (rigid - linear)


@every
def test_without_an_alignment_the_image_is_lost(results, way):
    assert error(results, "none", 0, way) > error(results, "mean image", 0, way)
    assert error(results, "ridge", ALL, way) < error(results, "mean image", 0, way) / 2


def test_as_many_pairs_as_dimensions_fail_without_a_ridge(results):
    assert error(results, "affine", L) > 1.3 * error(results, "ridge", L)
    assert error(results, "ridge", L) < error(results, "rigid", L)


@within
def test_few_pairs_suffice(results, way):
    assert error(results, "ridge", 100, way) < 1.08 * error(results, "ridge", ALL, way)


def test_means_of_classes_are_worse_than_a_few_images(results):
    way = "conv to conv"
    assert error(results, "linear", 10, way, "class-means") > 1.02 * error(results, "linear", 50, way)


@within
def test_every_network_is_read_by_every_other_one(results, way):
    source, target = way.split(" to ")
    read = mean(results, step="crowd", source=f"{source} 0", target=f"{target} 1", metric="ratio")
    assert 1 < read < error(results, "mean image", 0, way)


def test_a_small_network_is_no_worse_than_the_ridge_it_starts_from(results):
    bent, straight = (error(results, method, ALL, "conv to conv", dim=2) for method in ("mlp", "ridge"))
    assert bent < straight


@within
def test_distances_to_anchors_are_read_worse_than_aligned_codes(results, way):
    relative, own = (error(results, method, 50, way, "relative") for method in ("relative", "relative, own"))
    assert relative > 1.1 * error(results, "ridge", 50, way)
    assert relative > own


def test_for_classes_a_rotation_is_as_good_as_least_squares_and_better_on_few_pairs(results):
    def stitched(method, n):
        return mean(results, recipe="classification", step="stitched", metric="accuracy", method=method, n=n)

    assert stitched("orthogonal", 16) > stitched("affine", 16) + 0.02
    assert stitched("orthogonal", 1024) > stitched("affine", 1024) - 0.025


def test_the_pictures_of_the_page_are_drawn(results, folder):
    pytest.importorskip("matplotlib")
    for name in pictures("direct"):
        assert (PAPERS / "direct" / name).is_file()
        assert any(path.read_bytes().startswith(b"\x89PNG") for path in folder.rglob(name)), name


def test_the_decoders_trained_for_distances_are_named_by_hash(results):
    found = values(results, metric="sha256")
    assert len(set(found)) == len(found) == 4
    assert all(len(digest) == 12 for digest in found)
