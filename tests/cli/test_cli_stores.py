"""`atlas apply` from store to store, and `atlas stores`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import space_of
from storetools import CODE, make, rows

import atlas
from atlas.components.linear import Affine
from atlas.errors import AtlasError
from atlas.plugins.catalogue import component

pytest_plugins = ["plugin_fixtures"]


@pytest.fixture
def url(plant, tmp_path, monkeypatch):
    """The URL of a store, in a working folder with an alignment 'map' of its vectors."""
    monkeypatch.chdir(tmp_path)
    plant("lite", CODE)
    map = Affine.of(torch.from_numpy(rows(6, 9, 1)), torch.ones(9))
    atlas.Alignment.of(map, space_of("old", 6), space_of("new", 9), "old-new").save_pretrained("map")
    make(tmp_path / "a.db", rows(30, 6))
    return "lite://./a.db"


def test_a_store_is_mapped_switched_to_taken_back_and_dropped(url, atlas_command):
    said = atlas_command("apply", "map", url, "--out", url)
    assert "Wrote 30 vectors of 'new' (9 dimensions, digest " in said.stderr
    assert "to the shadow of 'lite://./a.db' - next: atlas stores switch URL" in said.stderr
    shown = atlas_command("stores", "switch", url).stdout
    assert shown.splitlines()[0] == "store lite://./a.db"
    assert "vectors    30           9  new    old-new         yes" in shown
    assert json.loads(atlas_command("stores", "show", url, "--json").stdout)["shadow"]["dim"] == 6
    said = atlas_command("stores", "drop", url, status=1).stderr
    assert said.startswith("Error: Store 'lite://./a.db' has the vectors from before a switch in its shadow")
    atlas_command("stores", "switch", url)
    assert "shadow" not in atlas_command("stores", "drop", url).stdout


def test_a_store_is_read_into_a_file(url, atlas_command):
    atlas_command("apply", "map", url, "--out", "mapped.safetensors")
    mapped = atlas.read_vectors("mapped.safetensors")
    np.testing.assert_allclose(mapped.data, rows(30, 6) @ rows(6, 9, 1) + 1, atol=1e-5)
    assert mapped.ids[3] == "item-00003"


def test_a_store_that_has_other_rows_than_it_counted_is_read_again(url, monkeypatch):
    lite = component(atlas.Store, "lite")
    count = lite.count
    monkeypatch.setattr(lite, "count", lambda *given: count(*given) + 1)
    with pytest.raises(AtlasError, match=r"changed while it was read: it had 31 rows, and 30 were read - read it"):
        atlas.read_vectors(url)


def test_stores_are_listed(url, atlas_command):
    assert "Vectors in a table of a sqlite database" in atlas_command("stores").stdout
    assert "-o table" in atlas_command("stores", "show", "lite").stdout


def test_a_password_is_never_printed(url, atlas_command):
    secret = "lite://ann:hunter2@nowhere:99999/a"
    for words in (("apply", "map", secret, "--out", secret), ("stores", "show", secret), ("stores", "drop", secret)):
        said = atlas_command(*words, status=1)
        assert "lite://" in said.stderr and "hunter2" not in said.output
    good = secret.replace("99999", "9")
    said = atlas_command("apply", "map", good, "--out", good, status=1)
    assert said.stderr == "Error: Store 'lite://ann@nowhere:9/a' is not there - check the path\n"
    assert "hunter2" not in atlas_command("compare", good, good, status=1).output


def test_a_note_on_a_store_without_a_stamp_hides_the_password(url, atlas_command):
    secret = url.replace("lite://.", "lite://ann:hunter2@.")
    said = atlas_command("compare", secret, url)
    assert "'lite://ann@./a.db'" in said.stderr and "hunter2" not in said.output


def test_a_url_that_is_mistyped_hides_the_password(url, atlas_command):
    for words in (
        ("compare", "lte://ann:hunter2@h/a", url),
        ("encode", "tfidf-svd", "lte://ann:hunter2@h/a", "--out", "x"),
    ):
        said = atlas_command(*words, status=1)
        assert "ann:***@h" in said.stderr and "hunter2" not in said.output


def test_a_url_that_is_mistyped_hides_the_password_from_python(url):
    with pytest.raises(atlas.AtlasError, match="'lte://ann:\\*\\*\\*@h/a' cannot be reached"):
        atlas.read_vectors("lte://ann:hunter2@h/a")


def test_a_recipe_refuses_a_store_and_hides_the_password(url, atlas_command, tmp_path):
    steps = "format: 1\nsteps:\n  drawn: {verb: sample, sampler: uniform, n: 3, seed: 0, vectors: 'lite://ann:hunter2@h/a'}\n"
    (tmp_path / "recipe.yaml").write_text(steps)
    said = atlas_command("run", "recipe.yaml", "--out", "made", status=1)
    assert "Store 'lite://ann@h/a' cannot be read in a recipe - save its vectors to a folder first" in said.stderr
    written = "".join(path.read_text() for path in (tmp_path / "made").rglob("*") if path.is_file())
    assert "hunter2" not in said.output + written


def test_a_file_cannot_be_mapped_into_a_store(url, atlas_command):
    np.save("x.npy", rows(3, 6))
    said = atlas_command("apply", "map", "x.npy", "--out", url, status=1).stderr
    assert "A store is filled from a store - give one URL" in said
