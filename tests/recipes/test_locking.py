"""Locking what a recipe takes from a Hub, and reproducing exactly that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hubtools import CLIENT_WARNS, make_alignment

import atlas
from atlas.cards.folder import CARD
from atlas.cards.yaml import read_yaml
from atlas.errors import AtlasError, CardError
from atlas.hub.pulling import LOCKS
from atlas.recipes.locking import lock, locked, pull_locked, read_lock, references
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS


def test_a_lock_is_reproduced_or_says_what_differs(hub, repo: str, tmp_path: Path) -> None:
    first = push(make_alignment(tmp_path / "a"), repo)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"format: 1\nsteps:\n  use: {{verb: apply, mapping: 'hf://{repo}', vectors: [hf://{repo}]}}\n")
    path = tmp_path / "atlas.lock"
    assert references(recipe) == [f"hf://{repo}"]
    lock(references(recipe), path)
    push(make_alignment(tmp_path / "b", seed=1), repo)
    assert [one.commit for one in pull_locked(path)] == [first.commit]
    with locked(path):
        assert atlas.pull(f"hf://{repo}").commit == first.commit
        assert atlas.pull(first.pinned).commit == first.commit
        with pytest.raises(AtlasError, match=r"'hf://a/b' is not in .*atlas.lock - lock it"):
            atlas.pull("hf://a/b")
    assert not LOCKS and atlas.pull(f"hf://{repo}").commit != first.commit
    text = path.read_text()
    assert "hf_" not in text
    assert any(one.startswith("latent-atlas ") for one in read_yaml(path)["plugins"])
    card = read_yaml(path)["entries"][0]["card"]
    path.write_text(text.replace(card, "f" * 64).replace("plugins: [", "plugins: [atlas-not-there 1.0, "))
    with pytest.raises(
        AtlasError, match=r"cannot be reproduced: plugin atlas-not-there 1.0 was locked, installed is none"
    ):
        pull_locked(path)
    with pytest.raises(AtlasError, match=rf"'hf://{repo}': card was f{{24}}, is {card[:24]}"):
        pull_locked(path)


def test_references_are_put_together_from_variables(tmp_path: Path) -> None:
    step = "{each: {name: '${names}'}, verb: apply, mapping: 'hf://${owner}/${name}', vectors: [x, 'hf://b/${name}-2']}"
    values = "values: {owner: a, names: [one, two], unused: hf://not/used}"
    (tmp_path / "recipe.yaml").write_text(f"format: 1\n{values}\nsteps:\n  use: {step}\n")
    found = references(tmp_path / "recipe.yaml")
    assert found == ["hf://a/one", "hf://a/two", "hf://b/one-2", "hf://b/two-2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a lock file"),
        ("{format: 2, entries: []}", "format 2 is not one this Atlas reads"),
        ("{format: 1, entries: [{ref: a}]}", "an entry must have ref, commit and card"),
        ("{format: 1, entries: [3]}", "an entry must have ref, commit and card"),
        ("{format: 1, entries: [{ref: a/b, commit: 3, card: x}]}", "every field of an entry must be text"),
    ],
)
def test_a_malformed_lock_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "atlas.lock").write_text(text)
    with pytest.raises(CardError, match=message):
        pull_locked(tmp_path / "atlas.lock")


def test_a_recipe_is_run_with_what_was_locked(hub, repo: str, pair, tmp_path: Path, atlas_command, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair.source.save_pretrained("x")
    fitted = atlas.fit("procrustes", source=pair.source, target=pair.target)
    fitted.push_to_hub(repo)
    Path("recipe.yaml").write_text(
        f"format: 1\nsteps:\n  mapped: {{verb: apply, mapping: 'hf://{repo}', vectors: x}}\n"
    )
    atlas_command("lock", "recipe.yaml")
    turned = atlas.create(atlas.Aligner, "procrustes").fit(pair.source.data, -pair.target.data)
    atlas.Alignment(fitted.card, turned).push_to_hub(repo)
    atlas_command("run", "recipe.yaml", "--out", "then", "--locked")
    atlas_command("run", "recipe.yaml", "--out", "now")
    then, now = (atlas.load(next(Path(name).rglob(CARD)).parent).data for name in ("then", "now"))
    torch.testing.assert_close(then, fitted(pair.source.data))
    assert not torch.allclose(then, now, atol=0.1)


def test_a_recipe_is_locked_with_the_values_it_is_run_with(
    hub, repo: str, pair, tmp_path: Path, atlas_command, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pair.source.save_pretrained("x")
    fitted = atlas.fit("procrustes", source=pair.source, target=pair.target)
    first = {name: fitted.push_to_hub(f"{repo}-{name}").commit for name in ("one", "two")}
    step = "{verb: apply, mapping: 'hf://${owner}/${name}', vectors: '${x}'}"
    owner, name = repo.split("/")
    Path("recipe.yaml").write_text(
        f"format: 1\nvalues: {{owner: {owner}, name: {name}-one, x: y}}\nsteps: {{use: {step}}}\n"
    )
    given = ["--set", "name", f"{name}-two", "--set", "x", "./x"]
    assert f"{repo}-two is {first['two']}" in atlas_command("lock", "recipe.yaml", *given).stderr
    assert [entry["ref"] for entry in read_yaml("atlas.lock")["entries"]] == [f"hf://{repo}-two"]
    atlas_command("run", "recipe.yaml", "--out", "out", "--locked", *given)
    other = atlas_command("run", "recipe.yaml", "--out", "other", "--locked", "--set", "x", "./x", status=1)
    assert f"'hf://{repo}-one' is not in atlas.lock - lock it with 'atlas lock', and a recipe's --set" in other.stderr
    wrong = atlas_command("lock", "recipe.yaml", "--set", "nam", "x", status=1)
    assert "Unknown value 'nam' of the recipe - did you mean 'name'" in wrong.stderr
    assert "--set goes with a recipe" in atlas_command("lock", f"hf://{repo}-one", *given, status=2).stderr


@pytest.mark.parametrize("plugins", ["3", "{a: b}", "text"])
def test_plugins_that_are_no_list_make_no_lock_file(tmp_path, plugins):
    (tmp_path / "atlas.lock").write_text(f"format: 1\nplugins: {plugins}\nentries: []\n")
    with pytest.raises(CardError, match="not a lock file"):
        read_lock(tmp_path / "atlas.lock")
