"""Shards in object stores: in memory, and on an S3 server of moto's on this machine."""

from __future__ import annotations

import importlib.util
import json
import secrets

import numpy as np
import pytest
import torch

import atlas
from atlas.artefacts.sources.shard_writing import STAMPS
from atlas.errors import AtlasError, NotFoundError
from atlas.storage import remote

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec")

# Numbers of which the text of one sorts before that of a smaller one.
N, D, PARTS = 44, 3, range(7, 12)


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
    return torch.randn(N * len(PARTS), D, generator=torch.Generator().manual_seed(0))


def put(place: str) -> str:
    """Write a set of shards to a store."""
    for n, k in enumerate(PARTS):
        flat = pa.array(data()[N * n : N * (n + 1)].reshape(-1).numpy())
        ids = [f"item-{i}" for i in range(N * n, N * (n + 1))]
        found = pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(flat, D), "more": ids})
        with fsspec.open(f"{place}/part-{k}.parquet", "wb") as file:
            parquet.write_table(found, file, row_group_size=20)
    return place


def alignment() -> atlas.Alignment:
    target = atlas.Vectors.of(-data(), atlas.Space("target", D, "toy"))
    return atlas.fit("procrustes", source=atlas.Vectors.of(data(), "in"), target=target)


def test_a_folder_a_pattern_and_an_object_are_read(place):
    put(place)
    for ref in (place, f"{place}/part-*.parquet", [f"{place}/part-{k}.parquet" for k in PARTS]):
        found = atlas.read_vectors(ref)
        assert torch.equal(found.data, data()) and found.ids[-1] == f"item-{len(data()) - 1}"
    assert torch.equal(atlas.read_vectors(f"{place}/part-10.parquet").data, data()[N * 3 : N * 4])


def test_shards_are_written_to_a_store_and_skipped_once_they_are_there(place):
    put(place)
    made = atlas.apply(alignment(), place, out=f"{place}-out")
    torch.testing.assert_close(made.data, -data(), rtol=0, atol=1e-6)
    assert made.ids[5] == "item-5" and made.space.id == "target"
    before = [remote.state(f"{place}-out/part-{k}.parquet") for k in PARTS]
    with fsspec.open(f"{place}-out/{STAMPS}/part-9.parquet.json", "rb") as file:
        stamp = json.loads(file.read())
    assert stamp["output"] == before[2]
    atlas.apply(alignment(), place, out=f"{place}-out")
    assert [remote.state(f"{place}-out/part-{k}.parquet") for k in PARTS] == before
    system, path = fsspec.core.url_to_fs(f"{place}-out")
    system.rm_file(f"{path}/part-11.parquet")
    atlas.apply(alignment(), place, out=f"{place}-out")
    after = [remote.state(f"{place}-out/part-{k}.parquet") for k in PARTS]
    assert after[:4] + after[5:] == before[:4] + before[5:] and after[4] is not None


def test_shards_come_here_and_go_there(place, tmp_path):
    atlas.apply(alignment(), put(place), out=tmp_path / "here")
    assert parquet.read_schema(tmp_path / "here" / "part-7.parquet").names == ["id", "vector", "more"]
    back = atlas.apply(alignment(), tmp_path / "here", out=f"{place}-back", inverse=True)
    torch.testing.assert_close(back.data, data(), rtol=0, atol=1e-6)
    one = atlas.apply(alignment(), tmp_path / "here" / "part-8.parquet", out=f"{place}-one", inverse=True)
    torch.testing.assert_close(one.data, data()[N : 2 * N], rtol=0, atol=1e-6)


def test_what_is_not_there_is_told_of(place):
    for ref in (f"{place}/part-0.parquet", [f"{place}/part-0.parquet"]):
        with pytest.raises(NotFoundError, match=r"There is no object '.*/part-0.parquet'"):
            atlas.read_vectors(ref)
    with pytest.raises(AtlasError, match=r"names no \.npy, \.safetensors or \.parquet files"):
        atlas.read_vectors(place)


def put_files(place: str, folder, ending: str) -> str:
    """Write a set of .npy or .safetensors shards to a store."""
    for n, k in enumerate(PARTS):
        rows = slice(N * n, N * (n + 1))
        ids = [f"item-{i}" for i in range(rows.start, rows.stop)]
        labels = ["even" if i % 2 == 0 else "odd" for i in range(N)]
        named = {} if ending == ".npy" else {"ids": ids, "labels": labels}
        atlas.Vectors.of(data()[rows], "in", **named).save_pretrained(folder / f"part-{k}{ending}")
        with fsspec.open(f"{place}/part-{k}{ending}", "wb") as file:
            file.write((folder / f"part-{k}{ending}").read_bytes())
    return place


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_files_of_other_kinds_are_read_and_written_in_a_store(place, tmp_path, ending, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = atlas.read_vectors(put_files(place, tmp_path, ending))
    index = torch.tensor([150, 3, 77])
    assert torch.equal(found.data, data()) and torch.equal(found.rows.take(index), data()[index])
    assert torch.equal(torch.cat(list(found.rows.batches(9, index))), data()[index])
    assert found.numbered if ending == ".npy" else found.ids[150] == "item-150"
    if ending == ".safetensors":
        assert found.labels is not None and len(found.classes) == 2
    made = atlas.apply(alignment(), place, out=f"{place}-out")
    torch.testing.assert_close(made.data, -data(), rtol=0, atol=1e-6)
    assert atlas.read_vectors(f"{place}-out").space.id == "target" and not list(tmp_path.glob("*:"))
    before = [remote.state(f"{place}-out/part-{k}{ending}") for k in PARTS]
    atlas.apply(alignment(), place, out=f"{place}-out")
    assert [remote.state(f"{place}-out/part-{k}{ending}") for k in PARTS] == before
    assert atlas.fit("procrustes", source=place, target=f"{place}-out").n_pairs == len(data())


def test_damaged_files_in_a_store_are_told_of(tmp_path):
    place = put_files(f"memory://shelf/{secrets.token_hex(4)}", tmp_path, ".npy")
    whole = (tmp_path / "part-7.npy").read_bytes()
    for damaged, told in {
        whole[:-1]: "truncated: has",
        b"nothing": "truncated or not a .npy file of numbers",
        whole.replace(b"<f4", b"<i4"): "must hold a matrix of floats, row by row, has int32",
    }.items():
        with fsspec.open(f"{place}/part-8.npy", "wb") as file:
            file.write(damaged)
        with pytest.raises(AtlasError, match=rf"{place}/part-8.npy: {told}"):
            atlas.read_vectors(place)
    with fsspec.open(f"{place}-b/a.safetensors", "wb") as file:
        file.write(b"nothing")
    with pytest.raises(AtlasError, match=rf"{place}-b/a.safetensors: truncated or not a safetensors file"):
        atlas.read_vectors(f"{place}-b")


def test_only_shards_are_written_to_a_store():
    with pytest.raises(AtlasError, match=r"'memory://shelf/out' is in a store, where shards alone are written"):
        atlas.apply(alignment(), atlas.Vectors.of(data(), "in"), out="memory://shelf/out")


def test_an_unknown_kind_of_place_names_no_plugin_to_install():
    with pytest.raises(AtlasError, match=r"'nosuch://' is unknown - `atlas stores` lists those known") as error:
        atlas.read_vectors("nosuch://host/vectors")
    assert "latent-atlas" not in str(error.value)


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


def test_a_store_is_asked_for_little_more_than_is_used(s3, tmp_path, monkeypatch):
    from aiobotocore.client import AioBaseClient

    asked = []
    call = AioBaseClient._make_api_call

    async def counted(self, operation, arguments):
        answer = await call(self, operation, arguments)
        asked.append(answer["ContentLength"] if operation == "GetObject" else 0)
        return answer

    place, X = f"{s3}/{secrets.token_hex(4)}", torch.randn(8000, 64)
    table = pa.table({"id": range(len(X)), "vector": pa.FixedSizeListArray.from_arrays(X.flatten().numpy(), 64)})
    with fsspec.open(f"{place}/part-0.parquet", "wb") as file:
        parquet.write_table(table, file, row_group_size=2000, use_dictionary=False)
    np.save(tmp_path / "a.npy", X.numpy())
    fsspec.filesystem("s3").put_file(str(tmp_path / "a.npy"), f"{place}-b/a.npy")
    monkeypatch.setattr(AioBaseClient, "_make_api_call", counted)
    # A row of each row group is looked at first.
    for ref, times in ((place, 2.5), (f"{place}-b/a.npy", 1.1)):
        asked.clear()
        assert torch.equal(atlas.read_vectors(ref).data, X)
        assert X.nbytes < sum(asked) < times * X.nbytes


def test_an_object_is_opened_as_often_however_many_row_groups_it_has(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    opened, plain = [], MemoryFileSystem.open
    monkeypatch.setattr(MemoryFileSystem, "open", lambda self, *a, **k: opened.append(a) or plain(self, *a, **k))
    counts = []
    for rows in (N, 2):
        url = f"memory://shelf/{secrets.token_hex(4)}.parquet"
        with fsspec.open(url, "wb") as file:
            table = {"id": range(N), "vector": pa.FixedSizeListArray.from_arrays(data()[:N].reshape(-1).numpy(), D)}
            parquet.write_table(pa.table(table), file, row_group_size=rows)
        opened.clear()
        assert torch.equal(atlas.read_vectors(url).data, data()[:N])
        counts.append(len(opened))
    assert counts[0] == counts[1] == 3
