"""Finds of each way, and their figures."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from atlas.metrics.intervals import wilson
from atlas.migration.advice import MAPS, Gate, Way
from atlas.migration.judgements import Judgements, neighbours, relevant
from atlas.migration.learning import FEWEST, Curve, curve
from atlas.migration.methods import Method
from atlas.migration.scoring import Figure, scorer
from atlas.migration.searching import BATCH, nearest
from atlas.migration.trial import DEEP, DEPTHS, WAYS, Maps, Trial
from atlas.numerics.calibration import FEWEST as FEWEST_QUERIES
from atlas.numerics.calibration import thirds

# More documents than that are not searched again and again for a learning curve.
MOST_CURVE = 5000
# Each measure's value for each judged query, (q,).
Scores = dict[str, Tensor]


class Measured:
    """Finds of each way in a trial, and in the whole index where that is more.

    Attributes:
        trial: the documents that figures are of.
        whole: the whole index, the same as `trial` if that is all of it.
        given: judgements, None for none.
        gate: the share that must be kept.
        methods: the methods of mapping, for "convert" and "bridge".
        maps: these, fitted on the pairs.
        queries: how many queries count.
    """

    def __init__(
        self,
        trial: Trial,
        whole: Trial,
        given: Judgements | None,
        gate: Gate,
        methods: Mapping[str, Method],
        maps: Mapping[str, Maps],
    ) -> None:
        self.trial, self.whole, self.given, self.gate = trial, whole, given, gate
        self.methods, self.maps = methods, maps
        judged = neighbours(trial.queries, trial.documents, trial.re_embed()) if given is None else given
        self._scorer = scorer(relevant(judged, trial.queries, trial.documents))
        self.queries = len(self._scorer.queries)

    @functools.cached_property
    def candidates(self) -> Tensor:
        """Documents (q, k) of the whole index that would be re-ordered."""
        return self._recalled(self.whole)

    def kept(self, found: Tensor) -> Figure:
        """Return the share of the ceiling's figure, for the gate's measure, that found documents (q, k) keep."""
        return Figure.ratio(*(self._scores(rows)[self.gate.measure] for rows in (found, self.trial.re_embed())))

    def figure(self, found: Tensor) -> Figure:
        """Return the figure that the gate is about of documents (q, k) that were found."""
        return Figure.of(self._scores(found)[self.gate.measure])

    def kept_of(self, vectors: Tensor) -> Figure:
        """Return the share that new queries keep if the documents' vectors are these (n, d)."""
        return self.kept(nearest(self.trial.queries_new, vectors.split(BATCH), DEEP))

    def ways(self) -> list[Way]:
        """Return the outcome of all ways that can be tried."""
        found = {"re-embed": self.trial.re_embed(), **self._simple(self.trial)}
        scores = {name: self._scores(rows) for name, rows in found.items()}
        depth, scores["re-order"] = self._deep_enough(scores["re-embed"])
        wholes = self._wholes()
        return [self._way(name, scores, wholes, depth) for name in WAYS if name in scores]

    def texts(self, depth: int) -> int:
        """Return how many documents are embedded anew if so many candidates of each query are."""
        few = self.candidates[:, :depth].unique()
        return int((~torch.isin(few, self.whole.native)).sum())

    @property
    def everything(self) -> int:
        """How many documents are embedded anew if all are."""
        return len(self.whole.documents) - len(self.whole.native)

    def sure(self) -> dict[str, Mapping[str, Figure]]:
        """Return how often the first find of each map is that of the new model, in thirds by confidence.

        Few queries have no thirds: then there is nothing.
        """
        if len(self.trial.queries) < FEWEST_QUERIES:
            return {}
        return {
            name: {third: Figure(float(v.mean()), *wilson(v)) for third, v in thirds(scores, right).items()}
            for name, (scores, rows) in self._mapped.items()
            for right in [self.trial.first_right(rows)]
        }

    @functools.cached_property
    def _mapped(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Cosines and finds of the maps in the trial."""
        return {name: self.trial.scored(name, maps) for name, maps in self.maps.items()}

    def _simple(self, trial: Trial) -> dict[str, Tensor]:
        """Return the finds of the ways that embed nothing."""
        if trial is self.trial:
            found = {name: rows for name, (_, rows) in self._mapped.items()}
        else:
            found = {name: getattr(trial, name)(maps) for name, maps in self.maps.items()}
        if trial.queries_old is not None:
            found["stay"] = trial.stay()
        if trial.queries_new.shape[1] == trial.old.tensor.shape[1]:
            found["swap"] = trial.swap()
        return found

    def _recalled(self, trial: Trial) -> Tensor:
        """Return the most candidates (q, k) of the old model, or of the bridge where that is gone."""
        k = trial.candidates(DEPTHS[-1])
        return trial.bridge(self.maps["bridge"], k) if trial.queries_old is None else trial.stay(k)

    def _deep_enough(self, ceiling: Scores) -> tuple[int, Scores]:
        """Return the least depth at which re-ordering passes the gate, else the largest, and the figures there."""
        recalled = self.candidates if self.trial is self.whole else self._recalled(self.trial)
        least = self.gate.least * ceiling[self.gate.measure].mean()
        depth, scores = 0, ceiling
        for depth in DEPTHS:
            scores = self._scores(self.trial.re_order(recalled[:, : self.trial.candidates(depth)]))
            if scores[self.gate.measure].mean() >= least:
                break
        return max(depth, min(round(DEEP / self.trial.part), len(self.whole.documents))), scores

    def _scores(self, found: Tensor | list[list[int]]) -> Scores:
        return self._scorer(self.trial.queries, self.trial.documents, found)

    def _wholes(self) -> dict[str, Tensor]:
        """Return the gate's figure in the whole index where others are of a sample: that needs judgements."""
        if self.given is None or self.trial is self.whole:
            return {}
        score = scorer(relevant(self.given, self.whole.queries, self.whole.documents))
        found = self._simple(self.whole)
        ids = self.whole.queries, self.whole.documents
        return {name: score(*ids, rows)[self.gate.measure] for name, rows in found.items()}

    def _way(self, name: str, scores: dict[str, Scores], wholes: dict[str, Tensor], depth: int) -> Way:
        here = {way: found[self.gate.measure] for way, found in scores.items()}
        widest = wholes if name in wholes else here
        return Way(
            name,
            WAYS[name],
            figures={measure: Figure.of(values) for measure, values in scores[name].items()},
            share=Figure.ratio(here[name], here["re-embed"]),
            gain=Figure.of(widest[name] - widest["stay"]) if "stay" in widest and name != "stay" else None,
            whole=Figure.of(wholes[name]) if name in wholes else None,
            texts={"re-order": self.texts(depth), "re-embed": self.everything}.get(name, 0),
            depth=depth if name == "re-order" else None,
            method=self.methods.get(name),
        )

    def more_pairs(self, ways: Sequence[Way]) -> tuple[dict[int, Figure], int | None]:
        """Return the better map's gain from more pairs, and how many are expected to pass the gate."""
        n = len(self.trial.pairs.old)
        if n < 4 * FEWEST or len(self.trial.documents) > MOST_CURVE:
            return {}, None
        found = self._curve(max((way for way in ways if way.name in MAPS), key=lambda way: way.share.value).name)
        most = max(len(self.whole.documents), n)
        sizes = [size for size in (n // 4, n // 2, n, 2 * n, 4 * n) if size <= most]
        goal = self.gate.least * float(found.ceiling.mean())
        return dict(zip(sizes, found.at(sizes), strict=True)), found.needed(goal, n, most)

    def _curve(self, name: str) -> Curve:
        def find(trial: Trial, folds: int) -> Tensor:
            return getattr(trial, name)(Maps.of(self.methods[name].create(), trial.pairs, name, folds))

        def score(found: Tensor) -> Tensor:
            return self._scores(found)[self.gate.measure]

        return curve(self.trial, find, score, score(self.trial.re_embed()))
