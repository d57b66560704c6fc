"""Tables of items, and the columns they are found in."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from torch.testing import assert_close

from atlas.errors import AtlasError
from atlas.items.files import read_items


def written(path, text: str):
    path.write_bytes(text.encode())
    return path


def test_a_csv_file_names_its_columns(tmp_path) -> None:
    items = read_items(written(tmp_path / "a.csv", '\ufeffid,Text,label\nx,"one, two\nthree",b\n\ny,"say ""hi""",a\n'))
    assert (items.kind, items[:]) == ("text", ["one, two\nthree", 'say "hi"'])
    assert (list(items.ids), items.labels, items.classes) == (["x", "y"], ["b", "a"], ("a", "b"))


def test_a_tsv_file_is_split_at_tabs(tmp_path) -> None:
    items = read_items(written(tmp_path / "a.TSV", "question\tanswer\nwho, me?\tyes\n"))
    assert items[:] == ["who, me?"]
    assert (list(items.ids), items.labels) == (["0"], None)


def test_a_lone_quote_in_a_tsv_is_a_letter(tmp_path) -> None:
    text = 'id\ttext\n1\t"hello\n2\tworld\n3\tbye"\n4\t"all" of it\n'
    assert read_items(written(tmp_path / "a.tsv", text))[:] == ['"hello', "world", 'bye"', '"all" of it']


def test_quotes_that_pair_in_every_line_of_a_tsv_are_its_syntax(tmp_path) -> None:
    text = 'id\ttext\n1\t"say ""hi"""\n2\ta 5" disk\n3\t"' + "x" * 200_000 + '"\n'
    assert read_items(written(tmp_path / "a.tsv", text))[:] == ['say "hi"', 'a 5" disk', "x" * 200_000]


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("a.csv", "id;text", "its columns seem to be separated by ';' - separate them by ','"),
        ("a.csv", "id|text", "its columns seem to be separated by '\\|' - separate them by ','"),
        ("a.csv", "id\ttext", r"its columns seem to be separated by '\\t' - call the file .tsv"),
        ("a.tsv", "id,text", "its columns seem to be separated by ',' - call the file .csv"),
    ],
)
def test_another_separator_is_told_of(tmp_path, name: str, header: str, message: str) -> None:
    with pytest.raises(AtlasError, match=f"{name}: {message}$"):
        read_items(written(tmp_path / name, f"{header}\n1;x, y\n"))


def test_a_header_of_many_columns_is_read(tmp_path) -> None:
    # As many as a loop within a loop would need minutes for.
    names = [f"c{i}" for i in range(50_000)]
    with pytest.raises(AtlasError, match="two columns are called 'c0' - rename one"):
        read_items(written(tmp_path / "a.csv", ",".join([*names, "c0"]) + "\n"))
    with pytest.raises(AtlasError, match=r"there are 'c0', .*'c19', \.\.\. - say which"):
        read_items(written(tmp_path / "a.csv", ",".join(names) + "\n"))


def test_columns_of_other_names_are_found_when_they_are_said(tmp_path) -> None:
    path = written(tmp_path / "a.csv", "key,left,right,kind\nk1,a,b,u\nk2,c,d,v\n")
    items = read_items(path, text_column="right", label_column="kind", id_column="key")
    assert (items[:], items.labels, list(items.ids)) == (["b", "d"], ["u", "v"], ["k1", "k2"])


def test_an_empty_name_means_no_such_column(tmp_path) -> None:
    items = read_items(written(tmp_path / "a.csv", "id,text,label\nx,a,u\nx,b,\n"), label_column="", id_column="")
    assert (items.labels, list(items.ids)) == (None, ["0", "1"])
    assert read_items(tmp_path / "a.csv", text_column="", id_column="")[:] == ["a", "b"]


def test_a_class_may_be_unknown(tmp_path) -> None:
    items = read_items(written(tmp_path / "a.csv", "text,label\na,u\nb,\n"))
    assert (items.labels, items.classes) == (["u", ""], ("u",))


def test_a_document_may_be_long(tmp_path) -> None:
    before = csv.field_size_limit(1000)
    try:
        items = read_items(written(tmp_path / "a.csv", "text\n" + "x" * 300_000 + "\n"))
        assert len(items[0]) == 300_000
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "the file is empty"),
        ("text,label\n", {}, "the input has no items"),
        (
            "foo,bar\n1,2\n",
            {},
            r"no column is called 'text' or the like, there are 'foo', 'bar' - say which with --text-c",
        ),
        (
            "text,question\n1,2\n",
            {},
            r"the text may be in 'text' or 'question' - say which with --text-column \(text_c",
        ),
        ("text,label,class\n1,2,3\n", {}, r"the label may be in 'label' or 'class' - say which with --label-column"),
        ("text,id,uid\n1,2,3\n", {}, r"the id may be in 'id' or 'uid' - say which with --id-column"),
        ("text\na\n", {"text_column": "txet"}, "unknown column 'txet' - did you mean 'text'?"),
        ("text\na\n", {"label_column": "foo"}, "unknown column 'foo' - known: text"),
        ("text,text\na,b\n", {}, "two columns are called 'text' - rename one"),
        ("text,label\na,u\n\nb\n", {}, "line 4 does not fit the first row: that names 2 columns, this has 1"),
        (
            'text,label\n"a\nb",u\n"c\nd",e,f\n',
            {},
            "line 4 does not fit the first row: that names 2 columns, this has 3",
        ),
        ('text,label\na,"u', {}, "not a table in line 2: unexpected end of data"),
        (
            "text,id\na,x\nb,y\nc,x\nd,x\n",
            {},
            "the input has 2 duplicate ids, the first is 'x', in row 0 and row 2 - ids must be distinct",
        ),
        (
            "text,id\na,x\nb,\n",
            {},
            "'id' in line 3 is not an id, but empty - correct it, or number the rows: --id-column ''",
        ),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, text: str, columns, message: str) -> None:
    with pytest.raises(AtlasError, match=f"a.csv: {message}"):
        read_items(written(tmp_path / "a.csv", text), **columns)


def test_a_jsonl_file_holds_objects(tmp_path) -> None:
    lines = '{"id": 7, "text": "grün", "label": true}\n\n{"text": "b", "id": "x", "more": [1]}\r\n'
    items = read_items(written(tmp_path / "a.jsonl", lines))
    assert (items[:], list(items.ids), items.labels) == (["grün", "b"], ["7", "x"], ["True", ""])


def test_a_jsonl_file_may_hold_texts_alone(tmp_path) -> None:
    items = read_items(written(tmp_path / "a.jsonl", '"a"\n"b"\n'))
    assert (items[:], list(items.ids)) == (["a", "b"], ["0", "1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a"}\n{"text": \n', "not JSON in line 2: Expecting value"),
        ("[" * 100_000, "not JSON in line 1: .*recursion"),
        ("1" * 5000, "not JSON in line 1: Exceeds the limit"),
        ('"a"\n[1, 2]\n', "line 2 must be an object or a text, got list"),
        ('{"text": "a"}\n\n{"id": 1}\n', "'text' in line 3 is missing, not text"),
        ('{"text": 1}\n', "'text' in line 1 is int, not text"),
        ('{"text": "\\ud800"}\n', "'text' in line 1 holds half a character"),
        ('{"text": "a", "label": ["u"]}\n', "'label' in line 1 is not a class, but list - correct it, or read without"),
        ('{"text": "a", "id": 1.5}\n', "'id' in line 1 is not an id, but float"),
        ("\n", "the file is empty"),
        ('{"text": "a", "id": "\\ud800"}\n', "'id' in line 1 holds half a character"),
        ('{"text": "a", "label": "\\ud800"}\n', "'label' in line 1 holds half a character"),
    ],
)
def test_json_that_cannot_be_read_says_why(tmp_path, text: str, message: str) -> None:
    with pytest.raises(AtlasError, match=f"a.jsonl: {message}"):
        read_items(written(tmp_path / "a.jsonl", text))


def test_a_parquet_file_may_hold_texts(tmp_path) -> None:
    table = {"text": ["a", "b"], "embedding": [[1.0], [2.0]], "label": pa.array(["u", None]).dictionary_encode()}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    items = read_items(tmp_path / "a.parquet")
    assert (items.kind, items[:], items.labels) == ("text", ["a", "b"], ["u", ""])
    assert read_items(tmp_path / "a.parquet", text_column="embedding").kind == "arrays"


def test_a_class_that_is_not_a_number_is_unknown(tmp_path) -> None:
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [0.5, float("nan")]}), tmp_path / "a.parquet")
    assert read_items(tmp_path / "a.parquet").labels == ["0.5", ""]


@pytest.mark.parametrize("fixed", [False, True])
def test_a_parquet_file_may_hold_arrays(tmp_path, fixed: bool) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    kind = pa.list_(pa.list_(pa.uint8(), 3), 2) if fixed else pa.list_(pa.list_(pa.uint8()))
    parquet.write_table(
        pa.table({"image": pa.array(values.tolist(), kind), "id": list("wxyz")}), tmp_path / "a.parquet"
    )
    items = read_items(tmp_path / "a.parquet")
    assert torch.equal(items[:], torch.from_numpy(values))
    assert (items.kind, list(items.ids)) == ("arrays", ["w", "x", "y", "z"])


@pytest.mark.parametrize("kind", [pa.list_view, pa.large_list_view, lambda of: pa.list_(pa.list_view(of), 1)])
def test_views_of_lists_are_arrays_too(tmp_path, kind) -> None:
    nested = not isinstance(kind(pa.float32()), (pa.ListViewType, pa.LargeListViewType))
    values = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    column = pa.array([[row] for row in values] if nested else values, kind(pa.float32()))
    parquet.write_table(pa.table({"vector": column}), tmp_path / "a.parquet")
    expected = torch.tensor(values)
    assert_close(read_items(tmp_path / "a.parquet")[:], expected[:, None] if nested else expected)


def test_fixed_shape_tensors_are_arrays(tmp_path) -> None:
    values = np.arange(24.0).reshape(4, 2, 3)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    parquet.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    assert_close(read_items(tmp_path / "a.parquet")[1:], torch.from_numpy(values[1:]))


@pytest.mark.parametrize("values", [[[1.0], [1.0, 2.0]], [[1.0], [None]], [[[1], [2, 3]]], [None]])
def test_arrays_of_different_shapes_are_refused(tmp_path, values) -> None:
    depth = pa.list_(pa.list_(pa.int64())) if values[0] and isinstance(values[0][0], list) else pa.list_(pa.float64())
    parquet.write_table(pa.table({"x": pa.array(values, depth)}), tmp_path / "a.parquet")
    with pytest.raises(AtlasError, match=r"a.parquet: column 'x' must hold arrays of one shape, none missing"):
        read_items(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 2), pa.list_(pa.float32()), pa.list_(pa.int64())])
def test_a_missing_vector_is_a_row_of_nan(tmp_path, kind) -> None:
    parquet.write_table(pa.table({"x": pa.array([None, [1, 2], None, [3, 4]], kind)}), tmp_path / "a.parquet")
    found = torch.tensor([[torch.nan] * 2, [1, 2], [torch.nan] * 2, [3, 4]])
    if pa.types.is_fixed_size_list(kind) and int(pa.__version__.split(".")[0]) < 26:
        with pytest.raises(AtlasError, match=r"column 'x' cannot be read: .* - install pyarrow 26 or newer"):
            read_items(tmp_path / "a.parquet")
        return
    assert_close(read_items(tmp_path / "a.parquet")[:].float(), found, equal_nan=True)


def test_lists_of_text_are_not_arrays_of_numbers(tmp_path) -> None:
    parquet.write_table(pa.table({"x": [["a"], ["b"]]}), tmp_path / "a.parquet")
    with pytest.raises(AtlasError, match=r"a.parquet: items must hold real numbers, got object"):
        read_items(tmp_path / "a.parquet")


def test_a_truncated_parquet_file_is_refused(tmp_path) -> None:
    parquet.write_table(pa.table({"text": ["a"] * 100}), tmp_path / "a.parquet")
    raw = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(raw[:-10])
    with pytest.raises(AtlasError, match=r"a.parquet: truncated or not a .parquet file: "):
        read_items(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(raw[:4] + b"\xff" * 40 + raw[44:])
    with pytest.raises(AtlasError, match=r"a.parquet: column 'text' cannot be read: "):
        read_items(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch) -> None:
    written(tmp_path / "a.parquet", "")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(AtlasError, match=r"a .parquet file needs pyarrow - pip install 'latent-atlas\[parquet\]'"):
        read_items(tmp_path / "a.parquet")
