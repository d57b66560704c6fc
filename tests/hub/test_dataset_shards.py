"""Shards in a dataset's repository on the Hub, read and written through its file system."""

from __future__ import annotations

import pytest
import torch
from hubtools import CLIENT_WARNS
from huggingface_hub import HfApi, HfFileSystem

import atlas
from atlas.errors import AtlasError, NotFoundError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS


@pytest.fixture
def shelf(hub, repo, tmp_path):
    """The URL of a folder of two shards of four vectors."""
    HfFileSystem.clear_instance_cache()
    api = HfApi(endpoint=hub.url)
    api.create_repo(repo, repo_type="dataset")
    X = torch.arange(24.0).view(8, 3)
    for k in range(2):
        ids = [f"item-{i}" for i in range(4 * k, 4 * k + 4)]
        parquet.write_table(
            pa.table({"id": ids, "vector": X[4 * k : 4 * k + 4].tolist()}), tmp_path / f"part-{k}.parquet"
        )
    api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=tmp_path, path_in_repo="shards")
    return f"hf://datasets/{repo}/shards"


def test_shards_of_a_dataset_are_read(shelf):
    for ref in (shelf, f"{shelf}/part-*.parquet"):
        found = atlas.read_vectors(ref)
        assert torch.equal(found.data, torch.arange(24.0).view(8, 3)) and found.ids[-1] == "item-7"


def test_mapped_shards_are_written_to_a_dataset(shelf):
    X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    alignment = atlas.fit("linear", source=X, target=atlas.Vectors.of(2 * X, atlas.Space("target", 3, "toy")))
    made = atlas.apply(alignment, shelf, out=f"{shelf}-mapped")
    assert torch.allclose(made.data.float(), 2 * torch.arange(24.0).view(8, 3), atol=1e-4)
    again = atlas.apply(alignment, shelf, out=f"{shelf}-mapped")
    assert again.rows.kept == 2


def test_a_dataset_that_is_not_there_is_told(hub, repo):
    HfFileSystem.clear_instance_cache()
    with pytest.raises((AtlasError, NotFoundError), match=f"hf://datasets/{repo}/nothing"):
        atlas.read_vectors(f"hf://datasets/{repo}/nothing")
