"""Rotations fitted together, and after them one small network that corrects the directions of all spaces alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import atlas
from atlas.authors import lengths, unit
from atlas_builtin.aggregators import GeneralizedProcrustes, mean_present
from atlas_builtin.mlp import Adam

# As the authors train: how far a direction may be turned for nothing, and the price of more; rate, decay and batch.
FREE, PENALTY = 0.08, 0.7
RATE, DECAY, BATCH = 2e-3, 1e-4, 256
# The share of items that decide when to stop, how many of their vectors are looked at, and how often.
KEPT, LOOKED_AT, EVERY = 0.1, 1000, 20


@dataclass
class CorrectedProcrustes(GeneralizedProcrustes):
    """Rotate all spaces onto their mean as generalized-procrustes does, then correct directions that still disagree.

    One network for all spaces, u to u + gate(u) * change(u) on directions, is trained to turn each vector towards the
    mean direction of its item; lengths stay. It is part of combining: charts are the rotations, so that translations
    through them bend nothing, and vectors that are combined, of one space or of several, are corrected. Training stops
    where items that were left out say so.

    Source: A. Achara et al., Multi-way representation alignment, 2026 (the authors' code).
    """

    name = "corrected-procrustes"
    moves = True

    steps: int = atlas.option(400, help="Steps of training the correction, at most")
    seed: int = atlas.option(0, help="Of the first weights, the batches, and the items that decide when to stop")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise self.fail(f"needs at least 1 step, got {self.steps}")

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, atlas.Aligner]:
        charts = dict(super()._fit(views, items))
        numbers = self.extra["items"]
        # In the order of the items: that of the rows must not matter.
        order = {space: found.argsort() for space, found in items.items()}
        U = torch.cat([unit(charts[s].transform(X)[order[s]]) for s, X in views.items()]).float()
        item = torch.cat([torch.searchsorted(numbers, found[order[s]]) for s, found in items.items()])
        C = unit(torch.zeros(len(numbers), U.shape[1]).index_add_(0, item, U))
        self.extra |= trained(U, C[item], item, self.steps, torch.Generator().manual_seed(self.seed))
        return charts

    def _combine(self, rows: Tensor, present: Tensor) -> Tensor:
        flat = rows.flatten(0, 1)
        turned = corrected(unit(flat), {name: t.to(rows) for name, t in self.extra.items()})
        return mean_present((turned * lengths(flat)).view_as(rows), present)


def corrected(U: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """Return directions (..., d) turned by the network with these weights."""
    x = F.layer_norm(U, U.shape[-1:], p["norm_weight"], p["norm_bias"])
    change = F.gelu(x @ p["hidden_weight"] + p["hidden_bias"]) @ p["change_weight"] + p["change_bias"]
    return unit(U + torch.sigmoid(x @ p["gate_weight"] + p["gate_bias"]) * change)


def trained(U: Tensor, C: Tensor, item: Tensor, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the weights that turn directions U (n, d) towards C (n, d), of the step that does best on items left out.

    Args:
        U: of the vectors of all spaces.
        C: the mean direction of each one's item.
        item: (n,) the number of its item, from 0.
        steps: of training, at most.
        generator: for all that is drawn.
    """
    out = torch.rand(int(item.max()) + 1, generator=generator) < KEPT
    out[torch.randperm(len(out), generator=generator)[:2]] = torch.tensor([True, False])
    kept, used = out[item].nonzero().flatten(), (~out[item]).nonzero().flatten()
    kept = kept[torch.randperm(len(kept), generator=generator)[:LOOKED_AT]]
    parameters = first_parameters(U.shape[1], generator)
    optimizer, least, best = Adam(parameters, RATE, DECAY), torch.inf, parameters
    for step in range(steps + 1):
        if step % EVERY == 0 and (error := float(loss(parameters, U[kept], C[kept]))) < least:
            best, least = parameters.clone(), error
        rows = used[torch.randint(len(used), (BATCH,), generator=generator)]
        # The caller may have turned gradients off.
        with torch.enable_grad():
            given = parameters.clone().requires_grad_()
            (slope,) = torch.autograd.grad(loss(given, U[rows], C[rows]), given)
        optimizer.slope.copy_(slope / slope.norm().clamp_min(1))
        optimizer.step()
    return named(best, U.shape[1])


def shapes(d: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights for directions of d dimensions."""
    layers = {"hidden": (d, 2 * d), "change": (2 * d, d), "gate": (d, d)}
    parts = {f"{name}_{part}": shape[k:] for name, shape in layers.items() for k, part in enumerate(("weight", "bias"))}
    return {"norm_weight": (d,), "norm_bias": (d,), **parts}


def named(parameters: Tensor, d: int) -> dict[str, Tensor]:
    """Return the weights, as views of one vector of all of them."""
    sizes = [math.prod(shape) for shape in shapes(d).values()]
    parts = zip(shapes(d).items(), parameters.split(sizes), strict=True)
    return {name: part.view(shape) for (name, shape), part in parts}


def first_parameters(d: int, generator: torch.Generator) -> Tensor:
    """Return the weights of a network that changes nothing yet."""
    parameters = torch.zeros(sum(map(math.prod, shapes(d).values())))
    weights = named(parameters, d)
    weights["norm_weight"].fill_(1)
    weights["hidden_weight"].uniform_(-(d**-0.5), d**-0.5, generator=generator)
    return parameters


def loss(parameters: Tensor, U: Tensor, C: Tensor) -> Tensor:
    """Return the mean of 1 - cosine to the goal, and of the turn beyond the part that is free."""
    turned = corrected(U, named(parameters, U.shape[1]))
    drift = F.relu(1 - (turned * U).sum(1) - FREE)
    return (1 - (turned * C).sum(1)).mean() + PENALTY * drift.mean()
