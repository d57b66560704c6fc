"""Rows that lie where pairs do, and others."""

from __future__ import annotations

import pytest
import torch
from planted import normal

from atlas.migration.domain import outside

SHAPE = torch.linspace(1.5, 0.1, 16).double()


def test_rows_of_the_same_kind_are_outside_by_chance_alone():
    assert outside(normal(1000, 16) * SHAPE, normal(1000, 16, seed=1) * SHAPE) == pytest.approx(0.05, abs=0.03)


def test_rows_in_other_directions_are_outside():
    assert outside(normal(1000, 16) * SHAPE, normal(1000, 16, seed=1) * SHAPE.flip(0)) > 0.9


def test_fewer_pairs_than_dimensions_do_no_harm():
    assert outside(normal(40, 64), normal(500, 64, seed=1)) < 0.3
