"""How samplers see rows: in float64, block by block, and chosen greedily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from atlas.authors import lengths

# Rows in a block: enough for matrix products at full speed, few enough to stay in the processor's cache.
BLOCK = 1024
# Candidates that are followed between two passes over all rows, at first and at least.
CANDIDATES = 1024, 16

Index = Sequence[int] | Tensor | slice
Lower = Callable[[Tensor, Tensor], Tensor]


def blocks(n: int) -> Iterator[slice]:
    """Yield the slices that cover n rows."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


class Directions:
    """Rows at length 1, (N, d), optionally of the vectors minus their mean; a row of zeros stays one.

    Only the rows that are asked for are converted, so a float16 or memory-mapped matrix is never copied whole.
    """

    def __init__(self, X: Tensor, centre: bool = False) -> None:
        self.X = X.cpu()
        self.dim = X.shape[1]
        self.mean = mean_of(self.X) if centre else torch.zeros(self.dim, dtype=torch.float64)
        self.scale = torch.ones(len(X), dtype=torch.float64)
        norms = torch.cat([lengths(self[block])[:, 0] for block in blocks(len(X))])
        # The rest of a vector that equals the mean is rounding, not a direction.
        self.directed = norms > 1e-12 * float(self.mean.norm())
        self.scale = torch.where(self.directed, 1 / norms, 0.0)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Index) -> Tensor:
        part = self.X[rows].to(torch.float64, copy=True)
        return part.sub_(self.mean).mul_(self.scale[rows, None])

    def draw(self, generator: torch.Generator) -> int:
        """Return a random row that has a direction, or any if none has."""
        choices = self.directed.nonzero().flatten() if self.directed.any() else torch.arange(len(self))
        return int(choices[torch.randint(len(choices), (1,), generator=generator)])


class Standardised:
    """Rows minus their mean, over the root of the mean variance of a column, with a 1 appended: (N, d + 1)."""

    def __init__(self, X: Tensor) -> None:
        self.X = X.cpu()
        self.dim = X.shape[1] + 1
        self.mean = mean_of(self.X)
        squares = sum(float((self.X[block].double() - self.mean).square().sum()) for block in blocks(len(X)))
        self.scale = (squares / X.numel()) ** 0.5 or 1.0

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Index) -> Tensor:
        part = self.X[rows]
        out = torch.ones(len(part), self.dim, dtype=torch.float64)
        out[:, :-1].copy_(part).sub_(self.mean).div_(self.scale)
        return out

    def draw(self, generator: torch.Generator) -> int:
        """Return a random row."""
        return int(torch.randint(len(self), (1,), generator=generator))


def mean_of(X: Tensor) -> Tensor:
    """Return the mean of the rows, (d,), float64."""
    return torch.stack([X[block].sum(0, dtype=torch.float64) for block in blocks(len(X))]).sum(0) / len(X)


def greedy(
    rows: Directions | Standardised,
    n: int,
    generator: torch.Generator,
    gain: Tensor,
    take: Callable[[Tensor], Tensor],
    lower: Lower,
) -> Tensor:
    """Take a random row, then again and again the row of largest gain: that sequence exactly, in a few passes.

    A gain can only fall, so one that was computed some steps ago is an upper bound. After a pass over all rows those of
    largest gain are candidates. While the best candidate has at least the gain that the others had at that pass, it is
    the best of all, and only the candidates' gains need to be kept up.

    Args:
        rows: (N, d) view of the vectors.
        n: how many to take.
        generator: for the first row.
        gain: (N,) before any row is taken; it is overwritten.
        take: called with each row (d,) as it is taken, in order; returns the direction (d,) that lowers the gains.
        lower: gains (m,) and directions @ rows.T (k, m) to the gains after k more rows are taken.

    Returns:
        (n,) distinct rows in the order they were taken.
    """
    fresh = [rows.draw(generator)]
    directions = [take(rows[fresh][0])]
    taken, (width, least) = fresh, CANDIDATES
    while len(taken) < n:
        lower_all(gain, rows, torch.stack(directions), lower)
        gain[taken] = -torch.inf
        width = min(width, len(rows) - 1)
        fresh, directions = follow(gain, rows, width, n - len(taken), take, lower)
        taken = taken + fresh
        # About as much work on candidates as on passes over all rows.
        width = 2 * width if len(fresh) * width < len(rows) else max(width // 2, least)
    return torch.tensor(taken)


def lower_all(gain: Tensor, rows: Directions | Standardised, directions: Tensor, lower: Lower) -> None:
    """Lower the gain (N,) of all rows, in place, by some new directions (k, d)."""
    for block in blocks(len(rows)):
        gain[block] = lower(gain[block], directions @ rows[block].T)


def follow(
    gain: Tensor,
    rows: Directions | Standardised,
    width: int,
    most: int,
    take: Callable[[Tensor], Tensor],
    lower: Lower,
) -> tuple[list[int], list[Tensor]]:
    """Return the next rows of a greedy sequence, and their directions, as long as they are among the first `width`."""
    values, candidates = gain.topk(width + 1)
    limit, candidates = values[-1], candidates[:-1].sort().values
    gain, vectors = gain[candidates], rows[candidates]
    found: list[int] = []
    directions: list[Tensor] = []
    while len(found) < most:
        best = int(gain.argmax())
        # The first is the best of all whatever the limit, so there is always one.
        if found and gain[best] < limit:
            break
        found.append(best)
        directions.append(take(vectors[best]))
        gain = lower(gain, (vectors @ directions[-1])[None])
        gain[best] = -torch.inf
    return candidates[found].tolist(), directions


def lower_distance(distance: Tensor, cosine: Tensor) -> Tensor:
    """Lower the distance 1 - cos to the nearest row taken."""
    return torch.minimum(distance, one_minus(cosine.amax(0)))


def lower_angle(distance: Tensor, cosine: Tensor) -> Tensor:
    """Lower the distance 1 - |cos| to the nearest row taken, for which opposite vectors are the same."""
    return torch.minimum(distance, one_minus(cosine.abs().amax(0)))


def lower_uncertainty(uncertainty: Tensor, projection: Tensor) -> Tensor:
    """Lower the variance of a fitted map at each row by the information of the rows taken."""
    return uncertainty - projection.square().sum(0)


def one_minus(cosine: Tensor) -> Tensor:
    """Return distances; one of rounding alone, between copies of a row, is exactly 0."""
    distance = 1 - cosine
    return distance.masked_fill_(distance < 1e-14, 0.0)
