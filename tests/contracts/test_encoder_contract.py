"""What every encoder promises, whoever wrote it, and what the base class says when one does not keep it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from atlas.artefacts.loading import load, save
from atlas.components.encoder import Encoder
from atlas.components.options import option
from atlas.errors import AtlasError
from atlas.models import network
from atlas.plugins.catalogue import components

LAYERS = [{"type": "linear", "in_features": 6, "out_features": 4}, {"type": "relu"}]
# Options that have no default, and those that a corpus this small needs.
OPTIONS: dict[str, dict[str, Any]] = {
    "network": {"layers": LAYERS},
    "precomputed": {"model": "text-embedding-3-small"},
    "tfidf-svd": {"dim": 5, "min_df": 1},
}
ENCODERS = [cls for classes in components(Encoder).values() for cls in classes]
WORDS = ["anchor", "space", "chart", "atlas", "map", "encoder", "vector", "latent", "head", "stitch"]


def items_for(takes: str, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    if takes == "text":
        picks = torch.randint(len(WORDS), (24, 5), generator=generator).tolist()
        return [" ".join(WORDS[i] for i in row) for row in picks]
    return torch.rand((11, 3, 32, 32) if takes == "images" else (11, 6), generator=generator)


def made(cls: type[Encoder], fit: bool = True) -> Encoder:
    missing = {opt.name for opt in cls.options() if opt.default is MISSING} - set(OPTIONS.get(cls.name, ()))
    if missing:
        pytest.skip(f"no value is known for option {', '.join(missing)}")
    encoder = cls.from_config(OPTIONS.get(cls.name, {}))
    if cls.name == "network":
        encoder.load_state_dict(network.initialise(LAYERS, seed=0).state_dict())
    if encoder.fits and fit:
        encoder.fit(items_for(cls.takes))
    return encoder


def vectors(encoder: Encoder, items: Any = None, **where: Any) -> Tensor:
    return torch.cat(list(encoder.encode(items_for(encoder.takes) if items is None else items, **where)))


pytestmark = pytest.mark.filterwarnings("error")
every_encoder = pytest.mark.parametrize("cls", ENCODERS, ids=lambda cls: cls.name)


def test_the_built_in_encoders_are_registered() -> None:
    assert {"network", "pixels", "precomputed", "tfidf-svd"} <= set(components(Encoder))


@every_encoder
def test_every_option_has_a_help_text(cls: type[Encoder]) -> None:
    assert all(opt.help for opt in cls.options())
    assert cls.takes in ("text", "images", "arrays")


@every_encoder
def test_a_row_for_each_item_and_a_column_for_each_dimension(cls: type[Encoder]) -> None:
    encoder = made(cls)
    X = vectors(encoder)
    assert X.shape == (len(items_for(cls.takes)), encoder.dim)
    assert X.is_floating_point() and X.device.type == "cpu" and bool(torch.isfinite(X).all())


@every_encoder
def test_equal_encoders_make_equal_vectors_and_spaces(cls: type[Encoder]) -> None:
    one, two = made(cls), made(cls)
    assert torch.equal(vectors(one), vectors(two))
    assert one.space() == two.space()
    assert one.space().fingerprint


@every_encoder
def test_encoding_changes_neither_items_nor_space_nor_the_random_state(cls: type[Encoder]) -> None:
    encoder, items = made(cls), items_for(cls.takes)
    space, random = encoder.space(), torch.get_rng_state()
    X = vectors(encoder, items)
    assert encoder.space() == space
    assert torch.equal(torch.get_rng_state(), random)
    untouched = items_for(cls.takes)
    assert items == untouched if isinstance(items, list) else torch.equal(items, untouched)
    assert torch.equal(vectors(encoder, items), X)


@every_encoder
@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_the_size_of_a_batch_does_not_change_the_vectors(cls: type[Encoder], batch_size: int) -> None:
    encoder = made(cls)
    batches = list(encoder.encode(items_for(cls.takes), batch_size=batch_size))
    assert len(batches) == -(-len(items_for(cls.takes)) // batch_size)
    assert_close(torch.cat(batches), vectors(encoder), rtol=1e-5, atol=1e-6)


@every_encoder
def test_the_order_of_the_items_does_not_change_their_vectors(cls: type[Encoder]) -> None:
    encoder = made(cls)
    items = items_for(cls.takes)
    turned = items[::-1] if isinstance(items, list) else items.flip(0)
    assert_close(vectors(encoder, turned).flip(0), vectors(encoder), rtol=1e-5, atol=1e-6)


@every_encoder
def test_a_stored_space_makes_the_same_vectors_bit_for_bit(cls: type[Encoder], tmp_path) -> None:
    encoder = made(cls)
    save(encoder, tmp_path / "stored")
    loaded = load(tmp_path / "stored", "space")
    assert type(loaded) is cls
    assert loaded.space().id == "stored"
    assert loaded.space().fingerprint == encoder.space().fingerprint
    assert torch.equal(vectors(loaded), vectors(encoder))
    state = encoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert all(tensor.is_contiguous() and tensor.dtype != torch.float64 for tensor in state.values())


@every_encoder
def test_what_was_learned_is_part_of_the_space(cls: type[Encoder]) -> None:
    encoder = made(cls)
    if not encoder.fits:
        pytest.skip("it learns nothing from items")
    other = items_for(cls.takes, seed=1)
    other = [text[::-1] for text in other] if isinstance(other, list) else other[:, :-1]
    before = encoder.space().fingerprint
    assert encoder.fit(other) is encoder
    assert encoder.space().fingerprint != before
    vectors(encoder, other)
    encoder.fit(items_for(cls.takes))
    assert encoder.space().fingerprint == before
    assert torch.equal(vectors(encoder), vectors(made(cls)))


@every_encoder
def test_an_encoder_that_has_learned_nothing_says_so(cls: type[Encoder]) -> None:
    encoder = made(cls, fit=False)
    if not encoder.fits:
        pytest.skip("it learns nothing from items")
    assert not encoder.fitted
    with pytest.raises(AtlasError, match=rf"^Encoder '{cls.name}' is not fitted - call fit\(\) with items first$"):
        encoder.state_dict()
    with pytest.raises(AtlasError, match="is not fitted"):
        encoder.space()


@every_encoder
def test_tensors_of_something_else_are_refused(cls: type[Encoder]) -> None:
    encoder = made(cls)
    if not encoder.state_dict():
        pytest.skip("it has no tensors")
    with pytest.raises(AtlasError):
        encoder.load_state_dict({"nonsense": torch.zeros(2, 2)})
    state = {name: tensor[:0] for name, tensor in encoder.state_dict().items()}
    with pytest.raises(AtlasError):
        encoder.load_state_dict(state).space()


@every_encoder
def test_items_of_another_kind_are_refused(cls: type[Encoder]) -> None:
    other = "arrays" if cls.takes == "text" else "text"
    with pytest.raises(AtlasError, match=f"^Encoder '{cls.name}' takes {cls.takes}, got {other}$"):
        made(cls).encode(items_for(other))


@every_encoder
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"batch_size": 0}, "needs batches of at least 1 item, got batch_size 0"),
        ({"device": "nonsense"}, "Device 'nonsense' cannot be used: .* - use 'cpu'"),
    ],
)
def test_a_batch_size_or_device_that_cannot_be_is_refused_at_once(cls, where, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        made(cls).encode(items_for(cls.takes), **where)


@dataclass
class Faulty(Encoder):
    """Makes what it is told to."""

    name = "faulty"
    result: str = option("good", help="What to make")

    @property
    def dim(self) -> int:
        return 2

    def _encode(self, batch: Tensor, device: str) -> Tensor:
        good = batch[:, :2].clone()
        if self.result == "nan" and bool((batch[:, 0] == 3).any()):
            good[-1, 1] = float("nan")
        made = {"wide": batch, "short": good[1:], "whole": good.long()}
        return made.get(self.result, good)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("wide", r"made torch.float32 of shape \(2, 3\) where it should make real numbers of shape \(2, 2\) - report"),
        ("short", r"made torch.float32 of shape \(1, 2\) where it should make real numbers of shape \(2, 2\)"),
        ("whole", r"made torch.int64 of shape \(2, 2\) where it should make real numbers"),
        ("nan", r"has 1 value that .* NaN or infinite, the first in row 3"),
    ],
)
def test_an_encoder_that_makes_something_else_is_named(result: str, message: str) -> None:
    items = torch.arange(4.0)[:, None].expand(4, 3)
    assert vectors(Faulty(), items, batch_size=2).shape == (4, 2)
    with pytest.raises(AtlasError, match=f"ncoder 'faulty' {message}"):
        vectors(Faulty(result), items, batch_size=2)


def test_an_encoder_that_learns_nothing_from_items_cannot_be_fitted() -> None:
    assert Faulty().fitted
    with pytest.raises(AtlasError, match=r"^Encoder 'faulty' learns nothing from items - call encode\(\)$"):
        Faulty().fit(torch.zeros(2, 3))


def test_whatever_an_encoder_has_loaded_is_part_of_its_identity() -> None:
    encoder = Faulty()
    assert encoder.identity() == {"result": "good"}
    one, two = {"a": torch.zeros(2), "b": torch.ones(2)}, {"b": torch.ones(2), "a": torch.zeros(2)}
    first = encoder.load_state_dict(one).identity()
    assert encoder.load_state_dict(two).identity() == first
    for changed in (
        {"a": torch.zeros(2)},
        {**one, "a": torch.zeros(1, 2)},
        {**one, "b": torch.ones(2).view(torch.int32)},
    ):
        assert encoder.load_state_dict(changed).identity() != first
    encoder.forget()
    assert encoder.identity() == {"result": "good"}
