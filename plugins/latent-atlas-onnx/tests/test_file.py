"""What a file tells, and what it does not; what is refused; what a listing imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner
from maps import D, Directions, K, alignment, assert_same, fitted, vectors

import atlas
from atlas_onnx import graphs


def test_the_file_says_what_it_holds(tmp_path):
    aligner = fitted("procrustes")
    made = alignment(aligner, license="cc-by-4.0")
    model = onnx.load(atlas.export("onnx", made, tmp_path / "map.onnx"))
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "atlas.version": atlas.__version__,
        "atlas.alignment": "a__b__procrustes",
        "atlas.method": "procrustes",
        "atlas.license": "cc-by-4.0",
        "atlas.source": "a",
        "atlas.source_fingerprint": made.source.fingerprint,
        "atlas.target": "b",
        "atlas.target_fingerprint": made.target.fingerprint,
    }
    ends = [model.graph.input[0], model.graph.output[0]]
    assert [end.name for end in ends] == ["vectors", "mapped"]
    dims = [[dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim] for end in ends]
    assert dims == [["n", D], ["n", K]]


def test_the_opset_is_the_one_asked_for(tmp_path):
    aligner = fitted("relative")
    path = atlas.export("onnx", alignment(aligner), tmp_path / "map.onnx", opset=21)
    assert [(entry.domain, entry.version) for entry in onnx.load(path).opset_import] == [("", 21)]
    assert_same(aligner, path)


def test_nothing_of_this_machine_is_in_the_file(tmp_path):
    found = atlas.export("onnx", alignment(Directions().fit(vectors(), vectors())), tmp_path / "map.onnx").read_bytes()
    folders = {Path(__file__).parent, Path(atlas.__file__).parent, Path(torch.__file__).parent, tmp_path, Path.home()}
    for word in [*map(str, folders), sys.prefix, ".py", 'File "', "stack_trace", "pkg.torch"]:
        assert word.encode() not in found, word


def test_equal_maps_make_equal_bytes_in_any_process(tmp_path):
    aligner = fitted("relative", similarity="euclidean")
    alignment(aligner).save_pretrained(tmp_path / "map")
    here = atlas.export("onnx", atlas.load(tmp_path / "map"), tmp_path / "here.onnx").read_bytes()
    assert here == atlas.export("onnx", atlas.load(tmp_path / "map"), tmp_path / "again.onnx").read_bytes()
    command = [sys.executable, "-m", "atlas", "export", "onnx", "map", "--out", "there.onnx"]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert here == (tmp_path / "there.onnx").read_bytes()
    assert (done.stdout, done.stderr) == ("", "Wrote alignment 'a__b__relative' for onnx to there.onnx\n")


def test_a_model_that_is_too_large_for_one_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "LARGEST", 100)
    with pytest.raises(atlas.AtlasError, match=r"has 0\.0 GB of weights, and one \.onnx file holds at most 0\.0 GB"):
        atlas.export("onnx", alignment(fitted("linear")), tmp_path / "map.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "given", "sentence"),
    [
        ("opset", "9", "Exporter 'onnx' writes opsets 18 to 23, got 9"),
        ("dtype", "int8", "Option 'dtype' of exporter 'onnx' must be one of float32, float16, got 'int8'"),
        ("input_shape", "[0]", "Exporter 'onnx' needs an input_shape of whole numbers from 1, got [0]"),
    ],
)
def test_a_wrong_option_is_told(option, given, sentence, tmp_path):
    from atlas.cli import main

    parts = ["export", "onnx", "digits-conv__digits-mlp-s0__linear", "--out", str(tmp_path / "a.onnx")]
    done = CliRunner().invoke(main, [*parts, "-o", option, given])
    assert (done.exit_code, sentence in done.stderr) == (1, True), done.output


def test_a_listing_imports_nothing_heavy():
    code = (
        "import json, sys\nfrom atlas.cli import main\ntry:\n    main(['exporters'])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "onnx " in done.stdout
    roots = {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert "atlas_onnx" in roots
    assert not roots & {"onnx", "onnxruntime", "onnxscript", "onnx_ir"}
