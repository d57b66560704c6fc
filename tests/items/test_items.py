"""Items given in Python, and what an encoder may take them for."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from atlas.errors import AtlasError
from atlas.items import batches
from atlas.items.batches import ImageItems, Items, as_items, as_real, decode, of_kind
from atlas.storage.item_ids import SomeRows


def checkerboard(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, mode: str = "RGB", **size: int):
    Image.fromarray(checkerboard(**size)).convert(mode).save(path)
    return path


def test_texts_come_in_batches_and_alone() -> None:
    items = as_items(["a", "b", "c"])
    assert (items.kind, len(items), items.name, items.labels) == ("text", 3, "", None)
    assert items[1:] == ["b", "c"]
    assert items[5:] == []
    assert items[::-2] == ["c", "a"]
    assert (items[0], items[-1]) == ("a", "c")
    assert list(items) == ["a", "b", "c"]


def test_items_are_numbered_from_zero() -> None:
    assert list(as_items(["a", "b"]).ids) == ["0", "1"]


def test_an_item_that_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        as_items(["a"])[1]


def test_items_pass_unchanged() -> None:
    items = as_items(["a"])
    assert as_items(items) is items


def test_anything_that_yields_texts_will_do() -> None:
    assert as_items(text for text in ("a", "b"))[:] == ["a", "b"]
    assert as_items(np.array(["a", "b"]))[:] == ["a", "b"]
    assert as_items(("a", "b"))[:] == ["a", "b"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.int64, ">f4", np.uint16, np.uint64])
def test_arrays_of_any_kind_of_number_become_tensors(dtype) -> None:
    values = np.arange(24).reshape(4, 2, 3)
    items = as_items(values.astype(dtype))
    assert items.kind == "arrays"
    assert_close(items[1:3].double(), torch.from_numpy(values[1:3]).double())
    assert_close(items[::-1].double(), torch.from_numpy(values[::-1].copy()).double())


def test_numbers_too_large_for_int64_are_not_wrapped() -> None:
    assert as_items(np.array([[2**63]], np.uint64))[0].tolist() == [2.0**63]


def test_a_batch_of_a_numpy_array_can_be_written_to_without_touching_the_array() -> None:
    given = np.zeros((2, 3))
    as_items(given)[:].fill_(1.0)
    assert given.sum() == 0


def test_lists_of_numbers_and_of_tensors_are_arrays() -> None:
    assert as_items([[1.0, 2.0], [3.0, 4.0]])[-1].tolist() == [3.0, 4.0]
    assert as_items([torch.zeros(2), torch.ones(2)])[1].tolist() == [1.0, 1.0]


def test_classes_are_sorted_as_numbers_if_they_are_and_unknown_ones_left_out() -> None:
    items = as_items(["a", "b", "c"])
    items.labels = ["10", "9", ""]
    assert items.classes == ("9", "10")
    items.labels = ["10", "b", "9"]
    assert items.classes == ("10", "9", "b")


@pytest.mark.parametrize("given", [["a", "b", "c"], np.arange(6.0).reshape(3, 2), torch.arange(6.0).view(3, 2)])
def test_some_items_keep_their_ids_and_classes(given) -> None:
    items = as_items(given)
    some = items.take([2, 0])
    assert list(some.ids) == ["2", "0"] and isinstance(some.ids, SomeRows) and isinstance(some.take([1]).ids, SomeRows)
    assert list(map(str, some[:])) == [str(items[2]), str(items[0])] and (len(items), some.labels) == (3, None)
    items.ids, items.labels = ["x", "y", "z"], ["u", "", "v"]
    named = items.take([1, 2])
    assert (named.ids, type(named.ids), named.labels) == (["y", "z"], list, ["", "v"])


def test_items_that_mean_nothing_are_found() -> None:
    assert as_items(["a", " \n", "", "b"]).bad() == [1, 2]
    X = torch.ones(4, 2)
    X[1, 1], X[3, 0] = torch.nan, torch.inf
    assert as_items(X).bad() == as_items(X.numpy()).bad() == [1, 3]


def test_a_batch_of_large_items_is_small(monkeypatch) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH", 24)
    assert as_items(["a", "b"]).at_once() == 2
    assert [as_items(np.zeros((9, *shape))).at_once() for shape in ((2, 3), (5,), (24,), (25,))] == [4, 4, 1, 1]
    image = Image.fromarray(checkerboard(2, 2))
    assert as_items([image, image]).at_once() == 2
    assert as_items([image, image]).each(lambda image: image[:1]).at_once() == 6


def test_an_index_may_count_from_the_end_and_no_further() -> None:
    items = as_items(["a", "b", "c"])
    assert [items[i] for i in (-3, -1, 2)] == ["a", "c", "c"]
    for index in (-4, 3):
        with pytest.raises(IndexError):
            items[index]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", r"Items must be a list, got 'text' alone - give \[text\], or atlas.read_items\(path\) for a file"),
        ([], "The input has no items"),
        (torch.zeros(0, 3), "The input has no items"),
        (7, "Items must be a list of text, an array or images, got int"),
        (["a", 1], "Item 1 is int, not text"),
        (["a", None], "Item 1 is missing, not text"),
        (["a", "\ud800"], "Item 1 holds half a character"),
        ([[1.0], [1.0, 2.0]], "Items must be all text, all images, or arrays of one shape: .*inhomogeneous"),
        ([torch.zeros(1), torch.zeros(2)], "Items must be all text, all images, or arrays of one shape"),
        ([1, 2, 3], r"Items must be arrays with rows, got shape \(3,\) - add a dimension"),
        (np.zeros((2, 2), complex), "Items must hold real numbers, got complex128"),
        (torch.zeros(2, 2, dtype=torch.complex64), "Items must hold real numbers, got torch.complex64"),
        (torch.zeros(2, 0), r"Items must not be empty, got shape \(2, 0\)"),
    ],
)
def test_what_cannot_be_items_is_refused(given, message: str) -> None:
    with pytest.raises(AtlasError, match=f"^{message}"):
        as_items(given)


def test_an_image_is_rgb_from_0_to_1(tmp_path) -> None:
    image = decode(save(tmp_path / "a.png"))
    assert image.dtype == torch.float32
    assert_close(image, torch.from_numpy(checkerboard()).permute(2, 0, 1).float() / 255, rtol=0, atol=0)


def test_a_tensor_is_an_image_too() -> None:
    grey = torch.arange(6, dtype=torch.uint8).view(1, 2, 3)
    assert_close(decode(grey), (grey.float() / 255).expand(3, 2, 3))
    assert decode(grey.float()).max() == 5


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "HSV"])
def test_every_mode_of_8_bits_becomes_rgb(mode: str) -> None:
    assert decode(Image.fromarray(checkerboard()).convert(mode)).shape == (3, 4, 6)


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_colours_that_alpha_was_multiplied_into_become_rgb(mode: str) -> None:
    grey = Image.new(mode.replace("a", "A"), (6, 4), (128,) * (len(mode) - 1) + (255,))
    assert_close(decode(grey.convert(mode)), torch.full((3, 4, 6), 128 / 255))


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path) -> None:
    palette = Image.fromarray(checkerboard()).convert("P")
    palette.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert decode(tmp_path / "a.png").shape == (3, 4, 6)


def test_images_of_more_than_8_bits_are_refused(tmp_path) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(AtlasError, match=r"a.png: it has more than 8 bits a channel \(mode 'I;16'\) - convert it"):
        decode(tmp_path / "a.png")
    with pytest.raises(AtlasError, match=r"^The image has more than 8 bits a channel \(mode 'F'\)"):
        decode(Image.fromarray(np.zeros((2, 2), np.float32)))


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"GIF89a" + raw, lambda raw: b""])
def test_a_broken_image_is_named(tmp_path, damage) -> None:
    raw = save(tmp_path / "a.png", height=64, width=64).read_bytes()
    (tmp_path / "a.png").write_bytes(damage(raw))
    with pytest.raises(AtlasError, match=r"a.png: not an image that can be read: "):
        decode(tmp_path / "a.png")


def test_only_formats_that_run_nothing_are_tried(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(AtlasError, match="not an image that can be read: cannot identify image file"):
        decode(tmp_path / "a.png")


def test_images_given_in_python_are_items() -> None:
    items = as_items([Image.fromarray(checkerboard()), Image.fromarray(checkerboard())])
    assert (items.kind, items[:].shape, items[:0].shape) == ("images", (2, 3, 4, 6), (0,))


def test_images_of_different_sizes_are_named_even_if_they_come_in_different_batches(tmp_path) -> None:
    paths = [save(tmp_path / "a.png"), save(tmp_path / "b.png", height=8)]
    items = ImageItems(paths, ids=["a.png", "b.png"])
    message = r"Images must have one size: 'a.png' is 6 x 4, 'b.png' is 6 x 8 - resize them"
    with pytest.raises(AtlasError, match=message):
        items[:]
    items = ImageItems(paths, ids=["a.png", "b.png"])
    items[:1]
    with pytest.raises(AtlasError, match=message):
        items[1:]


def test_a_function_sees_each_image_before_they_are_stacked(tmp_path) -> None:
    items = ImageItems([save(tmp_path / "a.png"), save(tmp_path / "b.png", height=8)])
    halves = items.each(lambda image: image[:, :2, :2] / 2)
    assert halves[:].shape == (2, 3, 2, 2)
    assert_close(halves[0], decode(items.sources[0])[:, :2, :2] / 2)
    assert items[0].shape == (3, 4, 6)


def test_images_without_pillow_say_what_to_install(tmp_path, monkeypatch) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(AtlasError, match=r"Reading images needs Pillow - pip install 'latent-atlas\[images\]'"):
        decode(tmp_path / "a.png")


def test_bytes_are_parts_of_pixels_and_other_numbers_are_not() -> None:
    assert as_real(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]
    assert as_real(torch.tensor([0, 255])).tolist() == [0.0, 255.0]


def test_images_may_be_taken_for_arrays_and_some_arrays_for_images() -> None:
    images = as_items([Image.fromarray(checkerboard())])
    assert of_kind(images, "arrays") is images
    arrays = as_items(torch.full((2, 1, 4, 4), 255, dtype=torch.uint8))
    arrays.ids, arrays.name, arrays.labels = ["x", "y"], "given", ["u", "v"]
    taken: Items = of_kind(arrays, "images")
    assert (taken.kind, taken.ids, taken.name, taken.labels) == ("images", ["x", "y"], "given", ["u", "v"])
    assert_close(taken[:], torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("given", "takes", "message"),
    [
        (["a"], "arrays", "takes arrays, got text"),
        (torch.zeros(2, 3), "text", "takes text, got arrays"),
        (torch.zeros(2, 3), "images", r"takes images \(n, 3, height, width\), got arrays of shape \(2, 3\)"),
        (torch.zeros(2, 4, 4, 3), "images", r"takes images .* got arrays of shape \(2, 4, 4, 3\)"),
    ],
)
def test_items_of_another_kind_are_refused(given, takes: str, message: str) -> None:
    with pytest.raises(AtlasError, match=f"^{message}$"):
        of_kind(as_items(given), takes)
