"""Which map to use: chosen on pairs alone, never on the queries that the ways are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.components.aligner import Aligner
from atlas.components.choosing import chosen
from atlas.migration.trial import Pairs
from atlas.plugins.catalogue import create

# The first is chosen of those that keep as many neighbours as the best, but for so many: neighbours of documents say
# little of queries, which curved maps serve better.
SLACK = 0.05
# Tried where the user names none, in this order.
TRIED: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "index": (
        ("kernel", {"spread": True}),
        ("kernel", {"spread": True, "sharpness": 1.0}),
        ("procrustes", {}),
        *(("cca", {"ridge": ridge}) for ridge in (1.0, 3.0)),
        *(("linear", {"ridge": ridge}) for ridge in (0.1, 0.3, 1.0)),
    ),
    "queries": (*(("cca", {"ridge": ridge}) for ridge in (3.0, 10.0, 1.0, 0.3)), ("procrustes", {})),
}


@dataclass(frozen=True)
class Method:
    """A map that was tried.

    Attributes:
        aligner: its name.
        options: those that are not as by default.
        kept: share of the new model's ten nearest neighbours that it kept of pairs that were left out.
    """

    aligner: str
    options: Mapping[str, Any]
    kept: float

    def __str__(self) -> str:
        """Return the name and options."""
        told = (name if value is True else f"{name}={value:g}" for name, value in self.options.items())
        return " ".join([self.aligner, *told])

    def create(self) -> Aligner:
        """Return the aligner, not fitted."""
        return create(Aligner, self.aligner, self.options)


def choose(pairs: Pairs, role: str, names: Sequence[str] = ()) -> list[Method]:
    """Return the methods that were tried, best first, for mapping an "index" to the new space, or "queries" to the old.

    Args:
        pairs: to cross-validate on.
        role: the vectors that are mapped.
        names: of aligners, with their default options; none: those that do well.
    """
    tried: list[tuple[str, Mapping[str, Any]]] = [(name, {}) for name in names] or list(TRIED[role])
    aligners = [create(Aligner, name, options) for name, options in tried]
    for one in aligners:
        if one.fits_on == "source":
            raise one.fail("maps into a space of its own, and not into the other model's - leave it out")
    source, target = (pairs.old, pairs.new) if role == "index" else (pairs.new, pairs.old)
    best, shares = chosen(aligners, source, target, role, slack=SLACK)
    found = zip(aligners, [Method(*one, share) for one, share in zip(tried, shares.tolist(), strict=True)], strict=True)
    return [method for _, method in sorted(found, key=lambda pair: (pair[0] is not best, -pair[1].kept))]
