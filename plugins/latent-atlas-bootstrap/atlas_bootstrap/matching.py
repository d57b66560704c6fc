"""Which rows of two sets are most alike, found in blocks: never more than a strip of the similarities at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from atlas.authors import unit as unit

# Rows in a strip of similarities.
BLOCK = 1024
# So many nearest rows say how crowded the place of a row is.
CROWD = 10


def alike(P: Tensor, Q: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return for each row of P the k rows of Q that are most like it, most alike first, and for each of Q those of P.

    p and q are as alike as 2 cos(p, q) - crowd(p) - crowd(q), where crowd is the mean cosine of a row with the ten
    nearest it on the other side (cross-domain similarity local scaling): a row in a crowded place would otherwise be
    nearest to many.

    Args:
        P: (n, d), any lengths.
        Q: (m, d).
        k: at most n and m.

    Returns:
        Row numbers (n, k) into Q, and (m, k) into P.
    """
    P, Q = unit(P).float(), unit(Q).float()
    crowd_p, crowd_q = crowding(P, Q), crowding(Q, P)
    return _most_alike(P, Q, crowd_q, k), _most_alike(Q, P, crowd_p, k)


def mutual(P: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows (r, 2) of P and Q that are most like each other, the most alike first, and how alike (r,)."""
    P, Q = unit(P).float(), unit(Q).float()
    crowd_p, crowd_q = crowding(P, Q), crowding(Q, P)
    there, back = _most_alike(P, Q, crowd_q, 1).flatten(), _most_alike(Q, P, crowd_p, 1).flatten()
    rows = (back[there] == torch.arange(len(P))).nonzero().flatten()
    partners = there[rows]
    likeness = 2 * (P[rows] * Q[partners]).sum(1) - crowd_p[rows] - crowd_q[partners]
    order = likeness.argsort(descending=True, stable=True)
    return torch.stack([rows, partners], 1)[order], likeness[order]


def crowding(P: Tensor, Q: Tensor) -> Tensor:
    """Return the mean cosine of each unit row of P with the ten rows of Q nearest it, (n,)."""
    k = min(CROWD, len(Q))
    return torch.cat([cosines.topk(k).values.mean(1) for cosines in _strips(P, Q)])


def _most_alike(P: Tensor, Q: Tensor, crowd: Tensor, k: int) -> Tensor:
    # How crowded p itself is does not change which q is most like it.
    return torch.cat([(2 * cosines - crowd).topk(k).indices for cosines in _strips(P, Q)])


def _strips(P: Tensor, Q: Tensor) -> Iterator[Tensor]:
    for block in P.split(BLOCK):
        yield block @ Q.T
