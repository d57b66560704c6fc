"""A mixed index: documents are embedded anew one after another, the others are mapped meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from atlas.migration.domain import leverage
from atlas.migration.measuring import MOST_CURVE, Measured
from atlas.migration.scoring import Figure
from atlas.migration.searching import BATCH, nearest
from atlas.migration.trial import DEEP, Maps, Trial

# Shares of the documents that are embedded anew, and how far down an answer documents count as asked for.
SHARES, ASKED = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0), 200


def order(queries: Tensor, pairs: Tensor, mapped: Iterable[Tensor]) -> Tensor:
    """Return the numbers (n,) of documents, first those that are worth most to embed anew.

    Each query gives 1 / log2(1 + rank) to the 200 documents it finds. Those with the largest sum come first, and those
    that nobody asks for last, the ones farthest from all pairs before the others.

    Args:
        queries: (q, d), by the new model.
        pairs: (p, d), documents that the map was fitted on, by the new model.
        mapped: the documents in the new model's space, in batches (b, d).
    """
    doubts: list[Tensor] = []
    far = leverage(pairs)

    def seen() -> Iterable[Tensor]:
        for batch in mapped:
            doubts.append(far(batch))
            yield batch

    found = nearest(queries, seen(), ASKED)
    doubt = torch.cat(doubts)
    weights = 1 / torch.log2(torch.arange(found.shape[1], dtype=torch.float64) + 2)
    asked = torch.zeros(len(doubt), dtype=torch.float64)
    asked.index_add_(0, found.flatten(), weights.repeat(len(found)))
    return (asked + 1e-6 * doubt / doubt.max().clamp_min(1e-12)).argsort(descending=True, stable=True)


def rolling(measured: Measured, maps: Maps) -> dict[str, Mapping[float, Figure]]:
    """Return the gate's figure of a mixed index by the share that is embedded anew: "in order", and "by chance".

    The order for one half of the queries is that which the other half asks for. None is returned of a large index, or
    of one whose new vectors are not all known.

    Args:
        measured: the documents and queries.
        maps: from old to new vectors.
    """
    trial = measured.trial
    n = len(trial.documents)
    if n > MOST_CURVE or len(trial.native) < n or n <= 2 * DEEP:
        return {}
    converted = torch.cat(list(trial.converted(maps)))
    halves = halves_of(trial)
    by_chance = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    orders = {
        "in order": [order(trial.queries_new[~half], trial.pairs.new, converted.split(BATCH)) for half in halves],
        "by chance": [by_chance, by_chance],
    }
    return curves(measured, converted, orders)


def halves_of(trial: Trial) -> list[Tensor]:
    """Return which queries (q,) are of each half: the order for one half is that which the other asks for."""
    return [torch.arange(len(trial.queries)) % 2 == k for k in (0, 1)]


def curves(
    measured: Measured, converted: Tensor, orders: Mapping[str, list[Tensor]]
) -> dict[str, Mapping[float, Figure]]:
    """Return the gate's figure of a mixed index by the share that is embedded anew, for each order.

    Args:
        measured: the documents and queries; all new vectors are known.
        converted: the documents (n, d) mapped.
        orders: for each half of the queries the numbers of the documents, those first that are embedded first.
    """
    trial = measured.trial
    n, new, halves = len(converted), trial.new[trial.places], halves_of(trial)

    def figure(both: list[Tensor], share: float) -> Figure:
        found = torch.empty(len(trial.queries), min(DEEP, n), dtype=torch.int64)
        for half, numbers in zip(halves, both, strict=True):
            some = numbers[: round(share * n)]
            mixed = converted.index_copy(0, some, new[some].to(converted))
            found[half] = nearest(trial.queries_new[half], mixed.split(BATCH), DEEP)
        return measured.figure(found)

    return {name: {share: figure(both, share) for share in SHARES} for name, both in orders.items()}
