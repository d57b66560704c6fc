"""The promises of encoders, one function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.testing.chance import ensure_seeded
from atlas.testing.promises import (
    ensure,
    ensure_close,
    ensure_refused,
    equal_states,
    fresh,
    saved_and_loaded,
)
from atlas.testing.promises import options_survive as _options_survive


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


def options_survive(encoder: Encoder, items: Any = None) -> None:
    """Options go through a card and come back."""
    _options_survive(encoder)


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
    """What was learned or loaded, and nothing else, makes the vectors: they are the same, to the bit, from its file."""
    encoder, items = given(encoder, items)
    state = encoder.state_dict()
    again = fresh(encoder)
    if state:
        again.load_state_dict(saved_and_loaded(state))
        ensure(equal_states(again.state_dict(), state), encoder, "must have the same tensors after saving and loading")
    same = again.space().fingerprint == encoder.space().fingerprint
    ensure(same, encoder, "must have the same space when it is made again from its options and tensors")
    same = torch.equal(vectors(again, items), vectors(encoder, items))
    ensure(same, encoder, "must make the same vectors when it is made again from its options and tensors")


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
    ensure(
        same or differs, encoder, "must have another space when what it learned from other items changes its vectors"
    )
    ensure_refused(lambda: fresh(encoder).space(), "is not fitted", encoder, "an encoder that has learned nothing")


def odd_texts_are_met(encoder: Encoder, items: Any = None) -> None:
    """An empty text and one of another script become finite vectors, or are refused in words: real data has them."""
    if encoder.takes != "text":
        return
    encoder, _ = given(encoder, items)
    for text in ("", " ", "日本語 ñ 🙂", "word " * 2000):
        try:
            vectors(encoder, ["space and map", text])
        except AtlasError:
            continue
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            ensure(False, encoder, f"must encode {text[:12]!r} or refuse it with an AtlasError, raised {reason}")


def chance_is_left_alone(encoder: Encoder, items: Any = None) -> None:
    """The global random state is neither read nor changed."""
    encoder, items = given(encoder, items)
    same = "must make the same vectors whatever the global seed"
    ensure_seeded(encoder, lambda: {"vectors": vectors(encoder, items)}, same)


ENCODER_CHECKS: tuple[Callable[..., None], ...] = (
    options_survive,
    makes_rows,
    repeats_itself,
    batches_do_not_matter,
    order_does_not_matter,
    items_stay,
    space_is_fixed,
    state_survives,
    learning_is_in_the_space,
    odd_texts_are_met,
    chance_is_left_alone,
)
