"""The way back from relative coordinates: identities it must meet, few anchors, and too many for no penalty."""

from __future__ import annotations

import contextlib

import pytest
import torch
from planted import TURN, D, centred, normal, turn, whole
from sklearn.linear_model import Ridge
from torch.nn import functional as F

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError, AtlasWarning
from atlas.numerics.arrays import unit
from atlas_builtin.solvers import rows_apart


def create(**options):
    return atlas.create(Aligner, "relative", options)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def mean_cosine(a, b):
    return float(F.cosine_similarity(a, b).mean())


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


@pytest.mark.parametrize(
    ("k", "options", "ridge"),
    [(5, {}, 1.0), (64, {}, 1.0), (96, {}, 1.5), (48, {"keep": 3}, 0.1), (48, {"delta": 0.5}, 0.1)],
)
def test_the_default_ridge_grows_with_many_anchors_and_is_small_for_few(k, options, ridge):
    default, explicit = (create(**options, **more).fit(whole(k)) for more in ({}, {"ridge": ridge}))
    assert torch.equal(default.exact("decoder"), explicit.exact("decoder"))


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


@pytest.mark.parametrize("power", [1, 4])
def test_cosines_give_the_directions_back_at_the_mean_length_of_an_anchor(power):
    X, A = whole(30, seed=3), whole(25)
    aligner = create(ridge=0, power=power).fit(A)
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
    message = "Aligner 'relative' uses 33 anchors of 32 dimensions without a ridge.*set ridge to 1, or keep to"
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
    with pytest.warns(AtlasWarning, match="uses 32 anchors of 32 dimensions"):
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


def halves(A, B, **options):
    """Return what two whitened halves that were fitted apart make of vectors, one after the other."""
    source, target = (create(similarity="whitened", **options).fit(side) for side in (A, B))
    return lambda X: target.inverse_transform(source.transform(X))


def rough(n, d, seed=0):
    """Return rows far from zero that drift, whose columns have very unequal sizes, one of them constant."""
    X = normal(n, d, seed=seed) * torch.logspace(-2, 2, d) + torch.linspace(0, 5, n)[:, None] + 30
    X[:, 0] = 7
    return X.float().double()


@pytest.mark.parametrize(("n", "d_target"), [(5, 20), (12, 6), (40, 6), (40, 20), (300, 6)])
@pytest.mark.parametrize("ridge", [0.1, 1e-3])
def test_whitened_halves_are_ridge_regression_on_the_pairs(n, d_target, ridge):
    A, X = rough(n, 12), rough(50, 12, seed=1)
    B = A @ turn(12, d_target) + 0.3 * normal(n, d_target, seed=2) - 4
    alpha = ridge * float(centred(A).square().sum(0).mean())
    expected = Ridge(alpha=alpha, solver="svd").fit(A.numpy(), B.float().numpy()).predict(X.numpy())
    close(halves(A, B, ridge=ridge)(X), torch.tensor(expected), 1e-6 * float(B.abs().max()))


def test_whitened_halves_are_the_linear_map_of_the_same_ridge():
    (A, B), (X, _) = noisy_spaces(200)
    direct = atlas.create(Aligner, "linear", ridge=0.1).fit(A, B)
    close(halves(A, B)(X), direct.transform(X), 1e-6)
    close(halves(A.float(), B.float())(X.float()), direct.transform(X).float(), 1e-5)


def test_anchors_that_are_repeated_change_no_whitened_translation():
    (A, B), (X, _) = noisy_spaces(50)
    close(halves(A.repeat(3, 1), B.repeat(3, 1))(X), halves(A, B)(X), 1e-6)


def test_as_many_anchors_as_dimensions_are_whitened_with_a_ridge_or_warned_of():
    (A, B), (X, Y) = noisy_spaces(33)
    with pytest.warns(AtlasWarning, match="uses 33 anchors of 32 dimensions without a ridge.*set ridge to 0.1$"):
        without = mean_cosine(halves(A, B, ridge=0)(X), Y)
    assert mean_cosine(halves(A, B)(X), Y) > without + 0.2


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
    assert rows_apart(U, 3, 12, 0.0).tolist() == farthest_first(U, 3, 12)
    assert 7 not in rows_apart(U, 3, 29, 0.0)
    assert sorted(rows_apart(U, 3, 99, 0.0).tolist()) == list(range(30))


def test_delta_stops_where_all_others_are_nearer():
    U = unit(normal(60, 5))
    rows = rows_apart(U, 0, 60, 0.3)
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


def test_more_anchors_do_not_make_translations_worse():
    assert translated(1000) > translated(100) - 0.005
