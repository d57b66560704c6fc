"""An aligner that chooses among the affine ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import atlas
from atlas.authors import chosen
from atlas_builtin.aligners import CanonicalCorrelation, Linear, Procrustes

# By role, the preferred first: one is taken that keeps as many neighbours as the best, but for the slack.
SLACK = 0.03
CANDIDATES: dict[str, tuple[atlas.LinearAligner, ...]] = {
    "index": (Linear(), Linear(ridge=0.3), Linear(ridge=1.0), Procrustes()),
    "queries": (*(CanonicalCorrelation(ridge=ridge) for ridge in (3.0, 10.0, 1.0, 0.3)), Procrustes()),
}


@dataclass
class Auto(atlas.LinearAligner):
    """Choose the map that keeps most neighbours of rows left out, and its penalty: for queries, up to a thousand pairs.

    The choice is among 'procrustes', 'cca' and 'linear', by cross-validation on the pairs alone, each once: the first
    of a list is taken that keeps as many as the best, but for 3 of 100. Neighbours are those in the space of the newer
    model, which is the target where an index is mapped, and the source where queries are.
    """

    name = "auto"
    streaming = False

    role: str = atlas.option(
        "index",
        help="Which vectors will be mapped: those that are searched, or those that search",
        choices=("index", "queries"),
    )

    def fit(self, X: Any, Y: Any = None, pairs: Any = None) -> Self:
        """Learn the map from paired rows; whatever was learned before is forgotten. See `Aligner.fit`."""
        self.check_pairs(pairs, 0, 0)
        X, Y = self.check_fit(X, Y)
        best, _ = chosen(CANDIDATES[self.role], X, Y, self.role, slack=SLACK)
        self.forget()
        self._state = type(best).from_config(best.config()).fit(X, Y).state_dict()
        return self

    def partial_fit(self, X: Any, Y: Any = None) -> Self:
        """Raise: rows are left out in turn, so that all must be there."""
        return atlas.Aligner.partial_fit(self, X, Y)
