"""One verdict, from vectors of both models, queries and judgements."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from atlas.artefacts.vectors import Vectors, paired
from atlas.components.choosing import ROLES
from atlas.errors import AtlasError
from atlas.migration.advice import GATE, MAPS, Advice, Gate, verdict
from atlas.migration.domain import outside
from atlas.migration.judgements import Judgements, read_judgements
from atlas.migration.measuring import Measured
from atlas.migration.methods import choose
from atlas.migration.rolling import rolling
from atlas.migration.trial import DEEP, DEPTHS, Maps, Pairs, Trial
from atlas.migration.unknown import check_better_than_chance, unknown
from atlas.numerics.arrays import check_finite
from atlas.progress import Progress, silent
from atlas.storage.item_ids import check_ids, match
from atlas.storage.rows import Rows
from atlas.verbs.parameters.arguments import VectorsLike, vectors_of

# The share of candidates whose new vectors must be known for re-ordering to be measured in the whole index.
COVERED = 0.99
# Fewer documents with new vectors say nothing of an index.
FEWEST = 50
# Fewer pairs than that cannot be divided into those a map is fitted on and those it is tried on.
FEWEST_PAIRS = 20


def advise(
    *,
    old: VectorsLike,
    new: VectorsLike,
    queries_new: VectorsLike,
    queries_old: VectorsLike | None = None,
    judgements: Judgements | str | Path | None = None,
    new_index: VectorsLike | None = None,
    pairs: tuple[VectorsLike, VectorsLike] | None = None,
    aligners: Sequence[str] = (),
    gate: str = GATE,
    rate: float = 0.0,
    tokens: float = 0.0,
    vector_column: str | None = None,
    id_column: str | None = None,
    query_vector_column: str | None = None,
    query_id_column: str | None = None,
    progress: Progress = silent,
) -> Advice:
    """Measure each way of changing the embedding model of an index, and advise one.

    Args:
        old: vectors of the index, by the old model.
        new: vectors of some of its documents, at best drawn by chance, by the new model.
        queries_new: vectors of queries, by the new model.
        queries_old: those of the same queries by the old model; None if that is gone.
        judgements: answers to the queries: grades by query and document, or a file of them; None: those the new model
            finds itself.
        new_index: vectors of all documents by the new model, where they are known.
        pairs: vectors of other items by the old and the new model, to fit maps on instead of on `new`.
        aligners: names of the aligners to try; none: those that do well.
        gate: the share of the new model's figures that a way must keep to be advised.
        rate: texts that are embedded in a second, 0 if that is not known.
        tokens: tokens of a text, 0 if that is not known.
        vector_column: column of tables that holds the vectors; the only one that holds arrays unless given.
        id_column: column of tables that holds the ids; the one with a common name unless given, '' for none.
        query_vector_column: that of tables of queries; as `vector_column` unless given.
        query_id_column: that of tables of queries; as `id_column` unless given.
        progress: shows how far it is.

    Raises:
        AtlasError: vectors of other models than said, ids that do not match, or judgements that name none of them.
    """
    wanted = Gate.of(gate)
    for what, number in (("rate", rate), ("number of tokens", tokens)):
        if not 0 <= number < math.inf:
            raise AtlasError(f"The {what} must be a number from 0 up, got {number}")
    columns = Columns(vector_column, id_column, query_vector_column, query_id_column)
    asked = {"queries_new": queries_new, "queries_old": queries_old, "judgements": judgements, "columns": columns}
    question = question_of(old=old, new=new, new_index=new_index, pairs=pairs, **asked)  # type: ignore[arg-type]
    whole, given, trial = question.whole, question.given, question.trial
    fitted = whole.pairs
    roles = progress(zip(MAPS, ROLES, strict=True), len(MAPS), "Choosing methods")
    methods = {name: choose(fitted, role, aligners) for name, role in roles}
    best = {name: tried[0] for name, tried in methods.items()}
    maps = {name: Maps.of(method.create(), fitted, name) for name, method in best.items()}
    measured = Measured(trial, whole, given, wanted, best, maps)
    ways = [way.costed(rate, tokens) for way in measured.ways()]
    check_better_than_chance(measured, ways)
    name, reason, passed = verdict(ways, wanted, given is not None)
    more, needed = measured.more_pairs(ways)
    mixed = rolling(measured, maps["convert"])
    where = {"old index": outside(fitted.old, whole.old.tensor), "new queries": outside(fitted.new, whole.queries_new)}
    return Advice(
        verdict=name,
        reason=reason,
        passed=passed,
        ways=ways,
        documents=len(trial.documents),
        whole=len(whole.documents),
        queries=measured.queries,
        judged=given is not None,
        pairs=len(fitted.old),
        methods=methods,
        curve=more,
        needed=needed,
        rolling=mixed,
        sure=measured.sure(),
        chance=1 / len(trial.documents),
        outside=where,
        notes=unknown(measured, ways, where, mixed),
    )


@dataclass(frozen=True)
class Columns:
    """Names of columns in tables of vectors.

    Attributes:
        vectors: that of the vectors; None: the only one that holds arrays.
        ids: that of the ids; None: the one with a common name; '': none.
        query_vectors: that of the vectors of queries; None: as of others.
        query_ids: that of the ids of queries; None: as of others.
    """

    vectors: str | None = None
    ids: str | None = None
    query_vectors: str | None = None
    query_ids: str | None = None

    def documents(self, given: VectorsLike) -> Vectors:
        """Return vectors of documents."""
        return vectors_of(given, self.vectors, self.ids)

    def queries(self, given: VectorsLike) -> Vectors:
        """Return vectors of queries."""
        vectors = self.vectors if self.query_vectors is None else self.query_vectors
        return vectors_of(given, vectors, self.ids if self.query_ids is None else self.query_ids)


BY_NAME = Columns()


@dataclass(frozen=True)
class Question:
    """An index, queries and judgements to advise on.

    Attributes:
        whole: the whole index, queries and pairs.
        given: judgements, None for none.
    """

    whole: Trial
    given: Judgements | None

    @functools.cached_property
    def trial(self) -> Trial:
        """The documents that figures are of."""
        return _chosen(self.whole)


def question_of(
    *,
    old: VectorsLike,
    new: VectorsLike,
    queries_new: VectorsLike,
    queries_old: VectorsLike | None = None,
    judgements: Judgements | str | Path | None = None,
    new_index: VectorsLike | None = None,
    pairs: Sequence[VectorsLike] | None = None,
    columns: Columns = BY_NAME,
) -> Question:
    """Return index, queries and judgements, checked against each other; arguments and errors are those of `advise`."""
    index, sample, asked = columns.documents(old), columns.documents(new), columns.queries(queries_new)
    before = None if queries_old is None else columns.queries(queries_old).of_items(asked.ids, "the new queries")
    _check_spaces(index, sample, asked, before)
    fitted = _pairs(index, sample, None if pairs is None else [columns.documents(one) for one in pairs])
    given = read_judgements(judgements) if isinstance(judgements, (str, Path)) else judgements
    known = sample if new_index is None else columns.documents(new_index)
    return Question(_whole(index, known, asked, before, fitted), given)


def question_of_sample(
    new: VectorsLike, queries_new: VectorsLike, judgements: Judgements | str | Path | None
) -> Question:
    """Return the question that is left without old vectors: it is about the documents of the sample."""
    return question_of(old=new, new=new, queries_new=queries_new, judgements=judgements)


def _check_spaces(index: Vectors, sample: Vectors, asked: Vectors, before: Vectors | None) -> None:
    """Raise where queries are not of the model of the vectors they search, and where numbers are missing."""
    _check_model(sample, asked, "The new vectors are of", "the new queries")
    if before is not None:
        _check_model(index, before, "The old index is of", "the old queries")
        _check_queries(before, "old")
    _check_queries(asked, "new")


def _check_queries(queries: Vectors, which: str) -> None:
    """Raise for numbers that are none, for a query without a direction, and for one that is there twice."""
    check_finite(queries.data, f"The set of {which} queries")
    empty = (queries.data == 0).all(1)
    if bool(empty.any()):
        item = queries.ids[int(empty.nonzero()[0])]
        raise AtlasError(f"The {which} vector of query '{item}' is all zeros - embed it again, or leave it out")
    check_ids([*queries.ids], len(queries), f"The set of {which} queries")


def _check_model(vectors: Vectors, queries: Vectors, what: str, whose: str) -> None:
    """Raise unless both are of one model, which may encode queries with another prompt than documents."""
    one, other = vectors.space, queries.space
    model = one.identity.get("model")
    if one.dim != other.dim or not model or model != other.identity.get("model"):
        one.require(other, what, whose)


def _pairs(index: Vectors, sample: Vectors, other: Sequence[Vectors] | None) -> Pairs:
    old, new = paired(index, sample) if other is None else paired(other[0], other[1])
    index.space.require(old.space, "The old index is of", "the old vectors of the pairs")
    sample.space.require(new.space, "The new vectors are of", "the new vectors of the pairs")
    if len(old) < FEWEST_PAIRS:
        raise AtlasError(
            f"Pairs must be {FEWEST_PAIRS} or more, or better 1,000, got {len(old)} - embed more with both models"
        )
    found = match(old.ids, index.ids)
    for what, vectors in (("old", old), ("new", new)):
        bad = ~torch.isfinite(vectors.data).all(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            fault = "is missing" if bool(vectors.data[row].isnan().all()) else "holds NaN or infinity"
            raise AtlasError(f"The {what} vector of '{vectors.ids[row]}' {fault} - embed it again, or leave it out")
    at = torch.arange(len(old)) if found is None else torch.full((len(old),), -1).index_copy(0, *found)
    return Pairs(old.data.float(), new.data.float(), at)


def _whole(index: Vectors, known: Vectors, asked: Vectors, before: Vectors | None, pairs: Pairs) -> Trial:
    found = match(known.ids, index.ids)
    rows, native = found if found is not None else (torch.arange(len(known)),) * 2
    if len(native) <= DEEP or len(native) < min(FEWEST, len(index)):
        raise AtlasError(
            f"Only {len(native)} of the {len(known)} items with new vectors are in the old index (ids such as "
            f"'{known.ids[0]}' and '{index.ids[0]}') - embed {FEWEST} documents of the index with the new model, or "
            "better 1,000"
        )
    old_queries = None if before is None else before.data
    return Trial(
        index.ids, index.rows, native, known.data[rows].float(), asked.ids, old_queries, asked.data.float(), pairs
    )


def _chosen(whole: Trial) -> Trial:
    """Return the whole index if its relevant documents are known in the new space, else the documents that are."""
    n = len(whole.documents)
    if len(whole.native) == n:
        return whole
    if whole.queries_old is not None and whole.known(whole.stay(min(DEPTHS[0], n))) >= COVERED:
        return whole
    place = torch.full((n,), -1).index_copy(0, whole.native, torch.arange(len(whole.native)))
    at = torch.where(whole.pairs.at >= 0, place[whole.pairs.at.clamp_min(0)], -1)
    return replace(
        whole,
        documents=[whole.documents[row] for row in whole.native.tolist()],
        old=Rows(whole.old.take(whole.native)),
        native=torch.arange(len(whole.native)),
        pairs=replace(whole.pairs, at=at),
        part=len(whole.native) / n,
    )
