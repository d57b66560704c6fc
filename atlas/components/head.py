"""The base of all heads: checks of their input, and a state that is used exactly as it is saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from atlas.components.options import Fitted
from atlas.errors import AtlasError
from atlas.numerics.arrays import as_matrix, check_unit, frozen
from atlas.numerics.sums import full_precision

T = TypeVar("T")


class HeadModel(Fitted):
    """Vectors of one space to scores: classes, or the outputs of a regression or a decoder.

    A subclass implements `_fit` and `_scores`, and gives in `tensors` the shape of each tensor it learns, a letter for
    each size: d for dimensions, C for outputs, n for rows.
    """

    kind = "head"
    regresses: ClassVar[bool] = False
    tensors: ClassVar[dict[str, str]] = {}

    _known_sizes: dict[str, int]
    _made: dict[tuple[torch.dtype, torch.device], Any]

    def __post_init__(self) -> None:
        for opt in self.options():
            value = opt.check(getattr(self, opt.name), self.label())
            if opt.type in (int, float) and not 0 < value < math.inf:
                raise AtlasError(f"Option '{opt.name}' of {self.label()} must be greater than 0, got {value}")

    def fit(self, X: Any, y: Any, *, classes: int | None = None, seed: int = 0) -> Self:
        """Learn from labelled vectors; whatever was learned before is forgotten.

        Args:
            X: (n, d) vectors.
            y: (n,) whole numbers, the class of each row from 0; or (n, m) real numbers, the targets of a regression.
            classes: how many classes there are; None: as many as y has.
            seed: of the random choices; equal seeds give equal heads.

        Raises:
            AtlasError: NaN or infinity, unequal lengths, fewer than two classes, a class without rows, targets where
                the head reads classes alone, or a fit that does not end in finite numbers.
        """
        X = as_matrix(X, "X", finite=True).cpu()
        check_unit(X)
        try:
            y = torch.as_tensor(y).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise self.fail(f"needs labels that are whole numbers, got {type(y).__name__}") from None
        if y.shape[:1] != (len(X),):
            raise self.fail(f"needs a label for each vector, got shape {tuple(y.shape)} for {len(X)} vectors")
        if X.dtype == torch.float64:
            self.check_rounding(float((X - X.float()).square().sum()), float((X - X.mean(0)).square().sum()))
        y = self._targets(y) if y.is_floating_point() else self._labels(y, classes)
        with full_precision():
            self._take(self._fit(X, y, y.shape[1] if y.ndim == 2 else int(y.max()) + 1, seed))
        return self

    def _targets(self, y: Tensor) -> Tensor:
        if not self.regresses or y.ndim != 2:
            targets = " or targets (n, m)" if self.regresses else ""
            raise self.fail(f"needs labels that are whole numbers{targets}, got {y.dtype} of shape {tuple(y.shape)}")
        return as_matrix(y, "y", finite=True)

    def _labels(self, y: Tensor, classes: int | None) -> Tensor:
        if y.ndim != 1 or y.dtype == torch.bool:
            raise self.fail(f"needs labels that are whole numbers (n,), got {y.dtype} of shape {tuple(y.shape)}")
        present = y.unique().tolist()
        count = present[-1] + 1 if classes is None else classes
        if present[0] < 0:
            raise self.fail(f"needs labels from 0, got {present[0]}")
        if present[-1] >= count:
            raise self.fail(f"needs labels from 0 to {count - 1}, got {present[-1]}")
        if count < 2:
            raise self.fail(f"needs at least 2 classes, got {count}")
        if len(present) < count:
            missing = next(i for i, label in enumerate([*present, count]) if i != label)
            raise self.fail(f"needs rows of all {count} classes, got none of class {missing}")
        return y.to(torch.int64)

    def scores(self, X: Any) -> Tensor:
        """Return the head's outputs for each vector, differentiable in X.

        Args:
            X: (n, d) vectors.

        Returns:
            (n, C): a score for each class, the largest the likeliest, or the outputs of a regression; on the device of
            X and in its dtype (float32 for half precision).
        """
        given = as_matrix(X, "X")
        self.outputs(given.shape[1])
        # as_matrix cuts gradients off.
        working = X if isinstance(X, Tensor) and X.is_floating_point() else given
        return self._scores(working if working.dtype in (torch.float32, torch.float64) else working.float())

    def predict(self, X: Any) -> Tensor:
        """Return the class of each vector (n, d), as (n,) int64; of equal scores the first wins."""
        X = as_matrix(X, "X", finite=True)
        with torch.no_grad():
            scores = self.scores(X)
        if not bool(torch.isfinite(scores).all()):
            raise self.fail(f"has no finite scores for these vectors in {X.dtype} - give float64, or scale them")
        return scores.argmax(1)

    def outputs(self, d: int) -> int:
        """Return how many scores a vector of d numbers gets.

        Raises:
            AtlasError: the head is not fitted, or reads vectors of another dimension.
        """
        sizes = self._known_sizes if self.state else {}
        if d != sizes["d"]:
            raise self.fail(f"reads vectors of {sizes['d']} dimensions, got {d}")
        return sizes["C"]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the learned state: float32 (labels int64), contiguous, on the CPU."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Load the result of `state_dict`; everything learned before is forgotten.

        Raises:
            AtlasError: tensors that are missing, unexpected, misshaped or not finite.
        """
        self._take(state)
        return self

    def _take(self, state: Mapping[str, Tensor]) -> None:
        """Make tensors, learned or loaded, the state, or raise `AtlasError` saying why they cannot be."""
        sizes = self._sizes(state)
        for name, tensor in state.items():
            if not bool(torch.isfinite(tensor.to(torch.float32)).all()):
                raise self.fail(f"has NaN or infinity in '{name}'")
        self._state, self._known_sizes, self._made = frozen(state), sizes, {}

    def _kept(self, X: Tensor, make: Callable[[], T]) -> T:
        """Return `make(state)` for vectors of X's dtype and device, and keep it for the next call."""
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
            return make()
        key = (X.dtype, X.device)
        if key not in self._made:
            self._made = {key: make()}
        return self._made[key]

    def _sizes(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        if state.keys() != self.tensors.keys():
            raise self.fail(f"needs the tensors {', '.join(self.tensors)}, got {', '.join(sorted(state)) or 'none'}")
        sizes: dict[str, int] = {}
        for name, letters in self.tensors.items():
            shape = tuple(state[name].shape)
            found = dict(zip(letters, shape, strict=False))
            if len(shape) != len(letters) or 0 in shape or any(sizes.get(k, m) != m for k, m in found.items()):
                raise self.fail(f"needs '{name}' of shape ({', '.join(letters)}), got {shape}")
            sizes |= found
        return sizes

    def _fit(self, X: Tensor, y: Tensor, outputs: int, seed: int) -> dict[str, Tensor]:
        """Return the state learned from X (n, d) and labels (n,) int64 below `outputs`, or targets (n, outputs)."""
        raise NotImplementedError

    def _scores(self, X: Tensor) -> Tensor:
        """Return (n, C) for X (n, d), float32 or float64, from `self.state`."""
        raise NotImplementedError
