"""Orthogonal aligners against independent references and planted truths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from planted import EPS, centred, close, normal, turn

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError
from atlas.testing.promises import paired_data
from atlas_builtin.solvers import polar


def create(name, **options):
    return atlas.create(Aligner, name, options)


def unexplained(aligner, X, Y):
    """Return the part of the variance of Y that the map misses."""
    return float((aligner.transform(X) - Y).square().sum() / centred(Y).square().sum())


def test_procrustes_without_centre_and_scale_is_the_one_of_scipy():
    X, Y = paired_data(8, 8)
    Q, _ = scipy.linalg.orthogonal_procrustes(X.numpy(), Y.numpy())
    state = create("procrustes", centre=False, scale=False).fit(X, Y).state_dict()
    close(state["weight"], Q)
    assert not state["bias"].any()


def test_procrustes_with_centre_is_the_one_of_scipy_on_centred_rows():
    X, Y = paired_data(8, 8)
    Q, trace = scipy.linalg.orthogonal_procrustes(centred(X).numpy(), centred(Y).numpy())
    close(create("procrustes", scale=False).fit(X, Y).state_dict()["weight"], Q)
    scale = trace / float(centred(X).square().sum())
    close(create("procrustes").fit(X, Y).state_dict()["weight"], Q * scale)


@pytest.mark.parametrize("d_target", [6, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_procrustes_recovers_rotation_scale_and_shift(d_target, dtype):
    X, Q = normal(40, 6) + 5, turn(6, d_target)
    Y = 3 * X @ Q + normal(d_target)
    aligner = create("procrustes").fit(X.to(dtype), Y.to(dtype))
    close(aligner.state_dict()["weight"], 3 * Q, 1e-5 if dtype == torch.float32 else 1e-6)
    close(aligner.transform(X), Y, 1e-5)
    close(aligner.inverse_transform(Y), X, 1e-5)


@pytest.mark.parametrize(("d_source", "d_target"), [(6, 10), (10, 6)])
def test_unequal_dimensions_are_padding_then_dropping(d_source, d_target):
    X, Y = paired_data(d_source, d_target)
    d = max(d_source, d_target)
    padded = [np.pad(centred(t).numpy(), ((0, 0), (0, d - t.shape[1]))) for t in (X, Y)]
    Q, _ = scipy.linalg.orthogonal_procrustes(*padded)
    close(create("procrustes", scale=False).fit(X, Y).state_dict()["weight"], Q[:d_source, :d_target])


@pytest.mark.parametrize(("d_source", "d_target"), [(6, 10), (10, 6), (7, 7)])
@pytest.mark.parametrize("name", ["procrustes", "linear-orthogonal"])
def test_scale_is_the_least_squares_one(name, d_source, d_target):
    X, Y = paired_data(d_source, d_target)
    turned = centred(X) @ create(name, scale=False).fit(X, Y).state_dict()["weight"].double()
    scale = (turned * centred(Y)).sum() / turned.square().sum()
    scaled = create(name).fit(X, Y)
    close(scaled.transform(X) - Y.mean(0), turned * scale, 1e-5)
    assert unexplained(scaled, X, Y) < unexplained(create(name, scale=False).fit(X, Y), X, Y)


@pytest.mark.parametrize("scale", [True, False])
def test_standardising_is_fitting_on_standard_scores(scale):
    X, Y = paired_data(6, 8)
    scores = [centred(t) / t.std(0) for t in (X, Y)]
    inner = create("procrustes", scale=scale).fit(*scores)
    expected = inner.transform(scores[0]) * Y.std(0) + Y.mean(0)
    close(create("procrustes", standardise=True, scale=scale).fit(X, Y).transform(X), expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardising_leaves_constant_columns_alone(dtype):
    X, Y = (t.to(dtype) for t in paired_data(6, 6))
    # The last bit of one of them is noise, as it is in features that were computed.
    X[:, 2], Y[:, 4] = 100.1, -0.3
    X[::3, 2] = torch.nextafter(X[0, 2], torch.tensor(1e3, dtype=dtype))
    aligner = create("procrustes", standardise=True).fit(X, Y)
    assert float(aligner.state_dict()["weight"].abs().max()) < 100
    close(aligner.transform(X)[:, 4], Y[:, 4], 1e-4)


@pytest.mark.parametrize("name", ["procrustes", "linear-orthogonal"])
@pytest.mark.parametrize(("d_source", "d_target"), [(20, 30), (30, 20), (20, 20)])
def test_few_pairs_still_give_an_orthogonal_map_whatever_the_batches(name, d_source, d_target):
    X, Y = (t.float() for t in paired_data(d_source, d_target, n=9))
    W = create(name, scale=False).fit(X, Y).state_dict()["weight"].double()
    small = W @ W.T if d_source <= d_target else W.T @ W
    close(small, torch.eye(min(d_source, d_target)))
    in_batches = create(name, scale=False).partial_fit(X[:4], Y[:4]).partial_fit(X[4:], Y[4:])
    close(in_batches.state_dict()["weight"], W, 1e-3)


def test_polar_factor_of_what_is_not_of_full_rank_maps_the_rest_by_the_identity():
    M = torch.zeros(4, 4, dtype=torch.float64)
    M[0, 1] = 2.0
    P = polar(M, EPS)
    close(P @ P.T, torch.eye(4))
    close(P.abs(), torch.eye(4)[[1, 0, 2, 3]])
    close(P.diagonal()[2:], torch.ones(2))


def test_rows_that_are_all_the_same_are_refused():
    with pytest.raises(AtlasError, match="Aligner 'procrustes' needs rows that differ, got the same vector for all"):
        create("procrustes").fit(torch.ones(5, 3), normal(5, 3))
    with pytest.raises(AtlasError, match="needs rows that differ"):
        create("linear-orthogonal").fit(normal(5, 3), torch.full((5, 3), 0.1))


def test_standardising_without_centre_is_refused():
    with pytest.raises(AtlasError, match="Aligner 'procrustes' standardises about the mean - leave centre on"):
        create("procrustes", centre=False, standardise=True)


# linear-orthogonal


def test_linear_orthogonal_is_the_polar_factor_of_least_squares():
    X, Y = paired_data(6, 6)
    weight = np.linalg.lstsq(centred(X).numpy(), centred(Y).numpy(), rcond=None)[0]
    aligner = create("linear-orthogonal", ridge=0, scale=False).fit(X, Y)
    close(aligner.state_dict()["weight"], scipy.linalg.polar(weight)[0])


def test_linear_orthogonal_recovers_a_rotation_that_large_directions_hide_from_procrustes():
    X = normal(500, 6) * torch.tensor([100.0, 1, 1, 1, 1, 1])
    Q = turn(6, 6)
    Y = X @ Q + 0.3 * normal(500, 6, seed=5)
    close(create("linear-orthogonal", scale=False).fit(X, Y).state_dict()["weight"], Q, 0.1)
