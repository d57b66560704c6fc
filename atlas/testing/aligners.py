"""The promises of aligners, one function each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.components.linear import LinearAligner
from atlas.errors import AtlasWarning
from atlas.numerics.moments import Moments
from atlas.testing.devices import ELSEWHERE, watched
from atlas.testing.elsewhere import ensure_same_elsewhere
from atlas.testing.promises import (
    D_SOURCE,
    D_TARGET,
    DTYPES,
    USE_A_GENERATOR,
    N,
    ensure,
    ensure_close,
    ensure_refused,
    ensure_unmoved_by_chance,
    equal_states,
    fresh,
    options_are_used_or_refused,
    options_survive,
    paired_data,
    reloaded,
    unless_refused,
)


def learn(aligner: Aligner, X: Any, Y: Any) -> Aligner:
    """Return a fresh aligner of the same options, fitted on data of its kind."""
    return fitted_on(fresh(aligner), X, Y)


def fitted_on(aligner: Aligner, X: Any, Y: Any) -> Aligner:
    """Fit an aligner on data of its kind: of paired rows, every fourth pair is known to one with seeds."""
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
    """Neither fitting nor mapping changes its input."""
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
    """A second fit gives the same as a first, on as many dimensions or on others."""
    once = paired_data(seed=1)
    for other in (paired_data(seed=3), paired_data(7, 5, seed=2)):
        again = learn(aligner, *once)
        again.transform(once[0])
        again = fitted_on(again, *other)
        first = learn(aligner, *other)
        ensure(equal_states(again.state_dict(), first.state_dict()), aligner, "must forget the first fit in the second")
        same = torch.equal(again.transform(other[0]), first.transform(other[0]))
        ensure(same, aligner, "must forget everything derived from the first fit")


def batches_are_one_fit(aligner: Aligner) -> None:
    """An aligner that claims to stream gives the same map in batches of any size as at once; others say so."""
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
    """The learned state is float32 on the CPU, and the same map, to the bit, after saving and loading."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    loaded = reloaded(fitted)
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
    """A map that claims to be affine is: its tensors weight and bias, without any code, are the map."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    if aligner.affine:
        state = fitted.state_dict()
        ensure(set(state) == {"weight", "bias"}, aligner, f"is affine and must store weight and bias, not {set(state)}")
        ensure_close(fitted.transform(X), X @ state["weight"].double() + state["bias"], aligner, "must be its weight")


def invertible_is_true(aligner: Aligner) -> None:
    """A map that claims to be invertible brings most rows back next to themselves; others say so."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    Z = fitted.transform(X)
    if not fitted.invertible:
        ensure_refused(lambda: fitted.inverse_transform(Z), "cannot be run backwards", aligner, "the way back")
        return
    back = fitted.inverse_transform(Z)
    ensure(back.shape == X.shape and back.dtype == X.dtype, aligner, f"must map back to {X.shape}, {X.dtype}")
    found = nearest_share(back - back.mean(0), X - X.mean(0))
    ensure(found > 0.5, aligner, f"must bring rows back next to themselves, did for {found:.0%}")
    # A map that drops directions cannot know their mean, so that the offset is looked at on the other side.
    found = nearest_share(fitted.transform(back), Z)
    ensure(found > 0.5, aligner, f"must map rows brought back to their old place, did for {found:.0%} - add the mean")


def nearest_share(A: Tensor, B: Tensor) -> float:
    """Return the share of rows of A that of all rows of B are nearest to their own."""
    return float((torch.cdist(A, B).argmin(1) == torch.arange(len(A))).double().mean())


def rows_are_alone(aligner: Aligner) -> None:
    """The image of a row does not depend on the rows beside it."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    ensure_close(
        fitted.transform(X[40:41]), fitted.transform(X)[40:41], aligner, "must map a row alone as among others"
    )


def needs_are_true(aligner: Aligner) -> None:
    """One that solves from moments names in `needs` those that it reads."""
    if not isinstance(aligner, LinearAligner):
        return
    X, Y = paired_data()
    try:
        learn(aligner, X, Y)
    except (TypeError, AttributeError) as error:
        fresh(aligner).solve(Moments.of(X, Y, ("xy", "xx", "yy", "rows")))
        ensure(False, aligner, f"must name in `needs` every moment that solve() reads, has {aligner.needs}: {error}")


def pairs_count(aligner: Aligner) -> None:
    """Rows of one number are pairs, in whatever order they come, and all of them are learned from."""
    if aligner.fits_on != "pairs":
        return
    X, Y = paired_data()
    g = torch.Generator().manual_seed(1)
    order, other = torch.randperm(N, generator=g), torch.randperm(N, generator=g)
    made = learn(aligner, X, Y).transform(X)
    turned = learn(aligner, X[order], Y[order]).transform(X)
    if float((made - turned).abs().max()) > 1e-3 * float(made.abs().max()):
        lost = learn(aligner, X, Y[other]).transform(X)
        kept = float((turned - Y).norm()) < 0.9 * float((lost - Y).norm())
        ensure(kept, aligner, "must learn from rows as they are paired - it fits shuffled pairs as well as true ones")
    unlike = paired_data(seed=5)
    moves = []
    for rows in torch.arange(N).split(N // 4):
        A, B = X.index_copy(0, rows, unlike[0][rows]), Y.index_copy(0, rows, unlike[1][rows])
        moves.append(float((learn(aligner, A, B).transform(X) - made).abs().max()) > 1e-6 * float(made.abs().max()))
    some = ", ".join(f"{k * N // 4} to {(k + 1) * N // 4 - 1}" for k, moved in enumerate(moves) if not moved)
    ensure(all(moves) or not any(moves), aligner, f"must learn from all pairs, the same map comes without rows {some}")


def hard_data_is_met(aligner: Aligner) -> None:
    """Columns that are constant become finite numbers, or are refused in words: real data has them."""
    for value in (0.0, 4.0):
        X, Y = paired_data()
        X[:, 2] = Y[:, 1] = value
        promise = f"must map to finite numbers where a column is always {value:g}, or refuse it with an AtlasError"
        made = unless_refused(lambda X=X, Y=Y: _made(aligner, X, Y), aligner, promise)  # type: ignore[misc]
        ensure(made is None or bool(torch.isfinite(made).all()), aligner, promise)


def _made(aligner: Aligner, X: Tensor, Y: Tensor) -> Tensor:
    return learn(aligner, X, Y).transform(X)


def options_are_checked(aligner: Aligner) -> None:
    """Any value of an option's type is used, or refused in words, for instance -1 and infinity."""
    X, Y = paired_data()
    options_are_used_or_refused(aligner, lambda one: _made(one, X, Y))


def devices_are_those_given(aligner: Aligner) -> None:
    """Vectors on another device are mapped there: the learned state is moved to them."""
    X, Y = paired_data()
    fitted = learn(aligner, X, Y)
    for function, given in ((fitted.transform, X), (fitted.inverse_transform, fitted.transform(X))):
        if function == fitted.transform or fitted.invertible:
            _, watch = watched(lambda f=function, t=given: f(t.to(ELSEWHERE)))  # type: ignore[misc]
            promise = (
                "must map on the device of the vectors - move the learned state to it, as in self.state['weight'].to(X)"
            )
            ensure(not watch.mixed, aligner, promise)


def learned_on(aligner: Aligner, X: Tensor, Y: Tensor) -> dict[str, Tensor]:
    """Return the state learned from vectors."""
    return learn(aligner, X, Y).state_dict()


def processes_agree(aligner: Aligner) -> None:
    """Another process learns the same."""
    ensure_same_elsewhere(learned_on, aligner, "learn the same", *paired_data())


def chance_is_seeded(aligner: Aligner) -> None:
    """The global random state is neither read nor changed, and a fit is repeatable to the bit."""
    X, Y = paired_data()

    def made() -> dict[str, Tensor]:
        fitted = learn(aligner, X, Y)
        return {"its output": fitted.transform(X), **fitted.state_dict()}

    promise = f"must give the same map from the same data, whatever the global seed - {USE_A_GENERATOR}"
    ensure_unmoved_by_chance(aligner, made, promise)


ALIGNER_CHECKS: tuple[Callable[[Aligner], None], ...] = (
    options_survive,
    needs_are_true,
    fit_returns_self,
    inputs_stay,
    chance_is_seeded,
    kinds_of_array_stay,
    refit_forgets,
    batches_are_one_fit,
    pairs_count,
    state_survives,
    mistakes_are_told,
    affine_is_true,
    invertible_is_true,
    rows_are_alone,
    hard_data_is_met,
    options_are_checked,
    devices_are_those_given,
    processes_agree,
)
