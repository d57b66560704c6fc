"""Relative projections: definitions, invariances, and what is refused."""

from __future__ import annotations

import math

import pytest
import scipy.spatial.distance
import torch
from planted import TURN, D, whole
from torch.nn import functional as F

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError

DISTANCES = {"euclidean": "euclidean", "l1": "cityblock", "linf": "chebyshev"}


def create(**options):
    return atlas.create(Aligner, "relative", options)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def mean_cosine(a, b):
    return float(F.cosine_similarity(a, b).mean())


def test_cosine_is_the_cosine_to_each_anchor_in_order():
    X, A = whole(5), whole(7, seed=1)
    expected = torch.stack([F.cosine_similarity(X, a[None]) for a in A], 1)
    close(create().fit(A).transform(X), expected)


def test_centre_subtracts_the_mean_of_the_anchors_from_both():
    X, A = whole(5) + 9, whole(7, seed=1) + 9
    expected = torch.stack([F.cosine_similarity(X - A.mean(0), (a - A.mean(0))[None]) for a in A], 1)
    close(create(centre=True).fit(A).transform(X), expected)


@pytest.mark.parametrize("centre", [False, True])
def test_inner_is_over_the_root_of_the_dimension(centre):
    X, A = whole(5), whole(7, seed=1)
    mean = A.mean(0) if centre else 0
    close(create(similarity="inner", centre=centre).fit(A).transform(X), (X - mean) @ (A - mean).T / math.sqrt(D))


@pytest.mark.parametrize("similarity", DISTANCES)
def test_distances_are_over_the_mean_distance_of_two_anchors(similarity):
    X, A = whole(5), whole(7, seed=1)
    metric = DISTANCES[similarity]
    expected = scipy.spatial.distance.cdist(X, A, metric) / scipy.spatial.distance.pdist(A, metric).mean()
    close(create(similarity=similarity).fit(A).transform(X), torch.tensor(expected))


@pytest.mark.parametrize("centre", [False, True])
def test_a_power_is_of_the_size_of_a_cosine_and_leaves_its_sign(centre):
    X, A = whole(30), whole(7, seed=1)
    cosines = create(centre=centre).fit(A).transform(X)
    assert bool((cosines < -0.1).any())
    close(create(centre=centre, power=3).fit(A).transform(X), cosines**3)
    close(create(centre=centre, power=4).fit(A).transform(X), cosines * cosines.abs() ** 3)


@pytest.mark.parametrize("k", [7, 40])
@pytest.mark.parametrize("ridge", [None, 1.0])
def test_whitened_is_the_inner_product_over_the_covariance_of_the_anchors_with_a_ridge(k, ridge):
    X, A = whole(5) + 9, whole(k, seed=1) + 9
    S = torch.cov(A.T, correction=0)
    S = S + (ridge or 0.1) * S.diagonal().mean() * torch.eye(D).double()
    close(
        create(similarity="whitened", ridge=ridge).fit(A).transform(X),
        (X - A.mean(0)) @ S.inverse() @ (A - A.mean(0)).T,
    )


@pytest.mark.parametrize("similarity", ["cosine", "inner", "whitened", *DISTANCES])
def test_blocks_of_rows_are_put_together_in_order(similarity, monkeypatch):
    X, A = whole(25), whole(7, seed=1)
    whole_block = create(similarity=similarity).fit(A).transform(X)
    monkeypatch.setattr("atlas_builtin.relative.BLOCK", 4)
    close(create(similarity=similarity).fit(A).transform(X), whole_block)


def test_a_vector_of_zeros_is_like_no_anchor():
    A = whole(7)
    A[3] = 0
    made = create().fit(A).transform(torch.cat([torch.zeros(1, D), A]).double())
    assert not made[0].any() and not made[:, 3].any()
    assert torch.isfinite(made).all()


def test_small_distances_survive_float32_and_an_offset():
    A = (whole(7) + 10000).float()
    made = create(similarity="euclidean").fit(A).transform(A)
    assert float(made.diagonal().max()) < 1e-6


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "whitened"])
def test_turning_and_stretching_a_space_changes_nothing(similarity):
    X, A = whole(20), whole(12, seed=1)
    here = create(similarity=similarity).fit(A).transform(X)
    close(create(similarity=similarity).fit(3 * A @ TURN).transform(3 * X @ TURN), here, 1e-12)


@pytest.mark.parametrize("options", [{"centre": True}, {"similarity": "euclidean"}, {"similarity": "whitened"}])
def test_what_does_not_depend_on_the_mean_may_be_moved_too(options):
    X, A = whole(20), whole(16, seed=1)
    here = create(**options).fit(A).transform(X)
    close(create(**options).fit(A @ TURN + 64).transform(X @ TURN + 64), here, 1e-12)
    moved = create().fit(A + 64).transform(X + 64)
    assert float((moved - create().fit(A).transform(X)).abs().max()) > 0.1


def test_whitened_without_a_ridge_does_not_depend_on_any_invertible_map():
    X, A = whole(20), whole(16, seed=1)
    skew = torch.diag(2.0 ** torch.arange(-4, D - 4)).double() @ TURN
    here = create(similarity="whitened", ridge=0).fit(A).transform(X)
    close(create(similarity="whitened", ridge=0).fit(A @ skew + 64).transform(X @ skew + 64), here, 1e-9)


@pytest.mark.parametrize("similarity", ["l1", "linf"])
def test_l1_and_linf_may_be_moved_stretched_and_their_axes_swapped_and_flipped(similarity):
    X, A = whole(20), whole(12, seed=1)
    signs = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1]).double()

    def change(t):
        return 2 * t.flip(1) * signs + 7

    here = create(similarity=similarity).fit(A).transform(X)
    close(create(similarity=similarity).fit(change(A)).transform(change(X)), here, 1e-12)
    turned = create(similarity=similarity).fit(A @ TURN).transform(X @ TURN)
    assert float((turned - here).abs().max()) > 0.05


def test_anchors_that_are_out_of_order_destroy_it():
    X, A = whole(200), whole(40, seed=1)
    here = create().fit(A).transform(X)
    there = create().fit((A @ TURN).flip(0)).transform(X @ TURN)
    assert mean_cosine(here, create().fit(A @ TURN).transform(X @ TURN)) > 1 - 1e-9
    assert abs(mean_cosine(here, there)) < 0.1


def test_dimensions_are_those_of_the_anchors():
    aligner = create().fit(whole(12))
    assert (aligner.d_source, aligner.d_target) == (D, 12)
    assert set(aligner.state_dict()) == {"anchors"}


def test_coordinates_do_not_depend_on_the_options_of_the_way_back():
    plain = create(centre=True).coordinates()
    assert plain == {"similarity": "cosine", "centre": True}
    assert create(centre=True, ridge=0.1, keep=3, delta=0.5, subspaces=2, seed=4).coordinates() == plain


def test_the_ridge_is_part_of_whitened_coordinates():
    assert create(similarity="whitened").coordinates() == {"similarity": "whitened", "centre": False, "ridge": 0.1}
    assert create(similarity="whitened", ridge=0.5, seed=4).coordinates()["ridge"] == 0.5
    assert create(power=4).coordinates() == {"similarity": "cosine", "centre": False, "power": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": -1.0}, "needs a ridge of 0 or more, got -1.0"),
        ({"keep": 0}, "needs to keep at least 1 anchor, got 0"),
        ({"delta": 1.5}, "needs a delta from 0 to 1, got 1.5"),
        ({"power": 0.5}, "needs a power from 1 to 16, got 0.5"),
        ({"power": 2.0, "similarity": "inner"}, "with similarity 'inner' takes no power - leave it out"),
        ({"subspaces": 0}, "needs at least 1 subspace, got 0"),
        ({"similarity": "l1", "centre": True}, "with similarity 'l1' does not depend on the mean - leave centre off"),
        ({"similarity": "whitened", "centre": True}, "with similarity 'whitened' does not depend on the mean"),
        ({"similarity": "whitened", "keep": 5}, "with similarity 'whitened' uses all anchors - leave out keep and del"),
        ({"similarity": "whitened", "delta": 0.5}, "with similarity 'whitened' uses all anchors - leave out keep and"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(AtlasError, match=f"Aligner 'relative' {message}"):
        create(**options)


def test_anchors_that_are_all_the_same_are_refused():
    with pytest.raises(AtlasError, match="needs anchors that differ, got the same vector 5 times"):
        create().fit(torch.ones(5, 3))


@pytest.mark.parametrize("state", [{}, {"anchors": torch.ones(3)}, {"weight": torch.ones(3, 3)}])
def test_tensors_that_are_no_anchors_are_refused(state):
    with pytest.raises(AtlasError, match="needs the two-dimensional tensor anchors, got"):
        create().load_state_dict(state)
