"""Pulling from a Hub: what arrives is what was published, or it is refused with a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hubtools import CLIENT_WARNS, environment, make_alignment, sha256, upload
from processtools import Forked

import atlas
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.hub.cache import Ref
from atlas.hub.pulling import copy, pull

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
both = pytest.mark.parametrize("hub", ["http", "xet"], indirect=True)


def downloads(hub) -> list[str]:
    """Return the paths of what was downloaded since the log was cleared."""
    return [r.path for r in hub.requests if r.method == "GET" and ("/resolve/" in r.path or r.path.startswith("/-/"))]


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("hf://me/thing", "me/thing", "main"),
        ("me/thing@v1.0", "me/thing", "v1.0"),
        ("hf://me/thing@refs/pr/2", "me/thing", "refs/pr/2"),
        ("hf://me/thing/", "me/thing", "main"),
    ],
)
def test_a_reference_is_read(text: str, repo: str, revision: str) -> None:
    assert Ref.parse(text) == Ref(repo, revision)


@pytest.mark.parametrize(
    "text",
    [
        *["thing", "hf://a/b/c", "hf://a/..", "hf://../b", "hf://a/b--c", "hf://a/b@../../x", "hf://a/b@"],
        *[
            "hf://a/b@-rf",
            "hf://a/b@x//y",
            "hf:///b",
            f"hf://a/{'b' * 97}",
            "hf://a/b.",
            "hf://a/b c",
            "hf://a/\x1b[31m",
        ],
    ],
)
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(AtlasError, match=r"not a repository|not the name|ends in '@'"):
        Ref.parse(text)


def test_two_revisions_are_refused() -> None:
    with pytest.raises(AtlasError, match="names revision 'v1', but revision 'v2' was asked for"):
        Ref.parse("hf://a/b@v1", "v2")


@both
def test_a_pull_brings_the_very_files_and_no_others(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    commit = upload(
        repo,
        {
            **{p.name: p.read_bytes() for p in folder.iterdir()},
            "huge.bin": b"\0" * 99,
            "README.md": b"---\nlicense: mit\n---\n",
        },
    )
    hub.clear_requests()
    found = pull(f"hf://{repo}")
    assert (found.commit, found.pinned) == (commit, f"hf://{repo}@{commit}")
    assert sorted(p.name for p in found.folder.iterdir()) == [CARD, MODEL]
    assert all(sha256(found.folder / name) == sha256(folder / name) for name in (CARD, MODEL))
    assert found.card == read_card(folder)
    assert not any("huge" in path or "README" in path for path in downloads(hub))


def test_branch_tag_and_commit_lead_to_the_same_commit(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    first = upload(repo, make_alignment(tmp_path / "a"))
    HfApi(endpoint=hub.url).create_tag(repo, tag="v1")
    second = upload(repo, make_alignment(tmp_path / "b", seed=1))
    asked = {"main": second, "v1": first, first: first, second[:40]: second}
    assert {name: pull(repo, revision=name).commit for name in asked} == asked


def test_a_commit_that_was_pulled_is_not_looked_up_again(hub, repo: str, tmp_path: Path) -> None:
    commit = upload(repo, make_alignment(tmp_path / "a"))
    pull(f"hf://{repo}@{commit}")
    hub.clear_requests()
    pull(f"hf://{repo}@{commit}")
    assert hub.requests == []
    pull(f"hf://{repo}@{commit}", force_download=True)
    assert any(MODEL in path for path in downloads(hub))


def test_a_branch_is_looked_up_but_not_downloaded_again(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    pull(repo)
    hub.clear_requests()
    pull(repo)
    assert len(hub.requests) == 2
    assert downloads(hub) == []


def test_offline_what_was_pulled_works_and_the_rest_says_so(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    commit = upload(repo, make_alignment(tmp_path / "a"))
    pulled = pull(repo)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.clear_requests()
    assert pull(repo) == pulled
    assert pull(repo, revision=commit).folder == pulled.folder
    with pytest.raises(NotFoundError, match=r"has not been pulled to this computer - pull it once while online"):
        pull(repo, revision="v2")
    with pytest.raises(NotFoundError, match=r"has not been pulled"):
        pull("other/thing")
    assert hub.requests == []


def test_offline_a_card_alone_is_not_enough(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    assert not (pull(repo, tensors=False).folder / MODEL).exists()
    assert pull(repo, tensors=False, local_files_only=True).card.id == "left__right__ridge"
    with pytest.raises(NotFoundError, match="only the card was pulled"):
        pull(repo, local_files_only=True)


def test_offline_damage_in_the_cache_is_found(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    for name, message in [(MODEL, "does not match its card"), (CARD, "was damaged in the cache")]:
        blob = (pull(repo).folder / name).resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"#")
        with pytest.raises(CardError, match=message):
            pull(repo, local_files_only=True)
        # Online, the damaged file is replaced.
        assert pull(repo).card.id == "left__right__ridge"


def test_a_copy_records_the_commit_and_replaces_nothing(hub, repo: str, tmp_path: Path) -> None:
    commit = upload(repo, make_alignment(tmp_path / "a"))
    copy(pull(repo), tmp_path / "b")
    assert read_card(tmp_path / "b").hub == f"{repo}@{commit}"
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [CARD, MODEL]
    with pytest.raises(AtlasError, match="exists - choose another name"):
        copy(pull(repo), tmp_path / "b")


def test_private_needs_a_token_and_no_message_holds_one(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url)
    upload(repo, make_alignment(tmp_path / "a"))
    api.update_repo_settings(repo, private=True)
    assert pull(repo, token="hf_test_read").card.id == "left__right__ridge"
    for token in (False, "hf_other_write", "hf_thisisnotatoken", "secret-of-another-form"):
        with pytest.raises(AtlasError) as caught:
            pull(repo, token=token, force_download=True)
        assert "log in" in str(caught.value)
        assert str(token) not in str(caught.value)
        assert caught.value.__cause__ is None


MISSING = [
    ("tester/nothing", "no such repository on 127.0.0.1:.* or it is private - check the name, or log in"),
    ("{repo}@v9", "there is no such branch, tag or commit"),
    ("{repo}@" + "0" * 40, "there is no such branch, tag or commit"),
]


@pytest.mark.parametrize(("ref", "message"), MISSING)
def test_what_is_not_there_is_said(hub, repo: str, tmp_path: Path, ref: str, message: str) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    with pytest.raises(NotFoundError, match=message):
        pull(ref.format(repo=repo))


def test_a_repository_of_something_else_is_said(hub, repo: str) -> None:
    upload(repo, {"config.json": b"{}"})
    with pytest.raises(NotFoundError, match=r"is not an artefact of Atlas: it has no config.yaml"):
        pull(repo)


def test_a_gated_repository_says_where_to_ask(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    upload(repo, make_alignment(tmp_path / "a"))
    HfApi(endpoint=hub.url).update_repo_settings(repo, gated="manual")
    with pytest.raises(AtlasError, match=f"is gated - ask for access at {hub.url}/{repo}"):
        pull(repo, token="hf_other_write")


def test_two_processes_pull_the_same_into_one_cache(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", d_source=600, d_target=400)
    upload(repo, folder)
    hub.faults.add(kind="download", action="throttle", bytes_per_second=4_000_000)
    code = f"import json; from atlas.hub.pulling import pull; print(json.dumps(str(pull('{repo}').folder)))"
    env = environment(hub, tmp_path / "home")
    running = [Forked(code, env=env) for _ in range(2)]
    found = {json.loads(process.communicate()[0]) for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(found) == 1
    assert sha256(Path(found.pop()) / MODEL) == sha256(folder / MODEL)


def test_every_artefact_goes_to_the_hub_and_comes_back(hub, repo: str, pair) -> None:
    alignment = atlas.fit("procrustes", source=pair.source, target=pair.target)
    anchors = atlas.sample("uniform", pair.source, 20)
    head = atlas.train("nearest-mean", pair.target)
    for artefact in (alignment, anchors, head, pair.source):
        name = f"{repo}-{artefact.kind}"
        done = artefact.push_to_hub(name, private=True, commit_message="First", tag="v1")
        again = type(artefact).from_pretrained(name, revision="v1", force_download=True)
        assert done.pinned == f"hf://{name}@{done.commit}"
        assert atlas.load(done.pinned).kind == artefact.kind
        if artefact.kind == "alignment":
            assert torch.equal(again(pair.source.data), alignment(pair.source.data))
        if artefact.kind == "vectors":
            assert torch.equal(again.data, pair.source.data)
            assert list(again.ids) == list(pair.source.ids)
    with pytest.raises(AtlasError, match="is of kind head - expected alignment"):
        atlas.Alignment.from_pretrained(f"{repo}-head", local_files_only=True, revision="v1")


def test_an_encoder_goes_to_the_hub_and_comes_back(hub, repo: str) -> None:
    words = ["one two", "two three", "three four", "four one"]
    encoder = atlas.create(atlas.Encoder, "tfidf-svd", {"dim": 2}).fit(words)
    done = atlas.push(encoder, repo, private=True, tag="v1")
    assert "The encoder of" in done.readme
    again = atlas.load(f"hf://{repo}@v1")
    assert again.space().matches(encoder.space())
    assert torch.equal(torch.cat(list(again.encode(words))), torch.cat(list(encoder.encode(words))))
    for kind in (atlas.Encoder, type(encoder)):
        assert kind.from_pretrained(repo, revision="v1").space().matches(encoder.space())
    with pytest.raises(AtlasError, match="is the space of encoder 'tfidf-svd' - load it with Encoder"):
        type(atlas.load("digits-conv")).from_pretrained(repo)
    with pytest.raises(AtlasError, match="no space of that id in the registry"):
        atlas.Encoder.from_pretrained("digits-conv__digits-mlp-s0__linear")


def test_a_plain_name_is_a_repository_only_where_there_is_no_such_folder(
    hub, repo: str, tmp_path: Path, monkeypatch
) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    monkeypatch.chdir(tmp_path)
    assert atlas.Alignment.from_pretrained(repo).n_pairs == 50
    make_alignment(tmp_path / repo, n_pairs=7)
    assert atlas.Alignment.from_pretrained(repo).n_pairs == 7
    assert atlas.Alignment.from_pretrained(f"hf://{repo}").n_pairs == 50


def test_a_registry_entry_on_the_hub_is_pulled_on_use(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    commit = upload(repo, make_alignment(tmp_path / "a"))
    card = replace(read_card(tmp_path / "a"), hub=f"{repo}@{commit}")
    entry = tmp_path / "registry" / "alignments" / card.id
    entry.mkdir(parents=True)
    (entry / CARD).write_text(dump_card(card))
    monkeypatch.setenv("ATLAS_REGISTRY", str(tmp_path / "registry"))
    assert atlas.load("left__right__ridge").n_pairs == 50
    assert not (entry / MODEL).exists()
    hub.clear_requests()
    assert atlas.load("left__right__ridge", local_files_only=True).n_pairs == 50
    assert hub.requests == []
    (entry / CARD).write_text(dump_card(replace(card, n_pairs=51)))
    with pytest.raises(CardError, match="is another - rebuild the registry: atlas index"):
        atlas.load("left__right__ridge")
