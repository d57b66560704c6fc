"""Everything that can go wrong on the way to a Hub and back: nothing half-written, nothing poisoned, one sentence.

Every fault of pulling ends the same way: no artefact can be loaded that is not the one published, and a later pull
succeeds. Every fault of pushing: the branch holds the old artefact or the new one, and a later push succeeds.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, environment, make_alignment, sha256, upload
from processtools import Forked

from atlas.cards.folder import CARD, MODEL
from atlas.errors import AtlasError, CardError
from atlas.hub import client as hubclient
from atlas.hub.pulling import copy, pull
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
both = pytest.mark.parametrize("hub", ["http", "xet"], indirect=True)
# The bytes themselves: of small files on the API's port, of large ones on the storage's.
CARDS, TENSORS = r"/resolve/.*config\.yaml", "^/-/"


def whole(repo: str, folder: Path, **keywords) -> None:
    """Pull, and compare with what was published."""
    found = pull(repo, **keywords)
    assert sha256(found.folder / MODEL) == sha256(folder / MODEL)


def nothing_loads(repo: str) -> None:
    """Offline, there is nothing or what is there is refused."""
    with pytest.raises(AtlasError, match=r"has not been pulled|only the card|does not match|damaged"):
        pull(repo, local_files_only=True)


PASSING = [
    {"kind": "download", "action": "truncate", "path": TENSORS},
    {"kind": "download", "action": "truncate", "path": TENSORS, "how": "reset"},
    {"kind": "download", "action": "truncate", "path": CARDS},
    {"kind": "download", "action": "corrupt", "path": TENSORS},
    {"kind": "download", "action": "corrupt", "path": CARDS},
    {"kind": "download", "action": "close", "path": TENSORS},
    {"kind": "download", "action": "reset", "path": CARDS},
    {"kind": "download", "action": "status", "status": 500, "path": TENSORS},
    {"kind": "download", "action": "status", "status": 503, "path": CARDS},
    {"kind": "download", "action": "stall", "ms": 100, "path": TENSORS},
    {"kind": "api", "action": "status", "status": 503, "path": "/revision/|/api/models/"},
    {"kind": "api", "action": "status", "status": 500, "path": "/paths-info/"},
    {"kind": "api", "action": "status", "status": 429, "headers": {"Retry-After": "0"}, "path": "/paths-info/"},
    {"kind": "api", "action": "close", "path": "/revision/"},
    {"kind": "api", "action": "reset", "path": "/paths-info/"},
    {"kind": "api", "action": "drop-response", "path": "/paths-info/"},
    {"kind": "api", "action": "truncate", "path": "/paths-info/"},
]


@pytest.mark.parametrize("rule", PASSING, ids=lambda rule: "-".join(str(v) for k, v in rule.items() if k != "headers"))
def test_a_fault_that_passes_is_survived(hub, repo: str, tmp_path: Path, rule: dict) -> None:
    folder = make_alignment(tmp_path / "a")
    upload(repo, folder)
    hub.faults.add(**rule, times=1)
    whole(repo, folder)
    assert hub.faults.rules()[0]["applied"] == 1


LASTING = [
    (
        {"kind": "download", "action": "corrupt", "path": TENSORS},
        r"model.safetensors of 'hf://.*' arrived damaged twice",
    ),
    ({"kind": "download", "action": "corrupt", "path": CARDS}, r"config.yaml of 'hf://.*' arrived damaged twice"),
    (
        {"kind": "download", "action": "status", "status": 500, "path": TENSORS},
        r"has a problem of its own \(status 500\)",
    ),
    ({"kind": "download", "action": "reset", "path": TENSORS}, r"the connection to 127.0.0.1:\d+ failed .* try again"),
    ({"kind": "api", "action": "status", "status": 503}, r"has a problem of its own \(status 503\) - try again later"),
    ({"kind": "api", "action": "status", "status": 429, "headers": {"Retry-After": "900"}}, "try again in 900 seconds"),
    (
        {"kind": "api", "action": "status", "status": 401, "message": "hf_abcdefgh is bad"},
        r"refuses the token .*log in again",
    ),
    ({"kind": "api", "action": "status", "status": 403}, "the token does not allow this"),
    ({"kind": "api", "action": "status", "status": 404}, "there is no such repository"),
    ({"kind": "api", "action": "status", "status": 409}, r"refuses the request \(status 409\)"),
    ({"kind": "api", "action": "status", "status": 418}, r"refuses the request \(status 418\)"),
    ({"kind": "api", "action": "close"}, r"the connection to 127.0.0.1:\d+ failed .* HF_HUB_OFFLINE=1"),
    ({"kind": "api", "action": "delay", "ms": 700}, r"the connection to 127.0.0.1:\d+ failed"),
]


def test_who_is_not_logged_in_is_asked_to(hub, repo: str, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"^'hf://.*': nobody is logged in to .* - log in with 'hf auth login'"):
        push(make_alignment(tmp_path / "a"), repo, token=False)


@pytest.mark.parametrize(
    ("rule", "message"), LASTING, ids=lambda v: "-".join(map(str, list(v.values())[:3])) if isinstance(v, dict) else ""
)
def test_a_fault_that_lasts_is_one_sentence(
    hub, repo: str, tmp_path: Path, rule: dict, message: str, monkeypatch
) -> None:
    folder = make_alignment(tmp_path / "a")
    upload(repo, folder)
    monkeypatch.setattr(hubclient, "WAIT", 0.2)
    hub.faults.add(**rule)
    with pytest.raises(AtlasError, match=message) as caught:
        pull(repo)
    said = str(caught.value)
    assert "\n" not in said
    assert "hf_" not in said.replace("hf_hub", "")
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    nothing_loads(repo)
    hub.faults.clear()
    whole(repo, folder)


@pytest.mark.parametrize(("path", "name"), [(CARDS, CARD), (TENSORS, MODEL)])
def test_what_arrived_damaged_is_not_kept(hub, repo: str, tmp_path: Path, path: str, name: str) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    hub.faults.add(kind="download", action="corrupt", path=path)
    with pytest.raises(AtlasError, match="nothing of it was kept"):
        pull(repo)
    assert not list((tmp_path / "home").rglob(name))
    assert len([blob for blob in (tmp_path / "home").rglob("blobs/*") if blob.is_file()]) == (name == MODEL)


def test_no_server_at_all_is_one_sentence(hub, repo: str, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://name:secret@127.0.0.1:9")
    with pytest.raises(
        AtlasError, match=r"the connection to \*\*\*@127.0.0.1:9 failed .ConnectionError. - try again"
    ) as caught:
        pull(repo)
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_one_sentence(hub, repo: str, tmp_path: Path) -> None:
    """The size a process may write is limited, first below the card's and then below the tensors'."""
    folder = make_alignment(tmp_path / "a", d_source=60, d_target=40)
    upload(repo, folder)
    code = f"""
import resource, signal
from atlas.hub.pulling import pull
from atlas.errors import AtlasError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (10, 4000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        pull('{repo}')
    except AtlasError as error:
        print(error)
"""
    env = environment(hub, tmp_path / "home")
    # The limit must not be that of a file that takes what is printed.
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    said = f"'hf://{repo}' cannot be stored: File too large - free some space, or set HF_HOME\n"
    assert done.stdout == said * 2, done
    nothing_loads(repo)
    whole(repo, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_pull_that_is_stopped_leaves_nothing_that_loads(hub, repo: str, tmp_path: Path, number: int) -> None:
    folder = make_alignment(tmp_path / "a", d_source=600, d_target=400)
    upload(repo, folder)
    hub.faults.add(kind="download", path=TENSORS, action="throttle", bytes_per_second=50_000)
    code = f"from atlas.hub.pulling import copy, pull; copy(pull('{repo}'), {str(tmp_path / 'copy')!r})"
    env = environment(hub, tmp_path / "home")
    running = Forked(code, env=env)
    while not hub.faults.rules()[0]["applied"] and running.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    running.send_signal(number)
    assert running.wait(timeout=20) != 0
    nothing_loads(repo)
    assert not (tmp_path / "copy").exists()
    hub.faults.clear()
    whole(repo, folder)


def test_a_copy_that_fails_leaves_nothing(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    found = pull(repo)
    (found.folder / MODEL).resolve().write_bytes(b"changed in this moment")
    with pytest.raises(CardError):
        copy(found, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert not list(tmp_path.glob(".b*"))


LOST = "; whether it was published is not known - push again, which does nothing if it was"
PUSHING = [
    {"kind": "commit", "action": "drop-response"},
    {"kind": "commit", "action": "drop-response", "how": "reset"},
    {"kind": "commit", "action": "close"},
    {"kind": "commit", "action": "reset"},
    {"kind": "commit", "action": "status", "status": 500},
    {"kind": "commit", "action": "status", "status": 503},
    {"kind": "commit", "action": "status", "status": 409},
    {"kind": "commit", "action": "status", "status": 429, "headers": {"Retry-After": "0"}},
    {"kind": "commit", "action": "kill-upload", "after_bytes": 100},
    {"kind": "upload", "action": "kill-upload", "after_bytes": 50},
    {"kind": "upload", "action": "drop-response"},
    {"kind": "api", "path": "/refs$", "action": "status", "status": 500},
    {"kind": "api", "path": "/preupload/", "action": "reset"},
]


@pytest.mark.parametrize("rule", PUSHING, ids=lambda rule: "-".join(str(v) for k, v in rule.items() if k != "headers"))
def test_a_push_survives_a_fault_with_one_commit(hub, repo: str, tmp_path: Path, rule: dict) -> None:
    from huggingface_hub import HfApi

    push(make_alignment(tmp_path / "a"), repo)
    # Content that the server has not seen yet, or it would not be uploaded.
    folder = make_alignment(tmp_path / "b", seed=int(repo[-8:], 16))
    hub.faults.add(**rule, times=1)
    done = push(folder, repo)
    assert hub.faults.rules()[0]["applied"] == 1
    assert len(HfApi(endpoint=hub.url).list_repo_commits(repo)) == 3
    assert pull(repo).commit == done.commit
    whole(repo, folder)


@both
def test_a_lost_answer_is_not_a_second_commit(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    hub.faults.add(kind="commit", action="drop-response", times=1)
    done = push(make_alignment(tmp_path / "a"), repo, tag="v1")
    assert len(HfApi(endpoint=hub.url).list_repo_commits(repo)) == 2
    assert pull(repo, revision="v1").commit == done.commit


def test_a_lost_answer_is_not_a_second_pull_request(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    push(make_alignment(tmp_path / "a"), repo)
    hub.faults.add(kind="commit", action="drop-response", times=1)
    with pytest.raises(AtlasError, match=f"whether it was opened is not known - look at {hub.url}/{repo}/discussions"):
        push(make_alignment(tmp_path / "b", seed=1), repo, create_pr=True)
    assert len(list(HfApi(endpoint=hub.url).get_repo_discussions(repo))) == 1


def test_where_no_answer_arrives_it_is_not_known_and_pushing_again_does_nothing(
    hub, repo: str, tmp_path: Path, monkeypatch
) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr(hubclient, "TRIES", 1)
    push(make_alignment(tmp_path / "a"), repo)
    folder = make_alignment(tmp_path / "b", seed=1)
    hub.faults.add(kind="commit", action="drop-response", times=1)
    with pytest.raises(AtlasError, match=LOST):
        push(folder, repo)
    assert push(folder, repo).changed == ()
    assert len(HfApi(endpoint=hub.url).list_repo_commits(repo)) == 3
    whole(repo, folder)


FAILING = [
    ({"action": "status", "status": 503}, rf"status 503\){LOST}"),
    ({"action": "close"}, rf"the connection to .* failed .*{LOST}"),
    ({"action": "status", "status": 412}, "was changed by somebody else in the meantime - push again to build on"),
    ({"action": "status", "status": 403}, "the token does not allow this"),
    ({"action": "status", "status": 400, "message": "bad metadata hf_abcdefgh"}, r"bad metadata \*\*\*"),
]


@pytest.mark.parametrize(("rule", "message"), FAILING)
def test_a_push_that_fails_leaves_what_was_there(hub, repo: str, tmp_path: Path, rule: dict, message: str) -> None:
    before = push(make_alignment(tmp_path / "a"), repo)
    hub.faults.add(kind="commit", **rule)
    folder = make_alignment(tmp_path / "b", seed=1)
    with pytest.raises(AtlasError, match=message):
        push(folder, repo)
    assert pull(repo).commit == before.commit
    hub.faults.clear()
    push(folder, repo)
    whole(repo, folder)
