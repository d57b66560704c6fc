"""The aligner keeps the promises of all aligners, and finds planted rotations from rows of which none are paired."""

import numpy as np
import pytest
import torch

import atlas
from atlas.testing.aligners import ALIGNER_CHECKS
from atlas_gromov_wasserstein import GromovWasserstein, coupled, distances, register_aligners


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rotation(a, b, seed=7):
    U, _, Vt = torch.linalg.svd(torch.randn(a, b, generator=generator(seed), dtype=torch.float64), full_matrices=False)
    return U @ Vt


def clusters(n, d=6, drawn=1):
    """Return rows around eight centres that lie at different distances; `drawn` draws other rows of the same."""
    centres = 2 * torch.randn(8, d, generator=generator(), dtype=torch.float64)
    noise = torch.randn(n, d, generator=generator(100 * drawn), dtype=torch.float64)
    return centres[torch.arange(n) % 8] + 0.3 * noise + 4


def error(made, true):
    return float((made - true).square().sum() / (true - true.mean(0)).square().sum())


def test_it_is_registered():
    assert register_aligners() == [GromovWasserstein]


@pytest.mark.parametrize("check", ALIGNER_CHECKS)
def test_it_keeps_the_promises_of_aligners(check):
    check(GromovWasserstein(rows=40, starts=2))


@pytest.mark.parametrize("d_target", [6, 9])
def test_a_planted_rotation_is_found_from_other_rows_on_each_side(d_target):
    Q = rotation(6, d_target)
    made = GromovWasserstein(rows=200).fit(clusters(400), 3 * clusters(300, drawn=2) @ Q - 5)
    fresh = clusters(100, drawn=3)
    assert error(made.transform(fresh), 3 * fresh @ Q - 5) < 0.02
    assert error(made.inverse_transform(3 * fresh @ Q - 5), fresh) < 0.02


def test_more_starts_find_no_coupling_that_changes_distances_more():
    C, D = (distances(torch.randn(40, 5, generator=generator(seed), dtype=torch.float64)) for seed in (1, 2))

    def change(starts):
        T = coupled(C, D, starts, np.random.default_rng(0)).numpy()
        # By definition: the sum over i, j, k, l of (C_ik - D_jl)^2 T_ij T_kl.
        return float((((C[:, None, :, None] - D[None, :, None, :]) ** 2) * T[:, :, None, None] * T[None, None]).sum())

    assert change(6) <= change(1) + 1e-9


def test_equal_seeds_give_equal_maps():
    X, Y = clusters(100), clusters(90, drawn=2) @ rotation(6, 6)
    one, same = (GromovWasserstein(rows=60, starts=3).fit(X, Y).state["weight"] for _ in range(2))
    assert torch.equal(one, same)


def test_rows_that_do_not_differ_and_options_that_cannot_be_are_refused():
    with pytest.raises(atlas.AtlasError, match="got the same vector for all of the target"):
        GromovWasserstein().fit(clusters(20), torch.ones(20, 6))
    for options, said in (({"rows": 1}, "2 to 2000 rows, got 1"), ({"starts": 0}, "starts of at least 1, got 0")):
        with pytest.raises(atlas.AtlasError, match=said):
            GromovWasserstein(**options)
    with pytest.raises(atlas.AtlasError, match=r"has no moments - call fit\(\)"):
        GromovWasserstein().fit_moments(None)
