"""The promises of aggregators, one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from atlas.cards.names import canonical
from atlas.components.aggregator import Aggregator
from atlas.errors import AtlasError
from atlas.testing.elsewhere import ensure_same_elsewhere
from atlas.testing.promises import (
    ensure,
    ensure_close,
    ensure_refused,
    ensure_unmoved_by_chance,
    equal_states,
    fresh,
    normal_numbers,
    options_are_used_or_refused,
    options_survive,
    reloaded,
)

N = 90
DIMS = {"one": 6, "two": 6, "three": 8}


def views_of(aggregator: Aggregator, seed: int = 0, n: int = N) -> dict[str, Tensor]:
    """Return float64 vectors of the same n items in three spaces: linear views of shared factors, with noise.

    The dimensions differ, unless the aggregator refuses such spaces.
    """
    try:
        fresh(aggregator).fit(_views(DIMS, 0, n))
    except AtlasError:
        return _views(dict.fromkeys(DIMS, 6), seed, n)
    return _views(DIMS, seed, n)


def _views(dims: Mapping[str, int], seed: int, n: int) -> dict[str, Tensor]:
    normal = normal_numbers(seed)
    shared = normal(n, 6)
    return {space: shared @ normal(6, d) + 0.1 * normal(n, d) + 3 for space, d in dims.items()}


def through(aggregator: Aggregator, views: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the charts' coordinates of every item, (n, k, d), padded to the widest, all marked present, (n, k)."""
    mapped = [aggregator.chart(space).transform(X) for space, X in views.items()]
    widest = max(Z.shape[1] for Z in mapped)
    rows = torch.stack([torch.nn.functional.pad(Z, (0, widest - Z.shape[1])) for Z in mapped], 1)
    return rows, torch.ones(rows.shape[:2], dtype=torch.bool)


def fitted_with_rows(
    aggregator: Aggregator, views: Mapping[str, Tensor] | None = None
) -> tuple[Aggregator, Tensor, Tensor]:
    """Return a fresh aggregator of the same options, fitted on views, and these views through its charts."""
    views = views_of(aggregator) if views is None else views
    fitted = fresh(aggregator).fit(views)
    return fitted, *through(fitted, views)


def fits_charts(aggregator: Aggregator) -> None:
    """`fit` returns the aggregator, which then has a chart for every space, in the order they were given."""
    views = views_of(aggregator)
    unfitted = fresh(aggregator)
    fitted = unfitted.fit(views)
    ensure(fitted is unfitted, aggregator, "must return itself from fit()")
    order = list(fitted.charts)
    ensure(order == list(views), aggregator, f"must have charts for {list(views)}, in this order, has {order}")
    for space, X in views.items():
        given = fitted.chart(space).d_source
        ensure(given == X.shape[1], aggregator, f"must map '{space}' from {X.shape[1]} dimensions, maps from {given}")
        kind, due = type(fitted.chart(space)), type(fitted.chart_aligner())
        ensure(
            kind is due, aggregator, f"must make charts as chart_aligner() does, {due.__name__}, made {kind.__name__}"
        )


def combines_rows(aggregator: Aggregator) -> None:
    """Combining gives finite vectors of `dim` dimensions, for items in all spaces and for items in one alone."""
    fitted, rows, present = fitted_with_rows(aggregator)
    spaces = list(fitted.charts)
    for k in (None, 0, len(spaces) - 1):
        seen = present if k is None else torch.zeros_like(present).index_fill(1, torch.tensor([k]), True)
        made = fitted.combine(rows, seen)
        where = "all spaces" if k is None else f"'{spaces[k]}' alone"
        shape = (N, fitted.dim)
        ensure(tuple(made.shape) == shape, aggregator, f"must combine to {shape} from {where}, got {tuple(made.shape)}")
        ensure(bool(torch.isfinite(made).all()), aggregator, f"must combine to finite numbers from {where}")


def rows_are_alone(aggregator: Aggregator) -> None:
    """The combined row of an item depends neither on other items nor on the spaces it is not in."""
    fitted, rows, present = fitted_with_rows(aggregator)
    present[::2, 1] = False
    whole = fitted.combine(rows, present)
    alone = fitted.combine(rows[40:41], present[40:41])
    ensure_close(alone, whole[40:41], aggregator, "must combine an item alone as among others")
    odd = torch.where(present[..., None], rows, 1e6)
    promise = "must not count a chart in which an item is not present"
    ensure_close(fitted.combine(odd, present), whole, aggregator, promise)


def absent_charts_do_not_count(aggregator: Aggregator) -> None:
    """Where all charts say the same of an item, it is the same in however many spaces: unless they stand in a row."""
    [X, *_] = views_of(aggregator).values()
    fitted, rows, present = fitted_with_rows(aggregator, dict.fromkeys(DIMS, X))
    if fitted.dim != rows.shape[2]:
        return
    whole = fitted.combine(rows, present)
    for seen in ([True, False, False], [False, True, True]):
        made = fitted.combine(rows, torch.tensor(seen).expand_as(present))
        promise = "must not count a chart in which an item is not present: it is moved where all charts agree"
        ensure_close(made, whole, aggregator, promise, 1e-3)


def rows_are_paired_by_item(aggregator: Aggregator) -> None:
    """Rows are paired by the item they encode, never by position."""
    views = views_of(aggregator)
    items = {space: torch.arange(N) for space in views}
    straight = fresh(aggregator).fit(views, items)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    mixed = fresh(aggregator).fit({**views, "two": views["two"][order]}, {**items, "two": order})
    for space, X in views.items():
        promise = f"must give the same chart of '{space}' when rows come in another order - pair them by items"
        ensure_close(mixed.chart(space).transform(X), straight.chart(space).transform(X), aggregator, promise, 1e-3)


def partial_is_true(aggregator: Aggregator) -> None:
    """One that claims to make use of items that are in some of the spaces only does; any other refuses them."""
    views = views_of(aggregator)
    items = {space: torch.arange(N) for space in views}
    some = {**views, "three": views["three"][:60]}, {**items, "three": items["three"][:60]}
    if aggregator.partial:
        fitted = fresh(aggregator).fit(*some)
        ensure(list(fitted.charts) == list(views), aggregator, "is partial and must chart a space that misses items")
    else:
        ensure_refused(lambda: fresh(aggregator).fit(*some), "every item in every space", aggregator, "missing items")


def alone_is_true(aggregator: Aggregator) -> None:
    """One that claims to make use of items that are in one space only charts spaces that have no item in common."""
    if not aggregator.alone:
        return
    ensure(aggregator.partial, aggregator, "must set partial, too, if it sets alone")
    views = views_of(aggregator)
    items = {space: k * N + torch.arange(N) for k, space in enumerate(views)}
    fitted = fresh(aggregator).fit(views, items)
    ensure(list(fitted.charts) == list(views), aggregator, "sets alone and must chart spaces that share no item")


def inputs_stay(aggregator: Aggregator) -> None:
    """Neither fitting nor combining changes its input."""
    views = views_of(aggregator)
    before = {space: X.clone() for space, X in views.items()}
    fitted, rows, present = fitted_with_rows(aggregator, views)
    kept = rows.clone(), present.clone()
    fitted.combine(rows, present)
    same = all(torch.equal(X, before[space]) for space, X in views.items())
    ensure(same, aggregator, "must leave the vectors it is fitted on as they are")
    same = torch.equal(rows, kept[0]) and torch.equal(present, kept[1])
    ensure(same, aggregator, "must leave the rows it combines as they are")


def refit_forgets(aggregator: Aggregator) -> None:
    """A second fit gives the same as a first."""
    again = fresh(aggregator).fit(views_of(aggregator, 1)).fit(views_of(aggregator, 2))
    same = equal_states(again.state_dict(), fresh(aggregator).fit(views_of(aggregator, 2)).state_dict())
    ensure(same, aggregator, "must forget the first fit in the second")


def state_survives(aggregator: Aggregator) -> None:
    """Charts and rule are float32 on the CPU, and the same, to the bit, after they were saved and loaded."""
    views = views_of(aggregator)
    fitted = fresh(aggregator).fit(views)
    loaded = reloaded(fitted, list(views))
    made = [one.combine(*through(one, views)) for one in (fitted, loaded)]
    ensure(torch.equal(*made), aggregator, "must combine to the same bits after saving and loading")
    ensure(loaded.identity() == fitted.identity(), aggregator, "must have the same identity() after loading")
    canonical(fitted.identity())


def adding_leaves_the_rest(aggregator: Aggregator) -> None:
    """One more space is refused, or leaves the other charts as they are: earlier results stay valid."""
    views = views_of(aggregator)
    more = views.pop("three")
    fitted = fresh(aggregator).fit(views)
    before = {space: {k: t.clone() for k, t in fitted.chart(space).state_dict().items()} for space in views}
    try:
        added = fitted.add("three", more)
    except AtlasError:
        return
    ensure(added is fitted, aggregator, "must return itself from add()")
    same = all(equal_states(fitted.chart(space).state_dict(), state) for space, state in before.items())
    ensure(same, aggregator, "must leave the other charts as they are when a space is added")
    fitted.combine(*through(fitted, {**views, "three": more}))


def mistakes_are_told(aggregator: Aggregator) -> None:
    """An unfitted aggregator, a single space, missing values and unequal lengths are refused."""
    views = views_of(aggregator)
    ensure_refused(lambda: fresh(aggregator).chart("one"), "is not fitted", aggregator, "a chart before fit()")
    ensure_refused(lambda: fresh(aggregator).fit({"one": views["one"]}), "at least 2", aggregator, "a single space")
    bad = views["two"].clone()
    bad[17, 3] = torch.nan
    ensure_refused(lambda: fresh(aggregator).fit({**views, "two": bad}), "row 17", aggregator, "NaN")
    short = {**views, "two": views["two"][:-1]}
    ensure_refused(lambda: fresh(aggregator).fit(short), "same items", aggregator, "unequal lengths")


def chance_is_seeded(aggregator: Aggregator) -> None:
    """The global random state is neither read nor changed, and a fit is repeatable to the bit."""

    def made() -> dict[str, Tensor]:
        fitted, rows, present = fitted_with_rows(aggregator)
        return {"its output": fitted.combine(rows, present), **fitted.state_dict()}

    promise = "must give the same charts from the same data, whatever the global seed"
    ensure_unmoved_by_chance(aggregator, made, promise)


def options_are_checked(aggregator: Aggregator) -> None:
    """Any value of an option's type is used, or refused in words, for instance -1 and infinity."""
    views = views_of(aggregator)
    options_are_used_or_refused(aggregator, lambda one: (fitted := one.fit(views)).combine(*through(fitted, views)))


def learned_on(aggregator: Aggregator, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state learned from vectors."""
    return fresh(aggregator).fit(views).state_dict()


def processes_agree(aggregator: Aggregator) -> None:
    """Another process learns the same."""
    ensure_same_elsewhere(learned_on, aggregator, "learn the same", views_of(aggregator))


AGGREGATOR_CHECKS: tuple[Callable[[Aggregator], None], ...] = (
    options_survive,
    fits_charts,
    combines_rows,
    rows_are_alone,
    absent_charts_do_not_count,
    rows_are_paired_by_item,
    partial_is_true,
    alone_is_true,
    inputs_stay,
    refit_forgets,
    state_survives,
    adding_leaves_the_rest,
    mistakes_are_told,
    options_are_checked,
    chance_is_seeded,
    processes_agree,
)
