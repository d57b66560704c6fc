"""Pushing to a Hub: one commit or none, nothing of others overwritten, no secrets and no local paths published."""

from __future__ import annotations

import dataclasses
import inspect
import time
from pathlib import Path

import pytest
import torch
from hubtools import CLIENT_WARNS, environment, make_alignment, upload
from processtools import Forked

from atlas.artefacts.artefact import Artefact
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Metric
from atlas.cards.space import Space
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.hub.pulling import copy, pull
from atlas.sharing.publishing import push
from atlas.storage.files import sha256_file
from atlas.storage.tensors import save_tensors

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
both = pytest.mark.parametrize("hub", ["http", "xet"], indirect=True)
METRICS = (
    Metric("self-recall@10", 0.8, 0.7, 0.9, native=0.95, floor=0.01, dataset="toy", split="test", n=100),
    Metric("cosine", 0.6, dataset="toy", split="test", n=100),
)


def api(hub):
    """Return the client."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.url)


def commits(hub, repo: str, revision: str = "main") -> list[str]:
    """Return the titles of the commits of a branch, newest first."""
    return [commit.title for commit in api(hub).list_repo_commits(repo, revision=revision)]


def text_of(hub, repo: str, name: str = "README.md") -> str:
    """Return the text of a file on the main branch."""
    return Path(api(hub).hf_hub_download(repo, name)).read_text(encoding="utf-8")


@both
def test_a_push_is_one_commit_that_pulls_back_the_same(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", metrics=METRICS)
    done = push(folder, repo)
    assert commits(hub, repo) == ["Push alignment left__right__ridge", "initial commit"]
    assert done.pinned == f"hf://{repo}@{done.commit}"
    found = pull(done.pinned)
    assert found.card == read_card(folder)
    assert (found.folder / MODEL).read_bytes() == (folder / MODEL).read_bytes()


def test_nothing_is_pushed_when_nothing_changed(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    first = push(folder, repo)
    again = push(folder, repo)
    assert (again.changed, again.commit) == ((), first.commit)
    # A folder that was pulled has the commit in its card, which is not published.
    copy(pull(repo), tmp_path / "b")
    assert push(tmp_path / "b", repo).commit == first.commit
    assert len(commits(hub, repo)) == 2


def test_only_what_changed_is_pushed(hub, repo: str, tmp_path: Path) -> None:
    push(make_alignment(tmp_path / "a"), repo)
    folder = make_alignment(tmp_path / "a", description="Now described")
    assert set(push(folder, repo).changed) == {CARD, "README.md"}


def test_files_that_do_not_go_with_the_card_are_refused(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    (folder / "curve.csv").write_bytes(b"x" * 1_000_001)
    with pytest.raises(AtlasError, match=r"curve.csv' is too large to be published with a card - the limit is 10"):
        push(folder, repo)
    (folder / "curve.csv").unlink()
    (folder / CARD).write_text(dump_card(dataclasses.replace(read_card(folder), tensors={}, sha256="")))
    with pytest.raises(CardError, match=r"model.safetensors: the card does not list it$"):
        push(folder, repo)
    folder = make_alignment(tmp_path / "b")
    upload(repo, {CARD: (folder / CARD).read_bytes()})
    with pytest.raises(CardError, match=r": there is no model.safetensors - the card lists 2 tensors$"):
        pull(repo)


def test_a_dry_run_changes_nothing(hub, repo: str, tmp_path: Path) -> None:
    plan = push(make_alignment(tmp_path / "a"), repo, dry_run=True)
    assert plan.commit == ""
    assert set(plan.changed) == {CARD, MODEL, "README.md"}
    assert plan.sizes[MODEL] == (tmp_path / "a" / MODEL).stat().st_size
    assert f'atlas.load("hf://{repo}")' in plan.readme
    assert not api(hub).repo_exists(repo)


def test_private_branch_and_tag(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    first = push(folder, repo, private=True, tag="v1.0.0")
    assert api(hub).model_info(repo).private is True
    assert pull(repo, revision="v1.0.0").commit == first.commit
    second = push(make_alignment(tmp_path / "b", seed=1), repo, revision="next")
    assert pull(repo, revision="next").commit == second.commit
    assert pull(repo).commit == first.commit
    assert push(folder, repo, tag="v1.0.0").commit == first.commit
    with pytest.raises(AtlasError, match=f"has a tag 'v1.0.0' already, at {first.commit[:12]} - choose another"):
        push(make_alignment(tmp_path / "a", seed=2), repo, tag="v1.0.0")
    assert pull(repo).commit == first.commit


def test_what_is_public_is_not_taken_for_private(hub, repo: str, tmp_path: Path) -> None:
    push(make_alignment(tmp_path / "a"), repo)
    with pytest.raises(AtlasError, match="is public already"):
        push(make_alignment(tmp_path / "a", seed=1), repo, private=True)
    assert len(commits(hub, repo)) == 2


def test_a_pull_request_leaves_the_branch_alone(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    first = push(make_alignment(tmp_path / "a"), repo)
    monkeypatch.setenv("HF_TOKEN", "hf_other_write")
    done = push(make_alignment(tmp_path / "a", seed=1), repo, create_pr=True)
    assert done.url == f"{hub.url}/{repo}/discussions/1"
    assert pull(repo).commit == first.commit
    assert pull(repo, revision="refs/pr/1").commit == done.commit
    with pytest.raises(NotFoundError, match="no such repository"):
        push(tmp_path / "a", f"{repo}-not", create_pr=True)


@pytest.mark.parametrize("files", [{CARD: b"model: {lr: 0.1}\n"}, {MODEL: b"not ours"}])
def test_what_atlas_did_not_write_is_not_overwritten(hub, repo: str, tmp_path: Path, files: dict[str, bytes]) -> None:
    commit = upload(repo, files)
    with pytest.raises(AtlasError, match=f"holds a {next(iter(files))} that Atlas did not write"):
        push(make_alignment(tmp_path / "a"), repo)
    assert api(hub).model_info(repo).sha == commit


def test_another_kind_is_not_overwritten(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, {CARD: b"{format: 1, kind: space, id: left, space: {id: left, dim: 3}}\n"})
    with pytest.raises(AtlasError, match="holds space 'left', not alignment - choose another repository"):
        push(make_alignment(tmp_path / "a"), repo)


def test_the_client_finds_the_model_card_valid(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    upload("tester/encoder", {"config.json": b"{}"})
    source = Space("left", 6, "st", {"model": "tester/encoder", "revision": "1"})
    target = Space("right", 4, "st", {"model": "some/where-else", "revision": "1"})
    folder = make_alignment(
        tmp_path / "a", metrics=METRICS, source=source, target=target, license="my-own", dataset="a/b"
    )
    push(folder, repo)
    card = ModelCard.load(repo)
    # Before 2.1 the client asks the public Hub, wherever it was pointed.
    if "ENDPOINT" in inspect.getsource(ModelCard.validate):
        card.validate()
    data = card.data
    assert (data.license, data.license_name, data.library_name) == ("other", "my-own", "latent-atlas")
    assert data.base_model == ["tester/encoder"]
    assert data.pipeline_tag == "feature-extraction"
    assert data.datasets == ["a/b"]
    assert [(r.metric_type, r.metric_value, r.dataset_split) for r in data.eval_results] == [
        ("self-recall@10", 0.8, "test"),
        ("cosine", 0.6, "test"),
    ]
    tags = api(hub).model_info(repo).tags
    assert {"vector-alignment", "embedding-translation", "vector-conversion", "embeddings", "latent-atlas"} < set(tags)
    assert "| self-recall@10 | **0.8** | 0.7 to 0.9 | 0.95 | 0.01 | a/b test | 100 |" not in card.text
    assert "| self-recall@10 | **0.8** | 0.7 to 0.9 | 0.95 | 0.01 | toy test | 100 |" in card.text


def test_optional_files_are_shown_and_published(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    (folder / "curve.csv").write_text("pairs,self-recall@10\n10,0.3\n100,0.8\n")
    (folder / "picture.svg").write_text("<svg/>")
    (folder / "recipe.yaml").write_text("steps: {}\n")
    (folder / "secret-items.jsonl").write_text("{}")
    (folder / "recipe.yaml").write_bytes(b"steps: \xff\n")
    with pytest.raises(AtlasError, match=r"recipe.yaml' is not UTF-8 text - fix it, or remove it"):
        push(folder, repo)
    (folder / "recipe.yaml").write_text("steps: {}\n")
    push(folder, repo)
    text = text_of(hub, repo)
    assert "| pairs | self-recall@10 |\n|---|---|\n| 10 | 0.3 |" in text
    assert "![left__right__ridge](picture.svg)" in text
    assert "steps: {}" in text
    assert set(api(hub).list_repo_files(repo)) == {
        *(".gitattributes", "README.md", CARD, MODEL, "curve.csv", "picture.svg", "recipe.yaml")
    }


@pytest.mark.parametrize(
    "path", ["/home/me/data/items.jsonl", "~/items", "C:\\Users\\me", str(Path.home() / "x"), "see file:///etc/x"]
)
def test_local_paths_are_not_published(hub, repo: str, tmp_path: Path, path: str) -> None:
    folder = make_alignment(tmp_path / "a", config={"weights": [path]})
    with pytest.raises(CardError, match=r"field 'config.weights.0' holds the local path"):
        push(folder, repo)
    folder = make_alignment(tmp_path / "a")
    (folder / "recipe.yaml").write_text(f"items: {path}\n")
    with pytest.raises(AtlasError, match=r"recipe.yaml' holds the local path"):
        push(folder, repo)
    assert not api(hub).repo_exists(repo)


def test_what_is_not_sound_is_not_published(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    damaged = bytearray((folder / MODEL).read_bytes())
    damaged[-1] ^= 1
    (folder / MODEL).write_bytes(damaged)
    with pytest.raises(CardError, match="does not match its card"):
        push(folder, repo)
    with pytest.raises(NotFoundError, match="There is no folder"):
        push(tmp_path / "nothing", repo)
    infos = save_tensors(folder / MODEL, {"weight": torch.full((6, 4), float("nan")), "bias": torch.zeros(4)})
    card = dataclasses.replace(read_card(folder), tensors=infos, sha256=sha256_file(folder / MODEL))
    (folder / CARD).write_text(dump_card(card))
    with pytest.raises(CardError, match="NaN or infinity in weight - publish finite numbers only"):
        push(folder, repo)
    assert hub.requests == []


def test_without_the_right_to_write_nothing_happens(hub, repo: str, tmp_path: Path) -> None:
    push(make_alignment(tmp_path / "a"), repo)
    folder = make_alignment(tmp_path / "a", seed=1)
    with pytest.raises(AtlasError, match="the token does not allow this") as caught:
        push(folder, repo, token="hf_test_read")
    assert "hf_test_read" not in str(caught.value)
    with pytest.raises(AtlasError, match=r"refuses|log in|does not allow"):
        push(folder, repo, token=False)
    assert len(commits(hub, repo)) == 2


def test_a_push_of_another_in_the_meantime_is_seen(hub, repo: str, tmp_path: Path) -> None:
    push(make_alignment(tmp_path / "a"), repo)
    hub.faults.add(kind="commit", action="delay", ms=1500, times=1)
    code = f"from atlas.sharing.publishing import push; push({str(make_alignment(tmp_path / 'b', seed=1))!r}, '{repo}')"
    slow = Forked(code, env=environment(hub, tmp_path / "other"))
    while not hub.faults.rules()[0]["applied"] and slow.poll() is None:
        time.sleep(0.01)
    third = push(make_alignment(tmp_path / "c", seed=2), repo)
    said = slow.communicate()[1]
    assert slow.returncode == 1
    assert "was changed by somebody else in the meantime - push again to build on their commit" in said
    assert pull(repo).commit == third.commit
    assert push(tmp_path / "b", repo).commit == pull(repo).commit
    assert pull(repo).card == read_card(tmp_path / "b")


def test_the_card_survives_its_round_trip(tmp_path: Path) -> None:
    card = read_card(make_alignment(tmp_path / "a", metrics=METRICS))
    assert parse_yaml(dump_card(card), "x") == dataclasses.replace(card).to_dict()


def test_the_two_ways_of_pushing_agree_on_their_keywords(hub, repo: str, pair) -> None:
    two, one = (inspect.signature(call).parameters for call in (push, Artefact.push_to_hub))
    mine = {"artefact", "evaluated_on", "head", "fitted_on", "with_moments"}
    assert {name: two[name].default for name in {*two} - mine} == {
        name: one[name].default for name in {*one} - {"self"}
    }
    assert pair.source.push_to_hub(repo, dry_run=True).commit == ""
    assert not api(hub).repo_exists(repo)
