"""Affine aligners: one pure function of the moments, everything else inherited.

All store the same two tensors, Y ≈ X @ weight + bias, which can be used without Atlas and without the plugin that made
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.components.settings import left_alone
from atlas.errors import AtlasError
from atlas.numerics.arrays import as_matrix, frozen, is_finite
from atlas.numerics.moments import Moments


class LinearAligner(Aligner):
    """Base of every aligner whose map is Y ≈ X @ weight + bias.

    A subclass names the second moments it reads in `needs` and implements `solve`; the products behind those moments
    are the whole cost of a fit.
    """

    affine = streaming = invertible = True
    needs: ClassVar[tuple[str, ...]] = ("xy",)

    _moments: Moments | None = None
    # The pseudo-inverse, in each form that was used.
    _pinv: dict[tuple[torch.dtype, torch.device], Tensor] | None = None

    def solve(self, m: Moments) -> Tensor:
        """Return the weight, shape (d_source, d_target), float64, acting on the right of row vectors."""
        raise NotImplementedError

    def needed(self, d_source: int, d_target: int) -> Collection[str]:
        """Return the second moments to compute: by default `needs`, whatever the options and dimensions."""
        return self.needs

    def offset(self, m: Moments, weight: Tensor) -> Tensor:
        """Return the bias, shape (d_target,), float64; by default the mean of the source goes to that of the target."""
        return m.mean_y - m.mean_x @ weight

    @property
    def state(self) -> dict[str, Tensor]:
        """weight (d_source, d_target) and bias (d_target,); the decomposition runs when they are first asked for."""
        if self._state is None and self._moments is not None:
            self._state = self._solved(self._moments)
        return super().state

    @property
    def moments(self) -> Moments | None:
        """The moments it was fitted on; None for a map that was loaded."""
        return self._moments

    @property
    def n_pairs(self) -> int:
        """How many pairs have been fitted on; 0 for a map that was loaded."""
        return 0 if self._moments is None else self._moments.n

    def _solved(self, m: Moments) -> dict[str, Tensor]:
        if m.n < 2:
            raise self.fail(f"needs at least 2 rows, got {m.n}")
        with left_alone(self.label()):
            weight = self.made(self.solve(m), len(m.mean_x), len(m.mean_y))
        kept = weight.float().double()
        # The bias of the weight that is saved: a mean far from zero would magnify the rounding of the weight.
        bias = self.offset(m, kept)
        if not (is_finite(kept) and is_finite(bias.float())):
            raise self.fail("found no finite map for these vectors - scale them, or use a larger ridge")
        rounded = kept - weight
        moved = m.mean_x @ rounded + bias.float().double() - self.offset(m, weight)
        error = moved.square() + m.ssx @ rounded.square_() / m.n
        if m.eps > 2 * torch.finfo(torch.float64).eps:
            # Rows of float32 are mapped in float32, which rounds every product.
            terms = m.mean_x.square() @ kept.square() + bias.square()
            error = error + terms * (torch.finfo(torch.float32).eps / 2) ** 2
        self.check_rounding(float(error.sum()), float(m.deviations()[1].square().sum()))
        return frozen({"weight": weight, "bias": bias})

    def fit(self, X: Any, Y: Any = None, pairs: Any = None) -> Self:
        """Learn the map from paired rows; whatever was learned before is forgotten. See `Aligner.fit`."""
        self.check_pairs(pairs, 0, 0)
        self.forget()
        self.partial_fit(X, Y)
        assert self._moments is not None
        self._state = self._solved(self._moments)
        return self

    def partial_fit(self, X: Any, Y: Any = None) -> Self:
        """Learn from more paired rows; batches give the same map as one fit on all rows."""
        if Y is None:
            raise self.fail("needs the vectors of both spaces, got X alone")
        X, Y = as_matrix(X, "X"), as_matrix(Y, "Y")
        if len(X) != len(Y):
            raise self.fail(f"needs paired rows, got {len(X)} in X and {len(Y)} in Y")
        seen, shape = self._moments, (X.shape[1], Y.shape[1])
        if seen is None and self._state is not None:
            raise self.fail("was loaded, and has no moments to add to - call fit() with all rows")
        if seen is not None and shape != (len(seen.mean_x), len(seen.mean_y)):
            before = (len(seen.mean_x), len(seen.mean_y))
            raise self.fail(f"has been fitted on {before} dimensions, got batches of {shape}")
        needs = set(self.needed(*shape))
        # Once there are too many distinct rows to count, more batches change nothing.
        needs -= {"rows"} if seen is not None and seen.rows is None else set()
        m = Moments.of(X, Y, needs, first_row=seen.n if seen else 0)
        return self.fit_moments(m if seen is None else seen + m)

    def fit_moments(self, m: Moments) -> Self:
        """Learn from moments, so that several aligners share one pass over the data."""
        self.forget()
        self._moments = m
        return self

    def _transform(self, X: Tensor) -> Tensor:
        weight, bias = (self.state[name].to(X) for name in ("weight", "bias"))
        return torch.addmm(bias, X, weight)

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        """Apply the pseudo-inverse: exact if weight has full row rank, else the shortest vector of least squares.

        Directions that the map drops come back as zero, not as their mean, of which weight and bias know nothing.
        """
        form = (Y.dtype, Y.device)
        if (known := self._pinv or {}).get(form) is None:
            self._pinv = known = {**known, form: pseudo_inverse(self.state["weight"]).to(Y)}
        return (Y - self.state["bias"].to(Y)) @ known[form]

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take weight and bias, and forget everything else."""
        if set(state) != {"weight", "bias"} or state["weight"].ndim != 2:
            raise self.fail(f"needs the tensors weight (two-dimensional) and bias, got {', '.join(sorted(state))}")
        if tuple(state["bias"].shape) != (state["weight"].shape[1],):
            raise self.fail(f"needs a bias of {state['weight'].shape[1]}, got shape {tuple(state['bias'].shape)}")
        return super().load_state_dict(state)


@dataclass
class Affine(LinearAligner):
    """A map given by its weight and bias: the composition or inverse of others, or one whose plugin is not here."""

    name = "affine"

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor) -> Affine:
        """Return the map X @ weight + bias."""
        return cls().load_state_dict({"weight": weight, "bias": bias})

    def solve(self, m: Moments) -> Tensor:
        """Raise: this map is given, not fitted."""
        raise AtlasError("Aligner 'affine' is not fitted on data - use 'linear', 'procrustes' or another aligner")

    def inverse(self) -> Affine:
        """Return the map that undoes this one: exact if weight has full row rank, least squares otherwise."""
        weight, bias = _exact(self)
        back = pseudo_inverse(weight)
        return Affine.of(back, -bias @ back)

    def then(self, other: LinearAligner) -> Affine:
        """Return this map followed by another affine one."""
        (own, shift), (weight, bias) = _exact(self), _exact(other)
        return Affine.of(own @ weight, shift @ weight + bias)


def _exact(made: LinearAligner) -> tuple[Tensor, Tensor]:
    """Return weight and bias in float64, on the CPU, which always has it."""
    state = made.state_dict()
    return state["weight"].double(), state["bias"].double()


def pseudo_inverse(weight: Tensor) -> Tensor:
    """Return the pseudo-inverse (d_target, d_source) of a stored weight, float64 on the CPU.

    Singular values that the rounding of the weight to float32 could have made count as zero.
    """
    return torch.linalg.pinv(weight.cpu().double(), rtol=8 * torch.finfo(torch.float32).eps)
