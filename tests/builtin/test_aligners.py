"""The aligners that have no file of their own, and what is asked of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from planted import centred, close, normal

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError
from atlas.testing.promises import paired_data

PAIRED = ("procrustes", "linear-orthogonal", "linear", "low-rank", "cca", "mlp")


def create(name, **options):
    return atlas.create(Aligner, name, options)


def unexplained(aligner, X, Y):
    """Return the part of the variance of Y that the map misses."""
    return float((aligner.transform(X) - Y).square().sum() / centred(Y).square().sum())


# identity


def test_identity_cuts_off_or_pads_with_zeros():
    X, Y = paired_data(5, 7)
    assert torch.equal(create("identity").fit(X, Y).transform(X), torch.cat([X, torch.zeros(len(X), 2)], 1))
    assert torch.equal(create("identity").fit(Y, X).transform(Y), Y[:, :5])


# cca


def canonical(X, Y):
    """Return canonical directions of both sides, by QR, and the correlations."""
    (Qx, Rx), (Qy, Ry) = torch.linalg.qr(centred(X)), torch.linalg.qr(centred(Y))
    U, s, Vt = torch.linalg.svd(Qx.T @ Qy)
    return torch.linalg.solve(Rx, U), torch.linalg.solve(Ry, Vt.T), s


@pytest.mark.parametrize("rank", [None, 1, 3])
def test_cca_goes_through_the_canonical_directions(rank):
    X, Y = paired_data(6, 6, noise=2)
    A, B, _ = canonical(X, Y)
    aligner = create("cca", ridge=0, rank=rank).fit(X, Y)
    close(aligner.state_dict()["weight"], A[:, :rank] @ torch.linalg.inv(B)[:rank], 1e-5)


def test_cca_variates_have_the_canonical_correlations():
    X, Y = paired_data(6, 6, noise=2)
    _, B, s = canonical(X, Y)
    angles = scipy.linalg.subspace_angles(centred(X).numpy(), centred(Y).numpy())
    mapped = centred(create("cca", ridge=0).fit(X, Y).transform(X)) @ B
    own = centred(Y) @ B
    found = [float(torch.corrcoef(torch.stack([mapped[:, i], own[:, i]]))[0, 1]) for i in range(6)]
    np.testing.assert_allclose(found, np.sort(np.cos(angles))[::-1], atol=1e-5)
    np.testing.assert_allclose(found, s, atol=1e-5)


def test_cca_without_ridge_does_not_see_a_change_of_basis():
    X, Y = paired_data(6, 6, noise=2)
    changed = X @ normal(6, 6, seed=3)
    Z = create("cca", ridge=0).fit(X, Y).transform(X)
    close(create("cca", ridge=0).fit(changed, Y).transform(changed), Z, 1e-5)
    close(torch.cov(Z.T), torch.cov(Y.T), 1e-5)


def test_cca_with_a_large_ridge_is_a_rotation():
    X, Y = paired_data(6, 6)
    W = create("cca", ridge=1e6).fit(X, Y).state_dict()["weight"].double()
    Q = create("procrustes", scale=False).fit(X, Y).state_dict()["weight"].double()
    close(W / torch.linalg.matrix_norm(W, 2), Q, 1e-4)


def test_cca_of_repeated_columns_does_not_blow_up():
    X, Y = (t.float() for t in paired_data(6, 6, noise=2))
    Z = create("cca", ridge=0).fit(X, Y).transform(X)
    twice = torch.cat([X, X], 1)
    close(create("cca", ridge=0).fit(twice, Y).transform(twice), Z, 1e-3)


# all of them


@pytest.mark.parametrize("name", PAIRED)
def test_wrong_pairs_destroy_every_method(name):
    X, Y = paired_data(12, 12, n=600, noise=0.5)
    (x, y), test = (X[::2], Y[::2]), (X[1::2], Y[1::2])
    assert unexplained(create(name).fit(x, y), *test) < 0.6
    shuffled = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    assert unexplained(create(name).fit(x, y[shuffled]), *test) > 0.95
    assert unexplained(create(name).fit(x, y.roll(150, 0)), *test) > 0.8
    unrelated = normal(*y.shape) * y.std(0) + y.mean(0)
    assert unexplained(create(name).fit(x, unrelated), *test) > 0.95


@pytest.mark.parametrize("name", ["linear", "low-rank", "linear-orthogonal", "cca"])
@pytest.mark.parametrize("ridge", [-0.1, float("inf")])
def test_a_penalty_that_is_none_is_refused(name, ridge):
    with pytest.raises(AtlasError, match=f"Aligner '{name}' needs a ridge of 0 or more, got {ridge}"):
        create(name, ridge=ridge)


@pytest.mark.parametrize("name", ["low-rank", "cca"])
def test_a_rank_below_one_is_refused(name):
    with pytest.raises(AtlasError, match=f"Aligner '{name}' needs a rank of at least 1, got 0"):
        create(name, rank=0)


def test_a_column_that_hardly_varies_does_not_hide_a_rotation_from_linear_orthogonal():
    X = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    Q = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    faint = 1e-8 * torch.randn(300, 1, generator=torch.Generator().manual_seed(2))
    made = atlas.create(Aligner, "linear-orthogonal", ridge=0.0).fit(
        torch.cat([X, faint], 1), X @ Q + 0.1 * faint / 1e-8
    )
    mapped = made.transform(torch.cat([X, faint], 1))
    # One direction of eight goes to the faint column; the others stay.
    assert float((mapped - X @ Q).square().mean()) < 0.3
