"""The curved map, and the choice among the affine ones."""

from __future__ import annotations

import pytest
import torch
from planted import normal, turn
from torch.testing import assert_close

import atlas
from atlas import AtlasError
from atlas.authors import unit
from atlas.components.aligner import Aligner
from atlas.components.choosing import cross_fit, kept, left_out
from atlas_builtin.auto import CANDIDATES, SLACK


def kernel(**options):
    return atlas.create(Aligner, "kernel", options)


def curved(n, d=6, seed=0):
    """Return rows, and what a curved map makes of them: their pairwise products beside themselves."""
    X = normal(n, d, seed=seed)
    return X, torch.cat([X, 2 * X.abs() - 1.6], 1) @ turn(2 * d, 2 * d, seed=9)


def test_it_is_the_solution_of_kernel_ridge_regression():
    X, Y = curved(40)
    fitted = kernel(sharpness=1.5, ridge=0.2).fit(X, Y)
    U = unit(unit(X) - unit(X).mean(0))
    K = (1.5 * (U @ U.T - 1)).exp()
    expected = K @ torch.linalg.inv(K + 0.2 * torch.eye(40)) @ (Y - Y.mean(0)) + Y.mean(0)
    assert_close(fitted.transform(X), expected, atol=1e-4, rtol=1e-4)


def test_it_follows_a_curve_that_no_affine_map_does():
    (X, Y), (A, B) = curved(1000), curved(200, seed=5)
    errors = {
        name: atlas.metrics.mse(unit(atlas.create(Aligner, name).fit(X, unit(Y)).transform(A)), unit(B))
        for name in ("kernel", "linear")
    }
    assert errors["kernel"] < 0.6 * errors["linear"]


def test_where_the_target_shares_a_direction_rows_keep_their_distance_from_the_mean():
    X, Y = curved(40)
    shifted = Y + 10
    fitted = kernel(ridge=2.0).fit(X, shifted)
    length = (shifted - shifted.mean(0)).norm(dim=1).mean()
    drawn_in = kernel(ridge=2.0).fit(X, Y).transform(X) - Y.mean(0)
    expected = shifted.mean(0) + length * unit(drawn_in)
    assert_close(fitted.transform(X), expected, atol=1e-3, rtol=1e-3)
    again = kernel(ridge=2.0).load_state_dict(fitted.state_dict())
    assert torch.equal(again.transform(X), fitted.transform(X))
    with pytest.raises(AtlasError, match="needs tensors that go together"):
        kernel().load_state_dict({**fitted.state_dict(), "length": torch.ones(2)})


@pytest.mark.parametrize("landmarks", [40, 15])
def test_spread_gives_rows_the_variance_of_true_ones_as_far_as_pairs_left_out_tell(landmarks):
    X, Y = (rows.double() for rows in curved(40))
    plain = kernel(ridge=0.5, landmarks=landmarks).fit(X, Y)
    state = {name: tensor.double() for name, tensor in plain.state_dict().items()}
    U, T = unit(unit(X) - unit(X).mean(0)), Y - Y.mean(0)
    K, near = ((2.0 * (rows @ state["landmarks"].T - 1)).exp() for rows in (U, state["landmarks"]))
    unseen = torch.empty_like(T)
    for i in range(40):
        others = torch.arange(40) != i
        some = K[others]
        if landmarks == 40:
            unseen[i] = K[i, others] @ torch.linalg.solve(some[:, others] + 0.5 * torch.eye(39), T[others])
        else:
            penalty = 0.5 * near + 1e-6 * 40 * torch.eye(15)
            unseen[i] = K[i] @ torch.linalg.solve(some.T @ some + penalty, some.T @ T[others])
    directions = torch.linalg.eigh(T.T @ T).eigenvectors
    stretched = (T @ directions).square().mean(0).sqrt() / (unseen @ directions).square().mean(0).sqrt()
    drawn_in = (plain.transform(X) - Y.mean(0)) @ (directions * stretched) @ directions.T
    expected = Y.mean(0) + T.norm(dim=1).mean() * unit(drawn_in)
    found = kernel(ridge=0.5, landmarks=landmarks, spread=True).fit(X, Y).transform(X)
    assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_spread_keeps_directions_in_which_true_rows_do_not_vary():
    X, Y = curved(40)
    flat = torch.cat([Y, torch.ones(40, 2)], 1)
    found = kernel(spread=True).fit(X, flat).transform(X)
    assert_close(found[:, -2:], torch.ones(40, 2).to(found), atol=1e-4, rtol=0)
    assert bool(torch.isfinite(found).all())


def test_few_landmarks_are_nearly_as_good_as_all():
    (X, Y), (A, B) = curved(1000), curved(200, seed=5)
    few, all_of_them = (kernel(landmarks=n).fit(X, unit(Y)) for n in (300, 1000))
    assert few.state["landmarks"].shape == (300, 6)
    errors = [atlas.metrics.mse(one.transform(A), unit(B)) for one in (few, all_of_them)]
    assert errors[0] < 1.2 * errors[1]


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"sharpness": 0.0}, "needs a sharpness above 0, got 0.0"),
        ({"ridge": 0.0}, "needs a ridge of 1e-06 or more, got 0.0"),
        ({"landmarks": 1}, "needs at least 2 landmarks, got 1"),
        ({"seed": -1}, "needs a seed from 0"),
    ],
)
def test_options_are_refused_in_words(options, sentence):
    with pytest.raises(AtlasError, match=sentence):
        kernel(**options)


def test_equal_rows_are_refused():
    with pytest.raises(AtlasError, match="needs rows that differ, got the same vector for all of them"):
        kernel().fit(torch.ones(5, 3), normal(5, 3))


def test_tensors_that_do_not_go_together_are_refused():
    state = kernel().fit(*curved(20)).state_dict()
    with pytest.raises(AtlasError, match="needs the tensors landmarks, mean, coefficients, offset, got mean"):
        kernel().load_state_dict({"mean": state["mean"]})
    with pytest.raises(AtlasError, match=r"needs tensors that go together, got shapes .*\(20, 12\)"):
        kernel().load_state_dict({**state, "landmarks": state["landmarks"][:-1]})


@pytest.mark.parametrize("role", ["index", "queries"])
def test_auto_is_the_first_affine_map_that_keeps_nearly_as_many_neighbours_as_the_best(role):
    X = normal(300, 12)
    Y = X[:, :8] @ turn(8, 8, seed=2) + 0.3 * normal(300, 8, seed=1)
    made = atlas.create(Aligner, "auto", {"role": role}).fit(X, Y)
    shares = [kept(left_out(cross_fit(one, X, Y, 3), X), X, Y, role).mean() for one in CANDIDATES[role]]
    best = next(one for one, share in zip(CANDIDATES[role], shares, strict=True) if share >= max(shares) - SLACK)
    assert_close(made.state["weight"], type(best).from_config(best.config()).fit(X, Y).state["weight"])


def test_auto_prefers_these_but_for_a_share_of_neighbours_of_0_03(monkeypatch):
    asked = {}

    def first(candidates, X, Y, role, slack):
        asked[role] = slack, [(one.name, one.config().get("ridge")) for one in candidates]
        return candidates[-1], None

    monkeypatch.setattr("atlas_builtin.auto.chosen", first)
    for role in CANDIDATES:
        atlas.create(Aligner, "auto", {"role": role}).fit(normal(9, 3), normal(9, 3, seed=1))
    index = [("linear", None), ("linear", 0.3), ("linear", 1.0), ("procrustes", None)]
    queries = [*(("cca", ridge) for ridge in (3.0, 10.0, 1.0, 0.3)), ("procrustes", None)]
    assert asked == {"index": (0.03, index), "queries": (0.03, queries)}


def test_auto_that_is_fitted_again_runs_backwards_as_a_fresh_one():
    X, Y = normal(60, 4), normal(60, 4, seed=1)
    made = atlas.create(Aligner, "auto").fit(X, Y @ turn(4, 4, seed=2))
    made.inverse_transform(Y)
    assert_close(made.fit(X, Y).inverse_transform(Y), atlas.create(Aligner, "auto").fit(X, Y).inverse_transform(Y))


@pytest.mark.parametrize(("shared", "out"), [(0.49, False), (0.51, True)])
def test_rows_are_moved_out_where_their_mean_cosine_is_above_a_half(shared, out):
    signs = torch.tensor([1.0, -1.0]).repeat(10)[:, None].double()
    Y = 3 * torch.cat([torch.full((20, 1), shared**0.5).double(), (1 - shared) ** 0.5 * signs], 1)
    state = kernel().fit(normal(20, 4), Y).state
    assert ("length" in state) == out
    if out:
        assert_close(state["length"].double(), torch.tensor([3 * (1 - shared) ** 0.5]).double(), rtol=1e-6, atol=0)


def test_auto_takes_another_where_it_keeps_more():
    # Folds of fewer pairs than dimensions, exactly turned: a rotation needs no more.
    X = normal(25, 20)
    Y = X @ turn(20, 20, seed=2)
    made = atlas.create(Aligner, "auto", {"role": "queries"}).fit(X, Y)
    assert_close(made.transform(X), Y, atol=1e-4, rtol=1e-4)
