"""Searching a Hub, rebuilding a registry from it, and verifying what is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hubtools import CLIENT_WARNS, make_alignment, upload

import atlas
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Metric
from atlas.cards.space import Space
from atlas.errors import AtlasError
from atlas.hub.searching import index, search
from atlas.sharing.publishing import push
from atlas.sharing.verifying import verify
from atlas.storage.files import sha256_file
from atlas.storage.registry import Registry
from atlas.storage.tensors import save_tensors

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS


def published(tmp_path: Path, owner: str) -> dict[str, str]:
    """Push three alignments, one of them private, and return their commits."""
    made = {}
    for i, (name, target, method, value) in enumerate(
        [("one", "right", "ridge", 0.5), ("two", "right", "procrustes", 0.9), ("three", "up", "ridge", 0.7)]
    ):
        folder = make_alignment(
            tmp_path / name,
            seed=i,
            id=f"left__{target}__{method}",
            target=Space(target, 4),
            aligner=method,
            metrics=(Metric("recall@10", value, dataset="toy"),),
        )
        made[name] = push(folder, f"{owner}/{name}-{tmp_path.name[-8:]}", private=name == "three").commit
    return made


@pytest.fixture
def names(tmp_path: Path):
    """Turn what a search found into the short names of this test's repositories."""

    def short(found) -> list[str]:
        mark = tmp_path.name[-8:]
        return [one.repo.split("/")[1].split("-")[0] for one in found if one.repo.endswith(mark)]

    return short


def test_the_hub_is_searched_without_downloading(hub, tmp_path: Path, names) -> None:
    commits = published(tmp_path, "tester")
    hub.clear_requests()
    assert sorted(names(search())) == ["one", "three", "two"]
    assert len([r for r in hub.requests if r.path == "/api/models"]) == len(hub.requests)
    assert sorted(names(search(kind="alignment", source="left", target="right"))) == ["one", "two"]
    assert names(search(method="procrustes", author="tester")) == ["two"]
    assert names(search("up ridge")) == ["three"]
    assert names(search(kind="head")) == []
    assert names(search(author="other")) == []
    assert names(search(sort="recall@10")) == ["two", "three", "one"]
    assert names(search(sort="modified"))[0] == "three"
    assert sorted(names(search(token=False))) == ["one", "two"]
    found = next(one for one in search() if one.commit == commits["three"])
    assert (found.private, found.metrics, found.target) == (True, {"recall@10": 0.7}, "up")


def test_what_others_wrote_into_tags_is_only_text(hub, repo: str) -> None:
    text = '---\nlibrary_name: latent-atlas\ntags: ["atlas:kind:alignment", "atlas:source:\\e[31mred"]\n'
    text += "model-index: [{results: [{metrics: [{type: recall@10, value: high}, 7]}, 3]}]\n---\n"
    upload(repo, {"README.md": text.encode()})
    found = next(one for one in search() if one.repo == repo)
    assert found.source == "?[31mred"
    assert found.metrics == {}


def test_a_search_offline_or_for_an_unknown_kind_is_refused(hub, monkeypatch) -> None:
    from huggingface_hub import constants

    with pytest.raises(AtlasError, match="Unknown kind 'alignmnt' - did you mean 'alignment'"):
        search(kind="alignmnt")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AtlasError, match="cannot be searched while HF_HUB_OFFLINE is set"):
        search()


def test_a_registry_is_rebuilt_from_the_hub(hub, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import HfApi

    owner, api = "test-org", HfApi(endpoint=hub.url)
    commits = published(tmp_path, owner)
    readme = b'---\nlibrary_name: latent-atlas\ntags: ["atlas:kind:head"]\n---\n'
    bad = upload(f"{owner}/bad-{tmp_path.name[-8:]}", {CARD: b"kind: 1", "README.md": readme})
    root = tmp_path / "registry"
    own = make_alignment(root / "alignments" / "mine", id="mine")
    done = index(owner, root)
    entries = {entry.card.id: entry.card.hub.split("@")[1] for entry in Registry(root).entries() if entry.card.hub}
    assert entries == {
        "left__right__ridge": commits["one"],
        "left__right__procrustes": commits["two"],
        "left__up__ridge": commits["three"],
    }
    assert not list(root.glob("*/left*/" + MODEL))
    assert [reason for reason in done.skipped.values() if f"@{bad}: config.yaml: Field 'format' must be" in reason]
    monkeypatch.setenv("ATLAS_REGISTRY", str(root))
    assert atlas.load("left__right__procrustes").n_pairs == 50
    api.delete_repo(f"{owner}/one-{tmp_path.name[-8:]}")
    again = index(owner, root)
    assert [path.name for path in again.removed] == ["left__right__ridge"]
    assert len(again.written) == len(done.written) - 1
    assert own.exists()


def test_two_repositories_of_one_id_are_told_apart(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", id="the__same__id")
    push(folder, f"other/{repo.split('/')[1]}-1", token="hf_other_write")
    push(folder, f"other/{repo.split('/')[1]}-2", token="hf_other_write")
    done = index("other", tmp_path / "registry")
    assert len(done.written) == 1
    assert [reason for reason in done.skipped.values() if "alignment 'the__same__id' is that of 'other/" in reason]


def verdicts(checks) -> dict[str, bool | None]:
    """Return what each check decided."""
    return {check.name: check.ok for check in checks}


def test_figures_are_measured_again(hub, repo: str, pair, tmp_path: Path) -> None:
    source, target = pair.source.push_to_hub(f"{repo}-x"), pair.target.push_to_hub(f"{repo}-y")
    fitted = atlas.fit("procrustes", source=pair.source, target=pair.target)
    figures = atlas.evaluate(fitted, source=pair.source, target=pair.target)
    atlas.save(fitted.with_card(metrics=figures), tmp_path / "a")
    done = push(tmp_path / "a", repo, evaluated_on=[f"hf://{repo}-x", f"hf://{repo}-y"])
    assert atlas.pull(repo).card.evaluation == {"source": source.pinned, "target": target.pinned}
    checks = verify(done.pinned)
    assert set(verdicts(checks).values()) == {True}
    assert {"format", "hashes", "numbers", "condition", "plugin", "cosine", "recall@10"} <= set(verdicts(checks))
    wrong = atlas.load(done.pinned).with_card(metrics=(replace(figures[0], value=figures[0].value - 0.1),))
    assert wrong.evaluation == {"source": source.pinned, "target": target.pinned}
    atlas.save(wrong, tmp_path / "b")
    assert verdicts(verify(tmp_path / "b"))[figures[0].name] is False
    assert "does not hold: the card says" in verify(tmp_path / "b")[-1].said
    with pytest.raises(AtlasError, match=r"cannot be reached by others - push it, and give its hf:// reference"):
        push(tmp_path / "a", repo, evaluated_on=["a", "b"])


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    assert verify(folder)[-1].said == "the card has none"
    make_alignment(tmp_path / "a", metrics=(Metric("cosine", 0.5),))
    assert verify(folder)[-1].said == "the card does not say on which vectors - give --source and --target"
    last = verify(folder, {"source": str(tmp_path / "x"), "target": str(tmp_path / "y")})[-1]
    assert (last.ok, last.said.startswith("could not be measured again: There is no")) == (None, True)


@pytest.mark.parametrize(
    ("plugin", "ok", "said"),
    [
        ("", True, "needs none"),
        ("latent-atlas 0.0.1", True, "latent-atlas 0.0.1 is installed"),
        ("latent-atlas 999.0", False, "it was made with latent-atlas 999.0, installed is"),
        (
            "latent-atlas-pot 1.0",
            False,
            "it comes with latent-atlas-pot 1.0, which is not installed: pip install latent-atlas-pot",
        ),
        ("evil; rm -rf / 1.0", False, "does not say which plugin it needs in a way that can be read"),
    ],
)
def test_the_plugin_is_looked_for(tmp_path: Path, plugin: str, ok: bool, said: str) -> None:
    folder = make_alignment(tmp_path / "a", plugin=plugin)
    retold(folder, {"map": torch.eye(3)})
    check = next(check for check in verify(folder) if check.name == "plugin")
    assert (check.ok, said in check.said) == (ok, True)


def retold(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Replace an artefact's tensors, with a card that agrees."""
    infos = save_tensors(folder / MODEL, tensors)
    card = replace(read_card(folder), tensors=infos, sha256=sha256_file(folder / MODEL))
    (folder / CARD).write_text(dump_card(card))


def test_a_map_that_needs_no_plugin_is_sound_without(tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", plugin="latent-atlas-pot 1.0")
    assert "is not needed: the map is a weight and a bias" in str(verify(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_found(tmp_path: Path, value: float) -> None:
    folder = make_alignment(tmp_path / "a")
    retold(folder, {"weight": torch.full((6, 4), value), "bias": torch.zeros(4)})
    assert "NaN or infinity in weight" in str(verify(folder))
    assert verdicts(verify(folder))["numbers"] is False


def test_a_map_that_loses_directions_is_told(tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    retold(folder, {"weight": torch.ones(6, 4), "bias": torch.zeros(4)})
    check = next(check for check in verify(folder) if check.name == "condition")
    assert check.ok is None
    assert "some directions are lost" in check.said


def test_the_commands(hub, repo: str, tmp_path: Path, atlas_command, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_alignment(tmp_path / "a", metrics=(Metric("recall@10", 0.5, dataset="toy"),))
    plan = atlas_command("push", "a", repo, "--dry-run").output
    assert "model.safetensors" in plan
    assert f'atlas.load("hf://{repo}")' in plan
    line = atlas_command("push", "a", repo, "--tag", "v1").stdout.strip()
    assert line.startswith(f"hf://{repo}@")
    assert f"Nothing has changed: hf://{repo}" in atlas_command("push", "a", repo).stderr
    assert f"hf://{repo}" in atlas_command("list", "--hub", repo.split("/")[1], "--sort", "recall@10").output
    assert json.loads(atlas_command("list", "--hub", repo.split("/")[1], "--json").output)[0]["commit"] in line
    assert "left__right__ridge" in atlas_command("show", f"hf://{repo}@v1").output
    assert "hashes" in atlas_command("verify", f"hf://{repo}").output
    pulled = atlas_command("pull", f"hf://{repo}@v1", "--to", "b")
    assert line in pulled.stderr
    assert read_card("b").hub == line.removeprefix("hf://")
    atlas_command("lock", f"hf://{repo}")
    assert line.split("@")[1] in atlas_command("pull", "--locked").stdout
    out = atlas_command("index", "tester", "--registry", "r", "--json", status=None)
    assert any(path.endswith("left__right__ridge") for path in json.loads(out.stdout)["written"])
    assert "Give either a REF or --locked" in atlas_command("pull", status=2).stderr
    assert "--method goes with --hub" in atlas_command("list", "--method", "x", status=2).stderr
    assert "there is no such repository" in atlas_command("pull", "hf://tester/nothing", status=1).stderr
