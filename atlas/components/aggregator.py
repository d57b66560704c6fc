"""The base of every aggregator: vectors of many spaces to an atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from atlas.components.aligner import Aligner
from atlas.components.options import Component
from atlas.components.settings import left_alone
from atlas.errors import check_known
from atlas.numerics.arrays import as_matrix, check_unit, frozen, hash_of

if TYPE_CHECKING:
    from torch import Tensor


class Aggregator(Component):
    """Vectors of many spaces to an atlas: one chart into a shared space for each, and a rule that combines them.

    A subclass implements `_fit`, which returns a fitted aligner for each space and may leave tensors of its own in
    `self.extra`, and `_combine`. `chart_aligner` returns an unfitted aligner of the kind its charts are. One that can
    make use of items that are in some of the spaces only sets `partial`, and `alone`, if also of items in only one. One
    whose `_combine` also moves rows of a single chart sets `moves`: a chart alone then reaches another space.
    """

    kind = "aggregator"
    partial: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    moves: ClassVar[bool] = False

    charts: dict[str, Aligner]
    extra: dict[str, Tensor]

    def fit(self, views: Mapping[str, Any], items: Mapping[str, Any] | None = None) -> Self:
        """Fit one chart for each space; whatever was learned before is forgotten.

        Args:
            views: space id to vectors (n_s, d_s).
            items: space id to (n_s,) whole numbers, the item each row encodes; None: every view has the same items,
                row by row.

        Raises:
            AtlasError: fewer than two spaces, NaN or infinity, or items in some of the spaces only for a method that
                needs every item in all.
        """
        if len(views) < 2:
            raise self.fail(f"needs at least 2 spaces, got {len(views)}")
        matrices = {name: self._view(name, X) for name, X in views.items()}
        lengths = {name: len(X) for name, X in matrices.items()}
        if items is None and len(set(lengths.values())) != 1:
            raise self.fail(f"needs the same items in every space, got rows {lengths}")
        rows = {name: self._rows(name, n, items[name] if items is not None else None) for name, n in lengths.items()}
        if not self.partial and len({tuple(r.sort().values.tolist()) for r in rows.values()}) != 1:
            raise self.fail("needs every item in every space - give anchors that are encoded in all of them")
        self.charts, self.extra = {}, {}
        with left_alone(self.label()):
            charts = self._fit(matrices, rows)
        if not isinstance(charts, Mapping) or not all(isinstance(chart, Aligner) for chart in charts.values()):
            raise self.fail(
                f"made {type(charts).__name__} where it should make an aligner for each space - {self.author()}"
            )
        self.charts = dict(charts)
        self.extra = frozen(self.extra)
        return self

    def add(self, space: str, vectors: Any, items: Any = None) -> Self:
        """Fit one more chart to the shared space, and leave the others untouched.

        Args:
            space: id of the new space.
            vectors: (n, d) vectors of the new space.
            items: (n,) whole numbers, the item each row encodes, as in `fit`; None: the items of the first fit.
        """
        if space in self._fitted():
            raise self.fail(f"already has a chart for '{space}' - choose another id")
        X = self._view(space, vectors)
        rows = self._rows(space, len(X), items)
        with left_alone(self.label()):
            self.charts[space] = self._add(space, X, rows)
        return self

    def _view(self, space: str, vectors: Any) -> Tensor:
        X = as_matrix(vectors, f"The matrix of '{space}'", finite=True).cpu()
        check_unit(X)
        return X.double()

    def _rows(self, space: str, n: int, items: Any) -> Tensor:
        import torch

        rows = torch.arange(n) if items is None else torch.as_tensor(items, dtype=torch.int64)
        if rows.shape != (n,):
            raise self.fail(f"needs one item for each of the {n} rows of '{space}', got shape {tuple(rows.shape)}")
        if len(rows.unique()) != n:
            raise self.fail(f"needs every item once in '{space}', got {n} rows of {len(rows.unique())} items")
        return rows

    def _fitted(self) -> dict[str, Aligner]:
        if not getattr(self, "charts", None):
            raise self.fail("is not fitted - call fit() first")
        return self.charts

    def chart(self, space: str) -> Aligner:
        """Return the fitted map of a space into the shared one."""
        check_known("chart", space, self._fitted())
        return self.charts[space]

    @property
    def dim(self) -> int:
        """Dimension of the shared space, after `combine`."""
        return next(iter(self._fitted().values())).d_target

    def combine(self, rows: Tensor, present: Tensor) -> Tensor:
        """Combine the charts' coordinates of each item.

        Args:
            rows: (n, k, d) coordinates of n items through k charts, in the order of `self.charts`.
            present: (n, k) bool, whether the item was seen through the chart; a row that was not counts for nothing.

        Returns:
            (n, d') vectors of the shared space, d' being `dim`.

        Raises:
            AtlasError: other shapes, or an item that was seen through no chart.
        """
        import torch

        k = len(self._fitted())
        if rows.ndim != 3 or rows.shape[1] != k or present.shape != rows.shape[:2] or present.dtype != torch.bool:
            given = f"rows {tuple(rows.shape)} and {present.dtype} {tuple(present.shape)}"
            raise self.fail(f"combines rows (n, {k}, d) that are present (n, {k}) or not, got {given}")
        if not bool(present.any(1).all()):
            raise self.fail(f"cannot combine row {int((~present.any(1)).nonzero()[0])} - it is in none of the spaces")
        with left_alone(self.label()):
            return self._combine(torch.where(present[..., None], rows, 0), present)

    def identity(self) -> dict[str, Any]:
        """Return the settings that fix the coordinates of the shared space, beside the anchors.

        By default these are all options and the hash of the state learned beside the charts, or the charts if that is
        nothing. "encoder" names the encoder of such a space, if it is not this aggregator.
        """
        return {**self.config(), **({"state": hash_of(self.extra)} if self.extra else {"charts": sorted(self.charts)})}

    def chart_aligner(self) -> Aligner:
        """Return an unfitted aligner of the kind the charts are, for loading."""
        raise NotImplementedError

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, Aligner]:
        raise NotImplementedError

    def _add(self, space: str, X: Tensor, items: Tensor) -> Aligner:
        raise self.fail("cannot add a space to a fitted atlas - fit again with all spaces")

    def _combine(self, rows: Tensor, present: Tensor) -> Tensor:
        """Return (n, d') for rows (n, k, d), zero where they are not present (n, k); every item is present once."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of every chart as 'space.tensor', and those of the aggregator itself."""
        charts = {f"{space}.{key}": value for space, c in self.charts.items() for key, value in c.state_dict().items()}
        return {**charts, **self.extra}

    def load_state_dict(self, state: Mapping[str, Tensor], spaces: Sequence[str]) -> Self:
        """Load the result of `state_dict`, for charts of these spaces in this order."""
        self.charts = {}
        for space in spaces:
            own = {key[len(space) + 1 :]: value for key, value in state.items() if key.startswith(space + ".")}
            self.charts[space] = self.chart_aligner().load_state_dict(own)
        self.extra = frozen({key: value for key, value in state.items() if "." not in key})
        return self
