"""Searching a Hub, rebuilding a registry from it, and verifying what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hubtools import CLIENT_WARNS, make_alignment, upload
from huggingface_hub.utils import close_session
from processtools import both_into

import atlas
from atlas.cards.folder import CARD, MODEL, read_card
from atlas.cards.kinds import Metric
from atlas.cards.space import Space
from atlas.errors import AtlasError
from atlas.hub.searching import index, search
from atlas.sharing.publishing import push
from atlas.storage.registry import Registry

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
    assert (found.private, found.metrics, found.target) == (True, {"self-recall@10": 0.7}, "up")


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


@pytest.fixture
def indexed(hub, repo: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The beginning of the names of two alignments of one author, and a registry that has an entry for each."""
    from huggingface_hub import HfApi

    owner = f"other/{repo.split('/')[1]}"
    for i, name in enumerate(["one", "two"]):
        push(make_alignment(tmp_path / name, seed=i, id=name), f"{owner}-{name}", token="hf_other_write")
    index("other", tmp_path / "registry")
    yield owner, tmp_path / "registry" / "alignments"
    hub.faults.clear()
    for name in ("one", "two", "new"):
        HfApi(endpoint=hub.url, token="hf_other_write").delete_repo(f"{owner}-{name}", missing_ok=True)


def test_what_could_not_be_read_is_kept(hub, indexed: tuple[str, Path], tmp_path: Path) -> None:
    owner, folder = indexed
    push(make_alignment(tmp_path / "one", seed=9, id="one"), f"{owner}-one", token="hf_other_write")
    before = (folder / "one" / CARD).read_bytes()
    hub.faults.add(path=f"{owner}-one/paths-info/", action="status", status=500)
    done = index("other", folder.parent)
    assert "has a problem of its own" in done.skipped[f"{owner}-one"]
    assert done.removed == ()
    assert (folder / "one" / CARD).read_bytes() == before


def test_what_is_there_but_not_listed_is_kept(hub, indexed: tuple[str, Path]) -> None:
    owner, folder = indexed
    upload(f"{owner}-one", {"README.md": b"---\nlicense: mit\n---\n"}, token="hf_other_write")
    done = index("other", folder.parent)
    assert done.skipped[f"{owner}-one"] == "the Hub has it, but does not list it as an artefact of Atlas"
    upload(f"{owner}-two", {"README.md": b"---\nlicense: mit\n---\n"}, token="hf_other_write")
    hub.faults.add(path=f"/api/models/{owner}-one$", action="status", status=500)
    done = index("other", folder.parent, remove_all=True)
    assert done.removed == ()
    assert "has a problem of its own" in done.skipped[f"{owner}-one"]
    assert {path.name for path in folder.iterdir()} >= {"one", "two"}


def test_of_what_is_gone_only_the_card_is_removed(hub, indexed: tuple[str, Path]) -> None:
    from huggingface_hub import HfApi

    owner, folder = indexed
    (folder / "one" / "NOTES.md").write_text("mine")
    make_alignment(folder / "one" / "nested", id="nested")
    for name in ("one", "two"):
        HfApi(endpoint=hub.url, token="hf_other_write").delete_repo(f"{owner}-{name}")
    done = index("other", folder.parent, remove_all=True)
    assert {path.name for path in done.removed} == {"one", "two"}
    assert (folder / "one" / "NOTES.md").read_text() == "mine"
    assert read_card(folder / "one" / "nested").id == "nested"
    assert not (folder / "one" / CARD).exists()
    assert not (folder / "two").exists()


# The server runs in threads of this process, of which a fork needs none.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_that_index_at_once_leave_what_one_leaves(hub, indexed: tuple[str, Path], tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    owner, folder = indexed
    push(make_alignment(tmp_path / "new", seed=5, id="new"), f"{owner}-new", token="hf_other_write")
    push(make_alignment(tmp_path / "more", seed=6, id="two"), f"{owner}-two", token="hf_other_write")
    HfApi(endpoint=hub.url, token="hf_other_write").delete_repo(f"{owner}-one")
    close_session()
    command = ["index", "other", "--registry", str(folder.parent)]
    ended = both_into(folder.parent, command, command)
    assert [status for status, _ in ended] == [0, 0], ended
    names = {path.name for path in folder.iterdir()}
    assert {"two", "new"} <= names and "one" not in names and not [name for name in names if name.startswith(".")]
    assert Registry(folder.parent).check()[folder / "two"] == []
    done = index("other", tmp_path / "alone")
    assert {path.name: read_card(path) for path in folder.iterdir()} == {p.name: read_card(p) for p in done.written}


def test_an_empty_listing_removes_nothing_unasked(hub, indexed: tuple[str, Path], atlas_command) -> None:
    folder = indexed[1]
    count = len(list(folder.iterdir()))
    hub.faults.add(path="/api/models$", action="rewrite", old=r"(?s)\A.*\Z", new="[]")
    said = atlas_command("index", "other", "--registry", folder.parent, status=1).stderr
    assert f"lists nothing of 'other', whose entries in '{folder.parent}' are {count} - log in if they are" in said
    assert "to remove them all, pass --remove-all (remove_all=True)" in said
    # Even then, what the Hub still has stays.
    said = atlas_command("index", "other", "--registry", folder.parent, "--remove-all", status=1).stderr
    assert "Left out" in said
    assert f"Wrote 0 entries, removed 0, left out {count}" in said
    assert len(list(folder.iterdir())) == count


def test_entries_are_written_before_any_is_removed(hub, indexed: tuple[str, Path], tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import HfApi

    from atlas.hub import searching

    owner, folder = indexed
    push(make_alignment(tmp_path / "new", seed=5, id="new"), f"{owner}-new", token="hf_other_write")
    HfApi(endpoint=hub.url, token="hf_other_write").delete_repo(f"{owner}-one")

    def killed(entry: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        index("other", folder.parent)
    assert {"one", "two", "new"} <= {path.name for path in folder.iterdir()}


def test_two_repositories_of_one_id_are_told_apart(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", id="the__same__id")
    push(folder, f"other/{repo.split('/')[1]}-1", token="hf_other_write")
    push(folder, f"other/{repo.split('/')[1]}-2", token="hf_other_write")
    done = index("other", tmp_path / "registry")
    assert len(done.written) == 1
    assert [reason for reason in done.skipped.values() if "alignment 'the__same__id' is that of 'other/" in reason]


def test_two_owners_of_one_id_stand_side_by_side(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    name, root = repo.split("/")[1], tmp_path / "registry"
    for seed, owner in enumerate(["other", "you"]):
        folder = make_alignment(tmp_path / owner, seed=seed, id="the__same__id")
        push(folder, f"{owner}/{name}-same", token=f"hf_{owner}_write")
        assert index(owner, root, token=f"hf_{owner}_write").written
    entries = Registry(root).list("the__same__id")
    assert [entry.name for entry in entries] == ["other/the__same__id", "you/the__same__id"]
    monkeypatch.setenv("ATLAS_REGISTRY", str(root))
    for seed, owner in enumerate(["other", "you"]):
        made = atlas.load(make_alignment(tmp_path / "again", seed=seed, id="the__same__id"))
        assert torch.equal(atlas.load(f"{owner}/the__same__id").aligner.state["weight"], made.aligner.state["weight"])
    # Rebuilt, each is left where it is.
    before = sorted(root.rglob(CARD))
    assert index("you", root).removed == index("other", root).removed == ()
    assert sorted(root.rglob(CARD)) == before


def test_a_figure_of_items_fitted_on_comes_last(hub, repo: str, tmp_path: Path, atlas_command) -> None:
    word = repo.split("/")[1]
    for name, figures in {
        "own": (Metric("recall@10", 0.99, dataset="toy", n=9, overlap=9),),
        "held": (
            Metric("recall@10", 0.3, dataset="toy", n=9, overlap=0),
            Metric("recall@10", 1.0, split="train", overlap=2),
        ),
        "old": (Metric("recall@10", 0.2, dataset="toy"),),
        "none": (),
    }.items():
        push(make_alignment(tmp_path / "r" / name, id=f"{name}__x", metrics=figures), f"tester/{word}-{name}")
    found = search(word, sort="recall@10")
    assert [one.repo.rpartition("-")[2] for one in found] == ["held", "old", "none", "own"]
    assert found[0].metrics == {"self-recall@10": 0.3}
    assert [one.overlap for one in found] == [(), (), (), ("self-recall@10",)]
    told = atlas_command("list", "--hub", word, "--sort", "recall@10").stdout.splitlines()
    assert "items it was fitted on" in told[-1]
    here = atlas_command("list", "--registry", tmp_path / "r", "--sort", "recall@10").stdout.splitlines()
    assert [line.split()[1] for line in here[1:]] == ["held__x", "old__x", "own__x", "none__x"]
    assert here[3].endswith("0.9900  items it was fitted on")
    assert here[1].endswith("0.3000  toy")


@pytest.mark.parametrize("way", ["reference", "entry", "cache"])
def test_figures_are_never_saved_into_the_cache(hub, repo: str, pair, tmp_path: Path, atlas_command, way: str) -> None:
    made = atlas.fit("procrustes", source=pair.source, target=pair.target, id=repo.split("/")[1])
    made.push_to_hub(repo)
    for view in (pair.source, pair.target):
        view.save_pretrained(tmp_path / view.space.id)
    pulled = atlas.pull(repo)
    index("tester", tmp_path / "r")
    entry = next(e.folder for e in Registry(tmp_path / "r").entries() if e.card.hub == f"{repo}@{pulled.commit}")
    ref = {"reference": f"hf://{repo}", "entry": entry, "cache": pulled.folder}[way]
    before = {path: path.read_bytes() for path in pulled.folder.iterdir()}
    on = ["--source", tmp_path / "a", "--target", tmp_path / "b", "--save"]
    said = atlas_command("evaluate", ref, *on, status=1).stderr
    where = f"hf://{repo}" if way == "reference" else pulled.pinned
    assert said == f"Error: '{ref}' is not yours to write to - pull it with 'atlas pull {where} --to FOLDER' first\n"
    assert {path: path.read_bytes() for path in pulled.folder.iterdir()} == before
    copied = tmp_path / "mine"
    atlas_command("pull", where, "--to", copied)
    assert "Wrote the figures" in atlas_command("evaluate", copied, *on).stderr


def test_the_commands(hub, repo: str, tmp_path: Path, atlas_command, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_alignment(tmp_path / "a", metrics=(Metric("recall@10", 0.5, dataset="toy"),))
    plan = atlas_command("push", "a", repo, "--dry-run").output
    assert re.findall(r"^(\S+) +\d+ +(new|as it is)$", plan, re.MULTILINE) == [
        (name, "new") for name in ("README.md", "config.yaml", "model.safetensors")
    ]
    assert f'atlas.load("hf://{repo}")' in plan
    line = atlas_command("push", "a", repo, "--tag", "v1").stdout.strip()
    assert line.startswith(f"hf://{repo}@")
    again = atlas_command("push", "a", repo, "--dry-run").stdout
    assert len(re.findall(r"^\S+ +\d+ +as it is$", again, re.MULTILINE)) == 3
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
    assert "Give either a REF, --collection or --locked" in atlas_command("pull", status=2).stderr
    assert "--method goes with --hub" in atlas_command("list", "--method", "x", status=2).stderr
    assert "there is no such repository" in atlas_command("pull", "hf://tester/nothing", status=1).stderr
