"""The steps of k-means on rows of length 1."""

from __future__ import annotations

import torch
from torch import Tensor

from atlas_builtin.rows import Directions, blocks, lower_all, lower_distance, one_minus

# Centres that are proposed at once at the start.
PROPOSALS = 64


def starting_rows(rows: Directions, n: int, generator: torch.Generator) -> Tensor:
    """Return n distinct rows drawn as k-means++ draws them: each in proportion to its squared distance.

    (For unit rows that is 2 - 2 cos.) Several rows are proposed from the distances of the last pass over all rows, and
    each is accepted with probability present distance / distance at that pass: the same as drawing one by one.
    """
    distance = torch.where(rows.directed, torch.inf, 0.0).double()
    taken = fresh = [rows.draw(generator)]
    while len(taken) < n:
        lower_all(distance, rows, rows[fresh], lower_distance)
        weight = distance.cumsum(0)
        if weight[-1] == 0:
            break
        chances = torch.rand(2, PROPOSALS, dtype=torch.float64, generator=generator)
        proposed = torch.searchsorted(weight, chances[0] * weight[-1], right=True).clamp_(max=len(rows) - 1)
        fresh = accepted(distance[proposed], proposed, rows[proposed], chances[1])[: n - len(taken)]
        taken = taken + fresh
    return fill_up(torch.tensor(taken), torch.zeros(len(rows)), n)


def greedy_starting_rows(rows: Directions, n: int, trials: int, generator: torch.Generator) -> Tensor:
    """Return n distinct rows as greedy k-means++ draws them: each the best of several draws for the cost of all rows.

    Source: D. Arthur and S. Vassilvitskii, k-means++: the advantages of careful seeding, 2007, which recommends it.
    """
    distance = torch.where(rows.directed, torch.inf, 0.0).double()
    taken = [rows.draw(generator)]
    lower_all(distance, rows, rows[taken], lower_distance)
    while len(taken) < n:
        weight = distance.cumsum(0)
        if weight[-1] == 0:
            break
        chances = torch.rand(trials, dtype=torch.float64, generator=generator)
        proposed = torch.searchsorted(weight, chances * weight[-1], right=True).clamp_(max=len(rows) - 1)
        near = rows[proposed]
        after = [torch.minimum(distance[b], one_minus(near @ rows[b].T)) for b in blocks(len(rows))]
        best = int(torch.stack([part.sum(1) for part in after]).sum(0).argmin())
        distance = torch.cat([part[best] for part in after])
        taken.append(int(proposed[best]))
    return fill_up(torch.tensor(taken), torch.zeros(len(rows)), n)


def accepted(distance: Tensor, proposed: Tensor, vectors: Tensor, chances: Tensor) -> list[int]:
    """Return those of the proposed rows that k-means++ would have drawn one by one."""
    between = one_minus(vectors @ vectors.T)
    now = distance
    kept = []
    for i, threshold in enumerate((chances * distance).tolist()):
        if threshold < now[i]:
            kept.append(int(proposed[i]))
            now = torch.minimum(now, between[i])
    return kept


def nearest_centres(rows: Directions, centres: Tensor) -> Tensor:
    """Return the number of the centre nearest to each row, (N,).

    Products run in float32, at twice the rate; where the two nearest centres are closer to each other than its rounding
    can tell, they are compared again in float64.
    """
    half = centres.square().sum(1) / -2
    half32, centres32 = half.float(), centres.float()
    rounding = rows.dim * torch.finfo(torch.float32).eps
    group = torch.empty(len(rows), dtype=torch.int64)
    for block in blocks(len(rows)):
        vectors = rows[block]
        # Largest where |x - c| is smallest: x . c - |c|^2 / 2.
        best = torch.addmm(half32, vectors.float(), centres32.T).topk(min(2, len(centres)), 1)
        close = (best.values[:, 0] - best.values[:, -1] < rounding).nonzero().flatten()
        group[block] = best.indices[:, 0]
        group[block][close] = torch.addmm(half, vectors[close], centres.T).argmax(1)
    return group


def scores(rows: Directions, group: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return x . c for each row x and its centre c, and |x - c|^2, (N,) float64."""
    along = torch.empty(len(rows), dtype=torch.float64)
    apart = torch.empty_like(along)
    for block in blocks(len(rows)):
        vectors, own = rows[block], centres[group[block]]
        along[block] = (vectors * own).sum(1)
        apart[block] = (vectors - own).square().sum(1)
    return along, apart


def move_centres(rows: Directions, group: Tensor, centres: Tensor) -> Tensor:
    """Return the mean of the rows of each group; a group without members keeps its centre."""
    sums = torch.zeros_like(centres)
    for block in blocks(len(rows)):
        sums.index_add_(0, group[block], rows[block])
    counts = torch.bincount(group, minlength=len(centres))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centres)


def typical_rows(rows: Directions, group: Tensor, centres: Tensor, n: int) -> Tensor:
    """Return the member of largest cosine of each group, and rows far from their centre for groups without members."""
    along, apart = scores(rows, group, centres)
    # The two members of a group of two are as near to their mean: the first is taken, not the one rounding favours.
    along = along.round(decimals=9)
    order = rows.directed.nonzero().flatten()
    order = order[along[order].argsort(descending=True, stable=True)]
    order = order[group[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = group[order[1:]] != group[order[:-1]]
    return fill_up(order[first], torch.where(rows.directed, -apart, torch.inf), n)


def fill_up(chosen: Tensor, rank: Tensor, n: int) -> Tensor:
    """Add to the chosen rows, until they are n, those of lowest rank (N,) that are not among them."""
    left = torch.ones(len(rank), dtype=torch.bool)
    left[chosen] = False
    spare = left.nonzero().flatten()
    return torch.cat([chosen, spare[rank[spare].argsort(stable=True)[: n - len(chosen)]]])
