"""Built-in samplers: which items to align on.

All of them compute on the CPU, wherever the vectors lie, so that a seed gives the same rows on every machine of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import atlas

# Rows in a block of similarities: large enough for full speed, small enough to stay a few megabytes.
BLOCK = 4096
# Candidates among which the farthest rows are followed between two passes over all rows.
CANDIDATES = 1024
# Centres that are proposed at once when k-means is started.
PROPOSALS = 64


@dataclass
class Uniform(atlas.Sampler):
    """Draw every item with the same probability: the plain choice, and hard to beat."""

    name = "uniform"

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        return torch.randperm(len(X), generator=generator)[:n]


@dataclass
class Stratified(atlas.Sampler):
    """Draw the same number of every class, as nearly as the classes allow; needs labels.

    Classes take turns, in random order, until there are enough; a class that is used up is passed over.
    """

    name = "stratified"

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise self.fail("needs the class of each vector - give labels, or use sampler 'uniform'")
        classes, inverse, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
        shuffled = torch.randperm(len(X), generator=generator)
        grouped = shuffled[inverse[shuffled].argsort(stable=True)]
        group = inverse[grouped]
        turn = torch.arange(len(X)) - (counts.cumsum(0) - counts)[group]
        order = torch.randperm(len(classes), generator=generator)
        return grouped[(turn * len(classes) + order[group]).argsort()[:n]]


@dataclass
class FarthestPoint(atlas.Sampler):
    """Start anywhere, then take the item farthest from all taken so far: spreads anchors out, outliers first.

    Greedy k-centre on directions: the distance is 1 - cos(x, a), or 1 - |cos(x, a)|, for which opposite vectors are the
    same. A row of zeros has no direction and is taken last.

    Source: T. F. Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer Science 38,
    1985.
    """

    name = "farthest-point"

    metric: str = atlas.option(
        "cosine", help="Distance: 1 - cosine, or 1 - |cosine| (opposite is near)", choices=("cosine", "abs-cosine")
    )

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        """Return the greedy sequence of n rows, exactly, at the cost of a few passes over all rows.

        The distance to the nearest row taken can only fall, so one that was computed some steps ago is an upper bound.
        After a pass over all rows the farthest are candidates. While the farthest candidate is at least as far as the
        others were at that pass, it is the farthest of all, and only the candidates need new distances.
        """
        X, scale = X.cpu(), inverse_norms(X.cpu())
        near = torch.abs if self.metric == "abs-cosine" else torch.positive
        distance = torch.where(scale > 0, torch.inf, -1.0).double()
        taken = fresh = [first_centre(scale, generator)]
        width = CANDIDATES
        while len(taken) < n:
            lower_distances(distance, X, scale, fresh, near)
            width = min(width, len(X) - 1)
            fresh = follow_candidates(distance, X, scale, width, n - len(taken), near)
            taken = taken + fresh
            # As much work on the candidates as on the passes over all rows.
            width = 2 * width if len(fresh) * width < len(X) else max(width // 2, 16)
        return torch.tensor(taken)


@dataclass
class KMeans(atlas.Sampler):
    """Group the items by direction and take the one nearest to the mean of each group: typical items, few outliers.

    Minimises the sum of ||x / |x| - c||^2 over as many centres c as anchors are asked for. Each group with members
    gives its member of largest cosine with the centre; for one without, the row worst served by the others is taken.

    Source: S. P. Lloyd, Least squares quantization in PCM, 1982; D. Arthur and S. Vassilvitskii, k-means++: the
    advantages of careful seeding, 2007.
    """

    name = "k-means"

    iterations: int = atlas.option(10, help="Rounds of moving the centres, at most; 0 keeps the k-means++ start")

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise self.fail(f"needs 0 or more iterations, got {self.iterations}")

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        X, scale = X.cpu(), inverse_norms(X.cpu())
        centres = unit(X, scale, spread_rows(X, scale, n, generator))
        group, score = nearest_centres(X, scale, centres)
        for _ in range(self.iterations):
            before = group
            centres = move_centres(X, scale, group, centres)
            group, score = nearest_centres(X, scale, centres)
            if torch.equal(group, before):
                break
        return typical_rows(scale, group, score, centres, n)


ALL: list[type[atlas.Sampler]] = [Uniform, Stratified, FarthestPoint, KMeans]


def inverse_norms(X: Tensor) -> Tensor:
    """Return (N,) what each row is to be multiplied by to have length 1; 0 for a row of zeros."""
    norms = torch.linalg.vector_norm(X, dim=1, dtype=torch.float64)
    return torch.where(norms > 1e-12, 1 / norms, 0.0)


def unit(X: Tensor, scale: Tensor, rows: Sequence[int] | Tensor | slice) -> Tensor:
    """Return some rows at length 1, float64."""
    return X[rows].double() * scale[rows, None]


def first_centre(scale: Tensor, generator: torch.Generator) -> int:
    """Return a random row that has a direction, or any if none has."""
    directed = (scale > 0).nonzero().flatten()
    rows = directed if len(directed) else torch.arange(len(scale))
    return int(rows[torch.randint(len(rows), (1,), generator=generator)])


def one_minus(similarity: Tensor) -> Tensor:
    """Turn similarities into distances, in place; what rounding alone could have made is exactly 0."""
    similarity.neg_().add_(1)
    return similarity.masked_fill_(similarity < 1e-14, 0.0)


def lower_distances(
    distance: Tensor, X: Tensor, scale: Tensor, fresh: list[int], near: Callable[[Tensor], Tensor]
) -> None:
    """Lower the distance (N,) of every row to its nearest centre, in place, by some new centres, which get -inf."""
    centres = unit(X, scale, fresh).T
    for i in range(0, len(X), BLOCK):
        block = slice(i, i + BLOCK)
        similarity = near(unit(X, scale, block) @ centres).amax(1)
        distance[block] = torch.minimum(distance[block], one_minus(similarity))
    distance[fresh] = -torch.inf


def follow_candidates(
    distance: Tensor, X: Tensor, scale: Tensor, width: int, most: int, near: Callable[[Tensor], Tensor]
) -> list[int]:
    """Return the next rows of the greedy sequence, at most `most`, as long as they are among the `width` farthest."""
    values, rows = distance.topk(width + 1)
    limit, rows = float(values[-1]), rows[:-1].sort().values
    distance, vectors = distance[rows], unit(X, scale, rows)
    found: list[int] = []
    while len(found) < most:
        best = int(distance.argmax())
        # The first is the farthest at this pass; found is never empty.
        if found and not distance[best] >= limit:
            break
        found.append(best)
        distance = torch.minimum(distance, one_minus(near(vectors @ vectors[best])))
        distance[best] = -torch.inf
    return rows[found].tolist()


def spread_rows(X: Tensor, scale: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return n distinct rows drawn as k-means++ draws them: each with probability in proportion to its distance.

    (Twice 1 - cos is the squared distance of unit vectors.) Several rows are proposed at once from the distances of the
    last pass, and each is accepted with probability present distance / distance at that pass: the distribution is that
    of drawing one by one.
    """
    distance = torch.where(scale > 0, torch.inf, 0.0).double()
    taken = fresh = [first_centre(scale, generator)]
    while len(taken) < n:
        lower_distances(distance, X, scale, fresh, torch.positive)
        weight = distance.clamp(min=0).cumsum(0)
        if weight[-1] == 0:
            break
        chances = torch.rand(2, PROPOSALS, dtype=torch.float64, generator=generator)
        rows = torch.searchsorted(weight, chances[0] * weight[-1], right=True).clamp_(max=len(X) - 1)
        fresh = accepted(distance[rows], rows, unit(X, scale, rows), chances[1])[: n - len(taken)]
        taken = taken + fresh
    return fill_up(torch.tensor(taken), torch.zeros(len(X)), n)


def accepted(distance: Tensor, rows: Tensor, vectors: Tensor, chances: Tensor) -> list[int]:
    """Return those of the proposed rows that k-means++ would have drawn one by one."""
    between = one_minus(vectors @ vectors.T)
    now = distance
    kept = []
    for i, threshold in enumerate((chances * distance).tolist()):
        if threshold < now[i]:
            kept.append(int(rows[i]))
            now = torch.minimum(now, between[i])
    return kept


def nearest_centres(X: Tensor, scale: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each unit row x (N,) its nearest centre c, and the score x . c - |c|^2 / 2 that is largest there."""
    half = centres.square().sum(1) / -2
    group = torch.empty(len(X), dtype=torch.int64)
    score = torch.empty(len(X), dtype=torch.float64)
    for i in range(0, len(X), BLOCK):
        block = slice(i, i + BLOCK)
        torch.max(torch.addmm(half, unit(X, scale, block), centres.T), 1, out=(score[block], group[block]))
    return group, score


def move_centres(X: Tensor, scale: Tensor, group: Tensor, centres: Tensor) -> Tensor:
    """Return the mean of the unit rows of each group; a group without members keeps its centre."""
    sums = torch.zeros_like(centres)
    for i in range(0, len(X), BLOCK):
        block = slice(i, i + BLOCK)
        sums.index_add_(0, group[block], unit(X, scale, block))
    counts = torch.bincount(group, minlength=len(centres))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centres)


def typical_rows(scale: Tensor, group: Tensor, score: Tensor, centres: Tensor, n: int) -> Tensor:
    """Return the member of largest cosine of each group, and rows far from their centre for groups without members."""
    along = score + centres.square().sum(1)[group] / 2
    directed = (scale > 0).nonzero().flatten()
    order = directed[along[directed].argsort(descending=True, stable=True)]
    order = order[group[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = group[order[1:]] != group[order[:-1]]
    return fill_up(order[first], torch.where(scale > 0, score, torch.inf), n)


def fill_up(rows: Tensor, rank: Tensor, n: int) -> Tensor:
    """Add to the rows, until they are n, those of lowest rank (N,) that are not among them."""
    left = torch.ones(len(rank), dtype=torch.bool)
    left[rows] = False
    spare = left.nonzero().flatten()
    return torch.cat([rows, spare[rank[spare].argsort(stable=True)[: n - len(rows)]]])
