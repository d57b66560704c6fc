"""Who knows what: the three settings of relative latent space aggregation, and the networks trained in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from paper_networks import Layers
from torch import Tensor
from torch.nn import functional as F

from atlas.models import network

RATE, BATCH = 2e-3, 100


@dataclass(frozen=True)
class Data:
    """Labelled items, and the networks that are trained on them.

    Attributes:
        X: (n, d) what networks read, and y (n,) its classes.
        test: (m, d) the same for testing, and test_y (m,).
        layers: of a network for so many classes; what comes before the last two makes the vectors.
        epochs: passes over the data.
        shared, novel, tasks: classes that all tasks know, classes that each alone knows, and how many tasks there are.
        anchors: how many, where tasks share samples, and where they do not.
        flips: show images mirrored, too: (channels, height, width).
        heads: which heads read the spaces of the paper; others are read by the first.
    """

    X: Tensor
    y: Tensor
    test: Tensor
    test_y: Tensor
    layers: Callable[[int], Layers]
    epochs: int
    shared: int
    novel: int
    tasks: int
    anchors: tuple[int, int]
    flips: tuple[int, int, int] | None = None
    heads: tuple[str, ...] = ("kernel", "network")

    @cached_property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.y.max()) + 1


@dataclass(frozen=True)
class Setting:
    """Who knows which items.

    Attributes:
        name: of the setting.
        member: (n, T) whether an item belongs to a task, and test_member (m, T).
        own: (n, T) whether its network is trained on it.
        anchors: (k,) rows of the items that are anchors.
        common: the classes that all tasks share; none where there are no others.
    """

    name: str
    member: Tensor
    test_member: Tensor
    own: Tensor
    anchors: Tensor
    common: Tensor

    @cached_property
    def patterns(self) -> Tensor:
        """(G, T) the different memberships: an item's is its group."""
        return self.member.unique(dim=0)

    def group(self, member: Tensor) -> Tensor:
        """Return (n,) the group of each item."""
        return (member[:, None] == self.patterns).all(2).double().argmax(1)


def held_out(y: Tensor, seed: int, share: float = 0.1) -> Tensor:
    """Return (n,) whether an item is kept for validation: this share of every class, at least one item."""
    generator = torch.Generator().manual_seed(1000 + seed)
    chosen = torch.zeros(len(y), dtype=torch.bool)
    for c in y.unique():
        rows = (y == c).nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator)
        chosen[rows[order[: max(1, round(share * len(rows)))]]] = True
    return chosen


def settings(data: Data, validation: Tensor, seed: int) -> Iterator[Setting]:
    """Yield the three settings of the paper: tasks share samples, share classes, share neither.

    Where samples are shared, anchors are of the shared classes, which all networks have seen; otherwise no network has
    seen them.
    """
    generator = torch.Generator().manual_seed(2000 + seed)
    order = torch.randperm(data.classes, generator=generator)
    common, rest = order[: data.shared], order[data.shared :]
    known = [torch.cat([common, part]) for part in rest.split(data.novel)[: data.tasks]]
    member, tested = (torch.stack([torch.isin(y, c) for c in known], 1) for y in (data.y, data.test_y))
    seen = (~validation & torch.isin(data.y, common)).nonzero().flatten()
    anchors = seen[torch.randperm(len(seen), generator=generator)[: data.anchors[0]]]
    yield Setting("shared samples", member, tested, member & ~validation[:, None], anchors, common)
    free = (~validation).nonzero().flatten()
    anchors = free[torch.randperm(len(free), generator=generator)[: data.anchors[1]]]
    unseen = validation.clone()
    unseen[anchors] = True
    first = order[: data.classes // 2]
    member, tested = (mostly(y, first, generator) for y in (data.y, data.test_y))
    yield Setting("shared classes", member, tested, member & ~unseen[:, None], anchors, order[:0])
    yield apart(order, 2, data, unseen, anchors, "nothing shared")


def apart(order: Tensor, tasks: int, data: Data, unseen: Tensor, anchors: Tensor, name: str) -> Setting:
    """Return the setting in which every class belongs to one task."""
    parts = order.tensor_split(tasks)
    member, tested = (torch.stack([torch.isin(y, part) for part in parts], 1) for y in (data.y, data.test_y))
    return Setting(name, member, tested, member & ~unseen[:, None], anchors, order[:0])


def mostly(y: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
    """Return (n, 2) which of two tasks has an item: of each class, one task has four items in five."""
    member = torch.zeros(len(y), 2, dtype=torch.bool)
    for c in y.unique():
        rows = (y == c).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        most, big = round(0.8 * len(rows)), int(not bool((first == c).any()))
        member[rows[:most], big] = True
        member[rows[most:], 1 - big] = True
    return member


def trained(data: Data, rows: Tensor, seed: int, start: torch.nn.Sequential | None = None) -> torch.nn.Sequential:
    """Return a network trained on rows (n,) bool by Adam; one that is given goes on, with its outputs as they are."""
    return next(islice(passes(data, rows, seed, start), data.epochs - 1, None)).eval()


def untrained(data: Data, classes: int, seed: int) -> torch.nn.Sequential:
    """Return a network as it is before training."""
    # With the channels last, small networks of images are trained and run in half of the time.
    return network.initialise(data.layers(classes), seed).to(memory_format=torch.channels_last)


def passes(
    data: Data, rows: Tensor, seed: int, start: torch.nn.Sequential | None = None
) -> Iterator[torch.nn.Sequential]:
    """Yield the same network after each pass over the rows, without end."""
    present = data.y[rows].unique() if start is None else torch.arange(data.classes)
    X, y = data.X[rows], torch.searchsorted(present, data.y[rows])
    net = untrained(data, len(present), seed) if start is None else start
    optimizer, generator = torch.optim.Adam(net.parameters(), RATE), torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(len(X), generator=generator).split(BATCH):
            x = mirrored(X[batch], data.flips, generator) if data.flips else X[batch]
            optimizer.zero_grad()
            F.cross_entropy(net(x), y[batch]).backward()
            optimizer.step()
        yield net


def mirrored(X: Tensor, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Return images, as vectors, half of them mirrored."""
    images = X.unflatten(1, shape)
    turned = torch.rand(len(X), 1, 1, 1, generator=generator) < 0.5
    return torch.where(turned, images.flip(3), images).flatten(1)


@torch.no_grad()
def embedded(net: torch.nn.Sequential, X: Tensor) -> Tensor:
    """Return (n, d) what the last two layers of a network read."""
    return torch.cat([net[:-2](rows) for rows in X.split(500)])
