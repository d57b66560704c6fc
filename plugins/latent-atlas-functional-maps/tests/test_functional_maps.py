"""The aligner keeps the promises of all aligners, and finds with other rows what few pairs leave open."""

import numpy as np
import pytest
import torch

import atlas
from atlas.testing.aligners import ALIGNER_CHECKS
from atlas_functional_maps import FunctionalMaps, Functions, carried, most_alike, register_aligners

D, SEEDS = 24, 8
PAIRS = torch.arange(SEEDS)[:, None].expand(-1, 2)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def items(n, seed):
    """Return rows about twelve centres, with noise that is larger in some directions."""
    centres, noise = 2 * normal(12, D), normal(n, D, seed=seed) * torch.linspace(1, 0.2, D).double()
    return centres[torch.arange(n) % 12] + noise + 4


def rotation(d=D):
    return torch.linalg.qr(normal(d, d, seed=9)).Q[:D]


def fitted(d=D, **options):
    """Return a map fitted on eight pairs, and on other items of each side."""
    Q = rotation(d)
    X = torch.cat([items(SEEDS, 5), items(400, 1)])
    Y = torch.cat([3 * items(SEEDS, 5) @ Q - 7, 3 * items(300, 2) @ Q - 7])
    return FunctionalMaps(**options).fit(X, Y, PAIRS), X, Y


def test_it_is_registered():
    assert register_aligners() == [FunctionalMaps]


@pytest.mark.parametrize("check", ALIGNER_CHECKS)
def test_it_keeps_the_promises_of_aligners(check):
    check(FunctionalMaps(rows=60, functions=10))


@pytest.mark.parametrize("d", [D, D + 5])
def test_other_rows_help_few_pairs_to_a_rotation(d):
    made, X, Y = fitted(d)
    alone = atlas.create(atlas.Aligner, "procrustes").fit(X[:SEEDS], Y[:SEEDS])
    fresh = items(200, 3)
    true = 3 * fresh @ rotation(d) - 7
    size = (true - true.mean(0)).square().sum()
    errors = [float((m.transform(fresh) - true).square().sum() / size) for m in (made, alone)]
    assert errors[0] < 0.6 * errors[1]
    assert float((made.inverse_transform(made.transform(fresh)) - fresh).abs().max()) < 1e-4


def test_functions_are_orthonormal_and_the_first_is_constant_and_they_are_eigenvectors():
    unit = torch.nn.functional.normalize(normal(90, 5))
    made = Functions.of(unit, 3, 8, 12)
    assert torch.allclose((made.values * made.mass[:, None]).T @ made.values, torch.eye(12).double(), atol=1e-8)
    assert made.frequencies[0] < 1e-9 and made.values[:, 0].std() < 1e-6
    assert bool((made.frequencies.diff() >= 0).all())
    A = np.diag(np.arange(1.0, 61))
    from scipy.sparse import csr_array

    few, all_of_them = (most_alike(csr_array(A), k)[0] for k in (5, 50))
    assert np.allclose(few, all_of_them[:5]) and np.allclose(few, [60, 59, 58, 57, 56])


def test_the_same_rows_in_another_order_and_unit_are_carried_one_to_one():
    unit = torch.nn.functional.normalize(normal(120, 20))
    order = torch.cat([torch.arange(60), 60 + torch.randperm(60, generator=torch.Generator().manual_seed(0))])
    left, right = (Functions.of(Z, 60, 10, 12) for Z in (unit, unit[order]))
    C = carried(left, right, 0.0)[1:, 1:]
    assert torch.allclose(right.values[:, 1:] @ C, left.values[order, 1:], atol=1e-4)


def test_equal_seeds_give_equal_maps():
    one, same = (fitted(rows=100)[0].state["weight"] for _ in range(2))
    assert torch.equal(one, same)


def test_rows_that_do_not_differ_and_options_that_cannot_be_are_refused():
    with pytest.raises(atlas.AtlasError, match="got the same vector for all of the target"):
        FunctionalMaps().fit(items(20, 1), torch.ones(20, 6), PAIRS)
    for options, said in (({"rows": 1}, "rows of at least 10, got 1"), ({"commuting": -1}, "of at least 0, got -1")):
        with pytest.raises(atlas.AtlasError, match=said):
            FunctionalMaps(**options)
    with pytest.raises(atlas.AtlasError, match=r"has no moments - call fit\(\)"):
        FunctionalMaps().fit_moments(None)
