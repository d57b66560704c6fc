"""Small worlds of documents and queries, in two models, where the right answer is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from planted import normal, turn

from atlas import Vectors

N, QUERIES, D = 240, 60, 12


@dataclass
class World:
    """Vectors of an index and of queries by both models; query i asks for document 3 i.

    Attributes:
        old, new: the documents.
        queries_old, queries_new: the queries.
        judgements: what answers them.
    """

    old: Vectors
    new: Vectors
    queries_old: Vectors
    queries_new: Vectors
    judgements: dict[str, dict[str, int]]

    def given(self, **others: Any) -> dict[str, Any]:
        """Return the arguments of `advise`."""
        names = ("old", "new", "queries_old", "queries_new", "judgements")
        return {**{name: getattr(self, name) for name in names}, "aligners": ["procrustes"], **others}


def world(*, documents: float = 0.0, queries: float = 0.0, d_old: int = D) -> World:
    """Return a world whose old model adds noise to documents and to queries; the new model's queries are good."""
    meant = normal(N, D)
    asked = meant[::3][:QUERIES] + 0.3 * normal(QUERIES, D, seed=1)
    R = turn(D, d_old, seed=2)
    names = [f"d{i}" for i in range(N)], [f"q{i}" for i in range(QUERIES)]

    def vectors(X: torch.Tensor, space: str, ids: list[str]) -> Vectors:
        return Vectors.of(X.float(), space, ids=ids)

    return World(
        vectors((meant + documents * normal(N, D, seed=3)) @ R, "old-model", names[0]),
        vectors(meant, "new-model", names[0]),
        vectors((asked + queries * normal(QUERIES, D, seed=4)) @ R, "old-model", names[1]),
        vectors(asked, "new-model", names[1]),
        {f"q{i}": {f"d{3 * i}": 1} for i in range(QUERIES)},
    )
