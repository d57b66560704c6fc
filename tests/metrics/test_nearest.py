"""The nearest rows of an index in batches are those of a full sort."""

from __future__ import annotations

import pytest
import torch
from planted import normal
from torch.nn.functional import normalize

from atlas.metrics import nearest as module
from atlas.metrics.nearest import nearest


@pytest.mark.parametrize("block", [1000, 4])
@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_nearest_rows_are_those_of_a_full_sort_whatever_the_batches(size, block, monkeypatch):
    monkeypatch.setattr(module, "QUERIES", block)
    queries, index = normal(11, 5), 7 * normal(30, 5, seed=1)
    cosines = normalize(queries) @ normalize(index).T
    for left_out in ([-1] * 11, [-1, 0, 6, 7, 8, 13, 14, 28, 29, -1, 3]):
        for row, at in enumerate(left_out):
            cosines[row, [at] if at >= 0 else []] = -torch.inf
        best = cosines.topk(30)
        for k in (1, 6, 29, 30, 31):
            scores, rows = nearest(queries, index.split(size), k, torch.tensor(left_out))
            assert torch.equal(rows, best.indices[:, :k])
            torch.testing.assert_close(scores.double(), best.values[:, :k], rtol=0, atol=1e-6)
        # Without a row to leave out, none has to be given.
        if max(left_out) < 0:
            assert torch.equal(nearest(queries, index.split(size), 30)[1], best.indices)


def test_of_equal_rows_the_first_comes_first():
    index = torch.ones(6, 2)
    assert nearest(index[:1], index.split(2), 4)[1].tolist() == [[0, 1, 2, 3]]
