"""A trial: documents, queries and pairs, and the finds of each way of changing the model in them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.components.choosing import cross_fit, left_out, unfitted
from atlas.migration.searching import BATCH, mapped, merged, nearest, numbered, scores_of
from atlas.numerics.calibration import SAME
from atlas.storage.rows import Rows

# The ways, cheapest to act on first, with a description of each.
WAYS = {
    "stay": "old queries on the old index",
    "swap": "new queries on the old index, as they are",
    "convert": "the old index mapped to the new space, searched by new queries",
    "bridge": "new queries mapped onto the old index",
    "re-order": "candidates from the old index, embedded and re-ordered by the new model",
    "re-embed": "new queries on new vectors: the ceiling",
}
# How far down figures look, and how many candidates may be re-ordered.
DEEP, DEPTHS = 10, (50, 100, 200)
# Fits of which each leaves some pairs out, so that no document is converted by a map that has seen it.
FOLDS = 10


@dataclass(frozen=True)
class Pairs:
    """Pairs that maps are fitted on.

    Attributes:
        old: (n, d_old).
        new: (n, d_new), row by row the same items.
        at: (n,) the number of the row that each is in the old index; -1 for an item that is not in it.
    """

    old: Tensor
    new: Tensor
    at: Tensor


@dataclass(frozen=True)
class Trial:
    """Documents that are searched, and queries.

    Attributes:
        documents: ids of the documents, in order.
        old: their old vectors (n, d_old).
        native: (m,) numbers of the documents whose new vectors are known.
        new: (m, d_new), these.
        queries: ids of the queries.
        queries_old: (q, d_old), or None where the old model is gone.
        queries_new: (q, d_new).
        pairs: the pairs that maps are fitted on; `at` counts rows of these documents.
        part: how many documents there are for each of the whole index, at most 1.
    """

    documents: Sequence[str]
    old: Rows
    native: Tensor
    new: Tensor
    queries: Sequence[str]
    queries_old: Tensor | None
    queries_new: Tensor
    pairs: Pairs
    part: float = 1.0

    def stay(self, k: int = DEEP) -> Tensor:
        """Return the finds of old queries, (q, k)."""
        assert self.queries_old is not None
        return nearest(self.queries_old, self.old.batches(BATCH), k)

    def swap(self) -> Tensor:
        """Return the finds of new queries in the old index as it is."""
        return nearest(self.queries_new, self.old.batches(BATCH), DEEP)

    def convert(self, maps: Maps, embedded: Tensor | None = None) -> Tensor:
        """Return the finds of new queries in the index converted by maps from old to new vectors.

        Args:
            maps: from old to new vectors.
            embedded: numbers of the documents that have their new vectors instead, which must be known; None: none.
        """
        return nearest(self.queries_new, self.converted(maps, embedded), DEEP)

    def converted(self, maps: Maps, embedded: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the documents converted, those that are pairs each by a map that has not seen it."""
        at, done = self.pairs.at, 0
        fresh = left_out(maps.fits or [maps.whole], self.pairs.old)
        for batch in mapped(maps.whole, self.old, "The old index"):
            here = (at >= done) & (at < done + len(batch))
            done += len(batch)
            made = batch.index_copy(0, at[here] + len(batch) - done, fresh[here].to(batch))
            if embedded is not None:
                some = embedded[(embedded >= done - len(batch)) & (embedded < done)]
                made[some + len(batch) - done] = self.new[self.places[some]].to(made)
            yield made

    @functools.cached_property
    def places(self) -> Tensor:
        """Rows of `new` by the numbers of documents (n,), -1 where the new vector is not known."""
        found = torch.full((len(self.documents),), -1)
        found[self.native] = torch.arange(len(self.native))
        return found

    def bridge(self, maps: Maps, k: int = DEEP) -> Tensor:
        """Return the finds of new queries in the old index once they are mapped by maps from new to old vectors.

        A map favours the documents that it has seen, so that each is found by queries mapped by one that has not.
        """
        return merged(self._bridged(maps), k)[1]

    def scored(self, way: str, maps: Maps) -> tuple[Tensor, Tensor]:
        """Return the cosines (q, k) and the finds (q, k) of "convert" or "bridge"."""
        parts = self._bridged(maps) if way == "bridge" else numbered(self.queries_new, self.converted(maps))
        return merged(parts, DEEP)

    def first_right(self, found: Tensor) -> Tensor:
        """Return whether the first of each query's finds (q, k) is that of the new model, or as near to the query."""
        here, best = self.places[found[:, :1]], self.places[self.re_embed()[:, :1]]
        true, most = (scores_of(self.queries_new, self.new, rows.clamp_min(0))[:, 0] for rows in (here, best))
        return (here[:, 0] >= 0) & (true >= most - SAME)

    def _bridged(self, maps: Maps) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the queries as they are mapped for some documents, these, and their numbers."""
        at = self.pairs.at
        parts = [(one, rows[rows >= 0]) for k, one in enumerate(maps.fits) for rows in [at[k :: len(maps.fits)]]]
        unseen = torch.ones(len(self.documents), dtype=torch.bool).index_fill_(0, at[at >= 0], False)
        parts += [(maps.whole, rows) for rows in unseen.nonzero().flatten().split(BATCH)]
        for fitted, rows in parts:
            if len(rows):
                yield fitted.transform(self.queries_new), self.old.take(rows), rows

    def fewer(self, size: int, seed: int) -> Trial:
        """Return the same trial with so many of the pairs, drawn by chance; with all of them in their order."""
        n = len(self.pairs.old)
        some = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:size].sort().values
        return replace(self, pairs=Pairs(self.pairs.old[some], self.pairs.new[some], self.pairs.at[some]))

    def re_embed(self) -> Tensor:
        """Return the finds of new queries among documents whose new vectors are known."""
        return self.native[nearest(self.queries_new, [self.new], DEEP)]

    def re_order(self, candidates: Tensor) -> list[list[int]]:
        """Return candidates (q, k) in the new model's order, without those whose new vectors are not known."""
        rows = self.places[candidates]
        scores = scores_of(self.queries_new, self.new, rows.clamp_min(0)).masked_fill(rows < 0, -torch.inf)
        order = scores.sort(dim=1, descending=True, stable=True).indices
        known = (rows >= 0).sum(1).clamp_max(DEEP).tolist()
        found = candidates.gather(1, order).tolist()
        return [row[:n] for row, n in zip(found, known, strict=True)]

    def candidates(self, depth: int) -> int:
        """Return how many candidates here stand for so many of the whole index; never fewer than figures look at."""
        return min(max(DEEP, round(depth * self.part)), len(self.documents))

    def known(self, candidates: Tensor) -> float:
        """Return the share of candidates (q, k) whose new vectors are known."""
        return float(torch.isin(candidates, self.native).double().mean())


@dataclass(frozen=True)
class Maps:
    """One method, fitted on all pairs and in folds.

    Attributes:
        fits: each leaves a fold of the pairs out; none where no pair is a document that is searched.
        whole: fitted on all of them.
    """

    fits: Sequence[Aligner]
    whole: Aligner

    @classmethod
    def of(cls, aligner: Aligner, pairs: Pairs, way: str, folds: int = FOLDS) -> Maps:
        """Return maps from old to new vectors to "convert", or from new to old ones to "bridge"."""
        X, Y = (pairs.old, pairs.new) if way == "convert" else (pairs.new, pairs.old)
        fits = cross_fit(aligner, X, Y, min(folds, len(X) // 2)) if bool((pairs.at >= 0).any()) else []
        return cls(fits, unfitted(aligner).fit(X, Y))
