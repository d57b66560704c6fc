"""One setting, and what is measured in it: spaces of its tasks, how they are combined, and what reads the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from chart_splits import Data, Setting, embedded
from torch import Tensor
from torch.nn.functional import pad

import atlas
from atlas.models.heads import HEADS, HeadModel

Figures = Iterator[dict[str, Any]]
KINDS = ("train", "test")


@dataclass(frozen=True)
class Split:
    """Vectors of the training items and of the test items, and the heads that read them, by name."""

    train: Tensor
    test: Tensor
    heads: dict[str, HeadModel] = field(default_factory=dict, repr=False, compare=False)

    def map(self, function: Callable[[Tensor], Tensor]) -> Split:
        """Return what a function makes of both."""
        return Split(function(self.train), function(self.test))


@dataclass
class Bench:
    """One setting: the spaces of its tasks and of networks trained on everything, and what is measured on them."""

    data: Data
    setting: Setting
    validation: Tensor
    tasks: list[Split]
    everything: list[Split]
    seed: int

    @cached_property
    def group(self) -> Split:
        """(n,) the group of each item: who knows it."""
        return Split(self.setting.group(self.setting.member), self.setting.group(self.setting.test_member))

    @cached_property
    def allowed(self) -> Tensor:
        """(G, C) whether there are items of a class in a group."""
        seen = torch.zeros(len(self.setting.patterns), self.data.classes, dtype=torch.bool)
        seen[self.group.train, self.data.y] = True
        return seen

    def merged(self, name: str, told: Split | None = None, spaces: list[Split] | None = None, **options: Any) -> Split:
        """Return spaces combined by an aggregator: over those that know the item, if told, or over all."""
        spaces = spaces or self.tasks
        everyone = [torch.ones(len(X), len(spaces), dtype=torch.bool) for X in (self.data.X, self.data.test)]
        present = told or Split(*everyone)
        fitted = self.fitted(name, spaces, **options)
        return Split(*(combined(fitted, [getattr(s, k) for s in spaces], getattr(present, k)) for k in KINDS))

    def fitted(self, name: str, spaces: list[Split], **options: Any) -> atlas.Aggregator:
        """Return an aggregator fitted on the anchors, or on what each space covers if it makes use of that."""
        aggregator = atlas.create(atlas.Aggregator, name, options)
        own = self.setting.own.T if spaces is self.tasks else [~self.validation] * len(spaces)
        rows = [o.nonzero().flatten() if aggregator.alone else self.setting.anchors for o in own]
        views = {f"space-{t}": s.train[r] for t, (s, r) in enumerate(zip(spaces, rows, strict=True))}
        return aggregator.fit(views, {f"space-{t}": r for t, r in enumerate(rows)})

    def read(self, space: Split, kind: str = "kernel") -> HeadModel:
        """Return a head trained on the classes of the items that are not for validation, once for each space."""
        if kind not in space.heads:
            space.heads[kind] = self.trained(space, kind, self.data.y)
        return space.heads[kind]

    def trained(self, space: Split, kind: str, labels: Tensor) -> HeadModel:
        """Return a head trained on labels of the training items that are not for validation."""
        options = {"epochs": 12} if kind == "network" else {}
        rows = ~self.validation
        return HEADS[kind].from_config(options).fit(space.train[rows], labels[rows], seed=self.seed)

    def accuracies(self, row: str, right: Tensor, head: str = "kernel") -> Figures:
        """Yield shares of test items that were got right: of all, of the classes all tasks know, and of the others."""
        common = torch.isin(self.data.test_y, self.setting.common)
        for name, rows in {"total": common | True, "shared": common, "novel": ~common}.items():
            if name == "total" or len(self.setting.common):
                value = float(right[rows].double().mean())
                yield {"row": row, "head": head, "of": name, "metric": "accuracy", "value": value}


def combined(fitted: atlas.Aggregator, spaces: list[Tensor], present: Tensor) -> Tensor:
    """Return (n, d') what a fitted aggregator makes of vectors of the same items in all its spaces."""
    return fitted.combine(through(fitted, spaces), present)


def through(fitted: atlas.Aggregator, spaces: list[Tensor]) -> Tensor:
    """Return (n, k, d) vectors of the same items through the charts; narrower ones end in zeros."""
    charted = [chart.transform(X) for chart, X in zip(fitted.charts.values(), spaces, strict=True)]
    most = max(X.shape[1] for X in charted)
    return torch.stack([pad(X, (0, most - X.shape[1])) for X in charted], 1)


def of_net(data: Data, net: torch.nn.Sequential) -> Split:
    """Return the vectors of a network."""
    return Split(embedded(net, data.X), embedded(net, data.test))
