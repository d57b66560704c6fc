"""Rotations and a correction of directions: what bends is brought together, what is straight is left alone."""

from __future__ import annotations

import pytest
import torch
from planted import close, normal, turn
from torch.nn.functional import normalize

import atlas
from atlas.components.aggregator import Aggregator
from atlas.errors import AtlasError


def fitted(views, **options):
    return atlas.create(Aggregator, "corrected-procrustes", options).fit(views)


def bent(n=600, common=4, own=6):
    """Return spaces that share some directions, and have others of their own, turned against each other."""
    Z, d = normal(n, common, seed=0), common + own
    return {f"s{s}": torch.cat([Z, 0.7 * normal(n, own, seed=20 + s)], 1) @ turn(d, d, seed=s) for s in range(3)}


def combined(aggregator, views, moved=True):
    """Return what is made of each space alone, (n, d), by space; the charts alone if nothing is to be moved."""
    charted = {space: aggregator.chart(space).transform(X) for space, X in views.items()}
    if not moved:
        return charted
    found = {}
    for k, (space, Z) in enumerate(charted.items()):
        rows = torch.zeros(len(Z), len(charted), Z.shape[1], dtype=Z.dtype)
        rows[:, k] = Z
        found[space] = aggregator.combine(rows, torch.arange(len(charted)).expand(len(Z), -1) == k)
    return found


def agreement(made):
    """Return the mean cosine of the vectors of the first two spaces."""
    a, b = (normalize(made[space], dim=1) for space in ("s0", "s1"))
    return float((a * b).sum(1).mean())


def test_spaces_that_rotations_leave_apart_come_nearer_on_items_not_fitted_on():
    views = bent()
    train, test = ({space: X[rows] for space, X in views.items()} for rows in (slice(400), slice(400, None)))
    made = fitted(train)
    assert agreement(combined(made, test)) > agreement(combined(made, test, moved=False)) + 0.02


def test_spaces_that_are_rotations_of_one_are_left_as_they_are():
    Z = normal(200, 6, seed=3)
    views = {f"s{s}": Z @ turn(6, 6, seed=s) for s in range(3)}
    made = fitted(views, steps=40)
    straight = combined(made, views, moved=False)
    for space, moved in combined(made, views).items():
        close(moved, straight[space], 0.05)


def test_lengths_and_charts_are_those_of_generalized_procrustes():
    views = bent()
    made = fitted(views)
    plain = atlas.create(Aggregator, "generalized-procrustes").fit(views)
    for space, X in views.items():
        close(made.chart(space).transform(X), plain.chart(space).transform(X), 1e-6)
        close(combined(made, views)[space].norm(dim=1), plain.chart(space).transform(X).norm(dim=1), 1e-5)


def test_a_chart_alone_does_not_claim_to_reach_the_corrected_space():
    spaces = [atlas.Vectors.of(X.float().numpy(), name) for name, X in bent(60).items()]
    made = atlas.aggregate("corrected-procrustes", *spaces, id="c")
    assert made.chart("s0").target.id != made.space.id
    plain = atlas.aggregate("generalized-procrustes", *spaces, id="g")
    assert plain.chart("s0").target.id == plain.space.id


def test_no_steps_are_refused():
    with pytest.raises(AtlasError, match="needs at least 1 step, got 0"):
        atlas.create(Aggregator, "corrected-procrustes", steps=0)
