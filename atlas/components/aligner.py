"""The base of every aligner: paired vectors to a map from one space to another."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from atlas.components.options import Fitted
from atlas.components.settings import left_alone
from atlas.numerics.arrays import (
    as_batch,
    as_matrix,
    as_pairs,
    check_device,
    check_unit,
    far_from_zero,
    frozen,
    is_finite,
    like,
    with_numbers,
)

if TYPE_CHECKING:
    from torch import Tensor


FitsOn = Literal["pairs", "source", "sets", "seeds"]


class Aligner(Fitted):
    """Paired vectors to a map from one space to another.

    A subclass implements `_fit`, which returns the learned state, and `_transform`, which reads it from `self.state`.
    The claims below are checked by the contract tests. `fits_on` says which rows it learns from: "pairs" of rows; the
    "source" alone; two "sets" of rows of which no two are known to be of one item; or two sets with a few "seeds", rows
    that are known to be, for which it implements `_fit_seeds`.
    """

    kind = "aligner"
    affine: ClassVar[bool] = False
    streaming: ClassVar[bool] = False
    invertible: ClassVar[bool] = False
    fits_on: ClassVar[FitsOn] = "pairs"

    _device: str | None = None

    @property
    def d_source(self) -> int:
        """Dimension of the space mapped from."""
        return self.state["weight"].shape[0]

    @property
    def d_target(self) -> int:
        """Dimension of the space mapped to."""
        return self.state["weight"].shape[1]

    def fit(self, X: Any, Y: Any = None, pairs: Any = None) -> Self:
        """Learn the map; whatever was learned before is forgotten.

        Args:
            X: (n, d_source) vectors of the source.
            Y: (n, d_target) vectors of the same items in the target, row by row; None for an aligner that fits on the
                source alone; any number of rows for one that fits on sets or on seeds.
            pairs: (s, 2) whole numbers for an aligner that fits on seeds: the row of X and the row of Y of each item
                that is known on both sides.

        Raises:
            AtlasError: NaN or infinity, fewer than two rows, unequal lengths, or a fit the method cannot do.
        """
        from atlas.numerics.sums import full_precision

        X, Y = self.check_fit(X, Y)
        x, y = X.double(), None if Y is None else Y.double()
        known = self.check_pairs(pairs, len(x), 0 if y is None else len(y))
        self.forget()
        with full_precision(), left_alone(self.label()):
            learned = self._fit(x, y) if known is None or y is None else self._fit_seeds(x, y, known)
        learned = self.check_learned(learned)
        # Where the plugin is missing, these two tensors alone are taken for the map.
        if not self.affine and set(learned) == {"weight", "bias"}:
            raise self.fail("learns weight and bias, as affine maps do, and is not affine - give one another name")
        self._state = frozen(learned)
        self._check_kept(X, y, learned)
        return self

    def _check_kept(self, X: Tensor, Y: Tensor | None, learned: dict[str, Tensor]) -> None:
        """Map some rows (n, d_source) with the learned state before and after it is rounded to float32, and compare."""
        if not all(map(is_finite, learned.values())):
            raise self.fail("found no finite map for these vectors - scale them")
        rows, *targets = (t[:: max(len(t) // 32, 1)].double() for t in (X, Y) if t is not None)
        if not any(map(far_from_zero, (rows, *targets))):
            return
        exact = copy.copy(self)
        exact._state = learned
        made = exact._transform(rows)
        kept = self._transform(rows if X.element_size() == 8 else rows.float())
        target = targets[0] if targets else made
        size = (target - target.mean(0)).square().sum(1).mean()
        self.check_rounding(float((kept - made).square().sum(1).mean()), float(size))

    def partial_fit(self, X: Any, Y: Any = None) -> Self:
        """Learn from more rows; any number of batches give the same map as one fit on all rows."""
        raise self.fail("does not learn in batches - call fit() with all rows")

    def check_fit(self, X: Any, Y: Any, least: int = 2) -> tuple[Tensor, Tensor | None]:
        """Return X and Y as matrices on the CPU, or raise `AtlasError` saying why they cannot be fitted on."""
        X = as_matrix(X, "X", finite=True).cpu()
        if self.fits_on == "source":
            Y = None
        elif Y is None:
            raise self.fail("needs the vectors of both spaces, got X alone")
        else:
            Y = as_matrix(Y, "Y", finite=True).cpu()
            if self.fits_on == "pairs" and len(X) != len(Y):
                raise self.fail(f"needs paired rows, got {len(X)} in X and {len(Y)} in Y")
        if min(len(X), len(X) if Y is None else len(Y)) < least:
            raise self.fail(f"needs at least {least} rows, got {min(len(X), len(X) if Y is None else len(Y))}")
        for side in (X, *([] if Y is None else [Y])):
            check_unit(side)
        return X, Y

    def check_pairs(self, pairs: Any, n: int, m: int) -> Tensor | None:
        """Return the rows (s, 2) of the n of X and the m of Y that are known to be of one item; None if unasked for."""
        if self.fits_on != "seeds":
            if pairs is not None:
                raise self.fail(f"fits on {self.fits_on} and takes no pairs of row numbers - leave out pairs")
            return None
        if pairs is None:
            raise self.fail("needs to know which rows are of one item - give pairs, the numbers of their rows")
        return as_pairs(pairs, n, m)

    def transform(self, X: Any) -> Any:
        """Map vectors (n, d_source) of the source to the target (n, d_target); dtype, device and kind of array stay.

        A single vector (d_source,) becomes one (d_target,), and no rows become none.

        Raises:
            AtlasError: the wrong width, NaN or infinity in X, or a result that does not fit the dtype of X, as with
                float16, which ends at 65,504.
        """
        return self._apply(X, self._transform, self.d_source, self.d_target)

    def inverse_transform(self, Y: Any) -> Any:
        """Map vectors (n, d_target) of the target back to the source (n, d_source)."""
        if not self.invertible:
            raise self.fail("cannot be run backwards - fit one from target to source")
        return self._apply(Y, self._inverse_transform, self.d_target, self.d_source)

    def _apply(self, X: Any, function: Any, d_in: int, d_out: int) -> Any:
        import torch

        given, alone = as_batch(X, "X")
        if given.shape[1] != d_in:
            raise self.fail(f"maps {d_in} to {d_out} dimensions, got X with shape {tuple(given.shape)}")
        working = given if given.dtype in (torch.float32, torch.float64) else given.float()
        working = working if self._device is None else working.to(self._device)
        # Atlas's own code changes no settings, and maps a single row as fast as they are looked at.
        own = torch.compiler.is_compiling() or function.__module__.startswith("atlas.")
        with contextlib.nullcontext() if own else left_alone(self.label()):
            result = self.made(function(working), len(given), d_out) if len(given) else working.new_empty(0, d_out)
        result = result.to(given.dtype)
        # Looked at here, so that code of plugins can be watched on a device that has no numbers.
        if not torch.compiler.is_compiling() and not is_finite(with_numbers(result, "X")):
            self._check_held(result, working)
        made = like(result, X, given)
        return made[0] if alone else made

    def _check_held(self, result: Tensor, given: Tensor) -> None:
        """Raise `AtlasError` if a result is not finite though the input is."""
        import torch

        if is_finite(given) and not is_finite(result):
            wider = "scale them" if result.dtype == torch.float64 else "give them in a wider type, such as float64"
            raise self.fail(f"maps these vectors to numbers too large for {result.dtype} - {wider}")

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        """Return the state learned from X (n, d_source) and Y (n, d_target), both float64."""
        raise NotImplementedError

    def _fit_seeds(self, X: Tensor, Y: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        """Return the state learned from X (n, d_source), Y (m, d_target) and rows (s, 2) of both, one item each."""
        raise NotImplementedError

    def _transform(self, X: Tensor) -> Tensor:
        """Map X (n, d_source), float32 or float64, with `self.state`."""
        raise NotImplementedError

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        raise NotImplementedError

    def coordinates(self) -> dict[str, Any]:
        """For an aligner that fits on the source alone: the options that fix the meaning of its target coordinates.

        Two such alignments reach the same space if these, and the items they were fitted on, are the same.
        """
        return self.config()

    def to(self, device: str) -> Self:
        """Return the same map, which computes on a device whatever device vectors come from, and go back to."""
        moved = type(self).from_config(self.config())
        moved._device = check_device(device)
        moved._state = {name: t.to(device) for name, t in self.state.items()}
        return moved

    def state_dict(self) -> dict[str, Tensor]:
        """Return the learned state: float32, contiguous, on the CPU."""
        return {name: t.cpu() for name, t in self.state.items()}
