"""The worth of a map's results, learned from queries whose true vectors are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.sketches import count_fitted
from atlas.artefacts.vectors import Vectors, paired
from atlas.cards.kinds import FIRST_RESULT, Metric, merged
from atlas.components.choosing import cross_fit, left_out
from atlas.errors import AtlasError
from atlas.metrics import wilson
from atlas.metrics.nearest import nearest
from atlas.numerics.arrays import unit
from atlas.numerics.calibration import SAME, Calibration, thirds
from atlas.storage.item_ids import match
from atlas.verbs.fit import check_rows
from atlas.verbs.parameters.arguments import AlignmentLike, VectorsLike, artefact_of, vectors_of

# Results of each query that scores are learned from, and the most items.
DEEP, MOST = 10, 2000
FOLDS = 5


def calibrate(
    alignment: AlignmentLike,
    *,
    source: VectorsLike,
    target: VectorsLike,
    index: VectorsLike | None = None,
    queries: VectorsLike | None = None,
    vector_column: str | None = None,
    id_column: str | None = None,
) -> Alignment:
    """Learn how far to trust results found through an alignment.

    Items known in both spaces are mapped, and their search results compared with those of their true vectors. They are
    queries that search an index of the target, or, with `queries`, documents that queries of the target search. The
    calibration is kept with the map. Items that the map was fitted on are mapped by fits that leave them out.

    Args:
        alignment: the map.
        source: vectors of its source; ideally 50 or more queries like those to come.
        target: the true vectors of the same items, of its target.
        index: vectors of the target that are searched; by default those of `target`, each without itself.
        queries: vectors of the target that search the documents in `source` and `target`.
        vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
        id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.

    Returns:
        The alignment with its calibration for mapped queries, or for a mapped index, and with figures on its card: in
        thirds by confidence, how often the first result is that of the true vectors.

    Raises:
        SpaceMismatchError: vectors of another space.
        AtlasError: too few queries or documents, or a map that must be fitted again and cannot.
    """
    made = artefact_of(alignment, Alignment)
    if index is not None and queries is not None:
        raise AtlasError("Either queries or the index is mapped - give index or queries, not both")
    columns = (vector_column, id_column)
    X, Y = paired(vectors_of(source, *columns, name="source"), vectors_of(target, *columns, name="target"))
    other = index if queries is None else queries
    third = Y if other is None else vectors_of(other, *columns, name="target")
    made.source.require(X.space, f"Alignment '{made.id}' maps from", "the source vectors")
    for view, whose in ((Y, "the target vectors"), (third, "the index" if queries is None else "the queries")):
        made.target.require(view.space, f"Alignment '{made.id}' maps to", whose)
    named = {"The source": X, "The target": Y, "The index" if queries is None else "The set of queries": third}
    for name, view in named.items():
        check_rows(view, name)
    role = "queries" if queries is None else "index"
    some = torch.linspace(0, len(X) - 1, min(len(X), MOST)).long().unique()
    X, Y = X.take(some), Y.take(some)
    mapped = _mapped(made, X, Y)
    if queries is None:
        scores, true, right = _searched(Y, mapped, third, third.rows.batches(), "The index")
    else:
        scores, true, right = _searched(third, third.data, Y, [mapped], "The documents")
    found = Calibration.of(scores, true, right)
    figures = _thirds(scores, right, len(third if queries is None else Y), f"{role} mapped", X.dataset)
    card = replace(made.card, metrics=merged(made.metrics, figures))
    return replace(made, card=card, calibration={**made.calibration, role: found})


def _mapped(made: Alignment, X: Vectors, Y: Vectors) -> Tensor:
    """Return rows of the source mapped, by fits that leave them out where the map was fitted on them."""
    seen = count_fitted(made.card.fitted_on, X, Y)
    if not seen or seen <= len(X) / 100:
        return made.aligner.transform(X.data.float())
    if made.aligner.fits_on != "pairs" or made.parts:
        raise AtlasError(
            f"Alignment '{made.id}' was fitted on {seen:,} of these {len(X):,} items and cannot be fitted without them "
            "- give others"
        )
    x, y = X.data.float(), Y.data.float()
    return left_out(cross_fit(made.aligner, x, y, min(FOLDS, len(x))), x)


def _searched(
    queries: Vectors, asked: Tensor, index: Vectors, batches: Iterable[Tensor], name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores of queries' results (n, k), their true ones, and whether the first is right (n,).

    Args:
        queries: the true queries.
        asked: those that search, (n, d): the true ones, or these mapped.
        index: the true documents.
        batches: those that are searched: the true ones, or these mapped.
        name: of the documents, for errors.
    """
    skip = _itself(queries, index)
    _check_many(index, name, int((skip >= 0).any()))
    scores, rows = nearest(asked, batches, min(DEEP, len(index) - 1), skip)
    best, _ = nearest(queries.data, index.rows.batches(), 1, skip)
    return scores, *_compared(queries.data, index.rows.take(rows.flatten()), rows, best)


def _itself(queries: Vectors, index: Vectors) -> Tensor:
    """Return the row of an index that is each query itself (n,), which it must not find; -1 for none."""
    skip = torch.full((len(queries),), -1)
    if index is queries or (not index.numbered and not queries.numbered):
        both = match(queries.ids, index.ids)
        rows, numbers = (torch.arange(len(queries)),) * 2 if both is None else both
        skip[rows] = numbers
    return skip


def _check_many(index: Vectors, name: str, left: int = 0) -> None:
    if len(index) - left < 2:
        raise AtlasError(f"{name} must hold at least {2 + left} vectors, got {len(index)}")


def _compared(queries: Tensor, documents: Tensor, rows: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """Return the true scores of results (n, k), and whether the first is as good as the best there is."""
    D = unit(documents.float()).reshape(*rows.shape, -1)
    true = (D @ unit(queries.float())[:, :, None])[:, :, 0]
    return true, true[:, 0] >= best[:, 0] - SAME


def _thirds(scores: Tensor, right: Tensor, searched: int, mapped: str, dataset: str) -> list[Metric]:
    """Return how often the first result is right, in thirds by chance; the floor is that of drawing one at random."""
    figures = []
    for name, values in thirds(scores, right).items():
        about: dict[str, Any] = {"dataset": dataset, "split": f"{mapped}, {name}", "n": len(values)}
        figures.append(Metric(FIRST_RESULT, float(values.mean()), *wilson(values), floor=1 / searched, **about))
    return figures
