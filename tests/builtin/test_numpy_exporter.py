"""What is written for numpy alone, applied without Atlas."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import atlas
from atlas import AtlasError
from atlas.components.exporter import Exporter
from atlas.testing import check_exporter


def load(folder):
    """Return the map of a folder, by its own bridge.py."""
    spec = importlib.util.spec_from_file_location("bridge", folder / "bridge.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Bridge()


def test_the_exporter_keeps_every_promise():
    check_exporter(atlas.create(Exporter, "numpy"), apply=lambda path, X: load(path)(X))


@pytest.mark.parametrize("aligner", ["linear", "kernel"])
def test_one_vector_and_many_are_mapped_as_the_alignment_does(pair, tmp_path, aligner):
    alignment = atlas.fit(aligner, source=pair.source, target=pair.target)
    atlas.export("numpy", alignment, tmp_path / "made")
    bridge, X = load(tmp_path / "made"), pair.source.data.numpy()
    np.testing.assert_allclose(bridge(X), alignment(X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bridge(X[3]), alignment(X)[3], rtol=1e-4, atol=1e-4)
    assert bridge(X.astype("float16")).dtype == np.float32


def test_a_map_that_moves_rows_out_does_so_without_atlas(pair, tmp_path):
    target = atlas.Vectors.of(pair.target.data + 5, "shifted", ids=list(pair.target.ids))
    alignment = atlas.fit("kernel", source=pair.source, target=target)
    assert "length" in alignment.aligner.state
    atlas.export("numpy", alignment, tmp_path / "made")
    bridge, X = load(tmp_path / "made"), pair.source.data.numpy()
    np.testing.assert_allclose(bridge(X), alignment(X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bridge(X[3]), alignment(X)[3], rtol=1e-4, atol=1e-4)


def test_neither_atlas_nor_torch_is_needed(pair, tmp_path):
    atlas.export("numpy", atlas.fit("kernel", source=pair.source, target=pair.target), tmp_path / "made")
    code = "import json, sys, bridge; bridge.Bridge()([0.0] * 8); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "made", capture_output=True, text=True, check=True
    )
    assert not {"atlas", "torch"} & {*json.loads(done.stdout)}


def test_other_maps_are_refused(pair, tmp_path):
    alignment = atlas.fit("mlp", source=pair.source, target=pair.target, steps=5)
    with pytest.raises(AtlasError, match=r"writes affine maps, and those of 'kernel', and alignment .* is of 'mlp'"):
        atlas.export("numpy", alignment, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_calibration_goes_along(pair, tmp_path):
    alignment = atlas.fit("procrustes", source=pair.source, target=pair.target)
    alignment = atlas.calibrate(alignment, source=pair.source, target=pair.target)
    atlas.export("numpy", alignment, tmp_path / "made")
    scores = torch.rand(20, 5, generator=torch.Generator().manual_seed(0)).sort(1, descending=True).values
    expected, chance = load(tmp_path / "made").worth(scores.numpy())
    known = alignment.calibration["queries"]
    np.testing.assert_allclose(expected, known.scores(scores), atol=1e-6)
    np.testing.assert_allclose(chance, known.chance(scores), atol=1e-5)


def test_a_calibration_for_a_converted_index_is_found_without_a_name(pair, tmp_path):
    alignment = atlas.fit("procrustes", source=pair.source, target=pair.target)
    sides = {"source": pair.source, "target": pair.target}
    atlas.export("numpy", atlas.calibrate(alignment, **sides, queries=pair.target), tmp_path / "made")
    atlas.export("numpy", alignment, tmp_path / "plain")
    scores = torch.rand(20, 5, generator=torch.Generator().manual_seed(0)).sort(1, descending=True).values.numpy()
    bridge = load(tmp_path / "made")
    for one, other in zip(bridge.worth(scores), bridge.worth(scores, "index"), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="No calibration says how sure mapped queries are - run atlas calibrate"):
        bridge.worth(scores, "queries")
    with pytest.raises(ValueError, match="No calibration says how sure"):
        load(tmp_path / "plain").worth(scores)


def found_by_hnswlib(index, queries, k):
    hnswlib = pytest.importorskip("hnswlib")
    made = hnswlib.Index(space="cosine", dim=index.shape[1])
    made.init_index(max_elements=len(index), ef_construction=200, M=32, random_seed=0)
    made.add_items(index, num_threads=1)
    made.set_ef(len(index))
    return made.knn_query(queries, k=k)[0]


def found_by_usearch(index, queries, k):
    usearch = pytest.importorskip("usearch.index")
    made = usearch.Index(ndim=index.shape[1], metric="cos", dtype="f32")
    made.add(np.arange(len(index)), index)
    return made.search(queries, k, exact=True).keys


@pytest.mark.parametrize("search", [found_by_hnswlib, found_by_usearch])
def test_other_libraries_search_with_mapped_queries(pair, tmp_path, search):
    alignment = atlas.fit("procrustes", source=pair.source, target=pair.target)
    atlas.export("numpy", alignment, tmp_path / "made")
    index, queries = pair.target.data.numpy().astype(np.float32), pair.source.data.numpy()[:20]
    found = search(index, load(tmp_path / "made")(queries), 3)
    answers = atlas.search(alignment, queries.astype(np.float32), index, k=3)
    assert [[str(row) for row in rows] for rows in found.tolist()] == [list(one.ids) for one in answers]
