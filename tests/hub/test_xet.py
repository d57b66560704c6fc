"""Large files over Xet, the Hub's other protocol: what stands still or fails there is moved over HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, environment, make_alignment, sha256, upload

from atlas.cards.folder import MODEL
from atlas.errors import AtlasError, AtlasWarning
from atlas.hub import client as hubclient
from atlas.hub import xet as hubxet
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


PASSING = ["corrupt", "truncate"]
CUTS = ["kill-upload", "drop-response", "reset"]


@pytest.mark.parametrize("action", PASSING)
def test_a_fault_that_passes_is_survived(hub, repo: str, tmp_path: Path, action: str) -> None:
    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    hub.faults.add(kind="download", path="^/-/xorbs", action=action, times=1)
    whole(repo, folder)
    assert hub.faults.rules()[0]["applied"] == 1


@pytest.mark.parametrize("action", CUTS)
def test_a_push_survives_a_cut(hub, repo: str, tmp_path: Path, action: str) -> None:
    folder = large(tmp_path / "a", repo)
    more = {"after_bytes": 1000} if action == "kill-upload" else {}
    hub.faults.add(kind="upload", action=action, times=1, **more)
    push(folder, repo)
    assert hub.faults.rules()[0]["applied"] == 1
    whole(repo, folder)


# Storage that hangs for far longer than a test lasts, or fails until the client has tried for minutes.
BLOCKS = "^/-/xorbs"
STILL = [
    {"kind": "cas", "action": "delay", "ms": 20_000},
    {"kind": "download", "path": BLOCKS, "action": "delay", "ms": 20_000},
    {"kind": "download", "path": BLOCKS, "action": "stall", "ms": 20_000},
    {"kind": "download", "path": BLOCKS, "action": "status", "status": 500},
]
UP_STILL = [
    {"kind": "upload", "path": "^/v1/", "action": "delay", "ms": 20_000},
    {"kind": "cas", "path": "^/v1/shards", "action": "delay", "ms": 20_000},
    {"kind": "upload", "path": "^/v1/", "action": "status", "status": 503},
    {"kind": "api", "path": "/xet-write-token/", "action": "delay", "ms": 20_000},
]
SAID = "going on over HTTP, as HF_HUB_DISABLE_XET=1 does from the start"


def kind_of(rule: dict) -> str:
    return "-".join(str(rule[name]) for name in ("kind", "path", "action", "status") if name in rule)


@pytest.mark.parametrize("rule", STILL, ids=kind_of)
def test_a_pull_that_stands_still_goes_on_over_http(hub, repo: str, tmp_path: Path, rule: dict, monkeypatch) -> None:
    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    monkeypatch.setattr(hubclient, "WAIT", 0.6)
    hub.faults.add(**rule)
    with pytest.warns(AtlasWarning, match=f"Moving files over Xet stood still - {SAID}"):
        whole(repo, folder)
    assert hub.faults.rules()[0]["applied"] > 0
    assert not list((tmp_path / "home").rglob("*.incomplete"))


@pytest.mark.parametrize("rule", UP_STILL, ids=kind_of)
def test_a_push_that_stands_still_goes_on_over_http(hub, repo: str, tmp_path: Path, rule: dict, monkeypatch) -> None:
    from huggingface_hub import HfApi

    folder = large(tmp_path / "a", repo)
    monkeypatch.setattr(hubclient, "WAIT", 0.6)
    hub.faults.add(**rule)
    with pytest.warns(AtlasWarning, match=f"Moving files over Xet stood still - {SAID}"):
        push(folder, repo)
    assert hub.faults.rules()[0]["applied"] > 0
    assert len(HfApi(endpoint=hub.url).list_repo_commits(repo)) == 2
    whole(repo, folder)


REFUSED = [401, 403, 404]


@pytest.mark.parametrize("status", REFUSED)
def test_what_xet_refuses_is_moved_over_http(hub, repo: str, tmp_path: Path, status: int) -> None:
    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    hub.faults.add(kind="cas", action="status", status=status)
    with pytest.warns(AtlasWarning, match=rf"Moving files over Xet failed \(\w+\) - {SAID}"):
        whole(repo, folder)


def test_where_http_hangs_too_it_is_one_sentence(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    monkeypatch.setattr(hubclient, "WAIT", 0.6)
    monkeypatch.setattr(hubclient, "TRIES", 2)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    hub.faults.add(kind=["cas", "download"], path="^/-/|^/v", action="delay", ms=20_000)
    said = pytest.raises(AtlasError, match=r"the connection to 127.0.0.1:\d+ failed .* - try again")
    with said, pytest.warns(AtlasWarning, match="stood still"):
        pull(repo)
    hub.faults.clear()
    whole(repo, folder)


def test_what_is_slow_but_moves_is_waited_for(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    folder = make_alignment(tmp_path / "a", seed=int(repo[-8:], 16), d_source=700, d_target=600)
    upload(repo, folder)
    monkeypatch.setattr(hubclient, "WAIT", 2.0)
    hub.faults.add(kind="download", path=BLOCKS, action="throttle", bytes_per_second=400_000)
    # A warning, that it stood still, would be an error.
    whole(repo, folder)


def test_a_client_that_cannot_be_watched_uses_http(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub.utils import _xet

    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    monkeypatch.delattr(_xet, "get_xet_session")
    hubxet._watchable.cache_clear()
    hub.clear_requests()
    whole(repo, folder)
    assert not [request.path for request in hub.requests if "xorbs" in request.path]
    hubxet._watchable.cache_clear()


def test_no_progress_is_shown_where_nobody_watches(hub, repo: str, tmp_path: Path, atlas_command) -> None:
    from huggingface_hub.utils import enable_progress_bars

    enable_progress_bars()
    said = atlas_command("push", large(tmp_path / "a", repo), repo).stderr
    assert said == f"Pushed 3 files to hf://{repo}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_pull_that_is_stopped_leaves_nothing_that_loads(hub, repo: str, tmp_path: Path, number: int) -> None:
    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    hub.faults.add(kind="download", path=BLOCKS, action="stall", ms=20_000)
    env = environment(hub, tmp_path / "home", HF_HUB_DISABLE_XET="0")
    running = subprocess.Popen(
        [sys.executable, "-c", f"from atlas.hub.pulling import pull; pull('{repo}')"],
        env=env,
        stderr=subprocess.DEVNULL,
    )
    while not hub.faults.rules()[0]["applied"] and running.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    running.send_signal(number)
    assert running.wait(timeout=10) != 0
    with pytest.raises(AtlasError, match=r"has not been pulled|only the card"):
        pull(repo, local_files_only=True)
    hub.faults.clear()
    whole(repo, folder)


def test_a_full_disk_is_one_sentence(hub, repo: str, tmp_path: Path) -> None:
    folder = large(tmp_path / "a", repo)
    upload(repo, folder)
    code = f"""
import resource, signal
from atlas.hub.pulling import pull
from atlas.errors import AtlasError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    pull('{repo}')
except AtlasError as error:
    print(error)
"""
    env = environment(hub, tmp_path / "home", HF_HUB_DISABLE_XET="0")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert "cannot be stored: File too large - free some space" in done.stdout, done
    whole(repo, folder)
