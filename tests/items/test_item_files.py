"""Items from folders of images, texts and arrays."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close

from atlas.errors import AtlasError, AtlasWarning, CardError, NotFoundError
from atlas.items.files import read_items
from atlas.storage.item_ids import pack_ids


def picture(path: Path, value: int = 0, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 0)).save(path)


def test_a_folder_of_images_is_read_in_order_of_path(tmp_path) -> None:
    for value, name in enumerate(["b/2.png", "b/10.JPG", "a/c.png", "a/b/x.png"]):
        picture(tmp_path / "animals" / name, value * 50)
    items = read_items(tmp_path / "animals")
    assert (items.kind, items.name) == ("images", "animals")
    assert list(items.ids) == ["a/b/x.png", "a/c.png", "b/10.JPG", "b/2.png"]
    assert items.labels == ["a", "a", "b", "b"]
    assert items.classes == ("a", "b")
    assert_close(items[:][:, 0, 0, 0] * 255, torch.tensor([150.0, 100.0, 50.0, 0.0]), atol=1, rtol=0)


def test_images_at_the_top_have_no_classes(tmp_path) -> None:
    picture(tmp_path / "x.png")
    picture(tmp_path / "a" / "y.png")
    assert read_items(tmp_path).labels is None


def test_hidden_files_and_other_files_are_left_out(tmp_path) -> None:
    for name in ("x.png", ".y.png", ".hidden/z.png"):
        picture(tmp_path / name)
    for name in ("notes.txt", "b.heic"):
        (tmp_path / name).write_text("not an image")
    os.mkfifo(tmp_path / "a.png")
    with pytest.warns(
        AtlasWarning, match=r": 3 files are left out, the first is 'a.png' - known endings: .apng, .avif"
    ):
        assert list(read_items(tmp_path).ids) == ["x.png"]
    (tmp_path / "a.png").unlink()
    (tmp_path / "notes.txt").unlink()
    with pytest.warns(AtlasWarning, match=r": 1 file is left out: 'b.heic' - known endings"):
        assert list(read_items(tmp_path).ids) == ["x.png"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path) -> None:
    picture(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set")
    assert list(read_items(tmp_path / "set").ids) == ["b/x.png"]


def test_folders_that_link_to_one_another_are_read_once_each_by_its_own_path(tmp_path) -> None:
    for folder, other in itertools.permutations("abc", 2):
        picture(tmp_path / folder / "x.png")
        (tmp_path / folder / f"to-{other}").symlink_to(tmp_path / other)
    (tmp_path / "a" / "again.png").symlink_to(tmp_path / "b" / "x.png")
    (tmp_path / "c" / "self").symlink_to(tmp_path / "c" / "self")
    with pytest.warns(AtlasWarning, match="1 file is left out: 'c/self'"):
        items = read_items(tmp_path)
    assert (list(items.ids), items.labels) == (["a/x.png", "b/x.png", "c/x.png"], ["a", "b", "c"])


def test_a_folder_behind_two_links_is_read_by_the_first(tmp_path) -> None:
    picture(tmp_path / "elsewhere" / "deep" / "x.png")
    (tmp_path / "set").mkdir()
    for name in ("q", "p"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere")
    assert list(read_items(tmp_path / "set").ids) == ["p/deep/x.png"]


def test_links_to_one_file_elsewhere_are_items_each(tmp_path) -> None:
    # In the Hub's cache every file is a link, and equal files link to the same.
    picture(tmp_path / "blobs" / "one.png")
    (tmp_path / "blobs" / "one.png").rename(tmp_path / "blobs" / "one")
    (tmp_path / "set").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "blobs" / "one")
    items = read_items(tmp_path / "set")
    assert list(items.ids) == ["a.png", "b.png"] and items[:].shape == (2, 3, 4, 4)


def test_a_folder_of_other_things_is_not_read_to_its_end(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("atlas.items.files.MOST_OTHERS", 10)
    picture(tmp_path / "x.png")
    for i in range(11):
        (tmp_path / f"{i}.txt").touch()
    with pytest.raises(AtlasError, match=r"over 10 files that are no images - give the images' own folder"):
        read_items(tmp_path)
    for i in range(12):
        picture(tmp_path / f"{i}.png")
    with pytest.warns(AtlasWarning, match="11 files are left out"):
        assert len(read_items(tmp_path)) == 13


@pytest.mark.parametrize("ending", [".jfif", ".avif", ".jp2", ".qoi", ".webp", ".bmp", ".tiff"])
def test_images_of_many_formats_are_read(tmp_path, ending: str) -> None:
    form = {".jfif": "JPEG", ".jp2": "JPEG2000"}.get(ending, ending[1:].upper())
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / f"a{ending}", format=form)
    red = read_items(tmp_path)[0].mean((1, 2))
    assert_close(red, torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=0.02)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path) -> None:
    Image.new("1", (8200, 8200)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 20_000
    with pytest.raises(AtlasError, match=r"a.png: 8200 x 8200 pixels are more than the 33554432 that are read - make"):
        read_items(tmp_path)[:]


@pytest.mark.parametrize("name", ["x", "x.npy", "x.csv", "x.txt", "x.png"])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"zero-{name}"):
        with pytest.raises(AtlasError, match=f"^'{path}' is a device or a pipe - give a file or a folder$"):
            read_items(path)


def test_images_are_decoded_when_they_are_asked_for(tmp_path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    items = read_items(tmp_path)
    assert items[:1].shape == (1, 3, 4, 4)
    with pytest.raises(AtlasError, match=r"b.png: not an image that can be read: cannot identify"):
        items[1:]


def test_one_image_is_a_data_set_of_one(tmp_path) -> None:
    picture(tmp_path / "My Cat.PNG")
    items = read_items(tmp_path / "My Cat.PNG")
    assert (list(items.ids), items.name, len(items[:])) == (["My Cat.PNG"], "my-cat", 1)


def test_a_folder_without_images_says_what_endings_are_known(tmp_path) -> None:
    with pytest.raises(AtlasError, match=r": there are no images in the folder - known endings: .apng, .*\.webp$"):
        read_items(tmp_path)


def test_splits_are_not_taken_for_classes(tmp_path) -> None:
    picture(tmp_path / "train" / "cat" / "x.png")
    picture(tmp_path / "Test" / "cat" / "x.png")
    message = r": the folder holds splits \(Test, train\), not classes - read one of them"
    with pytest.raises(AtlasError, match=message):
        read_items(tmp_path)
    assert read_items(tmp_path / "train").labels == ["cat"]


def test_a_file_name_that_is_not_utf_8_is_refused(tmp_path) -> None:
    picture(tmp_path / "x.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "x") + b"\xff.png")).write_bytes((tmp_path / "x.png").read_bytes())
    except OSError:
        pytest.skip("this file system does not allow such a name")
    with pytest.raises(AtlasError, match=r"the file name 'x\\udcff.png' is not UTF-8 - rename it"):
        read_items(tmp_path)


@pytest.mark.parametrize(
    ("path", "name"), [("mnist/train", "mnist-train"), ("My Data.txt", "my-data"), ("a/test.txt", "a-test")]
)
def test_the_name_of_a_data_set_is_that_of_its_path(tmp_path, monkeypatch, path: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    if path.endswith(".txt"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("a")
    else:
        picture(Path(path) / "a" / "x.png")
    assert read_items(path).name == name


def test_the_current_folder_has_a_name_too(tmp_path, monkeypatch) -> None:
    (tmp_path / "pets").mkdir()
    picture(tmp_path / "pets" / "x.png")
    monkeypatch.chdir(tmp_path / "pets")
    assert read_items(".").name == "pets"


def test_lines_keep_the_number_they_have_in_the_file(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufefffirst\r\n\r\n  third\u2028line \n \nfifth".encode())
    items = read_items(tmp_path / "a.txt")
    assert items[:] == ["first", "  third\u2028line ", "fifth"]
    assert list(items.ids) == ["0", "2", "4"]
    assert (items.kind, items.labels) == ("text", None)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_text_without_a_line_is_refused(tmp_path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(AtlasError, match=r"a.txt: the input has no items$"):
        read_items(tmp_path / "a.txt")


def test_lines_may_end_in_cr_alone(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\rtwo\r\rthree\r")
    items = read_items(tmp_path / "a.txt")
    assert (items[:], list(items.ids)) == (["one", "two", "three"], ["0", "1", "3"])


def test_utf_16_without_its_mark_is_told_of(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16-le"))
    with pytest.raises(AtlasError, match=r"a.txt: a zero byte in line 1, as UTF-16 has many - save the file as UTF-8$"):
        read_items(tmp_path / "a.txt")


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes("eins\nzwei\ngrün\n".encode("latin1"))
    with pytest.raises(AtlasError, match=r"a.txt: not UTF-8 text in line 3 - save the file as UTF-8"):
        read_items(tmp_path / "a.txt")


def test_a_path_that_is_not_there_is_not_found(tmp_path) -> None:
    with pytest.raises(NotFoundError, match=r"^There is no file or folder '.*gone.txt'$"):
        read_items(tmp_path / "gone.txt")


@pytest.mark.parametrize("name", ["a.pkl", "a"])
def test_an_unknown_ending_lists_the_known(tmp_path, name: str) -> None:
    (tmp_path / name).write_text("a")
    with pytest.raises(AtlasError, match=r"unknown ending '(\.pkl|)' - known: .*\.csv.*\.npy.*, or a folder of images"):
        read_items(tmp_path / name)


def test_columns_are_refused_where_there_are_none(tmp_path) -> None:
    picture(tmp_path / "x.png")
    with pytest.raises(AtlasError, match=r": there are no columns here, but 'label' was asked for"):
        read_items(tmp_path, label_column="label")


@pytest.mark.parametrize("fortran", [False, True])
def test_an_array_file_is_read_as_it_is_used(tmp_path, fortran: bool) -> None:
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    np.save(tmp_path / "a.npy", np.asfortranarray(values) if fortran else values)
    items = read_items(tmp_path / "a.npy")
    assert isinstance(items.data, np.memmap)
    assert_close(items[1:4], torch.from_numpy(values[1:4]))
    assert (items.kind, list(items.ids), items.name) == ("arrays", ["0", "1", "2", "3", "4"], "a")


def test_an_array_of_objects_is_refused_without_a_word_about_pickle(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(AtlasError, match=r"a.npy: truncated or not a .npy file of numbers: (?!.*pickle)"):
        read_items(tmp_path / "a.npy")


@pytest.mark.parametrize("keep", [0, 5, 40, 200])
def test_a_truncated_array_file_is_refused(tmp_path, keep: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 8)))
    raw = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(raw[:keep])
    with pytest.raises(AtlasError, match=r"a.npy: truncated or not a .npy file of numbers: "):
        read_items(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3)), "the input has no items"),
        (np.zeros(3), r"items must be arrays with rows, got shape \(3,\)"),
        (np.array([["a"]]), "items must hold real numbers, got <U1"),
    ],
)
def test_an_array_that_cannot_be_items_is_refused(tmp_path, array, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(AtlasError, match=f"a.npy: {message}"):
        read_items(tmp_path / "a.npy")


def test_a_safetensors_file_may_hold_ids_and_labels_beside_its_arrays(tmp_path) -> None:
    images = torch.rand(3, 1, 4, 4)
    save_file(
        {"images": images, **pack_ids(["x", "y", "z"]), "labels": torch.tensor([2, 0, 2])}, tmp_path / "a.safetensors"
    )
    items = read_items(tmp_path / "a.safetensors")
    assert_close(items[:2], images[:2], rtol=0, atol=0)
    assert (list(items.ids), items.labels, items.classes) == (["x", "y", "z"], ["2", "0", "2"], ("0", "2"))


def test_a_label_of_minus_one_in_a_safetensors_file_is_unknown(tmp_path) -> None:
    save_file({"a": torch.ones(3, 2), "labels": torch.tensor([0, -1, 1])}, tmp_path / "a.safetensors")
    items = read_items(tmp_path / "a.safetensors")
    assert (items.labels, items.classes) == (["0", "", "1"], ("0", "1"))
    save_file({"a": torch.ones(3, 2), "labels": torch.tensor([0.0, 1.0, 1.5])}, tmp_path / "a.safetensors")
    with pytest.raises(AtlasError, match=r"a.safetensors: 'labels' must be whole numbers, is F32$"):
        read_items(tmp_path / "a.safetensors")


def test_a_safetensors_file_of_several_arrays_needs_a_name(tmp_path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(2, 3)}, tmp_path / "a.safetensors")
    with pytest.raises(
        AtlasError, match=r"a.safetensors: there must be one tensor of arrays, there are a, b - say which"
    ):
        read_items(tmp_path / "a.safetensors")
    assert read_items(tmp_path / "a.safetensors", text_column="b")[:].sum() == 6
    with pytest.raises(AtlasError, match=r"a.safetensors: unknown column 'c' - known: a, b"):
        read_items(tmp_path / "a.safetensors", text_column="c")


def test_a_truncated_safetensors_file_is_refused(tmp_path) -> None:
    save_file({"a": torch.zeros(8, 8)}, tmp_path / "a.safetensors")
    raw = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(raw[:-1])
    with pytest.raises(CardError, match=r"^[^:]*a.safetensors: (?!.*a.safetensors).*truncated or damaged"):
        read_items(tmp_path / "a.safetensors")


def test_a_safetensors_file_without_rows_is_refused(tmp_path) -> None:
    save_file({"a": torch.zeros(0, 8)}, tmp_path / "a.safetensors")
    with pytest.raises(AtlasError, match=r"a.safetensors: the input has no items"):
        read_items(tmp_path / "a.safetensors")
