"""What every registered sampler promises, third-party ones included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas import AtlasError, Sampler
from atlas.plugins.catalogue import component, components

N = 120
pytestmark = pytest.mark.parametrize("sampler", [component(Sampler, name)() for name in components(Sampler)], ids=str)


@pytest.fixture
def vectors():
    return torch.randn(N, 7, generator=torch.Generator().manual_seed(0)) + 1


@pytest.fixture
def labels():
    return torch.arange(N) % 5


@pytest.mark.parametrize("n", [1, 2, 33, N - 1, N])
def test_it_returns_distinct_sorted_rows(sampler, vectors, labels, n):
    rows = sampler.sample(vectors, n, labels=labels)
    assert rows.dtype == torch.int64 and rows.device.type == "cpu" and rows.shape == (n,)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows[0] >= 0 and rows[-1] < N


def test_equal_seeds_give_equal_rows(sampler, vectors, labels):
    first, second = (sampler.sample(vectors, 20, seed=3, labels=labels) for _ in range(2))
    assert torch.equal(first, second)


def test_it_leaves_the_global_random_state_alone(sampler, vectors, labels):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    sampler.sample(vectors, 20, labels=labels)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_takes_every_floating_type_and_leaves_it_untouched(sampler, vectors, labels, dtype):
    X = vectors.to(dtype)
    before, before_labels = X.clone(), labels.clone()
    assert len(sampler.sample(X, 20, labels=labels)) == 20
    assert torch.equal(X, before) and torch.equal(labels, before_labels)


def test_arrays_and_tensors_give_the_same_rows(sampler, vectors, labels):
    rows = sampler.sample(vectors, 20, labels=labels)
    assert torch.equal(sampler.sample(vectors.numpy(), 20, labels=labels.numpy()), rows)
    assert torch.equal(sampler.sample(vectors.T.contiguous().T, 20, labels=labels.tolist()), rows)


@pytest.mark.parametrize("n", [1, 40, N])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_it_survives_equal_rows(sampler, labels, n, value):
    rows = sampler.sample(torch.full((N, 3), value), n, labels=labels)
    assert len(set(rows.tolist())) == n


def test_it_survives_copies_and_rows_of_zeros(sampler, vectors, labels):
    X = vectors.clone()
    X[10:60] = X[0]
    X[60:90] = 0
    assert len(set(sampler.sample(X, 100, labels=labels).tolist())) == 100


def test_it_survives_one_column_and_more_columns_than_rows(sampler, vectors, labels):
    assert len(sampler.sample(vectors[:, :1], 30, labels=labels)) == 30
    assert len(sampler.sample(vectors[:5], 4, labels=labels[:5])) == 4
    assert sampler.sample(vectors[:1], 1, labels=labels[:1]).tolist() == [0]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_it_survives_any_scale(sampler, vectors, labels, scale):
    assert len(set(sampler.sample(vectors * scale, 30, labels=labels).tolist())) == 30


def test_it_refuses_nan(sampler, vectors, labels):
    X = vectors.clone()
    X[7, 2] = torch.nan
    with pytest.raises(AtlasError, match=r"1 value that (is|are) NaN or infinite, the first in row 7"):
        sampler.sample(X, 20, labels=labels)


@pytest.mark.parametrize("n", [0, N + 1])
def test_it_refuses_more_rows_than_there_are(sampler, vectors, labels, n):
    with pytest.raises(AtlasError, match=rf"cannot draw {n} anchors from {N} vectors - ask for 1 to {N}"):
        sampler.sample(vectors, n, labels=labels)


def test_it_refuses_labels_of_another_length(sampler, vectors, labels):
    with pytest.raises(AtlasError, match=r"needs one label per vector, got 119 labels for 120 vectors"):
        sampler.sample(vectors, 20, labels=labels[1:])
