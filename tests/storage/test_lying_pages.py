"""Pages of a .parquet file that are other than their headers, or than the footer, says."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atlas.artefacts.loading import read_vectors
from atlas.errors import AtlasError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
ROWS = 40


def written(compression: str, dictionary: bool, version: str) -> bytes:
    values = pa.array(np.random.default_rng(0).normal(size=ROWS * 3).astype("f4"))
    ids = [f"text {k % 7} of {k}" for k in range(ROWS)]
    classes = [f"class {k % 3}" for k in range(ROWS)]
    table = pa.table({"id": ids, "label": classes, "vector": pa.FixedSizeListArray.from_arrays(values, 3)})
    file = io.BytesIO()
    parquet.write_table(
        table,
        file,
        compression=compression,
        use_dictionary=dictionary,
        data_page_version=version,
        write_statistics=False,
    )
    return file.getvalue()


def lies(whole: bytes) -> Iterator[bytes]:
    """Yield the file with one byte of a page changed: of its header, and of the beginning of its contents."""
    group = parquet.ParquetFile(io.BytesIO(whole)).metadata.row_group(0)
    for column in (group.column(i) for i in range(group.num_columns)):
        starts = [column.data_page_offset, *([column.dictionary_page_offset] if column.has_dictionary_page else [])]
        for at in (start + i for start in starts for i in range(40)):
            for value in {0, 2, 0xFF, whole[at] ^ 0x80, (whole[at] + 2) % 256} - {whole[at]}:
                yield whole[:at] + bytes([value]) + whole[at + 1 :]


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize(("compression", "version"), [("none", "1.0"), ("snappy", "1.0"), ("snappy", "2.0")])
def test_a_page_that_lies_is_refused_in_a_sentence_or_has_all_rows(tmp_path: Path, compression, dictionary, version):
    file, met = tmp_path / "lies.parquet", Counter()
    for given in lies(written(compression, dictionary, version)):
        file.write_bytes(given)
        try:
            vectors = read_vectors(file)
            assert sum(map(len, vectors.rows.batches())) == len(vectors.ids) == ROWS
            met["read"] += 1
        except AtlasError as error:
            assert str(error).startswith(str(file)) and "\n" not in str(error)
            met["refused"] += 1
    assert min(met["read"], met["refused"]) > 20
