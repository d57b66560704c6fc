"""Rows that lie in pieces: whatever is asked of them is what the whole matrix would give."""

from __future__ import annotations

import pickle

import pytest
import torch

from atlas.errors import AtlasError
from atlas.storage.parquet import ParquetFile, ParquetRows
from atlas.storage.rows import Noted, Parts, Rows, regrouped

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N, D = 50, 3


def matrix() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def in_memory(path):
    return Rows(matrix())


def in_parts(path):
    return Parts([Rows(part) for part in matrix().split([1, 20, 7, 22])])


def in_row_groups(path):
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix().reshape(-1).numpy()), D)
    parquet.write_table(pa.table({"vector": column}), path / "x.parquet", row_group_size=9)
    return ParquetRows(ParquetFile(path / "x.parquet"), ["vector"])


def in_both(path):
    rows = in_row_groups(path)
    return Parts([Rows(rows.tensor[:0]), rows]).pick(torch.arange(N))


def picked(path):
    return in_row_groups(path).pick(torch.arange(N).flip(0)).pick(torch.arange(N).flip(0))


@pytest.fixture(params=[in_memory, in_parts, in_row_groups, in_both, picked])
def rows(request, tmp_path):
    return request.param(tmp_path)


INDEXES = {
    "rising": torch.tensor([0, 3, 3, 19, 20, 21, 49]),
    "falling": torch.arange(N).flip(0),
    "shuffled": torch.randperm(N, generator=torch.Generator().manual_seed(1)),
    "none": torch.tensor([], dtype=torch.int64),
    "one": torch.tensor([30]),
}


def test_all_of_it_is_there(rows):
    assert (len(rows), rows.dim, rows.dtype) == (N, D, torch.float32)
    assert torch.equal(rows.tensor, matrix())


@pytest.mark.parametrize("size", [1, 7, 9, 50, 1000, None])
def test_batches_have_the_size_that_was_asked_for(rows, size):
    found = list(rows.batches(size))
    assert [len(batch) for batch in found] == [len(batch) for batch in matrix().split(size or N)]
    assert torch.equal(torch.cat(found), matrix())


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("size", [4, 100])
def test_rows_of_an_index_come_in_its_order(rows, name, size):
    index = INDEXES[name]
    assert torch.equal(torch.cat([matrix()[:0], *rows.batches(size, index)]), matrix()[index])
    assert torch.equal(rows.take(index), matrix()[index])
    assert torch.equal(rows.pick(index).tensor, matrix()[index])
    assert torch.equal(torch.cat([matrix()[:0], *rows.pick(index).batches(size)]), matrix()[index])


def test_a_slice_is_taken(rows):
    assert torch.equal(rows.take(slice(18, 33)), matrix()[18:33])


def test_they_are_pickled_by_where_they_lie(rows):
    _ = rows.tensor
    again = pickle.loads(pickle.dumps(rows))
    assert torch.equal(again.tensor, matrix())


def test_parts_of_several_precisions_have_the_widest():
    rows = Parts([Rows(matrix().half()), Rows(matrix().double())])
    assert rows.dtype == rows.tensor.dtype == next(rows.batches(1)).dtype == torch.float64


def test_parts_of_several_dimensions_are_refused_by_name():
    parts = [Rows(matrix()), Rows(matrix()[:, :2])]
    parts[0].file, parts[1].file = "a.npy", "b.npy"
    with pytest.raises(AtlasError, match=r"'b.npy' has 2 dimensions, and 'a.npy', of the same set, 3 - leave one"):
        Parts(parts)


def test_a_row_is_told_of_by_its_part_and_its_number_there(tmp_path):
    rows = in_parts(tmp_path)
    for part, name in zip(rows.parts, "abcd", strict=True):
        part.file = name
    assert [rows.place(row) for row in (0, 1, 20, 21, 49)] == [
        "row 0 of 'a'",
        "row 0 of 'b'",
        "row 19 of 'b'",
        "row 0 of 'c'",
        "row 21 of 'd'",
    ]
    assert rows.pick(torch.tensor([21])).place(0) == "row 0 of 'c'"


def test_chunks_that_fit_are_not_copied():
    chunk = matrix()
    assert next(regrouped([chunk], N)).data_ptr() == chunk.data_ptr()


def test_a_sample_is_of_rows_that_are_there(rows):
    for n in (1, 5, 20, 1000):
        some = rows.some(n)
        assert 0 < len(some) <= n
        assert all((matrix() == row).all(1).any() for row in some)


def test_rows_are_noted_while_all_are_read(rows):
    index = torch.tensor([0, 8, 9, 30, 49])
    noted = Noted(rows, index)
    early = noted.noted
    assert torch.equal(torch.cat(list(noted.batches(7))), matrix())
    assert torch.equal(noted.noted, matrix()[index]) and torch.equal(early, matrix()[index])
    assert torch.equal(torch.cat(list(noted.batches(7, index))), matrix()[index])
    assert torch.equal(noted.some(3), rows.some(3))


def test_batches_do_not_share_memory_with_each_other(rows):
    kept = list(rows.batches(9))
    assert torch.equal(torch.cat(kept), matrix())
