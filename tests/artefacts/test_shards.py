"""Sets of shards: read as one, written shard by shard, taken up again where a run was stopped."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from processtools import Forked

import atlas
from atlas.artefacts.sources import shard_writing, shards
from atlas.artefacts.sources.shard_writing import STAMPS
from atlas.artefacts.sources.shards import shard_files
from atlas.cards.space import Space
from atlas.errors import AtlasError, SpaceMismatchError
from atlas.storage import parquet as storage
from atlas.storage import rows

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N, D, SHARDS = 40, 4, 12
FULL = Path("/dev/full")


def data(seed: int = 0) -> torch.Tensor:
    return torch.randn(N * SHARDS, D, generator=torch.Generator().manual_seed(seed))


def turned() -> torch.Tensor:
    return data() @ torch.linalg.qr(data(1)[:D])[0]


def ids() -> list[str]:
    return [f"item-{i}" for i in range(N * SHARDS)]


def table(X: torch.Tensor, names: list[str], **columns) -> pa.Table:
    flat = pa.array(X.reshape(-1).numpy())
    return pa.table({"id": names, "vector": pa.FixedSizeListArray.from_arrays(flat, X.shape[1]), **columns})


def write(folder: Path, X: torch.Tensor, names: list[str] | None = None, ending: str = ".parquet") -> Path:
    """Write a set of shards."""
    folder.mkdir()
    names = names or ids()
    for k in range(SHARDS):
        rows = slice(N * k, N * (k + 1))
        path = folder / f"part-{k}{ending}"
        if ending == ".parquet":
            few = [f"text {i}" for i in range(N)]
            found = table(X[rows], names[rows], text=few, label=["cat", None] * (N // 2))
            parquet.write_table(found, path, row_group_size=15)
        elif ending == ".npy":
            np.save(path, X[rows].numpy())
        else:
            atlas.Vectors.of(X[rows], ids=names[rows], labels=[k] * N).save_pretrained(path)
    return folder


@pytest.fixture
def mapped(tmp_path):
    """A set of shards, a map of its space, and where they lie."""
    source = write(tmp_path / "in", data())
    space = Space("target", D, "toy")
    target = atlas.Vectors.of(turned(), space, ids=ids())
    return tmp_path, source, atlas.fit("procrustes", source=source, target=target)


def test_a_folder_a_pattern_and_a_list_are_one_set(tmp_path):
    folder = write(tmp_path / "in", data())
    listed = [folder / f"part-{k}.parquet" for k in range(SHARDS)]
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-0.parquet.crc").write_text("")
    for ref in (folder, str(folder), f"{tmp_path}/*/part-*.parquet", listed, [str(path) for path in listed]):
        found = atlas.read_vectors(ref)
        assert torch.equal(found.data, data())
        assert found.ids == ids() and found.ids[N * 10] == f"item-{N * 10}" and found.ids[3:5] == ["item-3", "item-4"]
        assert found.classes == ("cat",) and found.labels is not None and found.labels[:3].tolist() == [0, -1, 0]
        assert found.space == Space("in", D) or ref is not folder
    assert atlas.read_vectors(listed[::-1]).ids[0] == f"item-{N * (SHARDS - 1)}"


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_shards_may_be_files_of_any_kind(tmp_path, ending):
    found = atlas.read_vectors(write(tmp_path / "in", data(), ending=ending))
    assert torch.equal(found.data, data())
    assert found.numbered if ending == ".npy" else found.ids == ids()
    if ending == ".safetensors":
        assert found.classes == tuple(map(str, range(SHARDS)))
        assert found.labels is not None and found.labels.tolist() == [k for k in range(SHARDS) for _ in range(N)]


COLUMNS = {
    "list": lambda kind: pa.list_(kind),
    "large list": lambda kind: pa.large_list(kind),
    "list of one length": lambda kind: pa.list_(kind, 3),
    "views of a list": lambda kind: pa.list_view(kind),
    "large views of a list": lambda kind: pa.large_list_view(kind),
}


@pytest.mark.parametrize("number", ["float16", "float32", "float64", "int8", "uint16", "int64"])
@pytest.mark.parametrize("column", COLUMNS)
def test_every_kind_of_column_of_vectors_is_read_as_it_is(tmp_path, column, number):
    kind = COLUMNS[column](pa.from_numpy_dtype(number))
    rows = np.arange(30).reshape(10, 3)
    values = pa.array(list(rows.astype(number)), kind)
    parquet.write_table(pa.table({"embedding": values}), tmp_path / "a.parquet", row_group_size=4)
    found = atlas.read_vectors(tmp_path / "a.parquet")
    wider = {"int8": "float32", "uint16": "float32", "int64": "float64"}
    assert str(found.data.dtype) == f"torch.{wider.get(number, number)}"
    assert np.array_equal(found.data.numpy(), rows)


def test_a_column_of_tensors_is_read_and_one_of_pictures_is_not(tmp_path):
    for shape in [(6,), (2, 3)]:
        values = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((5, *shape)))
        parquet.write_table(pa.table({"vector": values}), tmp_path / "a.parquet")
        if len(shape) == 1:
            assert atlas.read_vectors(tmp_path / "a.parquet").data.shape == (5, 6)
    with pytest.raises(AtlasError, match="column 'vector' must hold vectors of numbers, has extension"):
        atlas.read_vectors(tmp_path / "a.parquet")


def test_columns_are_named_where_they_are_called_otherwise(tmp_path):
    X = [[1.0, 2.0], [3.0, 4.0]]
    columns = {"pk": ["x", "y"], "a": X, "b": X, "kind": [7, 8]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    names = {"vector_column": "b", "id_column": "pk", "label_column": "kind"}
    found = shards.read_bare(tmp_path / "a.parquet", **names)
    assert found.ids == ["x", "y"] and found.classes == ("7", "8")
    with pytest.raises(AtlasError, match="unknown column 'c' - known: a, b"):
        shards.read_bare(tmp_path / "a.parquet", vector_column="c")


def test_empty_shards_are_left_out_and_sets_of_nothing_refused(tmp_path):
    folder = write(tmp_path / "in", data())
    parquet.write_table(table(data()[:0], []), folder / "part-99.parquet")
    assert torch.equal(atlas.read_vectors(folder).data, data())
    (tmp_path / "none").mkdir()
    (folder / "part-99.parquet").rename(tmp_path / "none" / "a.parquet")
    with pytest.raises(AtlasError, match=r"None of the 1 files of '.*none' has vectors"):
        atlas.read_vectors(tmp_path / "none")
    with pytest.raises(AtlasError, match=r"x-\*' names no \.npy, \.safetensors or \.parquet files"):
        atlas.read_vectors(f"{tmp_path}/x-*")


def spoilt(folder: Path, k: int, **columns) -> None:
    """Write one shard anew with other columns."""
    path = folder / f"part-{k}.parquet"
    found = parquet.read_table(path)
    for name, values in columns.items():
        found = (
            found.drop_columns(name)
            if values is None
            else found.set_column(found.column_names.index(name), name, values)
        )
    parquet.write_table(found, path)


def vectors(rows) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float32()))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"vector": vectors([[1.0] * 3] * N)},
            r"part-7.parquet' has 3 dimensions, and '.*part-0.parquet', of the same",
        ),
        (
            {"vector": vectors([[1.0] * 4] * 9 + [None] * 31)},
            r"124 values .* the first in row 9 of '.*part-7.parquet' \('item-289'\)",
        ),
        (
            {"vector": vectors([[1.0] * 4] * 5 + [[1.0] * 5] * 35)},
            r"part-7.parquet: .* of length 5 in row 5, others have 4",
        ),
        ({"vector": vectors([[1.0] * 4] * 5 + [[np.nan] * 4] * 35)}, r"140 values .* the first in row 5 of '.*part-7"),
        ({"vector": None}, r"part-7.parquet: there must be one column of vectors, there are 'id', 'text', 'label'"),
        ({"id": None}, r"part-7.parquet' has no ids, and '.*part-0.parquet', of the same set, has - give ids to all"),
        ({"id": pa.array([None] * N, pa.string())}, r"part-7.parquet: 'id' in row 0 is not an id, but empty"),
        (
            {"id": pa.array(["item-3"] * N)},
            r"has 40 duplicate ids, the first is 'item-3', in row 3 of '.*part-0.parquet' and row 0 of '.*part-7.parq",
        ),
    ],
)
def test_what_is_wrong_is_told_of_by_shard_and_row(tmp_path, columns, message):
    folder = write(tmp_path / "in", data())
    spoilt(folder, 7, **columns)
    shuffled = atlas.Vectors.of(turned().flip(0), ids=ids()[::-1])
    with pytest.raises(AtlasError, match=message):
        atlas.fit("procrustes", source=folder, target=shuffled)


@pytest.mark.parametrize("ending", [".safetensors", ".parquet"])
def test_an_id_that_two_shards_have_is_found_among_the_rows_that_are_picked(tmp_path, ending):
    names = ids()
    names[N * 7 + 2] = names[N + 5]
    found = atlas.read_vectors(write(tmp_path / "in", data(), names, ending))
    words = rf"has 1 duplicate id, 'item-45', in row 5 of '.*part-1{ending}' and row 2 of '.*part-7{ending}' - ids must"
    for some in (found, pickle.loads(pickle.dumps(found)), found.take(torch.arange(3, len(found)))):
        with pytest.raises(AtlasError, match=words):
            some.ids[0]


def test_a_set_is_of_one_kind_and_one_space(tmp_path):
    folder = write(tmp_path / "in", data(), ending=".safetensors")
    other = Space("other", D, "toy")
    atlas.Vectors.of(data(), other, ids=ids()).save_pretrained(folder / "part-3.safetensors", overwrite=True)
    with pytest.raises(SpaceMismatchError, match=r"part-0.safetensors' is of space 'unnamed', and '.*part-3.safet"):
        atlas.read_vectors([folder / "part-3.safetensors", folder / "part-0.safetensors"][::-1])
    np.save(folder / "a.npy", data().numpy())
    with pytest.raises(
        AtlasError, match=r"holds \.npy and \.safetensors files - name those of one set, as in '\*\.npy'"
    ):
        atlas.read_vectors(folder)


@pytest.mark.parametrize("order", ["same", "reversed", "shuffled", "fewer"])
def test_a_fit_on_shards_is_the_fit_on_the_same_pairs_in_memory(tmp_path, order):
    index = {
        "same": torch.arange(len(data())),
        "reversed": torch.arange(len(data())).flip(0),
        "shuffled": torch.randperm(len(data()), generator=torch.Generator().manual_seed(2)),
        "fewer": torch.arange(len(data())),
    }[order]
    noisy = turned() + 0.1 * data(3)
    names = [ids()[i] for i in index.tolist()]
    if order == "fewer":
        names[::3] = [f"other-{i}" for i in range(len(names[::3]))]
    source, target = write(tmp_path / "x", data()), write(tmp_path / "y", noisy[index], names)
    kept = torch.tensor([i for i, name in enumerate(ids()) if name in set(names)])
    fitted = atlas.fit("linear", source=source, target=target)
    same = [atlas.Vectors.of(X[kept], ids=[ids()[i] for i in kept.tolist()]) for X in (data(), noisy)]
    expected = atlas.fit("linear", source=same[0], target=same[1])
    assert fitted.n_pairs == len(kept)
    assert fitted.card.fitted_on == expected.card.fitted_on != ""
    torch.testing.assert_close(fitted.tensors(), expected.tensors(), rtol=1e-5, atol=1e-6)


def test_figures_of_shards_are_those_of_the_rows_in_memory(mapped, monkeypatch):
    folder, source, alignment = mapped
    noisy = turned() + 0.3 * data(3)
    target = write(folder / "noisy", noisy.flip(0), ids()[::-1])
    wanted = ["cosine", "r2", "mse", "cka", "recall@5"]
    whole = (atlas.Vectors.of(data(), "in", ids=ids()), atlas.Vectors.of(noisy, "noisy", ids=ids()))
    expected = atlas.evaluate(alignment, source=whole[0], target=whole[1], metrics=wanted)
    alike = atlas.compare(*whole, metrics=["cka", "mutual-knn"])
    # Batches of 256 rows, the least there are.
    monkeypatch.setattr(rows, "BATCH_BYTES", 1)
    for one, other in zip(
        atlas.evaluate(alignment, source=source, target=target, metrics=wanted), expected, strict=True
    ):
        assert one.n == other.n == len(data())
        assert (one.value, one.native, one.floor) == pytest.approx((other.value, other.native, other.floor), rel=1e-6)
    for one, other in zip(atlas.compare(source, target, metrics=["cka", "mutual-knn"]), alike, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-5)


def test_a_pickle_of_a_map_leaves_out_the_moments_of_its_fit(mapped):
    _, _, alignment = mapped
    alignment.aligner.partial_fit(data(), turned())
    again = pickle.loads(pickle.dumps(alignment))
    assert torch.equal(again(data()), alignment(data()))
    assert again.aligner.moments is None and alignment.aligner.moments is not None


def test_compare_says_which_shard_holds_no_number(tmp_path):
    broken = data()
    broken[N * 7 + 3, 1] = torch.nan
    one, other = write(tmp_path / "a", data()), write(tmp_path / "b", broken)
    with pytest.raises(AtlasError, match=r"Vectors of 'b' has 1 value .* row 3 of '.*part-7.parquet' \('item-283'\)"):
        atlas.compare(one, other)


def test_few_rows_tell_whether_shards_lie_in_the_domain_of_a_fit(mapped):
    _, source, _ = mapped
    known = atlas.fit("linear", source=source, target=source)
    inside, outside = atlas.read_vectors(source), atlas.Vectors.of(100 * data())
    assert known.domain is not None
    known.check_domain(inside.rows)
    assert "tensor" not in vars(inside.rows)
    with pytest.warns(atlas.AtlasWarning, match="of the vectors lie outside the domain"):
        known.check_domain(outside.rows)


def test_a_set_is_taken_apart_by_items(tmp_path):
    found = atlas.read_vectors(write(tmp_path / "in", data()))
    part = found.of_items(["item-300", "item-7"])
    assert part.ids == ["item-300", "item-7"] and torch.equal(part.data, data()[[300, 7]])
    assert part.labels is not None and part.labels.tolist() == [0, -1]
    assert len(atlas.sample("uniform", tmp_path / "in", 5)) == 5


def test_shards_are_written_one_by_one_with_all_their_columns(mapped):
    folder, source, alignment = mapped
    made = atlas.apply(alignment, source, out=folder / "out")
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(
        [STAMPS, *(p.name for p in source.iterdir())]
    )
    before, after = (parquet.read_table(where / "part-3.parquet") for where in (source, folder / "out"))
    assert after.column_names == before.column_names
    assert after.drop_columns("vector").equals(before.drop_columns("vector"))
    torch.testing.assert_close(made.data, turned(), rtol=0, atol=1e-5)
    assert made.ids == ids() and made.space == alignment.target
    with pytest.raises(SpaceMismatchError, match=r"the vectors are of its target 'target' already|maps from 'in', but"):
        atlas.apply(alignment, folder / "out", out=folder / "twice")
    back = atlas.apply(alignment, folder / "out", out=folder / "back", inverse=True)
    torch.testing.assert_close(back.data, data(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_shards_of_any_kind_are_written_as_they_came(mapped, ending):
    folder, _, alignment = mapped
    source = write(folder / "other", data(), ending=ending)
    made = atlas.apply(alignment, source, out=folder / "out")
    torch.testing.assert_close(made.data, turned(), rtol=0, atol=1e-5)
    assert all((folder / "out" / path.name).is_file() for path in source.iterdir())
    assert made.numbered if ending == ".npy" else (made.ids == ids() and made.space == alignment.target)


def test_half_precision_stays_half(tmp_path):
    source = write(tmp_path / "in", data().half())
    alignment = atlas.fit("procrustes", source=source, target=atlas.Vectors.of(turned(), ids=ids()))
    made = atlas.apply(alignment, source, out=tmp_path / "out")
    assert made.rows.dtype == torch.float16
    torch.testing.assert_close(made.data.float(), turned(), rtol=0, atol=1e-2)


def test_files_named_one_after_another_are_a_set(mapped):
    folder, source, alignment = mapped
    paths = [source / f"part-{k}.parquet" for k in range(SHARDS)]
    made = atlas.apply(alignment, *paths, out=folder / "out")
    torch.testing.assert_close(made.data, turned(), rtol=0, atol=1e-5)


def test_a_set_is_written_to_one_file_where_that_is_asked_for(mapped):
    folder, source, alignment = mapped
    for name in ("one.parquet", "one.safetensors"):
        atlas.apply(alignment, source, out=folder / name)
        made = atlas.read_vectors(folder / name)
        torch.testing.assert_close(made.data, turned(), rtol=0, atol=1e-5)
        assert made.ids == ids() and made.space == alignment.target
    assert parquet.read_schema(folder / "one.parquet").names == ["id", "vector", "text", "label"]


def states(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_a_second_run_leaves_what_is_finished(mapped):
    folder, source, alignment = mapped
    shown = []

    def told(batches, total, what):
        shown.append(total)
        return batches

    atlas.apply(alignment, source, out=folder / "out", progress=told)
    first = states(folder / "out")
    atlas.apply(alignment, source, out=folder / "out", progress=told)
    atlas.apply(alignment.with_card(description="Better described."), source, out=folder / "out", overwrite=True)
    assert states(folder / "out") == first
    assert shown == [SHARDS, 0]


def test_a_second_run_says_what_was_finished(mapped, atlas_command):
    folder, source, alignment = mapped
    alignment.save_pretrained(folder / "map")
    line = ["apply", str(folder / "map"), str(source), "--out", str(folder / "out")]
    first, second = (atlas_command(*line).stderr for _ in range(2))
    assert "finished by an earlier run" not in first and "Wrote" in first
    assert f"Note: {SHARDS} of {SHARDS} shards were finished by an earlier run, and stay\n" in second
    assert "Wrote" not in second


def test_a_shard_that_changed_is_done_again_and_no_other(mapped):
    folder, source, alignment = mapped
    atlas.apply(alignment, source, out=folder / "out")
    first = states(folder / "out")
    spoilt(source, 5, vector=vectors((2 * data()[5 * N : 6 * N]).tolist()))
    made = atlas.apply(alignment, source, out=folder / "out")
    second = states(folder / "out")
    assert [name for name in first if first[name] != second[name]] == ["part-5.parquet"]
    torch.testing.assert_close(made.data[5 * N : 6 * N], 2 * turned()[5 * N : 6 * N], rtol=0, atol=1e-4)


def test_a_run_that_fails_is_taken_up_where_it_stopped(mapped):
    folder, source, alignment = mapped
    atlas.apply(alignment, source, out=folder / "whole")
    good = (source / "part-5.parquet").read_bytes()
    spoilt(source, 5, vector=vectors([[1.0] * D] * 9 + [[np.inf] * D] * 31))
    with pytest.raises(
        AtlasError, match=r"part-5.parquet' has 124 values that are NaN or infinite, the first in row 9"
    ):
        atlas.apply(alignment, source, out=folder / "out")
    first = states(folder / "out")
    assert sorted(first) == [f"part-{k}.parquet" for k in range(5)]
    (source / "part-5.parquet").write_bytes(good)
    atlas.apply(alignment, source, out=folder / "out")
    assert first.items() <= states(folder / "out").items()
    assert contents(folder / "out") == contents(folder / "whole")


@pytest.mark.parametrize("stamp", ["", "[]", '"', '{"key": 3}', "[" * 5000])
def test_a_damaged_stamp_is_no_stamp(mapped, stamp):
    folder, source, alignment = mapped
    atlas.apply(alignment, source, out=folder / "out")
    (folder / "out" / STAMPS / "part-2.parquet.json").write_text(stamp)
    with pytest.raises(
        AtlasError, match=r"part-2.parquet' exists and is no result of this map or encoder - choose another folder"
    ):
        atlas.apply(alignment, source, out=folder / "out")
    whole = contents(folder / "out")
    atlas.apply(alignment, source, out=folder / "out", overwrite=True)
    assert contents(folder / "out") == whole


def test_what_another_map_or_another_hand_has_written_stays(mapped):
    folder, source, alignment = mapped
    atlas.apply(alignment, source, out=folder / "out")
    whole = contents(folder / "out")
    other = atlas.fit("linear", source=source, target=atlas.Vectors.of(2 * turned(), ids=ids()))
    with pytest.raises(AtlasError, match=r"part-0.parquet' exists and is no result of this map or encoder"):
        atlas.apply(other, source, out=folder / "out")
    os.utime(folder / "out" / "part-4.parquet", ns=(1, 1))
    with pytest.raises(AtlasError, match=r"part-4.parquet' exists and is no result of this map or encoder"):
        atlas.apply(alignment, source, out=folder / "out")
    assert contents(folder / "out") == whole
    made = atlas.apply(other, source, out=folder / "out", overwrite=True)
    torch.testing.assert_close(made.data, 2 * turned(), rtol=0, atol=1e-4)


def test_shards_go_nowhere_else(mapped):
    folder, source, alignment = mapped
    with pytest.raises(AtlasError, match=r"part-0.parquet' is read, and would be written to|folder of something else"):
        atlas.apply(alignment, source, out=source, overwrite=True)
    (source / STAMPS).mkdir()
    with pytest.raises(AtlasError, match=r"part-0.parquet' is read, and would be written to - choose another folder"):
        atlas.apply(alignment, source, out=source, overwrite=True)
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(AtlasError, match="mine' is a folder of something else - choose another name"):
        atlas.apply(alignment, source, out=folder / "mine", overwrite=True)
    atlas.apply(alignment, source, out=folder / "out")
    (folder / "out" / "part-99.parquet").write_bytes(b"")
    with pytest.raises(AtlasError, match=r"out' holds 'part-99.parquet', which is none of these shards"):
        atlas.apply(alignment, source, out=folder / "out", overwrite=True)
    with pytest.raises(AtlasError, match="out' is a folder of something else"):
        atlas.apply(alignment, atlas.read_vectors(source / "part-0.parquet"), out=folder / "out", overwrite=True)
    (folder / "more").mkdir()
    (source / "part-0.parquet").rename(folder / "more" / "part-1.parquet")
    with pytest.raises(AtlasError, match=r"Two of the shards are called 'part-1.parquet', and each is written under"):
        atlas.apply(alignment, f"{folder}/[im]*/part-1.parquet", out=folder / "third")


def test_two_runs_do_not_write_to_one_place(mapped):
    folder, source, alignment = mapped
    with (
        shard_writing._alone(folder / "out"),
        pytest.raises(AtlasError, match="out' is being written by another run - wait"),
    ):
        atlas.apply(alignment, source, out=folder / "out")
    atlas.apply(alignment, source, out=folder / "out")


@pytest.mark.skipif(not FULL.exists(), reason="there is no disk that is always full")
def test_a_full_disk_leaves_nothing_half_written(mapped, monkeypatch):
    folder, source, alignment = mapped
    write_parquet = storage.write_parquet

    def to_a_full_disk(path, *args):
        if "part-3" in path.name:
            path.symlink_to(FULL)
        write_parquet(path, *args)

    monkeypatch.setattr(storage, "write_parquet", to_a_full_disk)
    with pytest.raises(AtlasError, match=r"part-3.parquet' cannot be written: No space left on device - free some"):
        atlas.apply(alignment, source, out=folder / "out")
    assert len(contents(folder / "out")) == 3
    monkeypatch.undo()
    atlas.apply(alignment, source, out=folder / "out")
    assert len(contents(folder / "out")) == SHARDS


CORPUS = Path(__file__).parents[1] / "data" / "corpus" / "parquet"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fewer-ids", "column 'id' cannot be read: 10 rows too few"),
        ("id-not-utf8", "column 'id' cannot be read: In column 0: Invalid: Invalid UTF8 sequence at string index 8"),
        ("name-not-utf8", "truncated or not a .parquet file: 'utf-8' codec can't decode byte"),
        ("no-rows", "column 'vector' cannot be read: 10 rows too few"),
    ],
)
def test_damaged_tables_are_refused_in_words(name, message):
    with pytest.raises(AtlasError, match=message):
        list(atlas.read_vectors(CORPUS / f"{name}.parquet").ids)


def test_a_footer_at_which_pyarrow_would_end_the_process_is_refused():
    # In a process of its own: asked for what this footer says of its columns, pyarrow calls std::terminate.
    file = str(CORPUS / "impossible-histogram.parquet")
    running = Forked(f"import atlas\ntry: atlas.read_vectors({file!r})\nexcept atlas.AtlasError as error: print(error)")
    stdout, stderr = running.communicate()
    assert (running.returncode, stderr) == (0, "")
    assert "column 'vector' cannot be read: Definition level histogram size mismatch" in stdout


def test_a_file_that_says_it_holds_far_more_than_it_could_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MOST", 2**16)
    zeros = pa.array(np.zeros(2**20, dtype=np.float32))
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2**16, dtype=np.int32)), pa.array(["x" * 100]))
    parquet.write_table(pa.table({"vector": pa.FixedSizeListArray.from_arrays(zeros, 16)}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"text": texts.cast(pa.string())}), tmp_path / "b.parquet")
    size = (tmp_path / "a.parquet").stat().st_size
    with pytest.raises(
        AtlasError, match=rf"says it has 1,048,576 numbers, in a file of {size:,} bytes - write it anew"
    ):
        atlas.read_vectors(tmp_path / "a.parquet")
    with pytest.raises(AtlasError, match=r"b.parquet: column 'text' has more than \d+ MB in a file of \d+ bytes"):
        atlas.read_items(tmp_path / "b.parquet")


def test_stamps_say_what_a_shard_was_made_of(mapped):
    folder, source, alignment = mapped
    atlas.apply(alignment, source, out=folder / "out")
    stamp = json.loads((folder / "out" / STAMPS / "part-0.parquet.json").read_text())
    assert stamp["input"] == [(p := (source / "part-0.parquet").stat()).st_size, p.st_mtime_ns]
    assert stamp["output"] == [(p := (folder / "out" / "part-0.parquet").stat()).st_size, p.st_mtime_ns]


def test_a_name_that_looks_like_a_pattern_is_a_file_where_there_is_one(tmp_path):
    assert shard_files(tmp_path / "part[1]*.npy") == []
    np.save(tmp_path / "part[1].npy", np.eye(3))
    assert shard_files(tmp_path / "part[1].npy") is None


@pytest.mark.parametrize(
    ("column", "numbers", "classes"),
    [
        ([1.0, None, 3.0, float("nan")], [1, -1, 3, -1], ("0", "1", "2", "3")),
        ([True, False, None, True], [1, 0, -1, 1], ("0", "1")),
        ([-2, -1, 0, None], [1, 0, 2, -1], ("-1", "-2", "0")),
        ([0.5, 1.0, 2.0, None], None, ()),
        ([1e300, 1.0, 2.0, None], None, ()),
        ([[1], [2], [3], None], None, ()),
    ],
)
def test_a_column_of_labels_is_read_as_classes_if_its_values_can_name_some(tmp_path, column, numbers, classes):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"vector": [[1.0, 2.0]] * 4, "label": column}), path)
    found = atlas.read_vectors(path, vector_column="vector")
    assert (None if found.labels is None else found.labels.tolist(), found.classes) == (numbers, classes)
