"""The built-in encoders, against Pillow and networks written by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from resnets import rename, resnet_layers
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from atlas.cards.names import canonical
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, NotFoundError
from atlas.items.batches import ImageItems
from atlas.items.files import read_items
from atlas.models import network
from atlas.plugins.catalogue import component, create
from atlas.storage.tensors import load_tensors

SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here - set ATLAS_SHARED")
LAYERS = [{"type": "linear", "in_features": 3, "out_features": 4}, {"type": "relu"}]


def vectors(encoder: Encoder, items, **where) -> Tensor:
    return torch.cat(list(encoder.encode(items, **where)))


def pictures(n: int = 4, height: int = 12, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


# pixels


def test_pixels_are_the_values_of_an_image_channel_by_channel() -> None:
    X = vectors(create(Encoder, "pixels"), [Image.fromarray(image) for image in pictures()])
    assert_close(X, torch.from_numpy(pictures().transpose(0, 3, 1, 2).reshape(4, -1) / 255).float())


def test_files_and_arrays_of_the_same_images_have_the_same_pixels(tmp_path) -> None:
    for i, image in enumerate(pictures()):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    for options in ({}, {"size": 5}, {"grayscale": True}, {"size": 5, "grayscale": True}):
        one, two = create(Encoder, "pixels", options), create(Encoder, "pixels", options)
        X, Y = vectors(one, read_items(tmp_path)), vectors(two, torch.from_numpy(pictures()).permute(0, 3, 1, 2))
        assert_close(X, Y, rtol=0, atol=1e-6)
        assert one.space() == two.space()


def test_grey_is_the_grey_of_pillow() -> None:
    images = [Image.fromarray(image) for image in pictures()]
    X = vectors(create(Encoder, "pixels", grayscale=True), images)
    grey = np.stack([np.array(image.convert("L")) for image in images]).reshape(4, -1)
    assert_close(X * 255, torch.from_numpy(grey).float(), rtol=0, atol=1.0)


@pytest.mark.parametrize("size", [5, 20])
def test_resizing_is_that_of_pillow(size: int) -> None:
    images = [Image.fromarray(image) for image in pictures()]
    X = vectors(create(Encoder, "pixels", size=size), images).view(4, 3, size, size)
    resized = np.stack([np.array(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images])
    assert_close(X * 255, torch.from_numpy(resized).permute(0, 3, 1, 2).float(), rtol=0, atol=1.5)


def test_images_of_any_size_can_be_resized() -> None:
    images = [Image.fromarray(pictures(1, height, 9)[0]) for height in (4, 7, 30)]
    encoder = create(Encoder, "pixels", size=8)
    assert vectors(encoder, images).shape == (3, 192)
    with pytest.raises(AtlasError, match="Images must have one size: '0' is 9 x 4, '1' is 9 x 7"):
        vectors(create(Encoder, "pixels"), images)


def test_values_of_arrays_that_are_not_bytes_stay_as_they_are() -> None:
    X = torch.tensor([[[1, 2], [3, 400]]])
    assert vectors(create(Encoder, "pixels"), X).tolist() == [[1.0, 2.0, 3.0, 400.0]]


def test_the_first_items_decide_the_shape() -> None:
    encoder = create(Encoder, "pixels")
    assert vectors(encoder, torch.zeros(2, 3, 8, 8)).shape == (2, 192)
    with pytest.raises(AtlasError, match=r"'pixels' takes items of shape \(3, 8, 8\), as its first, got \(3, 6, 6\)"):
        vectors(encoder, torch.zeros(2, 3, 6, 6))


def test_pixels_of_another_shape_are_another_space() -> None:
    one, two = (create(Encoder, "pixels").fit(torch.zeros(1, *shape)) for shape in [(2, 8), (8, 2)])
    assert one.dim == two.dim
    assert one.space().fingerprint != two.space().fingerprint


@pytest.mark.parametrize("shape", [[0, 3], [], [[1]], [1.0]])
def test_a_shape_that_cannot_be_is_refused(shape) -> None:
    with pytest.raises(AtlasError, match="'pixels' needs a tensor 'shape' of whole numbers from 1"):
        create(Encoder, "pixels").load_state_dict({"shape": torch.tensor(shape)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "needs a size of at least 1 pixel, got 0"),
        ({"grayscale": True}, r"can resize and weigh colours of images \(3, height, width\), got \(8, 8, 3\)"),
    ],
)
def test_pixels_that_cannot_be_are_refused(options, message: str) -> None:
    with pytest.raises(AtlasError, match=f"^Encoder 'pixels' {message}$"):
        create(Encoder, "pixels", options).encode(torch.zeros(2, 8, 8, 3))


# precomputed


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_precomputed_vectors_stay_as_they_are(dtype: torch.dtype) -> None:
    given = torch.randn(5, 3).to(dtype)
    made = vectors(create(Encoder, "precomputed", model="m"), given, batch_size=2)
    assert made.dtype == dtype
    assert torch.equal(made, given)


def test_precomputed_whole_numbers_become_real() -> None:
    assert vectors(create(Encoder, "precomputed", model="m"), torch.tensor([[7, 255]])).tolist() == [[7.0, 255.0]]
    assert vectors(create(Encoder, "precomputed", model="m"), np.array([[7, 255]], np.uint8)).tolist() == [[7.0, 255.0]]


def test_a_precomputed_space_is_its_model_revision_and_dimension() -> None:
    def space(d: int = 3, **options: str):
        return create(Encoder, "precomputed", options).fit(torch.zeros(1, d)).space()

    assert space(model="Ada 002") == space(model="Ada 002")
    assert space(model="Ada 002").id == "ada-002"
    different = [
        space(model="Ada 002"),
        space(model="Ada 003"),
        space(model="Ada 002", revision="b"),
        space(4, model="Ada 002"),
    ]
    assert len({one.fingerprint for one in different}) == 4


def test_precomputed_vectors_need_a_model_and_two_dimensions() -> None:
    with pytest.raises(
        AtlasError, match=r"^Option 'model' of encoder 'precomputed' is missing - Model that made the vectors"
    ):
        create(Encoder, "precomputed")
    with pytest.raises(AtlasError, match=r"^Encoder 'precomputed' needs the name of the model that made .*, got ''$"):
        create(Encoder, "precomputed", model=" ")
    with pytest.raises(AtlasError, match=r"^Encoder 'precomputed' takes vectors \(n, d\), got shape \(1, 2, 3\)$"):
        create(Encoder, "precomputed", model="m").encode(torch.zeros(1, 2, 3))


# network


def weights(layers=LAYERS, seed: int = 0) -> dict[str, Tensor]:
    return network.initialise(layers, seed=seed).state_dict()


def test_a_network_computes_what_its_layers_say(tmp_path) -> None:
    save_file(weights(), tmp_path / "a.safetensors")
    X = torch.randn(5, 3)
    by_hand = torch.relu(X @ weights()["0.weight"].T + weights()["0.bias"])
    assert_close(
        vectors(create(Encoder, "network", layers=LAYERS, weights=str(tmp_path / "a.safetensors")), X), by_hand
    )


def test_a_network_of_images_needs_their_shape_and_divides_bytes_by_255() -> None:
    layers = [
        {"type": "conv", "in_channels": 3, "out_channels": 2, "kernel_size": 3, "padding": 1},
        {"type": "global-avg-pool"},
    ]
    encoder = create(Encoder, "network", layers=layers, input_shape=[3, 12, 9]).load_state_dict(weights(layers))
    images = torch.from_numpy(pictures()).permute(0, 3, 1, 2)
    conv = nn.Conv2d(3, 2, 3, padding=1)
    conv.load_state_dict({name[2:]: tensor for name, tensor in weights(layers).items()})
    expected = conv(images.float() / 255).mean((2, 3)).detach()
    assert_close(vectors(encoder, images), expected)
    assert_close(vectors(encoder, [Image.fromarray(image) for image in pictures()]), expected)


def test_a_small_network_of_large_images_takes_little_memory() -> None:
    layers = [
        {"type": "conv", "in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": 850},
        {"type": "global-avg-pool"},
    ]
    encoder = create(Encoder, "network", layers=layers, input_shape=[1, 4, 4]).load_state_dict(weights(layers))
    seen: list[int] = []
    encoder.module().register_forward_hook(lambda module, given, made: seen.append(len(made)))
    assert vectors(encoder, torch.zeros(60, 1, 4, 4)).shape == (60, 1)
    assert sum(seen) == 60 and max(seen) * 1704**2 <= network.MAX_BATCH


def test_equal_networks_make_equal_spaces_wherever_their_weights_lie(tmp_path) -> None:
    spelt_out = [{**LAYERS[0], "bias": True}, {"type": "relu"}]
    spaces, configs = [], []
    for i, layers in enumerate([LAYERS, spelt_out]):
        save_file(weights(), tmp_path / f"{i}.safetensors")
        encoder = create(Encoder, "network", layers=layers, weights=str(tmp_path / f"{i}.safetensors"))
        spaces.append(encoder.space())
        configs.append(encoder.config())
    assert spaces[0] == spaces[1]
    assert configs[0] == configs[1] == {"layers": LAYERS, "input_shape": [3]}
    assert "safetensors" not in canonical({**spaces[0].identity, **configs[0]})


def test_other_weights_or_layers_make_another_space() -> None:
    one = create(Encoder, "network", layers=LAYERS).load_state_dict(weights()).space()
    two = create(Encoder, "network", layers=LAYERS).load_state_dict(weights(seed=1)).space()
    three = create(Encoder, "network", layers=[LAYERS[0], {"type": "gelu"}]).load_state_dict(weights()).space()
    assert len({one.fingerprint, two.fingerprint, three.fingerprint}) == 3
    assert "weights is" in one.difference(two)
    assert "layers is" in one.difference(three)


def test_new_weights_replace_the_old() -> None:
    encoder, X = create(Encoder, "network", layers=LAYERS), torch.randn(5, 3)
    first = vectors(encoder.load_state_dict(weights()), X)
    assert not torch.allclose(vectors(encoder.load_state_dict(weights(seed=1)), X), first)
    assert torch.equal(vectors(encoder.load_state_dict(weights()), X), first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [{"type": "relu"}]}, "needs the shape of one item - give option 'input_shape', such as"),
        ({"layers": []}, "needs the shape of one item"),
        (
            {"layers": [{"type": "relu"}], "input_shape": [3, 4, 4]},
            r"must end in vectors, but its layers end in \(3, 4, 4\) - add a layer such as 'flatten'",
        ),
        ({"layers": LAYERS}, "has no weights - give option 'weights', or load a stored space"),
    ],
)
def test_a_network_that_lacks_something_says_what(options, message: str) -> None:
    with pytest.raises(AtlasError, match=f"^Encoder 'network' {message}"):
        create(Encoder, "network", options).space()


def test_a_network_refuses_items_of_another_shape_and_weights_of_another_network(tmp_path) -> None:
    encoder = create(Encoder, "network", layers=LAYERS).load_state_dict(weights())
    with pytest.raises(AtlasError, match=r"^Encoder 'network' takes items of shape \(3,\), got \(5,\)$"):
        vectors(encoder, torch.zeros(2, 5))
    with pytest.raises(AtlasError, match=r"The tensors do not fit the layers: missing '0.weight'"):
        encoder.load_state_dict({"0.bias": torch.zeros(4)})
    with pytest.raises(NotFoundError, match=r"There is no file '.*gone.safetensors'"):
        create(Encoder, "network", layers=LAYERS, weights=str(tmp_path / "gone.safetensors"))


def test_layers_can_be_read_from_a_file(tmp_path) -> None:
    path = tmp_path / "layers.yaml"
    path.write_text("- {type: linear, in_features: 3, out_features: 4}\n- {type: relu}\n")
    cls = component(Encoder, "network")
    assert cls.parse_config([("layers", f"@{path}")]) == {"layers": LAYERS}
    assert cls.parse_config([("layers", "[{type: relu}]")]) == {"layers": [{"type": "relu"}]}
    with pytest.raises(NotFoundError, match=r"There is no file '.*gone.yaml'"):
        cls.parse_config([("layers", f"@{tmp_path}/gone.yaml")])


@needs_shared
def test_a_resnet_trained_elsewhere_tells_images_apart() -> None:
    every = read_items(SHARED / "data" / "cifar10" / "test")
    items = ImageItems(every.sources[::10], ids=every.ids[::10], labels=every.labels[::10])
    state = rename(load_tensors(SHARED / "models" / "cifar10-resnet20" / "model.safetensors"), 20)
    encoder = create(Encoder, "network", layers=resnet_layers(20), input_shape=[3, 32, 32]).load_state_dict(state)
    right = [
        items.classes[i] == label for i, label in zip(vectors(encoder, items).argmax(1), items.labels, strict=True)
    ]
    # On all 10,000 JPEG images it is 81 %; three standard errors of 200 are 8 %.
    assert abs(np.mean(right) - 0.81) < 0.08


def test_a_batch_is_no_larger_than_memory_allows_and_its_vectors_are_the_same(monkeypatch):
    from atlas.items import batches

    X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = torch.cat(list(create(Encoder, "pixels").encode(X)))
    sizes = []
    for kept in (batches.ArrayItems(X), batches.ImageItems(list(X))):
        for numbers in (1, 2 * 192, 10**6):
            monkeypatch.setattr(batches, "MAX_BATCH", numbers)
            found = list(create(Encoder, "pixels").encode(kept))
            sizes.append([len(batch) for batch in found])
            assert torch.equal(torch.cat(found), whole)
    assert sizes == [[1] * 5, [2, 2, 1], [5]] * 2


def test_vectors_of_more_dimensions_than_are_of_use_are_refused(monkeypatch):
    monkeypatch.setattr("atlas_builtin.encoders.MAX_DIM", 191)
    with pytest.raises(AtlasError, match="makes vectors of 192 dimensions, more than 191 - make the items smaller"):
        list(create(Encoder, "pixels").encode(torch.zeros(2, 3, 8, 8)))
