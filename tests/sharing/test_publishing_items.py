"""Raw items are published where they are asked for, and only there; nothing downloads them by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment, upload

from atlas.cards.folder import CARD, MODEL
from atlas.errors import AtlasError
from atlas.hub.pulling import copy, pull
from atlas.hub.repository import ITEMS
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
WARNING = "**This repository holds raw items**, in [items.csv](items.csv): anyone who can read it can read them."
NONE = "and none of the items"


def listed(hub, repo: str) -> set[str]:
    from huggingface_hub import HfApi

    return set(HfApi(endpoint=hub.url).list_repo_files(repo)) - {".gitattributes"}


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "My Items.CSV"
    path.write_text("text,label\none two,a\nthree,b\n")
    return path


def test_no_items_are_published_unasked(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    for name in ITEMS:
        (folder / name).write_text("secret")
    done = push(folder, repo)
    assert listed(hub, repo) == {CARD, MODEL, "README.md"}
    assert NONE in done.readme
    assert "raw items" not in done.readme


@pytest.mark.parametrize("hub", ["http", "xet"], indirect=True)
def test_items_that_are_asked_for_are_published_and_warned_of(hub, repo: str, tmp_path: Path, items: Path) -> None:
    from huggingface_hub import HfApi

    folder = make_alignment(tmp_path / "a")
    plan = push(folder, repo, with_items=items, dry_run=True)
    assert plan.sizes["items.csv"] == items.stat().st_size
    done = push(folder, repo, with_items=items)
    assert "items.csv" in done.changed
    assert WARNING in done.readme
    assert NONE not in done.readme
    assert Path(HfApi(endpoint=hub.url).hf_hub_download(repo, "items.csv")).read_bytes() == items.read_bytes()
    assert push(folder, repo, with_items=items).changed == ()


def test_no_pull_downloads_them(hub, repo: str, tmp_path: Path, items: Path) -> None:
    push(make_alignment(tmp_path / "a"), repo, with_items=items)
    hub.clear_requests()
    copy(pull(repo), tmp_path / "b")
    assert not [request.path for request in hub.requests if "items" in request.path]
    assert {path.name for path in (tmp_path / "b").iterdir()} == {CARD, MODEL}
    assert not list((tmp_path / "home").rglob("items.csv"))


def test_what_was_published_before_stays_and_is_still_warned_of(hub, repo: str, tmp_path: Path, items: Path) -> None:
    upload(repo, {"items.txt": b"of somebody else"})
    first = push(make_alignment(tmp_path / "a"), repo)
    assert "in [items.txt](items.txt): anyone" in first.readme
    push(make_alignment(tmp_path / "a"), repo, with_items=items)
    later = push(make_alignment(tmp_path / "b", seed=1), repo)
    assert {"items.csv", "items.txt"} < listed(hub, repo)
    assert "in [items.csv](items.csv) and [items.txt](items.txt): anyone" in later.readme


def test_what_is_no_file_of_items_is_refused(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    (tmp_path / "items.exe").write_text("x")
    for path in (tmp_path / "items.exe", tmp_path / "nothing.csv", folder):
        with pytest.raises(AtlasError, match=r"is not a file of items to publish - give one that ends in .csv, .jsonl"):
            push(folder, repo, with_items=path)
    assert hub.requests == []


def test_the_command_warns(hub, repo: str, tmp_path: Path, items: Path, atlas_command, pair) -> None:
    folder = make_alignment(tmp_path / "a")
    plan = atlas_command("push", folder, repo, "--with-items", items, "--dry-run")
    assert "items.csv" in plan.stdout
    assert "items.csv holds raw items: everybody who can read the repository can read them" in plan.stderr
    assert "raw items" not in atlas_command("push", folder, repo, "--dry-run").stderr
    done = pair.source.push_to_hub(repo, with_items=items)
    assert WARNING in done.readme
    assert "This repository holds ids and vectors of items." in done.readme
