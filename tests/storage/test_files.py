from __future__ import annotations

import hashlib
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from atlas.cards.kinds import TensorInfo
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.storage.files import as_path, check_target, sha256_file, whole_file, whole_folder, write_all, write_list
from atlas.storage.header import TensorFile
from atlas.storage.rows import Rows, map_npy
from atlas.storage.tensors import load_tensors, save_tensors
from atlas.storage.writers import Matrix

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "double": torch.tensor([[0.1]], dtype=torch.float64),
    "half": torch.tensor([0.5, 1.5], dtype=torch.float16),
    "brain": torch.tensor([0.5], dtype=torch.bfloat16),
    "ids": torch.tensor([2**60, 1]),
    "flags": torch.tensor([True, False, True]),
    "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
    "none": torch.zeros(0, 4),
    "scalar": torch.tensor(3.0),
}


def test_tensors_survive_and_other_readers_agree(tmp_path):
    save_tensors(tmp_path / "t.safetensors", TENSORS)
    for again in (load_tensors(tmp_path / "t.safetensors"), safetensors.torch.load_file(tmp_path / "t.safetensors")):
        assert again.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert again[name].dtype == tensor.dtype
            assert torch.equal(again[name], tensor)


def test_a_file_of_safetensors_is_read(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "t.safetensors", metadata={"a": "b"})
    again = load_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in TENSORS.items())


def test_the_same_tensors_in_any_order_and_layout_make_the_same_bytes(tmp_path):
    save_tensors(tmp_path / "a", TENSORS)
    turned = {name: t.T.contiguous().T if t.ndim == 2 else t for name, t in reversed(TENSORS.items())}
    save_tensors(tmp_path / "b", turned)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_header_holds_nothing_that_could_vary(tmp_path):
    save_tensors(tmp_path / "t", {"a": torch.zeros(1)})
    raw = (tmp_path / "t").read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    assert header["__metadata__"] == {"format": "pt"}


def header(content: bytes | dict, data: bytes = b"") -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict:
    return {"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"truncated or not a safetensors file \(0 bytes\)"),
        (b"1234567", "truncated or not a safetensors file"),
        (struct.pack("<Q", 2**62) + b"{}", "truncated or not a safetensors file"),
        (struct.pack("<Q", 10) + b"{}", "truncated or not a safetensors file"),
        (header(b"nope"), "its header is not JSON"),
        (header(b"\xff\xff"), "its header is not JSON"),
        (header(b"[" * 100_000), "its header is not JSON"),
        (header(b"[]"), "its header is not a mapping"),
        (header({"t": 3}), "its header is malformed"),
        (header({"t": {}}), "its header is malformed"),
        (header(entry(offsets=(0, "4")), b"1234"), "its header is malformed|which cannot be right"),
        (header(entry(offsets=(0,)), b"1234"), "its header is malformed"),
        (header(entry(shape=3), b"1234"), "its header is malformed"),
        (header(entry(dtype="F33"), b"1234"), "tensor 't' has dtype 'F33', which Atlas does not read"),
        (header(entry(dtype=["F32"]), b"1234"), "its header is malformed"),
        (header(entry(shape=(-1,)), b"1234"), r"tensor 't' has the impossible shape \[-1\]"),
        (header(entry(shape=(2**50,)), b"1234"), "the impossible shape"),
        (header(entry(shape=(1.0,)), b"1234"), "the impossible shape"),
        (header(entry(shape=(1,) * 20), b"1234"), "the impossible shape"),
        (header(entry(offsets=(0, 8)), b"12345678"), "tensor 't' lies at bytes 0 to 8 of 8, which cannot be right"),
        (header(entry(offsets=(4, 8)), b"12345678"), "which cannot be right"),
        (header(entry(), b"12"), "tensor 't' lies at bytes 0 to 4 of 2, which cannot be right - truncated or damaged"),
        (header(entry(), b"123456"), "has 6 bytes of tensors, its header says 4 - truncated or damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, raw, message):
    path = tmp_path / "t.safetensors"
    path.write_bytes(raw)
    with pytest.raises(CardError, match=rf"t\.safetensors: .*({message})"):
        load_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"There is no file '.*/none'"):
        _ = TensorFile(tmp_path / "none").infos
    with pytest.raises(AtlasError, match="cannot be read: Is a directory"):
        _ = TensorFile(tmp_path).infos
    with pytest.raises(AtlasError, match=r"'.*/none' cannot be read: No such file"):
        sha256_file(tmp_path / "none")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_npy_is_mapped_as_numpy_reads_it(tmp_path, dtype):
    X = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    np.save(tmp_path / "x.npy", X.numpy())
    assert torch.equal(map_npy(tmp_path / "x.npy").tensor, X)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(6, dtype=">f4").reshape(2, 3),
    ],
)
def test_other_layouts_of_npy_are_converted(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    found = map_npy(tmp_path / "x.npy").tensor
    assert found.is_floating_point() and found.is_contiguous()
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"must hold a matrix \(rows, features\), has shape \(3,\)"),
        (np.zeros((2, 2, 2)), r"has shape \(2, 2, 2\)"),
        (np.float32(1), r"has shape \(\)"),
        (np.zeros((2, 2), dtype=complex), "must hold real numbers, has dtype complex128"),
        (np.zeros((2, 2), dtype=bool), "must hold real numbers, has dtype bool"),
        (np.array([["a", "b"]]), "must hold real numbers, has dtype <U1"),
        (np.zeros((2, 2), dtype="M8[s]"), "must hold real numbers"),
    ],
)
def test_npy_of_something_else_is_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(CardError, match=rf"x\.npy: .*{message}"):
        map_npy(tmp_path / "x.npy")


def test_npy_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(CardError, match=r"x\.npy: truncated or not a \.npy file of numbers"):
        map_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("cut", [0, 3, 20, 100, 150])
def test_truncated_npy_is_refused(tmp_path, cut):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((5, 5), dtype=np.float32))
    (tmp_path / "x.npy").write_bytes(buffer.getvalue()[:cut])
    with pytest.raises(CardError, match=r"x\.npy: truncated or not a \.npy file of numbers"):
        map_npy(tmp_path / "x.npy")


def test_missing_npy_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="There is no file"):
        map_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_rows_are_mapped_at_any_offset_and_never_written_back(tmp_path, offset):
    X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    (tmp_path / "x").write_bytes(b"!" * offset + X.numpy().tobytes())
    before = (tmp_path / "x").read_bytes()
    rows = Rows.map(tmp_path / "x", offset, TensorInfo("F32", (5, 3)))
    assert torch.equal(rows.tensor, X)
    rows.tensor.zero_()
    assert (tmp_path / "x").read_bytes() == before


@pytest.mark.parametrize("mapped", [True, False])
def test_batches_are_the_rows_in_order(tmp_path, mapped):
    X = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", X.numpy())
    rows = map_npy(tmp_path / "x.npy") if mapped else Rows(X)
    # Twice: pages that were released come back from the file.
    for _ in range(2):
        batches = [batch.clone() for batch in rows.batches(300)]
        assert [len(batch) for batch in batches] == [300, 300, 300, 100]
        assert torch.equal(torch.cat(batches), X)
    index = torch.tensor([999, 0, 5])
    assert torch.equal(torch.cat([b.clone() for b in rows.batches(2, index)]), X[index])


def test_a_matrix_writes_what_save_would(tmp_path):
    X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    others = {"labels": torch.arange(10), "ids.text": torch.arange(5, dtype=torch.uint8)}
    matrix, digest = Matrix(torch.float32, (10, 3), others), hashlib.sha256()
    matrix.write(tmp_path / "x", X.split(4), digest)
    assert digest.hexdigest() == sha256_file(tmp_path / "x")
    assert torch.equal(matrix.rows(tmp_path / "x").tensor, X)
    again = safetensors.torch.load_file(tmp_path / "x")
    assert torch.equal(again["vectors"], X) and torch.equal(again["labels"], others["labels"])
    assert torch.equal(again["ids.text"], others["ids.text"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_matrix_writes_npy(tmp_path, dtype):
    X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    matrix = Matrix(dtype, (10, 3), None)
    matrix.write(tmp_path / "x.npy", [X])
    assert torch.equal(matrix.rows(tmp_path / "x.npy").tensor, X)
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "x.npy")), X)


def test_npy_cannot_hold_bfloat16():
    with pytest.raises(AtlasError, match=r"A \.npy file cannot hold torch.bfloat16 - write \.safetensors instead"):
        Matrix(torch.bfloat16, (1, 1), None)


@pytest.mark.parametrize("given", [3, 5])
def test_a_matrix_misses_and_refuses_rows(tmp_path, given):
    with pytest.raises(AtlasError, match=f"Expected 4 rows to write, got {given}"):
        Matrix(torch.float32, (4, 2), {}).write(tmp_path / "x", [torch.zeros(given, 2)])


class Dribble(io.RawIOBase):
    """A file that takes three bytes at a time."""

    def __init__(self) -> None:
        self.got = b""

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        self.got += bytes(data[:3])
        return min(3, len(data))


def test_write_all_writes_all():
    file = Dribble()
    write_all(file, b"0123456789")
    assert file.got == b"0123456789"


def nothing_else(folder: Path, *names: str) -> bool:
    """Whether a folder holds these names alone: no temporary file is left."""
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_file_appears_whole(tmp_path):
    with whole_file(tmp_path / "new" / "x") as temporary:
        temporary.write_text("data")
        assert not (tmp_path / "new" / "x").exists()
    assert (tmp_path / "new" / "x").read_text() == "data" and nothing_else(tmp_path / "new", "x")


def test_files_and_folders_lie_where_they_were_asked_for_if_the_working_folder_changes(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with whole_file(Path("a")) as file, whole_folder(Path("b")) as folder:
        monkeypatch.chdir("other")
        file.write_text("new")
        (folder / "c").touch()
    assert (tmp_path / "a").read_text() == "new" and (tmp_path / "b" / "c").is_file()
    assert not any((tmp_path / "other").iterdir())


def test_a_file_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(ValueError, match="broken"), whole_file(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise ValueError("broken")
    assert (tmp_path / "x").read_text() == "old" and nothing_else(tmp_path, "x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("half")
        raise KeyboardInterrupt
    assert nothing_else(tmp_path)
    with whole_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("data")
    assert (tmp_path / "x" / "a").read_text() == "data" and nothing_else(tmp_path, "x")


def test_a_folder_that_is_replaced_keeps_files_of_other_names(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_text("old")
    (tmp_path / "x" / "notes").write_text("mine")
    with whole_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "x" / "a").read_text() == "new" and (tmp_path / "x" / "notes").read_text() == "mine"
    assert nothing_else(tmp_path, "x")


def test_a_folder_that_is_replaced_keeps_no_tensors_its_new_card_does_not_list(tmp_path):
    (tmp_path / "x").mkdir()
    for name in ("model.safetensors", "config.yaml"):
        (tmp_path / "x" / name).write_text("old")
    with whole_folder(tmp_path / "x") as temporary:
        (temporary / "config.yaml").write_text("new")
    assert nothing_else(tmp_path / "x", "config.yaml")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(AtlasError, match=r"'.*file/x' cannot be written: (Not a directory|File exists)"),
        whole_file(tmp_path / "file" / "x"),
    ):
        pass
    with (
        pytest.raises(AtlasError, match=r"'.*file/x' cannot be written: Not a directory"),
        whole_folder(tmp_path / "file" / "x"),
    ):
        pass


def test_a_full_disk_is_told_with_advice(tmp_path):
    message = r"'.*/x' cannot be written: No space left on device - free some space and try again"
    with pytest.raises(AtlasError, match=message), whole_file(tmp_path / "x"):
        Path("/dev/full").write_text("more")


def test_an_existing_target_is_refused_unless_asked(tmp_path):
    (tmp_path / "x.npy").write_text("")
    with pytest.raises(AtlasError, match=r"'.*x\.npy' exists - choose another name, or pass --overwrite"):
        check_target(tmp_path / "x.npy", overwrite=False, files=[".npy"])
    assert check_target(tmp_path / "x.npy", overwrite=True, files=[".npy"]) == tmp_path / "x.npy"


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    for overwrite in (True, False):
        with pytest.raises(AtlasError, match=r"'.*photos' is a folder of something else - choose another name"):
            check_target(tmp_path / "photos", overwrite)


def test_an_empty_folder_is_no_obstacle(tmp_path):
    assert check_target(tmp_path, overwrite=False) == tmp_path


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(AtlasError, match=r"'.*x' is a file, not the folder of an artefact - choose another name"):
        check_target(tmp_path / "x", overwrite=True)
    (tmp_path / "y.npy").mkdir()
    with pytest.raises(AtlasError, match=r"'.*y\.npy' is a folder, not a file - choose another name"):
        check_target(tmp_path / "y.npy", overwrite=True, files=[".npy"])


def test_what_cannot_be_a_path_is_refused_in_words(tmp_path):
    for text, reason in (("a" * 300, "File name too long"), ("a\0b", "(lstat: )?embedded null")):
        with pytest.raises(AtlasError, match=f"cannot be a path here: {reason}"):
            as_path(text)
    assert as_path(tmp_path / "none" / "deeper") == tmp_path / "none" / "deeper"


@pytest.mark.parametrize(
    "damage", ["PK\x03\x04", "\x93NUMPY\x01\0\x04\0{'(\n", "\x93NUMPY\x01\0\x12\0{'descr': '<f4'}  \n"]
)
def test_npy_with_a_damaged_header_is_refused_whatever_numpy_raises(tmp_path, damage):
    (tmp_path / "x.npy").write_bytes(damage.encode("latin-1"))
    with pytest.raises(CardError, match=r"x.npy: truncated or not a .npy file of numbers: "):
        map_npy(tmp_path / "x.npy")


def test_a_list_of_ids_is_read_as_it_was_written(tmp_path):
    ids = ["a", "b c", "Ä", "line\nbreak", "\r", "a\u2028b", '"', '"quoted"', "\ud800", "a\tb", "日本", "\x00", "'"]
    write_list(tmp_path / "ids.txt", ids)
    text = (tmp_path / "ids.txt").read_text(encoding="utf-8")
    assert text.startswith("a\nb c\nÄ\n")
    assert [json.loads(line) if line.startswith('"') else line for line in text.splitlines()] == ids
