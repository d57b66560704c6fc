"""Tables of other libraries are read by the roles of their columns, and given back with other vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from atlas.cards.space import SPACE_KEY, Space
from atlas.errors import AtlasError
from atlas.items.frames import COLUMN, replaced, table_of

pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
X = np.arange(6, dtype=np.float32).reshape(3, 2)
NEW = np.arange(9, dtype=np.float32).reshape(3, 3) + 10
SPACE = Space(id="new", dim=3, encoder="e", identity={})


def lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


FRAMES = {
    "pandas": pandas.DataFrame({"id": ["a", "b", "c"], "v": list(X), "n": [1, 2, 3], "w": [0.5, 1.0, 1.5]}),
    "polars": polars.DataFrame({"id": ["a", "b", "c"], "v": X, "n": [1, 2, 3], "w": [0.5, 1.0, 1.5]}),
    "pyarrow": pa.table({"id": ["a", "b", "c"], "v": lists(X), "n": [1, 2, 3], "w": [0.5, 1.0, 1.5]}),
}


@pytest.mark.parametrize("library", FRAMES)
def test_columns_are_told_apart_and_read(library):
    table = table_of(FRAMES[library])
    assert (list(table.names), list(table.arrays), list(table.numbers)) == (["id", "v", "n", "w"], ["v"], ["w"])
    assert np.array_equal(table.column("v"), X) and list(table.column("id")) == ["a", "b", "c"]
    assert list(table.column("n")) == [1, 2, 3] and np.array_equal(table.column("w"), [0.5, 1.0, 1.5])
    assert isinstance(table.column("w"), np.ndarray) and isinstance(table.column("n"), list)
    assert (table.where(2), table.index) == ("row 2", None)


@pytest.mark.parametrize("library", FRAMES)
def test_vectors_of_one_column_are_replaced_in_their_place(library):
    made = replaced(FRAMES[library], ["v"], NEW, SPACE)
    table = table_of(made)
    assert type(made) is type(FRAMES[library]) and list(table.names) == ["id", "v", "n", "w"]
    assert np.array_equal(table.column("v"), NEW) and list(table.column("n")) == [1, 2, 3]
    assert np.array_equal(table_of(FRAMES[library]).column("v"), X)
    assert table.space("v") == (SPACE.to_json() if library == "pyarrow" else "") and table.space("n") == ""


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_for_each_dimension_becomes_one_for_each_new_one(library):
    kind = {"pandas": pandas.DataFrame, "polars": polars.DataFrame}[library]
    given = kind({"id": ["a", "b", "c"], "x": X[:, 0], "y": X[:, 1]})
    made = table_of(replaced(given, ["x", "y"], NEW, SPACE))
    assert list(made.names) == ["id", "0", "1", "2"]
    assert np.array_equal(made.vectors(["0", "1", "2"]), NEW) and np.array_equal(table_of(given).vectors(["x", "y"]), X)
    # One of a single dimension is still no list.
    [name] = [name for name in table_of(replaced(given, ["x"], NEW[:, :1], SPACE)).names if name not in ("id", "y")]
    assert name == "0"


def test_a_single_column_is_a_table_and_comes_back_as_one():
    for given in (pandas.Series(list(X), index=[7, 8, 9], name="s"), polars.Series("s", X), lists(X)):
        table = table_of(given)
        assert np.array_equal(table.column(table.arrays[0]), X) and len(table.names) == 1
        made = replaced(given, table.arrays, NEW, SPACE)
        assert type(made) is type(given) and np.array_equal(np.stack(list(table_of(made).column(table.arrays[0]))), NEW)
    assert list(replaced(pandas.Series(list(X), index=[7, 8, 9]), [COLUMN], NEW, SPACE).index) == [7, 8, 9]
    assert table_of(polars.Series("", X)).names == table_of(lists(X)).names == ["vectors"]


def test_a_batch_of_arrow_comes_back_as_one():
    [batch] = FRAMES["pyarrow"].to_batches()
    made = replaced(batch, ["v"], NEW, SPACE)
    assert isinstance(made, pa.RecordBatch) and np.array_equal(table_of(made).column("v"), NEW)
    assert made.schema.field("v").metadata == {SPACE_KEY.encode(): SPACE.to_json().encode()}


@pytest.mark.parametrize(("index", "found"), [(["p", "q", "r"], ["p", "q", "r"]), ([0, 1, 2], [0, 1, 2])])
def test_an_index_of_pandas_that_was_set_names_the_rows(index, found):
    assert table_of(FRAMES["pandas"].set_axis(index)).index == found
    assert table_of(FRAMES["pandas"][1:]).index == [1, 2] and table_of(FRAMES["pandas"][::2]).index == [0, 2]


def test_a_missing_vector_is_a_row_of_nan_and_shapes_are_one():
    cells = [X[0], None, X[2]]
    for frame in (pandas.DataFrame({"v": cells}), polars.DataFrame({"v": [X[0].tolist(), None, X[2].tolist()]})):
        assert np.array_equal(table_of(frame).column("v"), [X[0], [np.nan] * 2, X[2]], equal_nan=True)
    uneven = pandas.DataFrame({"v": [X[0], X[1, :1], np.nan]})
    with pytest.raises(
        AtlasError, match=r"^Column 'v' must hold arrays of one shape, has \(2,\) in row 0 and \(1,\) in row 1"
    ):
        table_of(uneven).column("v")


def test_texts_bytes_and_sets_are_no_arrays():
    for cells in (["ab", "c", "d"], [b"ab", b"c", b"d"], [{1}, {2}, {3}], [{"a": 1}] * 3, [None, 0.5, None]):
        assert table_of(pandas.DataFrame({"v": cells})).arrays == []
    assert table_of(pandas.DataFrame({"v": [None, np.nan, X[2]]})).arrays == ["v"]


def test_what_is_no_table_is_told_or_left():
    assert table_of({"v": X}) is table_of([X]) is table_of(X) is None
    with pytest.raises(AtlasError, match=r"^This LazyFrame is not read yet - give it as frame.collect\(\)"):
        table_of(FRAMES["polars"].lazy())
