"""The advice: figures of each way, and the verdict with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from atlas.errors import AtlasError
from atlas.migration.methods import Method
from atlas.migration.scoring import MAIN, MEASURES, Figure

GATE = f"{MAIN}>=0.95"
MAPS = ("convert", "bridge")
VERDICTS = {"re-order": "recall and re-order"}


@dataclass(frozen=True)
class Way:
    """One way of changing the model, and its outcome.

    Attributes:
        name: one of `WAYS`.
        what: the way, in a sentence.
        figures: by the names of `MEASURES`.
        share: the part it keeps of the ceiling's figure that the gate is about.
        gain: that figure less that of `stay`, in the whole index if `whole` is known; None where the old model is gone.
        whole: that figure in the whole index, where others are of a sample; None where that cannot be known.
        texts: how many texts must be embedded anew.
        tokens: how many those have; None where it was not said.
        hours: how long that takes; None where it was not said.
        depth: how many candidates are re-ordered.
        method: the map, where there is one.
    """

    name: str
    what: str
    figures: Mapping[str, Figure]
    share: Figure
    gain: Figure | None = None
    whole: Figure | None = None
    texts: int = 0
    tokens: int | None = None
    hours: float | None = None
    depth: int | None = None
    method: Method | None = None

    def costed(self, rate: float, tokens: float) -> Way:
        """Return the same with tokens and hours, at a rate of texts in a second and so many tokens in a text."""
        hours = self.texts / rate / 3600 if rate else None
        return replace(self, tokens=round(self.texts * tokens) if tokens else None, hours=hours)


@dataclass(frozen=True)
class Gate:
    """The share of the ceiling that a way must keep.

    Attributes:
        measure: one of `MEASURES`.
        least: share of the ceiling's figure.
    """

    measure: str
    least: float

    @classmethod
    def of(cls, text: str) -> Gate:
        """Return the gate of a text such as 'ndcg@10>=0.95'."""
        found = re.fullmatch(r"\s*(\S+?)\s*>=\s*([0-9.]+)\s*", text)
        if not found or found[1] not in MEASURES or not re.fullmatch(r"0?\.\d+|0\.?|1(\.0*)?", found[2]):
            known = " or ".join(MEASURES)
            raise AtlasError(f"A gate must be like '{GATE}', of {known} and from 0 to 1, got {text!r:.40}")
        return cls(found[1], float(found[2]))


@dataclass(frozen=True)
class Advice:
    """The verdict, and everything it was concluded from.

    Attributes:
        verdict: stay, convert, bridge, recall and re-order, or re-embed.
        reason: a sentence.
        passed: whether a way that embeds less than everything passes the gate, the old index included.
        ways: the figures of each.
        documents: how many were searched.
        whole: how many the index has.
        queries: how many were judged.
        judged: whether by judgements; else by the new model's own finds.
        pairs: how many maps were fitted on.
        methods: the methods tried, best first, for "convert" and for "bridge".
        curve: the better of the two with more pairs: number, and expected figure.
        needed: pairs at which that is expected to pass the gate; None if it is not, however many.
        rolling: the gate's figure of a mixed index, by the share that is embedded anew, "in order" and "by chance".
        sure: how often the first result of "convert" and of "bridge" is the new model's, in thirds by the confidence
            that other queries taught; empty with few queries.
        chance: how often it would be if results were drawn at random.
        outside: shares of the old index and of the new queries that lie outside of where the pairs do.
        notes: limits of the verdict.
    """

    verdict: str
    reason: str
    passed: bool
    ways: Sequence[Way]
    documents: int
    whole: int
    queries: int
    judged: bool
    pairs: int
    methods: Mapping[str, Sequence[Method]]
    curve: Mapping[int, Figure] = field(default_factory=dict)
    needed: int | None = None
    rolling: Mapping[str, Mapping[float, Figure]] = field(default_factory=dict)
    sure: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    chance: float = 0.0
    outside: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def way(self, name: str) -> Way:
        """Return the outcome of a way."""
        return next(way for way in self.ways if way.name == name)


def verdict(ways: Sequence[Way], gate: Gate, judged: bool) -> tuple[str, str, bool]:
    """Return the verdict, its reason, and whether a way that embeds less than everything passes the gate."""
    found = {way.name: way for way in ways}
    ceiling, stay = found["re-embed"], found.get("stay")
    if judged and stay and ceiling.gain and ceiling.gain.low <= 0:
        by = "worse" if ceiling.gain.high < 0 else "not shown to be better"
        reason = f"the new model is {by} on these queries: {ceiling.gain} points of {gate.measure} over the old one"
        return "stay", reason, stay.share.value >= gate.least
    maps = sorted((found[name] for name in MAPS), key=lambda way: -way.share.value)
    for way in (*maps, *([found["re-order"]] if "re-order" in found else [])):
        if way.share.value >= gate.least and beats(way, stay, judged):
            return VERDICTS.get(way.name, way.name), _kept(way, gate), True
    best = max((way for way in ways if way.name != "re-embed"), key=lambda way: way.share.value)
    reason = f"no cheaper way keeps {100 * gate.least:g} % of the new model's {gate.measure}"
    if best.share.value >= gate.least:
        reason += " and is better than the old model by more than chance"
    reason += f"; {best.name} keeps {_percent(best, gate.least)}"
    return "re-embed", reason, False


def beats(way: Way, stay: Way | None, judged: bool) -> bool:
    """Whether a way is better than the old model by more than chance, where that can be told."""
    return not judged or stay is None or (way.gain is not None and way.gain.low > 0)


def _kept(way: Way, gate: Gate) -> str:
    how = f" with {way.method}" if way.method else f" from the top {way.depth}" if way.depth else ""
    more = f", {way.gain} points over the old model" if way.gain else ""
    return f"{way.name}{how} keeps {_percent(way)} of the new model's {gate.measure}{more}"


def _percent(way: Way, below: float = 0) -> str:
    """Return a share with its interval, and with so many digits that one below a bound does not look like it."""
    value, low, high = (100 * share for share in (way.share.value, way.share.low, way.share.high))
    digits = next((n for n in range(4) if round(value, n) < 100 * below), 0)
    return f"{value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"
