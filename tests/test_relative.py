"""Relative projections and the way back: definitions, invariances, and the identities that decide if it is right."""

from __future__ import annotations

import contextlib
import math

import pytest
import scipy.linalg
import scipy.spatial.distance
import torch
from torch.nn import functional as F

import atlas
from atlas.base import Aligner
from atlas.errors import AtlasError, AtlasWarning
from atlas_builtin.relative import unit
from atlas_builtin.solvers import spread_rows

D = 8
DISTANCES = {"euclidean": "euclidean", "l1": "cityblock", "linf": "chebyshev"}
# Turns and stretches by sqrt(8), and keeps whole numbers whole: float32 anchors are turned without rounding.
TURN = torch.tensor(scipy.linalg.hadamard(D), dtype=torch.float64)


def create(**options):
    return atlas.create(Aligner, "relative", options)


def whole(n, d=D, seed=0):
    """Return random rows of small whole numbers, which float32 holds exactly."""
    return torch.randint(-50, 51, (n, d), generator=torch.Generator().manual_seed(seed)).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def mean_cosine(a, b):
    return float(F.cosine_similarity(a, b).mean())


# forwards


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


@pytest.mark.parametrize("similarity", ["cosine", "inner", *DISTANCES])
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


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_turning_and_stretching_a_space_changes_nothing(similarity):
    X, A = whole(20), whole(12, seed=1)
    here = create(similarity=similarity).fit(A).transform(X)
    close(create(similarity=similarity).fit(3 * A @ TURN).transform(3 * X @ TURN), here, 1e-12)


@pytest.mark.parametrize("options", [{"centre": True}, {"similarity": "euclidean"}])
def test_what_does_not_depend_on_the_mean_may_be_moved_too(options):
    X, A = whole(20), whole(16, seed=1)
    here = create(**options).fit(A).transform(X)
    close(create(**options).fit(A @ TURN + 64).transform(X @ TURN + 64), here, 1e-12)
    moved = create().fit(A + 64).transform(X + 64)
    assert float((moved - create().fit(A).transform(X)).abs().max()) > 0.1


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


# backwards


@pytest.mark.parametrize("centre", [False, True])
def test_all_anchors_without_ridge_are_the_transpose_of_the_reverse_least_squares_map(centre):
    A, B = whole(40), whole(40, d=6, seed=1)
    source, target = create(centre=centre).fit(A), create(centre=centre, ridge=0).fit(B)
    expected = torch.linalg.lstsq(target.exact("basis"), source.exact("basis")).solution.T
    close(source.exact("basis").T @ target.exact("decoder"), expected)


def test_an_exact_similarity_between_the_spaces_is_undone():
    X, A = whole(50, seed=2), whole(40)
    source, target = create(centre=True).fit(A), create(centre=True, ridge=0).fit(A @ TURN + 32)
    Y = target.inverse_transform(source.transform(X))
    mean = (A @ TURN + 32).mean(0)
    close(F.cosine_similarity(Y - mean, X @ TURN + 32 - mean), torch.ones(50, dtype=torch.float64))
    lengths = (A @ TURN + 32 - mean).norm(dim=1)
    close((Y - mean).norm(dim=1), lengths.mean().expand(50), 1e-8)


@pytest.mark.parametrize("k", [4, 40])
def test_the_same_anchors_on_both_sides_project_onto_their_span(k):
    aligner = create(ridge=0).fit(whole(k))
    B = aligner.exact("basis")
    projector = B.T @ aligner.exact("decoder")
    close(projector, torch.linalg.pinv(B) @ B if k < D else torch.eye(D).double())
    close(projector @ projector, projector)
    assert round(float(projector.trace())) == min(k, D)


@pytest.mark.parametrize("k", [4, 40])
def test_ridge_is_the_penalty_per_squared_length_of_an_anchor(k):
    A = whole(k)
    B = unit(A)
    close(create(ridge=0.7).fit(A).exact("decoder"), B @ torch.linalg.inv(B.T @ B + 0.7 * torch.eye(D).double()))
    inner = create(similarity="inner", ridge=0.7).fit(A).exact("decoder")
    size = 0.7 * A.square().sum(1).mean()
    close(inner, A @ torch.linalg.inv(A.T @ A + size * torch.eye(D).double()))


@pytest.mark.parametrize("options", [{"similarity": "euclidean"}, {"similarity": "inner"}])
@pytest.mark.parametrize("centre", [False, True])
def test_distances_and_inner_products_give_the_vectors_back(options, centre):
    if centre and options["similarity"] == "euclidean":
        return
    X, A = whole(30, seed=3), whole(25) + 20
    aligner = create(ridge=0, centre=centre, **options).fit(A)
    close(aligner.inverse_transform(aligner.transform(X)), X, 1e-8)


def test_distances_to_few_of_the_anchors_give_the_vectors_back():
    X, A = whole(30, seed=3), whole(25) + 20
    aligner = create(similarity="euclidean", ridge=0, keep=12).fit(A)
    close(aligner.inverse_transform(aligner.transform(X)), X, 1e-8)


def test_cosines_give_the_directions_back_at_the_mean_length_of_an_anchor():
    X, A = whole(30, seed=3), whole(25)
    aligner = create(ridge=0).fit(A)
    back = aligner.inverse_transform(aligner.transform(X))
    close(back, unit(X) * A.norm(dim=1).mean(), 1e-8)


def noisy_spaces(n_anchors, d=32, noise=0.3):
    """Return anchors and test rows in two spaces that are turned copies of each other but for noise in both."""
    Z = normal(n_anchors + 400, d) * torch.linspace(2, 0.5, d)
    Q = torch.linalg.qr(normal(d, d, seed=1))[0]
    X = Z + noise * normal(*Z.shape, seed=2)
    Y = Z @ Q + noise * normal(*Z.shape, seed=3)
    return (X[:n_anchors], Y[:n_anchors]), (X[n_anchors:], Y[n_anchors:])


def translated(n_anchors, **options):
    """Return the mean cosine of vectors translated through anchors with those of the target."""
    (A, B), (X, Y) = noisy_spaces(n_anchors)
    relative = create(centre=True).fit(A).transform(X)
    return mean_cosine(create(centre=True, **options).fit(B).inverse_transform(relative), Y)


def test_as_many_anchors_as_dimensions_collapse_and_warn_without_ridge_only():
    message = "Aligner 'relative' decodes 33 similarities to 32 dimensions without a ridge.*set ridge to 1, or keep to"
    with pytest.warns(AtlasWarning, match=message):
        assert translated(33, ridge=0) < 0.5
    assert translated(33) > 0.7
    assert translated(300) > 0.85


@pytest.mark.parametrize(("k", "warned"), [(23, False), (26, True), (46, True), (50, False)])
def test_the_warning_is_for_numbers_of_anchors_near_the_dimension(k, warned):
    for ridge in (0.0, 0.01):
        aligner = create(ridge=ridge).fit(normal(k, 32))
        with pytest.warns(AtlasWarning) if warned and ridge == 0 else contextlib.nullcontext():
            aligner.inverse_transform(aligner.transform(normal(3, 32)))


def test_pruned_anchors_near_the_dimension_warn_too():
    with pytest.warns(AtlasWarning, match="decodes 32 similarities to 32 dimensions"):
        translated(300, keep=32, ridge=0)


def test_averaging_over_subspaces_beats_one_choice():
    one, eight = translated(300, keep=8, ridge=0, subspaces=1), translated(300, keep=8, ridge=0)
    assert eight > one + 0.1


def test_anchors_out_of_order_cannot_be_decoded():
    (A, B), (X, Y) = noisy_spaces(300)
    relative = create(centre=True).fit(A).transform(X)
    assert abs(mean_cosine(create(centre=True).fit(B.roll(1, 0)).inverse_transform(relative), Y)) < 0.15


def test_spaces_of_other_dimensions_meet_in_the_anchors():
    X, A = whole(50, seed=2), whole(40)
    wider = torch.linalg.qr(normal(12, D))[0].T
    source, target = create().fit(A), create(ridge=0).fit(A @ wider)
    close(F.cosine_similarity(target.inverse_transform(source.transform(X)), X @ wider), torch.ones(50).double(), 1e-6)


def farthest_first(U, start, n):
    """Return the greedy sequence by 1 - |cosine|, by definition."""
    chosen = [start]
    while len(chosen) < n:
        left = [i for i in range(len(U)) if i not in chosen]
        chosen.append(max(left, key=lambda i: min(1 - abs(float(U[i] @ U[j])) for j in chosen)))
    return chosen


def test_anchors_are_spread_farthest_first_with_opposite_ones_the_same():
    U = unit(normal(30, 5))
    U[7] = -U[3]
    assert spread_rows(U, 3, 12, 0.0).tolist() == farthest_first(U, 3, 12)
    assert 7 not in spread_rows(U, 3, 29, 0.0)
    assert sorted(spread_rows(U, 3, 99, 0.0).tolist()) == list(range(30))


def test_delta_stops_where_all_others_are_nearer():
    U = unit(normal(60, 5))
    rows = spread_rows(U, 0, 60, 0.3)
    distance = 1 - (U @ U[rows].T).abs()
    between = distance[rows] + 9 * torch.eye(len(rows))
    assert 1 < len(rows) < 60 and float(between.min()) >= 0.3
    assert float(distance.min(1).values.max()) < 0.3


def test_few_anchors_are_those_of_each_subspace():
    aligner = create(keep=3, subspaces=2, ridge=0.1).fit(normal(50, 12))
    assert int((aligner.exact("decoder") != 0).any(1).sum()) in (5, 6)
    assert int((create(keep=3, subspaces=1).fit(normal(50, 12)).exact("decoder") != 0).any(1).sum()) == 3
    assert int((create(delta=0.5, subspaces=1).fit(normal(50, 12)).exact("decoder") != 0).any(1).sum()) < 50


def test_the_seed_chooses_the_first_anchors():
    A = normal(50, 12)
    decoders = [create(keep=3, seed=seed, subspaces=2).fit(A).exact("decoder") for seed in (0, 0, 1)]
    assert torch.equal(decoders[0], decoders[1]) and not torch.equal(decoders[0], decoders[2])


@pytest.mark.parametrize("similarity", ["l1", "linf"])
def test_l1_and_linf_have_no_way_back(similarity):
    aligner = create(similarity=similarity).fit(whole(12))
    assert not aligner.invertible
    with pytest.raises(AtlasError, match=f"cannot be run backwards with similarity '{similarity}' - use cosine or"):
        aligner.inverse_transform(torch.ones(2, 12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": -1.0}, "needs a ridge of 0 or more, got -1.0"),
        ({"keep": 0}, "needs to keep at least 1 anchor, got 0"),
        ({"delta": 1.5}, "needs a delta from 0 to 1, got 1.5"),
        ({"subspaces": 0}, "needs at least 1 subspace, got 0"),
        ({"similarity": "l1", "centre": True}, "with similarity 'l1' does not depend on the mean - leave centre off"),
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
