"""Tasks that come one by one, and clients that share no data."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import papers
import torch
from chart_bench import KINDS, Figures, Split, combined, of_net, through
from chart_splits import Data, Setting, apart, held_out, trained, untrained
from torch import Tensor
from torch.nn import functional as F

import atlas
from atlas.models.heads import HEADS
from atlas.numerics.moments import Moments

TASKS = 5


def tasks_and_clients(read: Callable[[], Data], data: str, seed: int) -> Figures:
    """Yield accuracies where tasks of new classes come one by one, and where each of them is a client's own."""
    given = read()
    validation = held_out(given.y, seed)
    order = torch.randperm(given.classes, generator=torch.Generator().manual_seed(3000 + seed))
    setting = apart(order, TASKS, given, validation, torch.empty(0, dtype=torch.int64), "one by one")
    nets = [trained(given, own, 100 * seed + 10 + t) for t, own in enumerate(setting.own.T)]
    nets.append(trained(given, ~validation, 100 * seed))
    yield {"row": "tasks, and end-to-end", "metric": "sha256", "value": papers.digest(*nets)}
    *spaces, whole = (of_net(given, net) for net in nets)
    yield from continual(given, setting, spaces, seed)
    yield from federated(given, setting, spaces, whole, ~validation, seed)


def continual(data: Data, setting: Setting, spaces: list[Split], seed: int) -> Figures:
    """Yield the accuracy on the classes seen so far, after each task; charts of earlier tasks stay as they are."""
    net = None
    for t in range(len(spaces)):
        first = untrained(data, data.classes, seed) if net is None else net
        net = trained(data, setting.own[:, t], seed, first)
        old, new = (m[:, : t + 1].any(1) for m in (setting.own, setting.test_member))
        y = data.test_y[new]
        with torch.no_grad():
            scores = net(data.test[new])
        unseen = torch.ones(data.classes, dtype=torch.bool).index_fill(0, data.y[old].unique(), False)
        so_far = spaces[: t + 1]
        found = {
            "one network, task after task": scores.masked_fill(unseen, -torch.inf).argmax(1),
            "heads of their own, weighed": heads_of_their_own(data, setting, so_far, new, seed),
            "whitened, with a head on all items": head_on_all(data, setting, so_far, old, new, seed),
        }
        for row, predicted in found.items():
            value = float((predicted == y).double().mean())
            yield {"row": row, "task": t + 1, "metric": "accuracy", "of": "classes so far", "value": value}


def charts(setting: Setting, spaces: list[Split], temperature: float | None) -> Any:
    """Return an atlas of whitened charts, each fitted on the items of its own task."""
    rows = [own.nonzero().flatten() for own in setting.own.T[: len(spaces)]]
    fitted = atlas.create(atlas.Aggregator, "whitened-concat", temperature=temperature)
    views = {f"space-{t}": space.train[r] for t, (space, r) in enumerate(zip(spaces, rows, strict=True))}
    return fitted.fit(views, {f"space-{t}": r for t, r in enumerate(rows)})


def heads_of_their_own(data: Data, setting: Setting, spaces: list[Split], new: Tensor, seed: int) -> Tensor:
    """Return classes by the heads of all tasks, each trained on its own items, weighed by what charts cover."""
    probabilities = torch.zeros(int(new.sum()), len(spaces), data.classes)
    for t, (space, own) in enumerate(zip(spaces, setting.own.T, strict=False)):
        present = data.y[own].unique()
        head = HEADS["linear"]().fit(space.train[own], torch.searchsorted(present, data.y[own]), seed=seed)
        probabilities[:, t, present] = head.scores(space.test[new]).softmax(1)
    if len(spaces) == 1:
        return probabilities[:, 0].argmax(1)
    fitted = charts(setting, spaces, 0.5)
    rows = through(fitted, [space.test[new] for space in spaces])
    weights = fitted.weights(rows, torch.ones(rows.shape[:2], dtype=torch.bool))
    return (weights[..., None] * probabilities).sum(1).argmax(1)


def head_on_all(data: Data, setting: Setting, spaces: list[Split], old: Tensor, new: Tensor, seed: int) -> Tensor:
    """Return classes by one head, trained on all items so far, in the atlas of all charts so far."""
    train, test = [space.train[old] for space in spaces], [space.test[new] for space in spaces]
    if len(spaces) > 1:
        fitted = charts(setting, spaces, None)
        train, test = ([combined(fitted, X, torch.ones(len(X[0]), len(X), dtype=torch.bool))] for X in (train, test))
    present = data.y[old].unique()
    head = HEADS["kernel"]().fit(train[0], torch.searchsorted(present, data.y[old]), seed=seed)
    return present[head.predict(test[0])]


def federated(data: Data, setting: Setting, spaces: list[Split], whole: Split, rows: Tensor, seed: int) -> Figures:
    """Yield accuracies of clients that share charts, and either their own heads or sums over their items."""
    everyone = torch.ones(len(data.test_y), dtype=torch.bool)
    alone = []
    for space, own in zip(spaces, setting.own.T, strict=True):
        present = data.y[own].unique()
        head = HEADS["linear"]().fit(space.train[own], torch.searchsorted(present, data.y[own]), seed=seed)
        alone.append(float((present[head.predict(space.test)] == data.test_y).double().mean()))
    merged = in_one_atlas(setting, spaces)
    found = {
        "heads of their own, weighed": heads_of_their_own(data, setting, spaces, everyone, seed),
        "sums over items, added up": added_up(data, setting, merged),
        "the same on all items in one place": regressed(
            moments(merged.train[rows], data.y[rows], data.classes), merged.test
        ),
        "end-to-end, the same regression": regressed(
            moments(whole.train[rows], data.y[rows], data.classes), whole.test
        ),
    }
    yield {"row": "a client alone", "metric": "accuracy", "of": "clients", "value": sum(alone) / len(alone)}
    for row, predicted in found.items():
        value = float((predicted == data.test_y).double().mean())
        yield {"row": row, "metric": "accuracy", "of": "clients", "value": value}


def in_one_atlas(setting: Setting, spaces: list[Split]) -> Split:
    """Return the vectors of all items in an atlas of whitened charts, each fitted on the items of its own task."""
    fitted = charts(setting, spaces, None)
    return Split(
        *(combined(fitted, [getattr(s, k) for s in spaces], all_of(getattr(spaces[0], k), spaces)) for k in KINDS)
    )


def added_up(data: Data, setting: Setting, space: Split) -> Tensor:
    """Return the classes that a regression predicts of which every client gave sums over its own items."""
    parts = [moments(space.train[own], data.y[own], data.classes) for own in setting.own.T]
    return regressed(reduce(add, parts), space.test)


def all_of(X: Tensor, spaces: list[Split]) -> Tensor:
    """Return that all items are in all spaces."""
    return torch.ones(len(X), len(spaces), dtype=torch.bool)


def moments(X: Tensor, y: Tensor, classes: int) -> Moments:
    """Return what a regression onto classes needs to know of items: sums over them, which can be added up."""
    return Moments.of(X, F.one_hot(y, classes).float(), ("xy", "xx"))


def regressed(known: Moments, X: Tensor) -> Tensor:
    """Return the classes that ridge regression on moments predicts."""
    return atlas.create(atlas.Aligner, "linear", ridge=1e-2).fit_moments(known).transform(X).argmax(1)
