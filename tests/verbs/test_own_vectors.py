"""Verbs take what people have, pair it as they mean it, and give back what they were given."""

from __future__ import annotations

import functools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import planted
from torch.testing import assert_close

import atlas
from atlas.artefacts.vectors import Vectors
from atlas.errors import AtlasError, AtlasWarning, SpaceMismatchError

PAIR = planted()
X, Y = PAIR.source.data.numpy(), PAIR.target.of_items(PAIR.source.ids).data.numpy()
IDS = list(PAIR.source.ids)
LABELS = [PAIR.source.classes[i] for i in PAIR.source.labels.tolist()]
MAP = atlas.fit("linear", source=PAIR.source, target=PAIR.target)


def memmap(path, X):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def more(ids, n):
    return {"n": range(n)} if ids else {}


def pandas_frame(X, ids=True):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame({**({"id": IDS} if ids else {}), "vector": list(X), "label": LABELS, **more(ids, len(X))})


def polars_frame(X, ids=True):
    pl = pytest.importorskip("polars")
    return pl.DataFrame({**({"id": IDS} if ids else {}), "vector": X, "label": LABELS, **more(ids, len(X))})


def arrow_table(X, ids=True):
    pa = pytest.importorskip("pyarrow")
    column = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), X.shape[1])
    return pa.table({**({"id": IDS} if ids else {}), "vector": column, "label": LABELS, **more(ids, len(X))})


def dataset(X, ids=True):
    return pytest.importorskip("datasets").Dataset(arrow_table(X, ids))


FRAMES = [pandas_frame, polars_frame, arrow_table, dataset]


@pytest.mark.parametrize(
    "given",
    [np.asarray, torch.tensor, memmap, np.ndarray.tolist, list, lambda X: [torch.tensor(x) for x in X]],
    ids=["numpy", "torch", "memmap", "lists", "list of arrays", "list of tensors"],
)
def test_arrays_of_one_length_are_paired_row_by_row(given, tmp_path):
    sides = [given(tmp_path / f"{i}.npy", A) if given is memmap else given(A) for i, A in enumerate((X, Y))]
    made = atlas.fit("linear", source=sides[0], target=sides[1])
    assert made.id == "source__target__linear" and made.n_pairs == 120
    assert_close(made(X), MAP(X), rtol=1e-4, atol=1e-4)


def test_a_memory_map_is_not_copied(tmp_path):
    mapped = memmap(tmp_path / "x.npy", X)
    assert np.shares_memory(Vectors.of(mapped).data.numpy(), mapped)


@pytest.mark.parametrize("n", [119, 40])
def test_arrays_of_two_lengths_are_refused(n):
    with pytest.raises(AtlasError, match=f"^Vectors of 'source' are 120, those of 'target' {n}, and neither have ids"):
        atlas.fit("linear", source=X, target=Y[:n])


@pytest.mark.parametrize("frame", FRAMES)
def test_tables_are_paired_by_id(frame):
    made = atlas.fit("linear", source=frame(X), target=PAIR.target)
    assert_close(made(X), MAP(X), rtol=0, atol=1e-6)
    order = np.random.default_rng(0).permutation(120)
    shuffled = frame(Y)
    shuffled = (
        shuffled.select(order) if frame is dataset else shuffled.take(order) if frame is arrow_table else shuffled
    )
    made = atlas.fit("linear", source=PAIR.source, target=shuffled)
    assert_close(made(X), MAP(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_table_without_ids_is_not_paired_with_ids(frame):
    with pytest.raises(
        AtlasError, match=r"Vectors of 'source' have row numbers for ids, those of 'b' ids of their own"
    ):
        atlas.fit("linear", source=frame(X, ids=False), target=PAIR.target)
    assert atlas.fit("linear", source=frame(X, ids=False), target=Y).n_pairs == 120


@pytest.mark.parametrize("frame", FRAMES)
def test_ids_classes_and_vectors_are_read_from_columns(frame):
    table = frame(X)
    found = Vectors.of(table)
    assert found.ids == IDS and found.classes == PAIR.source.classes
    assert torch.equal(found.labels, PAIR.source.labels) and np.array_equal(found.data.numpy(), X)
    assert Vectors.of(table, id_column="n").ids == [str(i) for i in range(120)]
    assert Vectors.of(table, id_column="", label_column="").numbered
    assert atlas.train("nearest-mean", table).classes == PAIR.source.classes
    with pytest.raises(AtlasError, match=r"^The source: unknown column 'pk'"):
        atlas.fit("linear", source=table, target=PAIR.target, id_column="pk")
    with pytest.raises(AtlasError, match=r"^The source: column 'label' must hold a list or an array"):
        atlas.fit("linear", source=table, target=PAIR.target, vector_column="label")


@pytest.mark.parametrize("frame", FRAMES)
def test_a_table_comes_back_with_its_vectors_mapped(frame):
    table = frame(X)
    mapped = atlas.apply(MAP, table)
    assert type(mapped) is type(table) and len(mapped) == 120
    names = mapped.column_names if hasattr(mapped, "column_names") else list(mapped.columns)
    assert names == ["id", "vector", "label", "n"]
    assert np.array_equal(np.stack(list(Vectors.of(mapped).data.numpy())), MAP(X))
    assert np.array_equal(Vectors.of(table).data.numpy(), X)


def test_a_column_comes_back_as_a_column():
    pandas, polars = pandas_frame(X).set_index("id")["vector"], polars_frame(X)["vector"]
    arrow = arrow_table(X)["vector"]
    for column in (pandas, polars, arrow):
        mapped = atlas.apply(MAP, column)
        assert np.array_equal(Vectors.of(mapped).data.numpy(), MAP(X))
    assert list(atlas.apply(MAP, pandas).index) == IDS and atlas.apply(MAP, polars).name == "vector"


def test_an_index_of_pandas_that_was_set_holds_the_ids():
    frame = pandas_frame(X).set_index("id").drop(columns="n")
    assert Vectors.of(frame).ids == IDS
    assert Vectors.of(frame.reset_index(drop=True)).numbered
    assert Vectors.of(frame.reset_index(drop=True)[10:20]).ids == [str(i) for i in range(10, 20)]
    assert list(atlas.apply(MAP, frame).index) == IDS


def test_what_is_not_yet_a_table_is_refused_with_the_way_to_one():
    lazy, data = polars_frame(X).lazy(), dataset(X)
    several = {"train": data}
    sets = pytest.importorskip("datasets")
    for given, advice in (
        (lazy, "this LazyFrame is not read yet - give it as frame.collect()"),
        (
            data.to_iterable_dataset(),
            "this IterableDataset is read once, from its first row on - load it whole",
        ),
        (sets.DatasetDict(several), "this DatasetDict holds several data sets - give one of them"),
        (
            sets.IterableDatasetDict(several),
            "this IterableDatasetDict holds several data sets - load one of them",
        ),
    ):
        with pytest.raises(AtlasError, match=f"^The source: {re.escape(advice)}"):
            atlas.fit("linear", source=given, target=Y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_of_numbers_has_a_column_for_each_dimension(library):
    module = pytest.importorskip(library)
    wide = module.DataFrame({"id": IDS, "label": LABELS, **{f"x{i}": X[:, i] for i in range(8)}})
    found = Vectors.of(wide)
    assert np.array_equal(found.data.numpy(), X) and found.ids == IDS and found.classes == PAIR.source.classes
    mapped = atlas.apply(MAP, wide)
    assert list(mapped.columns) == ["id", "label", *(str(i) for i in range(8))]
    assert np.array_equal(Vectors.of(mapped).data.numpy(), MAP(X))
    with pytest.raises(AtlasError, match="There must be one column of vectors, there are 'pk', 'id', 'label', 'x0'"):
        # Whole numbers are no coordinates: this may be a key.
        Vectors.of(module.DataFrame({"pk": range(120), **{name: wide[name] for name in wide.columns}}))


@pytest.mark.parametrize("frame", FRAMES)
def test_a_missing_vector_is_named_by_its_id(frame):
    pa = pytest.importorskip("pyarrow")
    cells = [None if i in (7, 9) else row.tolist() for i, row in enumerate(X)]
    table = arrow_table(X).set_column(1, "vector", pa.array(cells, pa.list_(pa.float32())))
    made = {
        pandas_frame: lambda: pandas_frame(X).assign(vector=cells),
        polars_frame: lambda: pytest.importorskip("polars").from_arrow(table),
        arrow_table: lambda: table,
        dataset: lambda: pytest.importorskip("datasets").Dataset(table),
    }[frame]()
    for verb in (lambda: atlas.apply(MAP, made), lambda: atlas.fit("linear", source=made, target=PAIR.target)):
        with pytest.raises(AtlasError, match=r"NaN or infinite, the first in row 7 \('item-7'\) - remove those rows"):
            verb()


@pytest.mark.parametrize("out", [None, "mapped", "mapped.npy"])
def test_bad_vectors_are_skipped_and_listed(tmp_path, out):
    broken = X.copy()
    broken[[7, 90], [0, 3]] = np.nan, np.inf
    given = Vectors.of(broken, "a", ids=IDS, labels=LABELS)
    sound = np.delete(np.arange(120), [7, 90])
    listed, where = tmp_path / "bad.txt", out and tmp_path / out
    mapped = atlas.apply(MAP, given, out=where, skip_bad=listed)
    assert listed.read_text() == "item-7\nitem-90\n"
    assert list(mapped.ids) == [IDS[i] for i in sound]
    assert_close(mapped.data.numpy(), MAP(X[sound]), rtol=1e-5, atol=1e-5)
    assert torch.equal(mapped.labels, PAIR.source.labels[sound])
    with pytest.raises(AtlasError, match=r"bad\.txt' exists - choose another name, or pass --overwrite"):
        atlas.apply(MAP, given, skip_bad=listed)
    assert len(atlas.apply(MAP, PAIR.source, skip_bad=listed, overwrite=True)) == 120 and listed.read_text() == ""


def test_every_verb_that_reads_vectors_skips_those_that_are_bad(tmp_path):
    broken = X.copy()
    broken[[7, 90], [0, 3]] = np.nan, np.inf
    given = Vectors.of(broken, "a", ids=IDS, labels=LABELS)
    at = PAIR.target.ids.index("item-11")
    other = PAIR.target.data.clone()
    other[at] = np.nan
    sides = {"source": given, "target": PAIR.target.in_space(PAIR.target.space, other)}
    sound = torch.arange(120)
    same = {"source": given.take(sound[(sound != 7) & (sound != 90)]), "target": PAIR.target.take(sound[sound != at])}
    verbs = (
        lambda **how: atlas.fit("linear", **how).tensors()["weight"],
        lambda **how: atlas.moments(**how).sums.xy,
        lambda **how: torch.tensor([figure.value for figure in atlas.evaluate(MAP, **how)]),
        lambda source, target, **how: torch.tensor([one.value for one in atlas.compare(source, target, **how)]),
    )
    for number, verb in enumerate(verbs):
        listed = tmp_path / f"{number}.txt"
        assert torch.equal(verb(**sides, skip_bad=listed), verb(**same))
        assert listed.read_text() == "item-7\nitem-90\nitem-11\n"
        with pytest.raises(AtlasError, match=r"txt' exists - choose another name, or pass --overwrite"):
            verb(**sides, skip_bad=listed)
        listed.write_text("of an earlier run\n")
        verb(**sides, skip_bad=listed, overwrite=True)
        assert listed.read_text() == "item-7\nitem-90\nitem-11\n"
    head = atlas.train("nearest-mean", same["source"])
    assert atlas.evaluate(head, vectors=given, skip_bad=tmp_path / "head.txt")[0].n == 118


def test_what_would_leave_nothing_is_not_skipped(tmp_path):
    with pytest.raises(AtlasError, match="None of the 3 vectors of 'a' is finite - nothing would be left"):
        atlas.apply(MAP, X[:3] * np.nan, skip_bad=tmp_path / "bad.txt")
    both = atlas.aggregate("mean", X, Y)
    with pytest.raises(
        AtlasError, match="Vectors are skipped where an alignment maps files or arrays - leave out skip_bad"
    ):
        atlas.apply(both, X, Y, skip_bad=tmp_path / "bad.txt")
    assert not (tmp_path / "bad.txt").exists()


def test_a_missing_vector_of_a_file_is_skipped(tmp_path, atlas_command, monkeypatch):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    cells = [None if i == 7 else row.tolist() for i, row in enumerate(X)]
    parquet.write_table(pa.table({"id": IDS, "vector": pa.array(cells, pa.list_(pa.float32()))}), "x.parquet")
    MAP.save_pretrained("map")
    said = atlas_command("apply", "map", "x.parquet", "--out", "mapped", status=1).stderr
    assert "has 8 values that are NaN or infinite, the first in row 7 ('item-7') - remove those rows, or " in said
    assert said.endswith("or leave them out with --skip-bad LIST.txt\n")
    atlas_command("apply", "map", "x.parquet", "--out", "mapped", "--skip-bad", "bad.txt")
    assert Path("bad.txt").read_text() == "item-7\n" and len(atlas.read_vectors("mapped")) == 119
    sides = ("--source", "x.parquet", "--target", "x.parquet")
    for words in (["fit", "linear", *sides, "--out", "map"], ["evaluate", "map", *sides], ["compare", *sides[1::2]]):
        Path("bad.txt").write_text("of an earlier run\n")
        atlas_command(*words, "--skip-bad", "bad.txt", "--overwrite")
        assert Path("bad.txt").read_text() == "item-7\n"


def test_vectors_of_two_lengths_in_a_column_are_told():
    frame = pandas_frame(X).assign(vector=[*X[:-1], np.zeros(3)])
    with pytest.raises(
        AtlasError, match=r"Column 'vector' must hold arrays of one shape, has \(8,\) .* \(3,\) in row 119"
    ):
        Vectors.of(frame)


def test_a_message_says_of_which_side_it_is():
    frame, other = pandas_frame(X), pandas_frame(X).rename(columns={"id": "key"})
    for verb in (atlas.moments, functools.partial(atlas.fit, "linear"), functools.partial(atlas.evaluate, MAP)):
        with pytest.raises(AtlasError, match=r"^The target: unknown column 'id' - known: "):
            verb(source=frame, target=other, id_column="id")
        with pytest.raises(AtlasError, match=r"^The source: unknown column 'id' - known: "):
            verb(source=other, target=frame, id_column="id")
    with pytest.raises(AtlasError, match=r"^Vectors 2: unknown column 'id' - known: "):
        atlas.compare(frame, other, id_column="id")


def test_two_columns_of_vectors_are_told_apart():
    frame = pandas_frame(X).rename(columns={"vector": "minilm"}).assign(use=list(Y))
    with pytest.raises(
        AtlasError, match=r"one column of vectors, there are 'id', 'minilm', .* say which with --vector"
    ):
        atlas.apply(MAP, frame)
    mapped = atlas.apply(MAP, frame, vector_column="minilm")
    assert np.array_equal(np.stack(list(mapped["minilm"])), MAP(X)) and np.array_equal(np.stack(list(mapped["use"])), Y)


def test_a_table_whose_ids_may_have_another_name_is_told_of(tmp_path):
    frame = pandas_frame(X).rename(columns={"id": "pk"})
    said = r"No column is called 'id' or the like, so that rows are numbered from 0; there are 'pk', 'vector', "
    with pytest.warns(AtlasWarning, match=said):
        atlas.fit("linear", source=frame, target=Y)
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.warns(
        AtlasWarning,
        match=r"x\.parquet: the rows have no ids and are numbered from 0 - say which column .*, or call it 'id'",
    ):
        atlas.fit("linear", source=tmp_path / "x.parquet", target=Y)
    # Nothing is paired, or it was said that there are none.
    assert list(atlas.apply(MAP, frame).columns) == ["pk", "vector", "label", "n"]
    assert atlas.fit("linear", source=frame, target=Y, id_column="").n_pairs == 120
    assert atlas.fit("linear", source=frame, target=PAIR.target, id_column="pk").n_pairs == 120


def test_what_is_no_vectors_is_told_with_what_to_do():
    text = pandas_frame(X).assign(vector=[str(x) for x in X.tolist()])
    with pytest.raises(
        AtlasError, match=r"^The source: column 'vector' must hold a list or an array .* text is parsed by json\.loads"
    ):
        atlas.fit("linear", source=text, target=Y, vector_column="vector")
    with pytest.raises(AtlasError, match=r"got DataFrame - a table is mapped with atlas\.apply"):
        MAP(pandas_frame(X))
    with pytest.raises(AtlasError, match="'id' in row 1 is not an id, but empty"):
        atlas.apply(MAP, pandas_frame(X).assign(id=["a", None, *IDS[2:]]))


@pytest.mark.parametrize("frame", [polars_frame, arrow_table])
def test_no_rows_become_no_rows(frame):
    mapped = atlas.apply(MAP, frame(X)[:0])
    assert len(mapped) == 0 and mapped.schema == atlas.apply(MAP, frame(X)).schema


def test_other_shapes_of_arrays_are_taken():
    for given in (torch.tensor(X).to_sparse(), pandas_frame(X)["vector"].to_numpy()):
        assert atlas.fit("linear", source=given, target=Y).n_pairs == 120
    batch = arrow_table(X).to_batches()[0]
    assert type(atlas.apply(MAP, batch)) is type(batch)
    assert atlas.fit("linear", source=X, target=Y, anchors=[5, 6, 7, 8]).n_pairs == 4
    assert atlas.fit("linear", source=dataset(X), target=Vectors.of(Y, ids=IDS)).target.id == "target"


def test_an_arrow_table_carries_the_space_of_its_vectors():
    mapped = atlas.apply(MAP, arrow_table(X))
    assert Vectors.of(mapped).space == MAP.target
    with pytest.raises(SpaceMismatchError, match="maps from 'a', but the vectors are of 'b'"):
        atlas.apply(MAP, mapped)


def test_sparse_matrices_are_made_dense_unless_they_are_huge():
    sparse = pytest.importorskip("scipy.sparse")
    mapped = atlas.apply(MAP, sparse.csr_array(X))
    assert isinstance(mapped, np.ndarray) and np.array_equal(mapped, MAP(X))
    assert atlas.fit("linear", source=sparse.csr_matrix(X), target=Y).n_pairs == 120
    with pytest.raises(
        AtlasError, match=r"of shape \(1000000, 100000\) would take 745.1 GiB if .* as with .*TruncatedSVD"
    ):
        atlas.fit("linear", source=sparse.csr_array((10**6, 10**5)), target=Y)


def test_tensors_in_no_plain_form_are_read_or_refused():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
        nested = torch.nested.nested_tensor(list(torch.tensor(X)))
    assert_close(MAP(nested).numpy(), MAP(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(AtlasError, match="X must hold numbers, got a tensor of device 'meta', which has none"):
        MAP(torch.zeros(2, 8, device="meta"))


def test_arrays_come_back_as_they_were():
    for given in (X, X.astype(np.float64), X.astype(np.float16)):
        mapped = atlas.apply(MAP, given)
        assert isinstance(mapped, np.ndarray) and mapped.dtype == given.dtype
    assert isinstance(atlas.apply(MAP, torch.tensor(X)), torch.Tensor)
    assert isinstance(atlas.apply(MAP, PAIR.source), Vectors)
    back = atlas.fit("procrustes", source=X, target=Y)
    assert_close(atlas.apply(back, atlas.apply(back, X), inverse=True), X, rtol=1e-3, atol=1e-3)


def test_what_is_written_carries_the_target(tmp_path):
    made = atlas.fit("linear", source=X, target=Y)
    written = atlas.apply(made, X, out=tmp_path / "mapped.safetensors")
    assert written.space.id == "target" and np.array_equal(written.data.numpy(), made(X))
    with pytest.raises(SpaceMismatchError, match="the vectors are of its target 'target' already"):
        atlas.apply(made, tmp_path / "mapped.safetensors")


def test_every_other_verb_takes_arrays_and_tables():
    frame = pandas_frame(X)
    assert len(atlas.sample("uniform", X, 5)) == 5
    assert {figure.name for figure in atlas.evaluate(MAP, source=X, target=Y)} >= {"cosine", "r2"}
    figure = atlas.compare(X, Y)[0]
    assert (figure.a, figure.b) == ("vectors-1", "vectors-2")
    assert atlas.compare(frame, PAIR.target)[0].n == 120
    both = atlas.aggregate("mean", X, Y)
    assert [space.id for space in both.charts] == ["vectors-1", "vectors-2"]
    assert_close(atlas.apply(both, X, Y).data, both(Vectors.of(X, "vectors-1"), Vectors.of(Y, "vectors-2")).data)
    head = atlas.train("nearest-mean", frame)
    assert atlas.evaluate(head, vectors=frame)[0].value > 0.9
    with pytest.raises(
        AtlasError, match=r"'vectors' have no labels - encode items with classes, or give labels: atlas"
    ):
        atlas.train("nearest-mean", X)


@pytest.mark.parametrize("frame", FRAMES)
def test_items_are_read_from_a_table(frame):
    table = frame(X)
    made = atlas.encode("precomputed", table, model="m")
    assert made.ids == IDS and np.array_equal(made.data.numpy(), X)
    texts = atlas.encode("tfidf-svd", table, text_column="label", dim=2)
    assert texts.ids == IDS and len(texts) == 120


@pytest.mark.parametrize("labels", [[None] * 9, [""] * 9, [-1] * 9, [float("nan")] * 9])
def test_vectors_whose_labels_are_all_unknown_have_none(labels):
    vectors = Vectors.of(np.eye(9), "a", labels=labels)
    with pytest.raises(AtlasError, match=r"^Vectors of 'a' have no labels - encode items with classes, or give labels"):
        atlas.train("nearest-mean", vectors)


def test_labels_that_mix_numbers_and_texts_are_shown_as_they_are():
    with pytest.raises(AtlasError, match=r"^Label 1 is none of the classes '1', 'a'$"):
        Vectors.of(np.eye(3), "a", labels=["1", "a", 1])
