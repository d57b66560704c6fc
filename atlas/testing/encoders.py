"""The promises of encoders, one function each."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.testing.devices import ELSEWHERE, watched
from atlas.testing.elsewhere import elsewhere
from atlas.testing.promises import (
    attempt,
    ensure,
    ensure_close,
    ensure_refused,
    ensure_unmoved_by_chance,
    equal_states,
    fresh,
    options_are_used_or_refused,
    options_survive,
    other_values,
    saved_and_loaded,
    unless_refused,
)


def default_items(takes: str, n: int = 12, seed: int = 0) -> Any:
    """Return n items of the kind an encoder takes: texts, images (n, 3, 32, 32) or arrays (n, 6)."""
    g = torch.Generator().manual_seed(seed)
    if takes == "text":
        return [" ".join(f"word{i}" for i in row) for row in torch.randint(n, (n, 8), generator=g)]
    return torch.rand((n, 3, 32, 32) if takes == "images" else (n, 6), generator=g)


def given(encoder: Encoder, items: Any) -> tuple[Encoder, Any]:
    """Return an encoder that can encode, and items: the ones given, or those of its kind."""
    # One that learns from items may need many.
    items = default_items(encoder.takes, 600 if encoder.fits else 12) if items is None else items
    return (encoder if encoder.fitted else fresh(encoder).fit(items)), items


def vectors(encoder: Encoder, items: Any, **how: Any) -> Tensor:
    """Return the vectors (n, dim) of items."""
    return torch.cat(list(encoder.encode(items, **how)))


def makes_rows(encoder: Encoder, items: Any = None) -> None:
    """Every item becomes one row of `dim` finite numbers, on the CPU."""
    known = ("text", "images", "arrays")
    ensure(encoder.takes in known, encoder, f"must take one of {', '.join(known)}, takes '{encoder.takes}'")
    encoder, items = given(encoder, items)
    X = vectors(encoder, items)
    expected = (len(items), encoder.dim)
    ensure(tuple(X.shape) == expected, encoder, f"must make vectors of shape {expected}, made {tuple(X.shape)}")
    [one] = encoder.encode(items[:1])
    ensure(tuple(one.shape) == (1, encoder.dim), encoder, "must encode a single item")


def repeats_itself(encoder: Encoder, items: Any = None) -> None:
    """Equal items give equal vectors, to the bit, whatever was encoded before."""
    encoder, items = given(encoder, items)
    first = vectors(encoder, items)
    vectors(encoder, items[::2])
    same = torch.equal(first, vectors(encoder, items))
    ensure(same, encoder, "must make the same vectors of the same items - turn off dropout with model.eval()")


def batches_do_not_matter(encoder: Encoder, items: Any = None) -> None:
    """The size of a batch does not change the vectors: it is not on the card, so nobody could make them again."""
    encoder, items = given(encoder, items)
    whole = vectors(encoder, items)
    for size in (1, 5):
        promise = f"must make the same vectors in batches of {size} - padding or batch statistics leak into them"
        ensure_close(vectors(encoder, items, batch_size=size), whole, encoder, promise, 1e-4)


def order_does_not_matter(encoder: Encoder, items: Any = None) -> None:
    """An item's vector does not depend on the items beside it, since rows are paired by item."""
    encoder, items = given(encoder, items)
    turned = items[::-1] if isinstance(items, list) else items.flip(0) if isinstance(items, Tensor) else None
    if turned is not None:
        promise = "must make the same vectors in another order"
        ensure_close(vectors(encoder, turned).flip(0), vectors(encoder, items), encoder, promise, 1e-4)


def items_stay(encoder: Encoder, items: Any = None) -> None:
    """Encoding does not change the items."""
    encoder, items = given(encoder, items)
    before = items.clone() if isinstance(items, Tensor) else list(items) if isinstance(items, list) else None
    vectors(encoder, items)
    if before is not None:
        same = torch.equal(items, before) if isinstance(before, Tensor) else items == before
        ensure(same, encoder, "must leave its items as they are - others may be reading them")


def space_is_fixed(encoder: Encoder, items: Any = None) -> None:
    """The space, by which vectors and alignments find each other, is known before encoding and does not change."""
    encoder, items = given(encoder, items)
    before = encoder.space()
    width = vectors(encoder, items).shape[1]
    ensure(before.dim == width, encoder, f"must have a space of {width} dimensions, has {before.dim}")
    same = encoder.space().fingerprint == before.fingerprint
    ensure(same, encoder, "must have the same space before and after encoding - its identity() changes")


def state_survives(encoder: Encoder, items: Any = None) -> None:
    """Learned or loaded state, and nothing else, makes the vectors: they are the same, to the bit, from its file."""
    encoder, items = given(encoder, items)
    state = encoder.state_dict()
    again = with_state(encoder, saved_and_loaded(state) if state else {})
    if state:
        ensure(equal_states(again.state_dict(), state), encoder, "must have the same tensors after saving and loading")
    same = again.space().fingerprint == encoder.space().fingerprint
    ensure(same, encoder, "must have the same space when it is made again from its options and tensors")
    promise = "must make the same vectors when it is made again from its options and tensors - keep all in its state"
    made = attempt(lambda: vectors(again, items), encoder, promise)
    ensure(torch.equal(made, vectors(encoder, items)), encoder, promise)


def processes_can_share_it(encoder: Encoder, items: Any = None) -> None:
    """Pickled, as engines send it to their workers, it makes the same vectors."""
    encoder, items = given(encoder, items)
    if "<locals>" in type(encoder).__qualname__:
        return
    promise = "must make the same vectors after pickling - load again whatever options and state do not hold"
    made = attempt(lambda: vectors(pickle.loads(pickle.dumps(encoder)), items), encoder, promise)
    ensure(torch.equal(made, vectors(encoder, items)), encoder, promise)


def with_state(encoder: Encoder, state: dict[str, Tensor]) -> Encoder:
    """Return an encoder of the same options and these tensors."""
    again = fresh(encoder)
    return again.load_state_dict(state) if state else again


def learning_is_in_the_space(encoder: Encoder, items: Any = None) -> None:
    """One that learns from items has another space after learning from others, and the same after the same."""
    if not encoder.fits:
        return
    encoder, items = given(encoder, items)
    again = fresh(encoder).fit(items)
    ensure(again.space() == fresh(encoder).fit(items).space(), encoder, "must learn the same from the same items")
    other = fresh(encoder).fit(items[: 3 * len(items) // 4])
    same = other.dim == again.dim and torch.equal(vectors(other, items[:5]), vectors(again, items[:5]))
    differs = other.space().fingerprint != again.space().fingerprint
    ensure(same or differs, encoder, "must have another space when learning from other items changes its vectors")
    ensure_refused(lambda: fresh(encoder).space(), "is not fitted", encoder, "an encoder that has learned nothing")


def items_are_read(encoder: Encoder, items: Any = None) -> None:
    """Items are read, and beyond their first values: not all have one vector, nor all that of their beginning."""
    encoder, items = given(encoder, items)
    X = vectors(encoder, items[:12])
    ensure(len(X.unique(dim=0)) > 1, encoder, "must make different vectors of different items")
    if isinstance(items, list) and encoder.takes == "text":
        beginnings: Any = [text[:3] for text in items[:12]]
    elif isinstance(items, Tensor):
        flat = items[:12].clone().flatten(1)
        flat[:, max(1, flat.shape[1] // 8) :] = 0
        beginnings = flat.view_as(items[:12])
    else:
        return
    # Of a small network that was never trained, most vectors may be the same.
    moved = (vectors(encoder, beginnings) != X).any()
    ensure(bool(moved), encoder, "must read more of an item than its beginning, which has the same vector")


def odd_texts_are_met(encoder: Encoder, items: Any = None) -> None:
    """An empty text and one of another script become finite vectors, or are refused in words: real data has them."""
    if encoder.takes != "text":
        return
    encoder, _ = given(encoder, items)
    for text in ("", " ", "日本語 ñ 🙂", "word " * 2000):
        promise = f"must encode {text[:12]!r} or refuse it with an AtlasError"
        unless_refused(lambda text=text: vectors(encoder, ["space and map", text]), encoder, promise)  # type: ignore[misc]


def options_are_in_the_space(encoder: Encoder, items: Any = None) -> None:
    """Another value of an option gives another space, unless the vectors are the same."""
    encoder, items = given(encoder, items)
    whole = vectors(encoder, items)
    for opt in encoder.options():
        for value in other_values(opt, getattr(encoder, opt.name)):
            try:
                other = type(encoder).from_config({**encoder.config(), opt.name: value})
                X = vectors(encode_as(other, encoder, items), items).to(whole.dtype)
            except AtlasError:
                continue
            same = X.shape == whole.shape and torch.allclose(X, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
            differs = other.space().fingerprint != encoder.space().fingerprint
            promise = (
                f"must have another space with {opt.name}={value}, which changes its vectors - put it in identity()"
            )
            ensure(same or differs, encoder, promise)


def encode_as(other: Encoder, encoder: Encoder, items: Any) -> Encoder:
    """Return an encoder of other options that can encode: fitted anew, or with the tensors the first was given."""
    if other.fits:
        return other.fit(items)
    state = encoder.state_dict()
    return other.load_state_dict(state) if state else other


def options_are_checked(encoder: Encoder, items: Any = None) -> None:
    """Any value of an option's type is used, or refused in words, for instance -1 and infinity."""
    encoder, items = given(encoder, items)
    options_are_used_or_refused(encoder, lambda one: vectors(encode_as(one, encoder, items), items))


def devices_are_those_given(encoder: Encoder, items: Any = None) -> None:
    """Encoding computes on the device that is asked for."""
    encoder, items = given(encoder, items)
    again = with_state(encoder, encoder.state_dict())
    made, watch = watched(lambda: again._encode(again.ready(items)[:2], ELSEWHERE))
    elsewhere_alone = not watch.mixed and (made is None or made.device.type == ELSEWHERE or not watch.products)
    ensure(elsewhere_alone, encoder, "must compute on the device it is given - move batch and weights to it")


def made_of(encoder: Encoder, items: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the vectors of items, and the state learned from them."""
    again = fresh(encoder).fit(items) if encoder.fits else with_state(encoder, state)
    return {**again.state_dict(), "its vectors": vectors(again, items)}


def processes_agree(encoder: Encoder, items: Any = None) -> None:
    """Another process makes the same vectors."""
    encoder, items = given(encoder, items)
    state = {} if encoder.fits else encoder.state_dict()
    promise = "must make the same vectors in another process - hash() and the order of sets are others there"
    there = attempt(lambda: elsewhere(made_of, encoder, items, state), encoder, promise)
    if there is not None:
        ensure_close(there["its vectors"], made_of(encoder, items, state)["its vectors"], encoder, promise, 1e-4)


def chance_is_left_alone(encoder: Encoder, items: Any = None) -> None:
    """The global random state is neither read nor changed."""
    encoder, items = given(encoder, items)
    promise = "must make the same vectors whatever the global seed"
    ensure_unmoved_by_chance(encoder, lambda: {"its vectors": vectors(encoder, items)}, promise)


ENCODER_CHECKS: tuple[Callable[..., None], ...] = (
    options_survive,
    makes_rows,
    repeats_itself,
    batches_do_not_matter,
    order_does_not_matter,
    items_stay,
    space_is_fixed,
    state_survives,
    processes_can_share_it,
    learning_is_in_the_space,
    items_are_read,
    odd_texts_are_met,
    options_are_in_the_space,
    options_are_checked,
    chance_is_left_alone,
    devices_are_those_given,
    processes_agree,
)
