"""Spaces as the controls read them: whitened charts, and the kernel head on top."""

from __future__ import annotations

import torch
from chart_bench import KINDS, Split, combined
from chart_splits import Data
from torch import Tensor

import atlas
from atlas.models.heads import HEADS


def whitened(spaces: list[Split], rows: list[Tensor]) -> Split:
    """Return spaces through 'whitened-concat', each chart fitted on some rows; a single one twice, which is no more."""
    spaces, rows = (2 * given if len(given) == 1 else given for given in (spaces, rows))
    views = {f"space-{t}": space.train[own] for t, (space, own) in enumerate(zip(spaces, rows, strict=True))}
    numbers = {f"space-{t}": own.nonzero().flatten() for t, own in enumerate(rows)}
    fitted = atlas.create(atlas.Aggregator, "whitened-concat").fit(views, numbers)
    found = ([getattr(space, kind) for space in spaces] for kind in KINDS)
    return Split(*(combined(fitted, each, torch.ones(len(each[0]), len(each), dtype=torch.bool)) for each in found))


def read(given: Data, among: Split, used: Tensor, seed: int) -> float:
    """Return the accuracy of the kernel head, trained on the rows that are used."""
    head = HEADS["kernel"]().fit(among.train[used], given.y[used], seed=seed)
    return share(given, head.predict(among.test))


def share(given: Data, predicted: Tensor) -> float:
    """Return the share of test items whose class is predicted."""
    return float((predicted == given.test_y).double().mean())


@torch.no_grad()
def answers(net: torch.nn.Sequential, X: Tensor) -> Tensor:
    """Return (n, C) the probabilities of classes that a network itself gives."""
    return torch.cat([net(rows) for rows in X.split(500)]).softmax(1)
