"""Rows that are most alike, against the plain definition; the schedule; the transport."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from planted import normal, sides_of, world

from atlas_bootstrap import matching
from atlas_bootstrap.checking import Check, ranks_of_last, without
from atlas_bootstrap.matching import alike, mutual, unit
from atlas_bootstrap.optimised import Search, transport
from atlas_bootstrap.rounds import schedule, self_train


def slow_likeness(P, Q):
    """Return 2 cos - crowd - crowd for all pairs, one at a time."""
    cosines = np.array([[float(p @ q / (p.norm() * q.norm())) for q in Q] for p in P])
    crowd_p, crowd_q = (np.sort(c, 1)[:, -10:].mean(1) for c in (cosines, cosines.T))
    return torch.tensor(2 * cosines - crowd_p[:, None] - crowd_q)


@pytest.mark.parametrize("block", [7, 1024])
def test_alike_is_what_the_definition_says(monkeypatch, block):
    monkeypatch.setattr(matching, "BLOCK", block)
    P, Q = normal(40, 5), normal(30, 5, seed=1)
    likeness = slow_likeness(P, Q)
    there, back = alike(P, Q, 3)
    assert torch.equal(there, likeness.topk(3, 1).indices) and torch.equal(back, likeness.T.topk(3, 1).indices)


def test_mutual_pairs_are_those_most_alike_both_ways_best_first():
    P, Q = normal(40, 5), normal(30, 5, seed=1)
    likeness = slow_likeness(P, Q)
    expected = {(i, int(j)) for i, j in enumerate(likeness.argmax(1)) if int(likeness[:, j].argmax()) == i}
    rows, how = mutual(P, Q)
    assert {tuple(pair) for pair in rows.tolist()} == expected
    torch.testing.assert_close(how.double(), likeness[rows[:, 0], rows[:, 1]], rtol=0, atol=1e-5)
    assert how.tolist() == sorted(how.tolist(), reverse=True)


def test_a_hub_is_not_everyones_nearest():
    # One row in the middle of all others, which has more in common with each than their own partners have.
    P = normal(60, 8)
    Q = torch.cat([P + 0.9 * normal(60, 8, seed=1), P.mean(0, keepdim=True) * 50])
    by_cosine = (unit(P) @ unit(Q).T).argmax(1)
    assert (alike(P, Q, 1)[0].flatten() == 60).sum() <= (by_cosine == 60).sum()
    right = [int((near == torch.arange(60)).sum()) for near in (alike(P, Q, 1)[0].flatten(), by_cosine)]
    assert right[0] >= right[1]


def test_a_row_of_zeros_is_alike_to_something():
    P = normal(12, 4)
    P[3] = 0
    there, _ = alike(P, normal(12, 4, seed=1), 2)
    assert there.shape == (12, 2) and torch.equal(unit(P)[3], torch.zeros(4).double())


def test_the_seeds_weigh_less_and_neighbours_are_fewer_from_round_to_round():
    weights, neighbours = zip(*schedule(5, 10), strict=True)
    assert (weights[0], neighbours[0], neighbours[-1]) == (1.0, 10, 5) and weights[-1] == pytest.approx(0.05)
    assert list(weights) == sorted(weights, reverse=True) and list(neighbours) == sorted(neighbours, reverse=True)
    assert list(schedule(1, 1)) == [(1.0, 1)]


def test_what_stands_in_for_a_seed_is_its_partner():
    planted = world(4, n=40, m=30)
    sides = sides_of(planted.X, planted.Y, 4)
    P, Q = sides.stand_ins((torch.full((40, 2), 9), torch.full((30, 2), 11)))
    assert torch.equal(P[:40], planted.X) and torch.equal(Q[40:], planted.Y)
    assert torch.equal(Q[:4], planted.Y[:4]) and torch.equal(P[40:44], planted.X[:4])
    torch.testing.assert_close(Q[4], planted.Y[9])
    torch.testing.assert_close(P[-1], planted.X[11])


def test_rows_of_one_item_find_each_other():
    planted = world(6, n=300, m=300)
    Y = planted.X @ planted.rotation
    order = torch.cat([torch.arange(6), 6 + torch.randperm(294, generator=torch.Generator().manual_seed(0))])
    there, back = self_train(sides_of(planted.X, Y[order], 6), 12, 4)
    assert (order[there] == torch.arange(300)[:, None]).any(1).double().mean() > 0.98
    assert (back == order[:, None]).any(1).double().mean() > 0.98


def test_transport_is_the_assignment_of_least_distance_where_there_is_little_entropy():
    R_X, R_Y = normal(30, 4).float(), normal(30, 4, seed=1).float()
    T = transport(R_X, R_Y, Search(1, 1, 1.0, 0.002, 3000))
    rows, columns = scipy.optimize.linear_sum_assignment(torch.cdist(R_X, R_Y).numpy())
    assert (T.argmax(1).numpy() == columns[rows]).mean() > 0.9
    torch.testing.assert_close(T.sum(1), torch.ones(30))


def test_transport_is_that_of_the_plain_iteration():
    R_X, R_Y = normal(20, 4), normal(15, 4, seed=1)
    K = torch.exp(-torch.cdist(R_X, R_Y) / 0.5)
    v = torch.full((15,), 1 / 15).double()
    for _ in range(7):
        u = 1 / 20 / (K @ v)
        v = 1 / 15 / (K.T @ u)
    plain = u[:, None] * K * v
    torch.testing.assert_close(transport(R_X, R_Y, Search(1, 1, 1.0, 0.5, 7)), plain / plain.sum(1, keepdim=True))


def test_ranks_count_who_is_as_near_and_ties_count_against():
    target = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]).double()
    mapped = torch.tensor([[0.1, -2.0], [0.0, 0.0]]).double()
    assert ranks_of_last(mapped[:1], target).tolist() == [1]
    assert ranks_of_last(mapped, torch.cat([target[:3], target[:1]]))[1] == 4


def test_held_out_seeds_are_in_neither_side():
    planted = world(5, n=20, m=18)
    kept = without(sides_of(planted.X, planted.Y, 5), torch.tensor([0, 3]))
    assert kept.seeds == 3 and torch.equal(kept.X, planted.X[[1, 2, 4, *range(5, 20)]])
    assert torch.equal(kept.Y, planted.Y[[1, 2, 4, *range(5, 18)]])
    assert torch.equal(planted.Y[kept.numbers[1]], kept.Y)


@pytest.mark.parametrize(
    ("alone", "bootstrapped", "helped"),
    [
        ([40, 20, 60], [2, 3, 1], True),
        ([2, 3, 1], [40, 20, 60], False),
        ([40, 20, 60], [40, 20, 60], False),
        ([1, 2, 1, 1], [1, 1, 1, 2], True),
        ([1, 1, 1, 1], [2, 2, 1, 2], False),
        ([90, 2, 50, 7], [3, 80, 45, 6], False),
    ],
)
def test_it_helped_where_ranks_fell_by_more_than_chance(alone, bootstrapped, helped):
    check = Check(torch.tensor(alone).double(), torch.tensor(bootstrapped).double(), 100)
    assert check.helped == helped
    mean = math.exp(sum(map(math.log, alone)) / len(alone))
    assert f"of 100, and {mean:.1f} by the seeds alone" in str(check)
