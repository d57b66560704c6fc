"""Shards in object stores: in memory, and on an S3 server of moto's on this machine."""

from __future__ import annotations

import importlib.util
import json
import secrets

import pytest
import torch

import atlas
from atlas.artefacts.sources.shards import STAMPS
from atlas.errors import AtlasError, NotFoundError
from atlas.storage import remote

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec")

N, D, SHARDS = 20, 3, 11


@pytest.fixture(scope="session")
def s3():
    """The URL of a bucket."""
    if not all(map(importlib.util.find_spec, ("moto", "flask", "s3fs"))):
        pytest.skip("needs moto and s3fs - pip install 'latent-atlas[dev]'")
    import warnings

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(port=0)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("no_proxy", "*")
        fsspec.filesystem("s3").mkdir("shelf")
        yield "s3://shelf"
        server.stop()


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """The URL of a folder that is not there yet."""
    root = "memory://shelf" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{root}/{secrets.token_hex(4)}"


def data() -> torch.Tensor:
    return torch.randn(N * SHARDS, D, generator=torch.Generator().manual_seed(0))


def put(place: str) -> str:
    """Write a set of shards to a store."""
    for k in range(SHARDS):
        flat = pa.array(data()[N * k : N * (k + 1)].reshape(-1).numpy())
        ids = [f"item-{i}" for i in range(N * k, N * (k + 1))]
        found = pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(flat, D), "more": ids})
        with fsspec.open(f"{place}/part-{k}.parquet", "wb") as file:
            parquet.write_table(found, file, row_group_size=7)
    return place


def alignment() -> atlas.Alignment:
    target = atlas.Vectors.of(-data(), atlas.Space("target", D, "toy"))
    return atlas.fit("procrustes", source=atlas.Vectors.of(data(), "in"), target=target)


def test_a_folder_a_pattern_and_an_object_are_read(place):
    put(place)
    for ref in (place, f"{place}/part-*.parquet", [f"{place}/part-{k}.parquet" for k in range(SHARDS)]):
        found = atlas.read_vectors(ref)
        assert torch.equal(found.data, data()) and found.ids[-1] == f"item-{N * SHARDS - 1}"
    assert torch.equal(atlas.read_vectors(f"{place}/part-3.parquet").data, data()[N * 3 : N * 4])


def test_shards_are_written_to_a_store_and_skipped_once_they_are_there(place):
    put(place)
    made = atlas.apply(alignment(), place, out=f"{place}-out")
    torch.testing.assert_close(made.data, -data(), rtol=0, atol=1e-6)
    assert made.ids[5] == "item-5" and made.space.id == "target"
    before = [remote.state(f"{place}-out/part-{k}.parquet") for k in range(SHARDS)]
    with fsspec.open(f"{place}-out/{STAMPS}/part-2.parquet.json", "rb") as file:
        stamp = json.loads(file.read())
    assert stamp["output"] == before[2]
    atlas.apply(alignment(), place, out=f"{place}-out")
    assert [remote.state(f"{place}-out/part-{k}.parquet") for k in range(SHARDS)] == before
    system, path = fsspec.core.url_to_fs(f"{place}-out")
    system.rm_file(f"{path}/part-4.parquet")
    atlas.apply(alignment(), place, out=f"{place}-out")
    after = [remote.state(f"{place}-out/part-{k}.parquet") for k in range(SHARDS)]
    assert after[:4] + after[5:] == before[:4] + before[5:] and after[4] is not None


def test_shards_come_here_and_go_there(place, tmp_path):
    atlas.apply(alignment(), put(place), out=tmp_path / "here")
    assert parquet.read_schema(tmp_path / "here" / "part-0.parquet").names == ["id", "vector", "more"]
    back = atlas.apply(alignment(), tmp_path / "here", out=f"{place}-back", inverse=True)
    torch.testing.assert_close(back.data, data(), rtol=0, atol=1e-6)
    one = atlas.apply(alignment(), tmp_path / "here" / "part-1.parquet", out=f"{place}-one", inverse=True)
    torch.testing.assert_close(one.data, data()[N : 2 * N], rtol=0, atol=1e-6)


def test_what_is_not_there_is_told_of(place):
    for ref in (f"{place}/part-0.parquet", [f"{place}/part-0.parquet"]):
        with pytest.raises(NotFoundError, match=r"There is no object '.*/part-0.parquet'"):
            atlas.read_vectors(ref)
    with pytest.raises(AtlasError, match=r"names no \.npy, \.safetensors or \.parquet files"):
        atlas.read_vectors(place)


def test_only_parquet_is_read_and_written_in_a_store(tmp_path):
    with pytest.raises(AtlasError, match=r"'memory://shelf/a.npy' cannot be read in its store, as only .parquet can"):
        atlas.read_vectors("memory://shelf/a.npy")
    vectors = atlas.Vectors.of(data(), "in")
    vectors.save_pretrained(tmp_path / "a.npy")
    with pytest.raises(AtlasError, match=r"Only .parquet shards are written to a store, and 'a.npy' is none"):
        atlas.apply(alignment(), tmp_path / "a.npy", out="memory://shelf/out")
    with pytest.raises(AtlasError, match=r"'memory://shelf/out' is in a store, where shards alone are written"):
        atlas.apply(alignment(), vectors, out="memory://shelf/out")


@pytest.mark.parametrize("url", ["nowhere://bucket/a.parquet", "gs://bucket/a.parquet"])
def test_a_store_that_cannot_be_reached_is_one_sentence(url, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(AtlasError, match="cannot be reached: "):
        atlas.read_vectors(url)


def test_a_name_that_a_store_made_up_reaches_no_path():
    for name in ("..", "a\\b.parquet", "c:.parquet", "a\nb.parquet"):
        with pytest.raises(AtlasError, match="is no name of a file - rename it"):
            remote.name_of(f"memory://shelf/{name}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://owner/name", False),
        ("hf://owner/name@main", False),
        ("hf://datasets/owner/name/data", True),
        ("s3://bucket/folder", True),
        ("folder/with:colon", False),
        ("s3://", False),
    ],
)
def test_a_repository_of_the_hub_is_no_store(text, expected):
    assert remote.is_remote(text) is expected
