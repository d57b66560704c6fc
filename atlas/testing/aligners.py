"""The promises of aligners, one function each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.errors import AtlasWarning
from atlas.testing.chance import ensure_seeded
from atlas.testing.promises import (
    D_SOURCE,
    D_TARGET,
    DTYPES,
    N,
    ensure,
    ensure_close,
    ensure_refused,
    ensure_storable,
    equal_states,
    fresh,
    options_survive,
    paired_data,
    saved_and_loaded,
)


def learn(aligner: Aligner, X: Any, Y: Any) -> Aligner:
    """Return a fresh aligner of the same options, fitted on what its kind is fitted on."""
    return fitted_on(fresh(aligner), X, Y)


def fitted_on(aligner: Aligner, X: Any, Y: Any) -> Aligner:
    """Fit an aligner on what its kind is fitted on: of paired rows, every fourth pair is known to one with seeds."""
    if aligner.fits_on == "source":
        return aligner.fit(X)
    if aligner.fits_on == "pairs":
        return aligner.fit(X, Y)
    known = torch.arange(0, min(len(X), len(Y)), 4)[:, None].expand(-1, 2) if aligner.fits_on == "seeds" else None
    with warnings.catch_warnings():
        # To say that rows without a known partner were of no help breaks no promise: these are few, and noise.
        warnings.simplefilter("ignore", AtlasWarning)
        return aligner.fit(X, Y, known)


def fit_returns_self(aligner: Aligner) -> None:
    """`fit` returns the aligner, which then knows both dimensions and maps one to the other, either way round."""
    for d_source, d_target in ((D_SOURCE, D_TARGET), (D_TARGET, D_SOURCE), (D_SOURCE, D_SOURCE)):
        X, Y = paired_data(d_source, d_target)
        unfitted = fresh(aligner)
        fitted = fitted_on(unfitted, X, Y)
        ensure(fitted is unfitted, aligner, "must return itself from fit()")
        ensure(fitted.d_source == d_source, aligner, f"must have d_source {d_source}, has {fitted.d_source}")
        expected = (len(X), N if aligner.fits_on == "source" else d_target)
        ensure(fitted.d_target == expected[1], aligner, f"must have d_target {expected[1]}, has {fitted.d_target}")
        made = tuple(fitted.transform(X).shape)
        ensure(made == expected, aligner, f"must map {tuple(X.shape)} to {expected}, mapped to {made}")


def kinds_of_array_stay(aligner: Aligner) -> None:
    """Every floating-point dtype is fitted on and mapped, and dtype and kind of array of the result are the input's."""
    X, Y = paired_data()
    exact = learn(aligner, X, Y)
    reference = exact.transform(X)
    for dtype in DTYPES:
        result = learn(aligner, X.to(dtype), Y.to(dtype)).transform(X.to(dtype))
        ensure(result.dtype == dtype, aligner, f"must map {dtype} to {dtype}, mapped to {result.dtype}")
        if aligner.fits_on == "sets":
            # Which rows belong together is a choice that rounding may turn: here the map stays, and is applied.
            result = exact.transform(X.to(dtype))
        tolerance = 1e-4 if dtype in DTYPES[2:] else 0.3
        ensure_close(result, reference, aligner, f"must map {dtype} as it maps float64", tolerance)
    given = X.float().numpy()
    made = learn(aligner, given, Y.float().numpy()).transform(given)
    ensure(isinstance(made, np.ndarray) and made.dtype == np.float32, aligner, "must map arrays to arrays")


def inputs_stay(aligner: Aligner) -> None:
    """Neither fitting nor mapping changes what it is given."""
    for dtype in DTYPES[2:]:
        X, Y = (t.to(dtype) for t in paired_data())
        before = X.clone(), Y.clone()
        fitted = learn(aligner, X, Y)
        Z = fitted.transform(X)
        kept = Z.clone()
        if fitted.invertible:
            fitted.inverse_transform(Z)
        ensure(torch.equal(X, before[0]) and torch.equal(Y, before[1]), aligner, "must leave its inputs as they are")
        ensure(torch.equal(Z, kept), aligner, "must leave its inputs as they are when run backwards")


def refit_forgets(aligner: Aligner) -> None:
    """A second fit gives what it would have given as the first."""
    once, other = paired_data(seed=1), paired_data(7, 5, seed=2)
    again = learn(aligner, *once)
    again.transform(once[0])
    again = fitted_on(again, *other)
    first = learn(aligner, *other)
    ensure(equal_states(again.state_dict(), first.state_dict()), aligner, "must forget the first fit in the second")
    same = torch.equal(again.transform(other[0]), first.transform(other[0]))
    ensure(same, aligner, "must forget what it derived from the first fit")


def batches_are_one_fit(aligner: Aligner) -> None:
    """What claims to stream gives the same map in batches of any size as at once; what does not says so."""
    X, Y = (t + 100 for t in paired_data())
    batches: Iterable[tuple[Tensor, Tensor]] = zip(X.split([1, 30, 129]), Y.split([1, 30, 129]), strict=True)
    in_batches = fresh(aligner)
    if not aligner.streaming:
        ensure_refused(lambda: in_batches.partial_fit(X, Y), "learn in batches", aligner, "partial_fit")
        return
    for x, y in batches:
        in_batches.partial_fit(x, y)
    ensure_close(in_batches.transform(X), learn(aligner, X, Y).transform(X), aligner, "must give one map in batches")


def state_survives(aligner: Aligner) -> None:
    """What was learned is float32 on the CPU, and the same map, to the bit, after it was saved and loaded."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    state = fitted.state_dict()
    ensure_storable(state, aligner)
    loaded = fresh(aligner).load_state_dict(saved_and_loaded(state))
    ensure(equal_states(loaded.state_dict(), state), aligner, "must have the same tensors after saving and loading")
    for dtype in DTYPES[2:]:
        same = torch.equal(loaded.transform(X.to(dtype)), fitted.transform(X.to(dtype)))
        ensure(same, aligner, "must map to the same bits after saving and loading")


def mistakes_are_told(aligner: Aligner) -> None:
    """Mapping unfitted, a wrong width, missing values, one row and rows without a partner are refused."""
    X, Y = paired_data()
    ensure_refused(lambda: fresh(aligner).transform(X), "is not fitted - call fit() first", aligner, "an unfitted map")
    fitted = learn(aligner, X, Y)
    shape = f"maps {fitted.d_source} to {fitted.d_target} dimensions, got X with shape ({N}, {D_TARGET})"
    ensure_refused(lambda: fitted.transform(Y), shape, aligner, "a wrong width")
    bad = X.clone()
    bad[17, 3] = torch.nan
    ensure_refused(lambda: learn(aligner, bad, Y), "row 17", aligner, "NaN")
    ensure_refused(lambda: learn(aligner, X[:1], Y[:1]), "at least 2 rows", aligner, "a single row")
    if aligner.fits_on == "pairs":
        ensure_refused(lambda: learn(aligner, X, Y[:-1]), "paired rows", aligner, "unequal lengths")
    if aligner.fits_on == "seeds":
        ensure_refused(lambda: fresh(aligner).fit(X, Y), "which rows are of one item", aligner, "no seeds")
    if aligner.fits_on != "source":
        ensure_refused(lambda: fresh(aligner).fit(X), "both spaces", aligner, "one space alone")


def affine_is_true(aligner: Aligner) -> None:
    """What claims to be affine is: its tensors weight and bias, without any code, are the map."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    if aligner.affine:
        state = fitted.state_dict()
        ensure(set(state) == {"weight", "bias"}, aligner, f"is affine and must store weight and bias, not {set(state)}")
        ensure_close(fitted.transform(X), X @ state["weight"].double() + state["bias"], aligner, "must be its weight")


def invertible_is_true(aligner: Aligner) -> None:
    """What claims to be invertible brings most rows back next to themselves; what does not says so."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    Z = fitted.transform(X)
    if not fitted.invertible:
        ensure_refused(lambda: fitted.inverse_transform(Z), "cannot be run backwards", aligner, "the way back")
        return
    back = fitted.inverse_transform(Z)
    ensure(back.shape == X.shape and back.dtype == X.dtype, aligner, f"must map back to {X.shape}, {X.dtype}")
    nearest = torch.cdist(back - back.mean(0), X - X.mean(0)).argmin(1)
    found = float((nearest == torch.arange(len(X))).double().mean())
    ensure(found > 0.5, aligner, f"must bring rows back next to themselves, did for {found:.0%}")


def rows_are_alone(aligner: Aligner) -> None:
    """What a row is mapped to does not depend on the rows beside it."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    ensure_close(
        fitted.transform(X[40:41]), fitted.transform(X)[40:41], aligner, "must map a row alone as among others"
    )


def chance_is_seeded(aligner: Aligner) -> None:
    """The global random state is neither read nor changed, and a fit is repeatable to the bit."""
    X, Y = paired_data()

    def make() -> dict[str, Tensor]:
        fitted = learn(aligner, X, Y)
        return {**fitted.state_dict(), "": fitted.transform(X)}

    ensure_seeded(aligner, make, "must give the same map from the same data, whatever the global seed")


ALIGNER_CHECKS: tuple[Callable[[Aligner], None], ...] = (
    options_survive,
    fit_returns_self,
    kinds_of_array_stay,
    inputs_stay,
    refit_forgets,
    batches_are_one_fit,
    state_survives,
    mistakes_are_told,
    affine_is_true,
    invertible_is_true,
    rows_are_alone,
    chance_is_seeded,
)
