"""What onnxruntime computes of a written alignment is what Atlas computes."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from maps import D, Directions, K, alignment, assert_same, fitted, operators, other, run, vectors

import atlas
from atlas.plugins.catalogue import components, provider
from atlas.testing import check_exporter
from atlas_onnx import Onnx, register_exporters

BUILT_IN = [name for name, found in components(atlas.Aligner).items() if provider(found[0]).startswith("latent-atlas")]


def test_it_is_registered():
    assert register_exporters() == [Onnx]


@pytest.mark.parametrize("options", [{}, {"dtype": "float16", "opset": 21}])
def test_it_keeps_the_promises_of_exporters(options):
    check_exporter(Onnx(**options))


def test_it_keeps_them_where_torch_traces():
    check_exporter(Onnx(), alignment(fitted("relative")))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_runtime_computes_what_every_aligner_does(name, tmp_path):
    aligner = fitted(name)
    assert_same(aligner, atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx"))


def test_all_aligners_that_atlas_has_are_tested():
    assert {"identity", "procrustes", "linear", "low-rank", "cca", "relative"} <= set(BUILT_IN)


def test_an_affine_map_is_one_operator_with_its_own_numbers(tmp_path):
    aligner = fitted("linear")
    model = onnx.load(atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx"))
    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    assert [tensor.name for tensor in model.graph.initializer] == ["map0.weight", "map0.bias"]
    found = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    np.testing.assert_array_equal(found[0], aligner.state["weight"])
    np.testing.assert_array_equal(found[1], aligner.state["bias"])


def known(confidence=True):
    X = vectors()
    views = [atlas.Vectors.of(rows, name) for rows, name in ((X, "a"), (other(X), "b"))]
    return atlas.fit("linear", source=views[0], target=views[1], confidence=confidence)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_errors_are_predicted_beside_what_is_mapped(dtype, tolerance, tmp_path):
    made = known()
    path = atlas.export("onnx", made, tmp_path / "map.onnx", dtype=dtype, confidence=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in (1, 300):
        X = vectors(n).numpy().astype(dtype)
        mapped, errors = session.run(["mapped", "predicted_error"], {"vectors": X})
        assert errors.shape == (n,) and errors.dtype == mapped.dtype == dtype
        np.testing.assert_allclose(errors, made.confidence(X.astype(np.float32)), rtol=tolerance)
    assert len(onnx.load(atlas.export("onnx", made, tmp_path / "plain.onnx")).graph.output) == 1


def test_errors_that_cannot_be_predicted_are_refused(tmp_path):
    with pytest.raises(
        atlas.AtlasError, match="cannot predict errors of 'a__b__linear', which does not know its domain"
    ):
        atlas.export("onnx", known(confidence=False), tmp_path / "map.onnx", confidence=True)
    stitched = atlas.stitch("digits-conv", "digits-conv__digits-mlp-s0__procrustes", "digits-mlp-s0__linear")
    with pytest.raises(atlas.AtlasError, match="predicts errors of an alignment alone - leave out confidence"):
        atlas.export("onnx", stitched, tmp_path / "map.onnx", confidence=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"similarity": "cosine", "centre": True},
        {"centre": True, "power": 4.0},
        {"similarity": "inner"},
        {"similarity": "whitened"},
        {"similarity": "euclidean"},
        {"similarity": "l1"},
        {"similarity": "linf"},
    ],
)
def test_the_runtime_computes_every_similarity(options, tmp_path):
    aligner = fitted("relative", **options)
    assert_same(aligner, atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx"))


@pytest.mark.parametrize(
    "options", [{}, {"power": 4.0}, {"similarity": "whitened"}, {"similarity": "euclidean"}, {"keep": 4}]
)
def test_the_runtime_computes_the_way_back(options, tmp_path):
    back = alignment(fitted("relative", **options)).inverse()
    assert_same(back.aligner, atlas.export("onnx", back, tmp_path / "map.onnx"))


def test_the_runtime_computes_maps_one_after_another(tmp_path):
    X = vectors()
    first, relative = fitted("linear"), atlas.create(atlas.Aligner, "relative").fit(other(X)[:20])
    decoder = atlas.create(atlas.Aligner, "relative").fit(X[:20])
    spaces = [atlas.Space(name, d) for name, d in (("a", D), ("b", K), ("r", 20), ("a2", D))]
    links = [atlas.Alignment.of(*link) for link in zip((first, relative), spaces, spaces[1:], strict=False)]
    whole = atlas.compose(*links, atlas.Alignment.of(decoder, spaces[3], spaces[2]).inverse())
    path = atlas.export("onnx", whole, tmp_path / "map.onnx")
    assert_same(whole.aligner, path)
    assert operators(path)[0] == "Gemm"


@dataclass
class Looping(Directions):
    """Scale vectors, a few rows at a time."""

    name = "looping"

    def _transform(self, X):
        result = X.new_zeros(len(X), self.d_target)
        for start in range(0, len(X), 100):
            result[start : start + 100] = super()._transform(X[start : start + 100])
        return result


@dataclass
class Deciding(Directions):
    """Scale vectors that are long."""

    name = "deciding"

    def _transform(self, X):
        return super()._transform(X) if float(X.abs().max()) > 100 else X


@dataclass
class Mixing(Directions):
    """Subtract the mean of what is mapped together."""

    name = "mixing"

    def _transform(self, X):
        return X - torch.stack([X[i] for i in range(len(X))]).mean(0)


def test_a_map_of_another_plugin_is_traced_for_any_number_of_rows(tmp_path):
    aligner = Directions().fit(vectors(), vectors())
    path = atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx")
    assert_same(aligner, path)
    assert "Scan" not in operators(path)


def test_a_loop_over_rows_is_applied_row_by_row(tmp_path):
    aligner = Looping().fit(vectors(), vectors())
    path = atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx")
    assert_same(aligner, path)
    assert "Scan" in operators(path)


def test_what_torch_cannot_trace_is_refused(tmp_path):
    reason = "cannot write aligner 'deciding', which torch cannot trace: Could not guard on data-dependent"
    with pytest.raises(atlas.AtlasError, match=reason):
        atlas.export("onnx", alignment(Deciding().fit(vectors(), vectors())), tmp_path / "map.onnx")
    assert not list(tmp_path.iterdir())


def test_what_mixes_rows_is_refused(tmp_path):
    with pytest.raises(atlas.AtlasError, match="'mixing', which makes something else of a row where others are beside"):
        atlas.export("onnx", alignment(Mixing().fit(vectors(), vectors())), tmp_path / "map.onnx")


@pytest.mark.parametrize("p", [2.0, 1.0, float("inf"), 3.0])
def test_distances_are_those_of_torch(p):
    from atlas_onnx.tracing import distances

    X, Y = vectors(7), vectors(40, seed=1)
    torch.testing.assert_close(distances(X, Y, p), torch.cdist(X, Y, p), rtol=1e-5, atol=1e-5)


def test_half_precision_goes_in_and_comes_out(tmp_path):
    aligner, X = fitted("linear"), vectors(5).half()
    path = atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx", dtype="float16")
    assert run(path, X).dtype == torch.float16
    torch.testing.assert_close(run(path, X), aligner.transform(X), rtol=1e-3, atol=1e-3)
