"""Relative representations, small: what the paper claims, and what must not work."""

from __future__ import annotations

import sys

import pytest
import torch
from papertools import PAPERS, mean, pictures, run, shared_run, values


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return shared_run("relative", tmp_path_factory)


@pytest.fixture
def results(ran):
    return ran[0]


@pytest.fixture
def folder(ran):
    return ran[1]


def test_heads_of_relative_vectors_read_those_of_other_networks(results):
    stitched = {"step": "relative-stitched", "reads": "mlp", "n": 256}
    assert mean(results, **stitched) > mean(results, "native", **stitched) - 0.07
    assert mean(results, **stitched) > mean(results, step="absolute-stitched", reads="mlp") + 0.6


def test_a_linear_head_reads_its_own_as_well_and_others_far_worse(results):
    linear = {"step": "relative-stitched", "reads": "ridge", "n": 256}
    assert mean(results, "native", **linear) > 0.9
    assert mean(results, **linear) < mean(results, step="relative-stitched", reads="mlp", n=256) - 0.15


def test_anchors_in_another_order_or_of_no_meaning_carry_nothing(results):
    assert max(values(results, step="control", anchors="permuted")) < 0.3
    assert mean(results, step="control", anchors="random", own=False) < 0.4
    assert min(values(results, step="control", anchors="random", own=True)) > 0.9
    assert min(values(results, step="control", anchors="right")) > 0.8


def test_decoders_of_relative_codes_read_those_of_other_encoders(results):
    swapped = {"step": "decoders", "decoder": "same architecture"}
    assert mean(results, kind="absolute", **swapped) > mean(results, step="decoders", kind="mean image")
    for kind in ("relative", "relative, end to end"):
        assert mean(results, kind=kind, **swapped) < mean(results, kind="absolute", **swapped) / 3
        assert mean(results, kind=kind, **swapped) < 2 * mean(results, step="decoders", kind=kind, decoder="own")


def test_what_has_been_measured_is_not_measured_again(results, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert run("relative", folder) == results
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


def test_the_same_item_is_found_in_another_space_by_its_similarities(results):
    assert mean(results, step="similar", metric="mrr") > mean(results, step="absolute-found", metric="mrr") + 0.3


def test_the_pictures_of_the_page_are_drawn(results, folder):
    pytest.importorskip("matplotlib")
    for name in pictures("relative"):
        assert (PAPERS / "relative" / name).is_file()
        assert any(path.read_bytes().startswith(b"\x89PNG") for path in folder.rglob(name)), name


def test_a_rotated_and_scaled_space_is_an_isometry_and_another_is_not(tmp_path):
    run("relative", tmp_path, "isometry")
    measured = sys.modules["paper_relative_isometry"].isometry
    A = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 2, 1, 1, 1, 1])
    Q = torch.linalg.qr(A[:6].double()).Q.float()
    whole = {"a": (A[:200], A[200:]), "turned": (A[:200] @ (5 * Q), A[200:] @ (5 * Q))}
    bent = {"a": whole["a"], "squares": (A[:200].square(), A[200:].square())}
    found, worse = (list(measured(views, data="planted")) for views in (whole, bent))
    same = {"kind": "absolute", "items": "same items"}
    assert values(found, metric="correlation", **same) == pytest.approx([1, 1])
    assert values(found, metric="factor", **same) == pytest.approx([1, 1], abs=1e-3)
    assert mean(found, metric="factor", kind="absolute", items="others") > 1.5
    assert values(found, map="rotation and scale") == pytest.approx([1, 1], abs=1e-4)
    assert mean(found, map="rotation") < 0.9
    assert mean(worse, map="linear") < 0.3 and mean(worse, metric="correlation", **same) < 0.8


def test_decoders_of_variational_autoencoders_read_translated_and_relative_codes_of_another(tmp_path_factory):
    found = shared_run("relative", tmp_path_factory, "vae")[0]
    error = {row: mean(found, row=row, metric="mse") for row in ("as they are", "linear", "relative", "mean image")}
    assert max(error["linear"], error["relative"]) < 0.7 * error["mean image"] < 0.7 * error["as they are"]


def test_the_autoencoders_of_each_kind_are_named_by_hash(results):
    found = values(results, metric="sha256")
    assert len(set(found)) == len(found) == 3
    assert all(len(digest) == 12 for digest in found)
