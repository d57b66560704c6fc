"""Repositories whose large files lie in Xet, the Hub's other storage: pulled over HTTP, pushed as the client does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment, sha256, upload

from atlas.cards.folder import MODEL
from atlas.errors import AtlasError
from atlas.hub.pulling import pull
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = [CLIENT_WARNS, pytest.mark.parametrize("hub", ["xet"], indirect=True)]


def large(folder: Path, repo: str) -> Path:
    """Write an alignment that goes over Xet, with content that the server has not seen yet."""
    return make_alignment(folder, seed=int(repo[-8:], 16), d_source=300, d_target=200)


def whole(repo: str, folder: Path) -> None:
    """Pull, and compare with what was published."""
    assert sha256(pull(repo).folder / MODEL) == sha256(folder / MODEL)


# Whatever a server says of Xet, it is not asked for anything there.
SAID = [
    {},
    {"X-Xet-Hash": "../../../../victim.pth"},
    {"X-Xet-Hash": ""},
    {"Link": '<http://localhost:9/steal>; rel="xet-auth"', "X-Xet-Refresh-Route": "http://localhost:9/steal"},
]


@pytest.mark.parametrize("headers", SAID, ids=range(len(SAID)))
def test_a_pull_never_asks_xet(hub, repo: str, tmp_path: Path, headers: dict[str, str]) -> None:
    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    hub.faults.add(kind="head", path=MODEL, action="set-headers", headers=headers)
    hub.clear_requests()
    whole(repo, folder)
    paths = [request.path for request in hub.requests]
    assert any(path.endswith(MODEL) for path in paths)
    assert not [path for path in paths if path.startswith(("/v1/", "/v2/", "/-/xorbs")) or "xet" in path]


CUTS = ["kill-upload", "drop-response", "reset"]


@pytest.mark.parametrize("action", CUTS)
def test_a_push_survives_a_cut(hub, repo: str, tmp_path: Path, action: str) -> None:
    folder = large(tmp_path / "a", repo)
    more = {"after_bytes": 1000} if action == "kill-upload" else {}
    hub.faults.add(kind="upload", action=action, times=1, **more)
    push(folder, repo)
    assert hub.faults.rules()[0]["applied"] == 1
    whole(repo, folder)


REFUSED = [401, 403, 404]


@pytest.mark.parametrize("status", REFUSED)
def test_what_xet_refuses_is_one_sentence(hub, repo: str, tmp_path: Path, status: int, monkeypatch) -> None:
    from huggingface_hub import constants

    folder = large(tmp_path / "a", repo)
    hub.faults.add(kind=["upload", "cas"], path="^/v1/", action="status", status=status)
    with pytest.raises(AtlasError, match=rf"'hf://{repo}'.* - ") as caught:
        push(folder, repo)
    assert "\n" not in str(caught.value)
    # As the page on safety says, it is a switch away.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    push(folder, repo)
    whole(repo, folder)


def test_no_progress_is_shown_where_nobody_watches(hub, repo: str, tmp_path: Path, atlas_command) -> None:
    from huggingface_hub.utils import enable_progress_bars

    enable_progress_bars()
    said = atlas_command("push", large(tmp_path / "a", repo), repo).stderr
    assert said == f"Pushed 3 files to hf://{repo}\n"
    assert atlas_command("pull", f"hf://{repo}").stderr.startswith("alignment left__right__ridge is hf://")
