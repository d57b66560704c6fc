from __future__ import annotations

import copy
import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import safetensors.torch
import torch

from atlas.artefacts.anchors import Anchors
from atlas.artefacts.loading import load, read_bare, read_vectors
from atlas.artefacts.vectors import Vectors, encode_labels, paired, written
from atlas.cards.folder import CARD, MODEL
from atlas.cards.kinds import AnchorsCard
from atlas.cards.space import Space
from atlas.errors import AtlasError, CardError
from atlas.storage.item_ids import RowNumbers, hash_ids

SPACE = Space("toy", 3, "toy", {"seed": 0})


def rows(n: int = 4, d: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def labelled() -> Vectors:
    return Vectors.of(rows(), SPACE, ids=["b", "a", "é", "x y"], labels=["dog", "cat", "dog", "eel"], dataset="pets")


def test_arrays_of_any_kind_go_in():
    for data in (rows(), rows().numpy(), rows().double(), rows().half(), rows().to(torch.bfloat16), rows().tolist()):
        vectors = Vectors.of(data, SPACE)
        assert vectors.data.shape == (4, 3) and vectors.data.is_floating_point()


@pytest.mark.parametrize(("kind", "kept"), [("u1", torch.float32), ("i2", torch.float32), ("i8", torch.float64)])
def test_whole_numbers_keep_their_digits(kind, kept, tmp_path):
    X = (min(np.iinfo(kind).max // 2, 2**50) + np.arange(6).reshape(2, 3)).astype(kind)
    np.save(tmp_path / "x.npy", X)
    for data in (Vectors.of(X).data, read_bare(tmp_path / "x.npy").data):
        assert data.dtype == kept and len(data.unique()) == 6


def test_a_name_alone_is_a_space_of_which_only_the_dimension_is_known():
    vectors = Vectors.of(rows(), "My Space")
    assert vectors.space == Space("my-space", 3) and not vectors.space.known


def test_rows_without_ids_are_numbered():
    assert Vectors.of(rows()).ids == ["0", "1", "2", "3"]
    assert isinstance(Vectors.of(rows()).ids, RowNumbers)


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (torch.zeros(3), {}, r"Vectors must have two dimensions \(rows, features\), got shape \(3,\)"),
        (torch.zeros(0, 3), {}, r"Vectors must have at least one row and one column, got shape \(0, 3\)"),
        (torch.zeros(2, 4), {"space": SPACE}, r"Vectors of 'toy' must have 3 dimensions, got shape \(2, 4\)"),
        (torch.zeros(2, 3, dtype=torch.complex64), {}, "Vectors must hold real numbers, got torch.complex64"),
        (torch.zeros(2, 3, dtype=torch.bool), {}, "Vectors must hold real numbers, got torch.bool"),
        ([["a"]], {}, "Vectors must be a tensor or an array of numbers, got list"),
        (rows(2), {"ids": ["a"]}, "Vectors of 'unnamed' has 2 rows but 1 ids"),
        (rows(2), {"ids": ["a", "a"]}, "Vectors of 'unnamed' has 1 duplicate id, 'a'"),
        (rows(2), {"labels": ["a"]}, "Vectors of 'unnamed' have 2 rows but 1 labels"),
        (rows(2), {"labels": [0, 3], "classes": ["a"]}, "Labels must be from -1 to 0, got 0 to 3"),
        (rows(2), {"labels": [0, -2]}, "Labels must be -1 or more, got -2 to 0"),
        (rows(2), {"labels": ["a", "b"], "classes": ["a"]}, "Label 'b' is none of the classes 'a'"),
    ],
)
def test_bad_vectors_are_refused(data, fields, message):
    with pytest.raises(AtlasError, match=message):
        Vectors.of(data, **fields)


def test_labels_are_numbered_in_alphabetical_order():
    numbers, names = encode_labels(["b", "a", "b"], ())
    assert numbers is not None and numbers.tolist() == [1, 0, 1] and names == ("a", "b")


def test_an_empty_label_is_unknown():
    numbers, names = encode_labels(["b", "", "a"], ())
    assert numbers is not None and numbers.tolist() == [1, -1, 0] and names == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        (["x", None, "y", "x"], [0, -1, 1, 0], ("x", "y")),
        (np.array(["x", None, "y", np.nan], object), [0, -1, 1, -1], ("x", "y")),
        (np.array(["x", "", "y"]), [0, -1, 1], ("x", "y")),
        ([1.0, math.nan, 0.0], [1, -1, 0], ("0", "1")),
        (np.array([2.0, np.nan, 0.0], np.float32), [2, -1, 0], ("0", "1", "2")),
        (np.ma.masked_array([1, 1, 0], mask=[1, 0, 0]), [-1, 1, 0], ("0", "1")),
        (torch.tensor([1, -1, 0]), [1, -1, 0], ("0", "1")),
        ([None, None], [-1, -1], ()),
        ([10, 20, 30], [0, 1, 2], ("10", "20", "30")),
        ([3 * 10**7, -1, 1, 1], [1, -1, 0, 0], ("1", "30000000")),
        (torch.tensor([10**12, 7]), [1, 0], ("7", "1000000000000")),
    ],
)
def test_a_missing_label_is_unknown_and_a_number_its_own_name(labels, numbers, classes):
    found = Vectors.of(rows(len(numbers)), labels=labels)
    assert found.labels is not None and found.labels.tolist() == numbers and found.classes == classes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.0], r"^Labels must be texts or whole numbers, got 0.5 \(float\)$"),
        ([b"a", b"b"], r"^Labels must be texts or whole numbers, got b'a' \(bytes\)$"),
        (np.eye(2), r"^Labels must be one for each row, got shape \(2, 2\)$"),
        (torch.zeros(2, 1, dtype=torch.int64), r"^Labels must be one for each row, got shape \(2, 1\)$"),
        (["a", 1], "^Label 1 is none of the classes 'a'$"),
        ({"a", "b"}, "^Labels must be in the order of the rows, which a set has not - give a list$"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(labels, message):
    with pytest.raises(AtlasError, match=message):
        Vectors.of(rows(2), labels=labels)


@pytest.mark.parametrize(
    "ids", [torch.tensor([7, 8]), np.array([7, 8], np.uint16), list(np.array([7, 8])), list(torch.tensor([7, 8]))]
)
def test_whole_numbers_are_ids(ids):
    assert Vectors.of(rows(2), ids=ids).ids == ["7", "8"]


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (["a", None], r"None \(NoneType\)"),
        (["a", math.nan], r"nan \(float\)"),
        (torch.tensor([1.0, 2.0]), r"1.0 \(float\)"),
        ([b"a", b"b"], r"b'a' \(bytes\)"),
        (["a", ""], r"'' \(str\)"),
        ([True, False], r"True \(bool\)"),
        (torch.zeros(2, 2, dtype=torch.int64), r"\[0, 0\] \(list\)"),
    ],
)
def test_ids_that_are_neither_text_nor_numbers_are_refused(ids, shown):
    with pytest.raises(AtlasError, match=f"^Ids must be texts, whole numbers or UUIDs, and none empty, got {shown}$"):
        Vectors.of(rows(2), ids=ids)


def test_uuids_are_ids_in_python_in_tables_and_in_files(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow", "18"), pytest.importorskip("pyarrow.parquet")
    ids, vectors = [UUID(int=i) for i in (7, 2**100)], rows(2).tolist()
    column = pa.array([one.bytes for one in ids], pa.uuid())
    table = pa.table({"id": column, "vector": vectors})
    parquet.write_table(table, tmp_path / "x.parquet")
    for found in (Vectors.of(vectors, ids=ids), Vectors.of(table), read_vectors(tmp_path / "x.parquet")):
        assert list(found.ids) == [str(one) for one in ids]
    texts = pa.chunked_array([["a"], ["b"]])
    assert Vectors.of(vectors, ids=texts, labels=texts).label_names() == ["a", "b"]


def test_a_label_that_pandas_misses_is_unknown():
    labels = pytest.importorskip("pandas").array(["x", None, "y"], dtype="string")
    assert encode_labels(labels, ())[0].tolist() == [0, -1, 1]  # type: ignore[union-attr]


def test_ids_in_no_order_are_refused():
    with pytest.raises(AtlasError, match=r"^Ids must be in the order of the rows, which a frozenset has not - give a"):
        Vectors.of(rows(2), ids=frozenset("ab"))


def test_masked_vectors_are_refused():
    with pytest.raises(AtlasError, match=r"^Vectors has 4 values that are masked - remove those rows, or fill them$"):
        Vectors.of(np.ma.masked_array(np.eye(4), mask=np.eye(4) > 0))


def test_longdouble_and_views_of_lists_in_files_are_read(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.longdouble).reshape(2, 3))
    assert read_vectors(tmp_path / "a.npy").data.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    column = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_view(pa.float32()))
    parquet.write_table(pa.table({"id": ["a", "b"], "vector": column}), tmp_path / "a.parquet")
    found = read_vectors(tmp_path / "a.parquet")
    assert found.ids == ["a", "b"] and found.data.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.eye(3))
    parquet.write_table(pa.table({"vector": column}), tmp_path / "a.parquet")
    assert torch.equal(read_vectors(tmp_path / "a.parquet").data, torch.eye(3))


def test_take_keeps_ids_and_labels_with_their_rows():
    part = labelled().take(torch.tensor([2, 0]))
    assert part.ids == ["é", "b"] and torch.equal(part.data, rows()[[2, 0]])
    assert part.labels is not None and [part.classes[i] for i in part.labels] == ["dog", "dog"]


def test_items_are_picked_by_id_in_the_order_asked():
    assert labelled().of_items(["x y", "b"]).ids == ["x y", "b"]
    with pytest.raises(
        AtlasError, match="Vectors of 'toy' hold 1 of the 3 items of the anchors, the first missing is 'x' - encode the"
    ):
        labelled().of_items(["a", "x", "y"])


def test_pairs_are_made_by_id_not_by_position():
    source = Vectors.of(rows(4), "a", ids=list("abcd"))
    target = Vectors.of(rows(4, seed=1), "b", ids=list("dxba"))
    first, second = paired(source, target)
    assert first.ids == second.ids == ["a", "b", "d"]
    assert torch.equal(first.data, source.data[[0, 1, 3]]) and torch.equal(second.data, target.data[[3, 2, 0]])


def test_pairs_can_be_restricted_to_anchors():
    source, target = Vectors.of(rows(4), "a", ids=list("abcd")), Vectors.of(rows(4), "b", ids=list("dcba"))
    first, second = paired(source, target, ["d", "a"])
    assert first.ids == second.ids == ["d", "a"]
    with pytest.raises(
        AtlasError, match="Vectors of 'a' hold 1 of the 2 items of the anchors, the first missing is 'z'"
    ):
        paired(source, target, ["d", "z"])


@pytest.mark.parametrize("common", [0, 1])
def test_too_little_overlap_is_told_with_examples(common):
    source = Vectors.of(rows(3), "a", ids=["x0", "x1", "x2"])
    target = Vectors.of(rows(2), "b", ids=["x2" if common else "y2", "y1"])
    message = (
        rf"Only {common} of 3 and 2 items are in both, rows are paired by item id \('x0' in the source, '.2' in the"
    )
    with pytest.raises(AtlasError, match=message):
        paired(source, target)


@pytest.mark.parametrize(
    ("other", "shown"), [("e\u0301", r"'e\\u03010'"), ("\u00e9\u200b", r"'\\xe9\\u200b0'"), ("\u00e9 ", r"'\\xe9 0'")]
)
def test_ids_that_only_look_the_same_are_shown_by_their_characters(other, shown):
    source, target = (Vectors.of(rows(3), "a", ids=[f"{ids}{i}" for i in range(3)]) for ids in ("\u00e9", other))
    same = rf"{shown} looks the same: bring all ids into one form, as by unicodedata.normalize\('NFC', id\)"
    with pytest.raises(AtlasError, match=rf"\('\\xe90' in the source, {shown} in the target\) - {same}"):
        paired(source, target)
    with pytest.raises(AtlasError, match=rf"the first missing is '\\xe90' - {same}"):
        target.of_items(source.ids)


ENDINGS = ["", ".safetensors", ".npy", ".parquet"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_vectors_survive_every_kind_of_file(tmp_path, ending):
    vectors = labelled()
    vectors.save_pretrained(tmp_path / f"v{ending}")
    again = read_vectors(tmp_path / f"v{ending}")
    assert torch.equal(again.data, vectors.data)
    assert again.ids == (vectors.ids if ending != ".npy" else ["0", "1", "2", "3"])
    assert again.space == SPACE
    if ending != ".npy":
        assert again.labels is not None and vectors.labels is not None and torch.equal(again.labels, vectors.labels)
    if not ending:
        assert (again.classes, again.dataset) == (vectors.classes, "pets")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_dtype_is_kept_in_a_folder(tmp_path, dtype):
    Vectors.of(rows().to(dtype), SPACE).save_pretrained(tmp_path / "v")
    assert torch.equal(read_vectors(tmp_path / "v").data, rows().to(dtype))


@pytest.mark.parametrize("ending", ["", ".safetensors", ".npy"])
def test_the_same_vectors_make_the_same_bytes(tmp_path, ending):
    for name in ("x", "y"):
        labelled().save_pretrained(tmp_path / name / f"v{ending}")
    files = [sorted((tmp_path / name).rglob("*")) for name in ("x", "y")]
    contents = [[file.read_bytes() for file in found if file.is_file()] for found in files]
    assert contents[0] == contents[1] != []


@pytest.mark.parametrize("ending", ENDINGS)
def test_writing_that_fails_leaves_what_was_there(tmp_path, ending):
    path = tmp_path / f"v{ending}"
    labelled().save_pretrained(path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def batches() -> Iterator[torch.Tensor]:
        yield rows(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        written(path, labelled(), batches(), torch.float32, overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_written_that_is_given_too_few_rows_writes_nothing(tmp_path, ending):
    path = tmp_path / f"v{ending}"
    with pytest.raises(AtlasError, match="Expected 4 rows to write, got 3"):
        written(path, labelled(), [rows(3)], torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_cannot_be_stored_is_told_of_before_the_work(tmp_path):
    vectors = Vectors.of(rows(2), SPACE, labels=["a\x07", "b"])

    def batches() -> Iterator[torch.Tensor]:
        pytest.fail("work was begun")
        yield rows(2)

    with pytest.raises(AtlasError, match=r"The card of vectors 'v' cannot be stored: .* cannot be printed"):
        written(tmp_path / "v", vectors, batches(), torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_bare_safetensors_file_of_one_matrix_is_read(tmp_path):
    safetensors.torch.save_file({"embeddings": rows(), "epoch": torch.tensor(3)}, tmp_path / "x.safetensors")
    assert torch.equal(read_bare(tmp_path / "x.safetensors").data, rows())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": rows(), "b": rows()}, "must hold one matrix of floats, or one called 'vectors', has 'a', 'b'"),
        ({"a": torch.zeros(3)}, "must hold one matrix of floats, or one called 'vectors', has none"),
        ({"a": rows(), "ids": torch.arange(3)}, "has 4 rows but 3 ids"),
        ({"a": rows(), "ids": torch.tensor([1, 2, 2, 3])}, "has 1 duplicate id, '2'"),
        ({"a": rows(), "labels": torch.arange(3)}, r"'labels' must be 4 whole numbers, is I64 \[3\]"),
        ({"a": rows(), "labels": torch.rand(4)}, r"'labels' must be 4 whole numbers, is F32 \[4\]"),
        ({"a": rows(), "labels": torch.tensor([-2, 0, 0, 0])}, "'labels' must be from -1 to 999999, they are -2 to 0"),
        ({"a": rows(), "labels": torch.tensor([0, 0, 0, 2**40])}, "they are 0 to 1099511627776"),
        ({"a": torch.zeros(0, 3)}, r"has no vectors: its shape is \(0, 3\)"),
    ],
)
def test_a_bare_safetensors_file_of_something_else_is_refused(tmp_path, tensors, message):
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(AtlasError, match=message):
        read_bare(tmp_path / "x.safetensors")


def parquet(path: Path, **columns) -> Path:  # type: ignore[no-untyped-def]
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path)
    return path


def test_a_parquet_file_of_lists_is_read(tmp_path):
    path = parquet(tmp_path / "x.parquet", name=["a", "b"], vector=[[1.0, 2.0], [3.0, 4.0]])
    vectors = read_bare(path)
    assert vectors.data.tolist() == [[1, 2], [3, 4]] and vectors.ids == ["0", "1"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"]}, "there must be one column of vectors, there are 'id' - say which with --vector-column"),
        (
            {"x": [[1.0]], "y": [[1.0]]},
            "there must be one column of vectors, there are 'x', 'y' - say which with --vector-column",
        ),
        ({"x": [[1.0, 2.0], [1.0]]}, "column 'x' has a vector of length 1 in row 1, others have 2"),
        (
            {"x": [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0]]},
            "column 'x' has a vector of length 3 in row 2, others have 2",
        ),
        ({"x": [[1.0, 2.0], [3.0, None]]}, "column 'x' lacks a number in row 1 - remove the row, or fill it"),
        ({"x": [["a"], ["b"]]}, "column 'x' must hold vectors of numbers, has list<element: string>"),
        ({"x": [[1.0], [2.0]], "id": ["a", "a"]}, "has 1 duplicate id, 'a'"),
        ({"x": [[1.0], [2.0]], "id": ["a", ""]}, "'id' in row 1 is not an id, but empty - mend it, or number the rows"),
    ],
)
def test_a_parquet_file_of_something_else_is_refused(tmp_path, columns, message):
    with pytest.raises(AtlasError, match=message):
        found = read_bare(parquet(tmp_path / "x.parquet", **columns))
        assert len(found.data) == len(found.ids[:])


def test_damaged_and_missing_parquet_files_are_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(AtlasError, match=r"x\.parquet: truncated or not a \.parquet file"):
        read_bare(tmp_path / "x.parquet")
    with pytest.raises(AtlasError, match="There is no file"):
        read_bare(tmp_path / "y.parquet")


def test_a_folder_whose_tensors_are_not_those_of_the_card_is_refused(tmp_path):
    labelled().save_pretrained(tmp_path / "v")
    text = (tmp_path / "v" / CARD).read_text()
    (tmp_path / "v" / CARD).write_text(text.replace("\nn: 4", "\nn: 5"))
    with pytest.raises(CardError, match="must hold a matrix 'vectors' of 5 rows"):
        read_vectors(tmp_path / "v")
    (tmp_path / "v" / CARD).write_text(text.replace("classes: [cat, dog, eel]", "classes: [cat, dog]"))
    with pytest.raises(CardError, match="labels go up to 2, the card lists 2 classes"):
        read_vectors(tmp_path / "v")


def test_a_card_of_vectors_without_a_file_is_refused(tmp_path):
    labelled().save_pretrained(tmp_path / "v")
    text = (tmp_path / "v" / CARD).read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("sha256", "tensors", "  "))]
    (tmp_path / "v" / CARD).write_text("\n".join([*kept, "space: {id: toy, dim: 3}"]).replace("space:\n", ""))
    (tmp_path / "v" / MODEL).unlink()
    with pytest.raises(AtlasError, match="There is no file"):
        read_vectors(tmp_path / "v")


def test_anchors_keep_their_vectors_in_several_spaces(tmp_path):
    first = Vectors.of(rows(4), SPACE, ids=list("abcd"))
    second = Vectors.of(rows(5, 2, seed=1), Space("other", 2, "toy"), ids=list("edcba"))
    anchors = Anchors.of("few", ["d", "a"], first, second, sampler="uniform", seed=3)
    anchors_folder = tmp_path / "anchors"
    from atlas.artefacts.loading import save

    save(anchors, anchors_folder)
    again = load(anchors_folder, "anchors")
    assert again.fingerprint == anchors.fingerprint and again.ids == ["d", "a"] and again.seed == 3
    assert torch.equal(again.vectors("toy").data, rows(4)[[3, 0]])
    assert torch.equal(again.vectors("other").data, second.data[[1, 4]])


def test_anchors_of_the_same_items_in_another_order_are_others():
    assert Anchors.of("x", ["a", "b"]).fingerprint != Anchors.of("x", ["b", "a"]).fingerprint


def test_bad_anchors_are_refused():
    with pytest.raises(AtlasError, match="Anchors 'x' has 1 duplicate id, 'a'"):
        Anchors.of("x", ["a", "a"])
    with pytest.raises(AtlasError, match=r"Anchors 'x' in 'toy' must be \(1, 3\), got \(2, 3\)"):
        Anchors(AnchorsCard("x", n=1, items=hash_ids(["a"]), spaces=(SPACE,)), ["a"], {"toy": rows(2)})
    anchors = Anchors.of("x", ["0", "1"], Vectors.of(rows(2), SPACE))
    with pytest.raises(AtlasError, match="Anchors 'x' are encoded in 'toy' already - choose another id"):
        anchors.encoded_in(Vectors.of(rows(2), SPACE))
    with pytest.raises(
        AtlasError, match="Vectors of 'o' hold 1 of the 2 items of anchors 'x', the first missing is '1'"
    ):
        anchors.encoded_in(Vectors.of(rows(1), "o"))
    with pytest.raises(AtlasError, match="Vectors of 'o' has 1 value that is NaN or infinite, the first in row 1"):
        anchors.encoded_in(Vectors.of(torch.tensor([[0.0], [torch.nan]]), "o"))
    with pytest.raises(AtlasError, match="Anchors 'x' are not encoded in 'z' - known: toy"):
        anchors.vectors("z")


def test_nothing_is_read_from_a_mapped_file_until_it_is_used(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((100, 10), dtype=np.float32))
    vectors = read_vectors(tmp_path / "x.npy")
    with (tmp_path / "x.npy").open("r+b") as file:
        file.seek(128)
        file.write(np.ones(1, dtype=np.float32).tobytes())
    assert float(vectors.data[0, 0]) == 1


@pytest.mark.parametrize("ending", ["", ".npy", ".safetensors"])
def test_vectors_of_a_file_are_pickled_by_their_place(tmp_path, monkeypatch, ending):
    big = Vectors.of(torch.randn(5000, 8, generator=torch.Generator().manual_seed(0)), Space("wide", 8, "toy"))
    big.save_pretrained(tmp_path / f"v{ending}")
    monkeypatch.chdir(tmp_path)
    text = pickle.dumps(read_vectors(f"./v{ending}"))
    monkeypatch.chdir("/")
    again = pickle.loads(text)
    assert len(text) < 2000 and torch.equal(again.data, big.data)
    assert again.ids == big.ids and len(next(again.rows.batches(7))) == 7
    assert torch.equal(copy.deepcopy(again).data, big.data)
    big.save_pretrained(tmp_path / f"v{ending}", overwrite=True)
    for size in (None, 10):
        if size:
            os.truncate(next(path for path in tmp_path.rglob("*") if path.stat().st_size > 20_000), size)
        with pytest.raises(CardError, match=r"the file has changed since these vectors were pickled - read it again"):
            pickle.loads(text)


def test_vectors_in_memory_are_pickled_whole():
    vectors = labelled()
    again = pickle.loads(pickle.dumps(vectors))
    assert torch.equal(again.data, vectors.data) and torch.equal(again.labels, vectors.labels)
    assert (again.ids, again.card) == (vectors.ids, vectors.card)


def test_a_bare_safetensors_file_carries_its_space(tmp_path):
    vectors = labelled()
    vectors.save_pretrained(tmp_path / "x.safetensors")
    assert read_vectors(tmp_path / "x.safetensors").space == SPACE
    with safetensors.safe_open(tmp_path / "x.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", "latent_atlas.space": SPACE.to_json()}


def test_a_damaged_space_is_refused_by_the_name_of_its_file(tmp_path):
    metadata = {"latent_atlas.space": "{}"}
    safetensors.torch.save_file({"vectors": rows()}, tmp_path / "x.safetensors", metadata)
    with pytest.raises(CardError, match=r"x.safetensors: the space under .* is damaged: Field 'id' is missing"):
        read_vectors(tmp_path / "x.safetensors")


def test_a_space_of_another_dimension_than_the_vectors_is_refused(tmp_path):
    metadata = {"latent_atlas.space": Space("x", 5).to_json()}
    safetensors.torch.save_file({"vectors": rows()}, tmp_path / "x.safetensors", metadata)
    with pytest.raises(AtlasError, match=r"x.safetensors: vectors of 'x' must have 5 dimensions, got shape \(4, 3\)"):
        read_vectors(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full(4, 2**63, "u8"), "Labels must be below 2\\*\\*63, got 9223372036854775808"),
        (3, "Labels must be one for each row, got 3"),
    ],
)
def test_labels_that_are_none_are_refused_in_words(labels, words):
    with pytest.raises(AtlasError, match=words):
        Vectors.of(rows(4), "a", labels=labels)


@pytest.mark.parametrize("ending", ENDINGS)
def test_half_characters_are_refused_wherever_they_would_be_written(tmp_path, ending):
    if ending != ".npy":
        with pytest.raises(AtlasError, match="half a character"):
            Vectors.of(rows(2), "a", ids=["\ud800", "x"]).save_pretrained(tmp_path / f"ids{ending}")
    if not ending:
        with pytest.raises(AtlasError, match="surrogates not allowed"):
            Vectors.of(rows(2), "a", labels=["\ud800", "x"]).save_pretrained(tmp_path / "classes")
    assert list(tmp_path.iterdir()) == []
