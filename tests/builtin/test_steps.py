"""The steps behind aggregators, samplers and decoders, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import centred, close, normal, turn

from atlas_builtin.bridge import unit
from atlas_builtin.canonical import GeneralizedCCA
from atlas_builtin.clusters import accepted, fill_up, move_centres, typical_rows
from atlas_builtin.consensus import consensus, fitted_map, joined, placed, refined, relative_sizes, rms_length
from atlas_builtin.rows import Directions, Standardised, one_minus
from atlas_builtin.solvers import least_squares_decoder, or_one, rows_apart


def test_a_space_is_placed_among_all_items_with_a_one_where_it_has_them():
    X, rows = normal(3, 2), torch.tensor([4, 0, 2])
    F = placed(X, rows, 5)
    assert F[:, -1].tolist() == [1, 0, 1, 0, 1] and torch.equal(F[rows, :-1], X) and not F[[1, 3]].any()


def test_the_size_of_a_space_is_the_root_mean_square_length_about_its_mean():
    X = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 4.0], [0.0, -4.0]]) + 100
    assert float(rms_length(X)) == pytest.approx(12.5**0.5)


def test_sizes_are_ratios_on_the_items_that_two_spaces_share():
    Z = normal(60, 4)
    whole = [placed(size * Z, torch.arange(60), 60) for size in (1.0, 3.0, 0.5)]
    close(relative_sizes(whole), rms_length(Z) * torch.tensor([1.0, 3.0, 0.5]), 1e-6)
    # The second space has large items only, where it is as large as the first.
    Z = Z * torch.linspace(0.1, 2, 60)[:, None]
    parts = [placed(Z, torch.arange(60), 60), placed(Z[40:], torch.arange(40, 60), 60)]
    sizes = relative_sizes(parts)
    assert float(sizes[0] / sizes[1]) == pytest.approx(1)
    assert float(sizes.log().mean()) == pytest.approx(float((rms_length(Z) * rms_length(Z[40:])).log()) / 2)
    # Of one item in common nothing can be told: both are taken to be as large.
    apart = [placed(Z[:30], torch.arange(30), 60), placed(9 * Z[29:], torch.arange(29, 60), 60)]
    ratio = relative_sizes(apart)
    assert float(ratio[0]) == pytest.approx(float(ratio[1]))


@pytest.mark.parametrize(("d", "wide"), [(4, 4), (3, 5)])
def test_the_map_onto_a_goal_is_the_isometry_of_least_squares(d, wide):
    A, Q = normal(50, d) + 2, turn(d, wide, seed=3)
    C = A @ Q + 7
    close(fitted_map(A, C), torch.cat([Q, torch.full((1, wide), 7.0).double()]), 1e-9)
    noisy = C + normal(50, wide, seed=4)
    P = fitted_map(A, noisy)
    close(P[:-1] @ P[:-1].T, torch.eye(d).double(), 1e-9)
    close((A @ P[:-1] + P[-1]).mean(0), noisy.mean(0), 1e-9)


def test_the_consensus_is_the_mean_over_the_spaces_that_have_an_item():
    spaces = [
        placed(torch.ones(2, 1).double() * value, rows, 3)
        for value, rows in ((1.0, torch.tensor([0, 1])), (5.0, torch.tensor([1, 2])))
    ]
    maps = [torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[1.0], [10.0]]).double()]
    assert consensus(spaces, maps)[:, 0].tolist() == [1.0, 8.0, 15.0]


def chained(common: int):
    """Return three turned copies of a space: the first and the second, and the second and the third share items."""
    Z = -normal(40, 3).abs()
    rows = [torch.arange(20), torch.arange(20 - common, 30), torch.arange(30 - common, 40)]
    return Z, [placed(Z[r] @ turn(3, d, seed=d) + d, r, 40) for r, d in zip(rows, (3, 5, 4), strict=True)]


def test_spaces_join_in_the_order_of_what_they_share_and_agree_where_they_are_copies():
    # Four items in common tell an isometry of three dimensions and a shift.
    Z, spaces = chained(4)
    maps = joined(spaces)
    assert isinstance(maps, list) and [tuple(P.shape) for P in maps] == [(4, 5), (6, 5), (5, 5)]
    # The widest stays where it is.
    close(maps[1], torch.cat([torch.eye(5), torch.zeros(1, 5)]).double(), 1e-12)
    views = [(F @ P)[F[:, -1] > 0] for F, P in zip(spaces, maps, strict=True)]
    whole = consensus(spaces, maps)
    for F, view in zip(spaces, views, strict=True):
        close(view, whole[F[:, -1] > 0], 1e-9)
    close(torch.pdist(centred(whole)), torch.pdist(Z), 1e-9)


def test_two_items_in_common_join_and_one_does_not():
    assert isinstance(joined(chained(2)[1]), list)
    assert joined(chained(1)[1]) in (0, 2)


def test_rounds_end_when_no_map_changes_by_more_than_the_tolerance():
    Z = normal(30, 3)
    spaces = [placed(Z @ turn(3, 3, seed=s) + 0.3 * normal(30, 3, seed=9 + s), torch.arange(30), 30) for s in range(3)]
    first = joined(spaces)
    assert isinstance(first, list)
    one, change = refined(spaces, first, 1, 0.0)
    wanted = max(float((new - old).norm() / new.norm()) for new, old in zip(one, first, strict=True))
    assert change == pytest.approx(wanted) and change > 1e-3
    # As large a tolerance as the change ends the rounds with the first.
    same, again = refined(spaces, first, 50, change)
    assert again == change and all(torch.equal(a, b) for a, b in zip(same, one, strict=True))
    _, last = refined(spaces, first, 50, change * 0.999)
    assert last < change


def test_rows_are_chosen_farthest_first_and_no_nearer_than_asked():
    U = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).double()
    assert rows_apart(U, 0, 4, 0.0).tolist() == [0, 2, 3, 1]
    assert rows_apart(U, 0, 2, 0.0).tolist() == [0, 2] and rows_apart(U, 3, 1, 0.0).tolist() == [3]
    # 1 - 0.8 is the distance of the third to the second.
    assert rows_apart(U, 0, 4, 0.19).tolist() == [0, 2, 3] and rows_apart(U, 0, 4, 0.21).tolist() == [0, 2]


@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_a_decoder_solves_the_penalised_least_squares(shape, penalty):
    B, r = normal(*shape), normal(3, shape[0], seed=1)
    wanted = torch.linalg.pinv(B) if not penalty else torch.linalg.inv(B.T @ B + penalty * torch.eye(shape[1])) @ B.T
    close(r @ least_squares_decoder(B, penalty), r @ wanted.T, 1e-9)


def test_maps_back_from_a_common_signal_have_a_penalty_of_a_thousandth():
    chart = GeneralizedCCA(ridge=0.2).chart_aligner()
    assert chart.config() == {"ridge": 0.2, "ridge_back": 1e-3}


def test_a_bridge_brings_rows_to_length_one_and_leaves_zeros():
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]
    assert unit(np.array([0.0, -2.0])).tolist() == [0.0, -1.0]


def test_sizes_to_divide_by_are_never_zero():
    assert or_one(torch.tensor([0.0, 2.0, 1e-30])).tolist() == [1.0, 2.0, pytest.approx(1e-30, rel=1e-6)]


def test_copies_are_at_no_distance():
    assert one_minus(torch.tensor([1.0, 1 - 5e-15, 1 + 1e-15, 1 - 2e-14, 0.25]).double()).tolist() == [
        0,
        0,
        0,
        pytest.approx(2e-14, rel=0.1),
        0.75,
    ]


def test_directions_are_of_length_one_about_the_mean_and_of_a_row_at_it_there_is_none():
    X = normal(50, 4) + 3
    X[7] = (X.sum(0) - X[7]) / 49
    rows = Directions(X, centre=True)
    wanted = torch.nn.functional.normalize(X - X.mean(0))
    assert rows.directed.tolist() == [i != 7 for i in range(50)] and len(rows) == 50
    close(rows[:][rows.directed], wanted[rows.directed], 1e-12)
    assert not rows[[7]].any()
    assert torch.equal(Directions(X)[[3]], (X[3] / X[3].norm())[None])
    drawn = {rows.draw(torch.Generator().manual_seed(s)) for s in range(300)}
    assert 7 not in drawn and len(drawn) == 49
    nothing = Directions(torch.zeros(3, 2))
    assert {nothing.draw(torch.Generator().manual_seed(s)) for s in range(30)} == {0, 1, 2}


def test_standardised_rows_have_a_mean_variance_of_one_and_a_constant():
    X = normal(40, 3) * 5 + 2
    rows = Standardised(X)
    made = rows[:]
    assert made.shape == (40, 4) and rows.dim == 4 and bool((made[:, -1] == 1).all())
    close(made[:, :-1], (X - X.mean(0)) / X.var(0, correction=0).mean().sqrt(), 1e-12)
    assert Standardised(torch.ones(3, 2))[:].tolist() == [[0.0, 0.0, 1.0]] * 3


def test_of_proposed_rows_those_are_accepted_that_drawing_one_by_one_would_take():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]).double()
    proposed, distance = torch.tensor([5, 6, 7, 8]), torch.ones(4).double()
    assert accepted(distance, proposed, vectors, torch.tensor([0.5, 1.0, 0.0, 0.3]).double()) == [5, 8]
    assert accepted(distance, proposed, vectors, torch.tensor([0.5, 0.5, 0.5, 0.1]).double()) == [5, 6, 8]
    assert accepted(distance, proposed, vectors, torch.tensor([0.5, 0.5, 0.5, 0.3]).double()) == [5, 6]


def test_chosen_rows_are_filled_up_by_rank():
    rank = torch.tensor([3.0, 1.0, 2.0, 1.0])
    assert fill_up(torch.tensor([2]), rank, 3).tolist() == [2, 1, 3] and fill_up(
        torch.tensor([2]), rank, 1
    ).tolist() == [2]


def test_centres_move_to_the_mean_of_their_rows_and_each_gives_its_most_typical():
    X = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]]).double()
    rows, group = Directions(X), torch.tensor([0, 0, 1, 1])
    centres = move_centres(rows, group, torch.eye(3, 2).double())
    close(centres, torch.tensor([[0.9, 0.3], [-0.5, 0.5], [0.0, 0.0]]).double(), 1e-6)
    # The third group is empty: the row farthest from its centre stands in.
    assert typical_rows(rows, group, centres, 3).tolist()[:2] == [0, 2]
    assert len(set(typical_rows(rows, group, centres, 3).tolist())) == 3
