"""Moments on the command line and in a recipe, and errors that are predicted."""

from __future__ import annotations

import json

import pytest
import torch

from atlas import Vectors, load, read_vectors
from atlas.errors import AtlasWarning

RECIPE = """
format: 1
steps:
  sums:
    each: {part: [1, 2]}
    verb: moments
    source: a${part}
    target: b${part}
  all:
    verb: merge
    moments: [{step: sums, part: 1}, {step: sums, part: 2}]
  back:
    verb: fit
    aligner: procrustes
    moments: {step: all}
    reverse: true
"""


@pytest.fixture
def shards(stored):
    """Vectors a and b, also in two parts."""
    for name in "ab":
        whole = read_vectors(name).of_items(read_vectors("a").ids)
        for part, rows in enumerate(torch.arange(len(whole)).split(90), 1):
            whole.take(rows).save_pretrained(f"{name}{part}")
    return stored


def test_moments_of_parts_are_merged_and_fitted_from(shards, atlas_command):
    said = atlas_command("moments", "--source", "a1", "--target", "b1", "--out", "m1").stderr
    assert said == "Wrote moments of 90 items (8 and 8 dimensions) to m1 - next: atlas fit linear --moments m1\n"
    atlas_command("moments", "--source", "a2", "--target", "b2", "--out", "m2")
    said = atlas_command("merge", "m1", "m2", "--id", "all", "--out", "m").stderr
    assert said == "Wrote moments of 120 items (8 and 8 dimensions) to m\n"
    shown = json.loads(atlas_command("show", "m", "--json").stdout)
    assert (shown["kind"], shown["id"], shown["n"]) == ("moments", "all", 120)
    listed = atlas_command("list", "--registry", ".", "--kind", "moments").stdout.splitlines()
    assert listed[1].split() == ["moments", "all", "a", "b", "8", "120"]
    assert "they can be those of 120 pairs" in atlas_command("verify", "m").stdout
    for out, more in (("map", ["m"]), ("map2", ["m1", "--source", "a2", "--target", "b2"])):
        atlas_command("fit", "linear", "--moments", *more, "--out", out)
    atlas_command("fit", "linear", "--source", "a", "--target", "b", "--out", "map3")
    weights = [load(f"./{name}").aligner.state["weight"] for name in ("map", "map2", "map3")]
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-5, atol=1e-5)
    atlas_command("fit", "procrustes", "--moments", "m", "--reverse", "--out", "back")
    assert load("./back").source.id == "b"


def test_spaces_are_compared_by_their_moments(shards, atlas_command):
    atlas_command("moments", "--source", "a", "--target", "b", "--out", "m")
    names = ["--metric", "cka", "--metric", "procrustes-distance"]
    assert (
        atlas_command("compare", "--moments", "m", *names).stdout == atlas_command("compare", "a", "b", *names).stdout
    )
    assert "give the vectors of two or more" in atlas_command("compare", status=1).stderr


def test_apply_writes_predicted_errors_and_warns_of_vectors_of_another_kind(shards, atlas_command):
    atlas_command("fit", "linear", "--source", "a", "--target", "b", "--out", "map")
    atlas_command("apply", "map", "a", "--confidence", "--out", "mapped")
    assert torch.equal(load("./mapped").predicted_error, load("./map").confidence(read_vectors("a")))
    a = read_vectors("a")
    Vectors.of(100 + a.data, a.space, ids=a.ids).save_pretrained("far")
    with pytest.warns(AtlasWarning, match="100% of the vectors lie outside the domain"):
        load("./map").check_domain(read_vectors("far").rows)
    said = atlas_command("apply", "map", "far", "--out", "mapped-far").stderr
    assert "Warning: 100% of the vectors lie outside the domain that alignment 'a__b__linear' was fitted on" in said
    atlas_command("fit", "linear", "--source", "a", "--target", "b", "--no-confidence", "--out", "plain")
    message = "does not know the domain it was fitted on - fit it with --confidence"
    assert message in atlas_command("apply", "plain", "a", "--confidence", "--out", "no", status=1).stderr


def test_a_recipe_sums_up_merges_and_fits(shards, atlas_command):
    (shards / "r.yaml").write_text(RECIPE)
    atlas_command("run", "r.yaml", "--out", "done")
    found = [load(folder.parent) for folder in sorted((shards / "done").rglob("config.yaml"))]
    assert sorted(one.kind for one in found) == ["alignment", "moments", "moments", "moments"]
    assert {one.n_pairs for one in found if one.kind == "alignment"} == {120}
