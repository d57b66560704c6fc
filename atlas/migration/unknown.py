"""Limits of the verdict: notes on everything that the data cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from atlas.errors import AtlasError
from atlas.migration.advice import Way
from atlas.migration.measuring import Measured
from atlas.migration.scoring import Figure
from atlas.migration.trial import DEEP, DEPTHS

# Fewer queries tell little apart; 5 % of any rows lie outside of where pairs do, and this many are another domain.
FEW_QUERIES, ELSEWHERE = 50, 0.3
# A mixed index that loses less than that may do so by chance.
DIP = 0.01
# Among fewer documents, chance finds much.
ENOUGH = 100
NOTHING = "find hardly more than chance does - check that they are of the model of the {} vectors, and the judgements"
OUTSIDE = {
    "old index": "converting them is a guess - embed pairs of the same kind with the new model",
    "new queries": "a bridge guesses there - embed queries with both models, and give them as pairs",
}


def check_better_than_chance(measured: Measured, ways: Sequence[Way]) -> None:
    """Raise `AtlasError` where judged queries by the new model find nothing among new vectors."""
    if _by_chance(measured, ways, "re-embed"):
        raise AtlasError(f"The new queries {NOTHING.format('new')}")


def _by_chance(measured: Measured, ways: Sequence[Way], name: str) -> bool:
    """Whether a way finds hardly more of the documents that were judged relevant than chance does."""
    n, found = len(measured.trial.documents), {way.name: way.figures["recall@10"].value for way in ways}
    return measured.given is not None and n >= ENOUGH and found.get(name, 1.0) < 2 * DEEP / n


def unknown(
    measured: Measured,
    ways: Sequence[Way],
    outside: Mapping[str, float],
    rolling: Mapping[str, Mapping[float, Figure]],
) -> list[str]:
    """Return a sentence for each thing that figures do not tell.

    Args:
        measured: the searches.
        ways: figures of it.
        outside: shares of the old index and the new queries that lie where the pairs do not.
        rolling: figures of a mixed index by the share that is embedded anew.
    """
    trial, whole = measured.trial, measured.whole
    n, known = len(whole.documents), len(whole.native)
    sampled, few = trial is not whole, round(DEEP / trial.part)
    recalled, everything = (way.texts for way in ways if way.name in ("re-order", "re-embed"))
    halved = whole.old.tensor.dtype in (torch.float16, torch.bfloat16)
    said = {
        "There are no judgements: figures are against the new model's finds, and whether it is better than the old one "
        "is not known": measured.given is None,
        f"Figures are of the {known:,} documents whose new vectors are known; in all {n:,} more compete, so that "
        "figures are lower and ways lie further apart": sampled,
        f"This sample tells nothing of re-ordering fewer than {few:,} candidates - embed the old index's top "
        f"{DEPTHS[0]} of each query, too": few > DEPTHS[0],
        f"The new vectors of {n - known:,} documents are not known, so that the ceiling may be a little lower": (
            not sampled and known < n
        ),
        f"Re-ordering embeds {recalled:,} of the {everything:,} documents that re-embedding does, for these queries "
        "alone": recalled > everything / 2,
        f"There are {measured.queries} queries that count, which tell only large differences from chance": (
            measured.queries < FEW_QUERIES
        ),
        "The old index is in half precision, which the figures include; compression such as PQ they do not": halved,
    }
    for what, share in outside.items():
        told = f"{share:.0%} of the {what} lie where pairs do not, and 5 % would by chance: {OUTSIDE[what]}"
        said[told] = share > ELSEWHERE
    said |= _of_judgements(measured, ways) | _of_mixed(rolling)
    return [sentence for sentence, applies in said.items() if applies]


def _of_judgements(measured: Measured, ways: Sequence[Way]) -> dict[str, bool]:
    whole, given = measured.whole, measured.given or {}
    strangers = len(given.keys() - {*whole.queries})
    missing = len({one for grades in given.values() for one in grades} - {*whole.documents})
    told = (
        f"The judgements name {strangers:,} queries and {missing:,} documents of which there are no vectors; they do "
    )
    return {
        f"{told}not count": bool(strangers or missing),
        f"The old queries {NOTHING.format('old')}": _by_chance(measured, ways, "stay"),
    }


def _of_mixed(rolling: Mapping[str, Mapping[float, Figure]]) -> dict[str, bool]:
    mixed = {share: figure.value for share, figure in rolling.get("in order", {}).items()}
    worst = min(mixed, key=mixed.__getitem__, default=0.0)
    told = f"With {worst:.0%} embedded anew a mixed index finds less than a converted one: the models' cosines differ "
    told += "in size, and mapped documents crowd out the others - embed all before you switch, or search two indexes"
    return {told: worst > 0 and mixed[0.0] - mixed[worst] > DIP}
