"""Answers that no Hub gives: malformed, endless, or with addresses elsewhere. Each is one sentence, soon."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, TOKEN, make_alignment, sha256, upload
from huggingface_hub.utils import close_session

from atlas.cards.folder import CARD, MODEL
from atlas.errors import AtlasError
from atlas.hub import client as hubclient
from atlas.hub.pulling import pull
from atlas.hub.searching import search
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
ALL = r"(?s)\A.*\Z"
MODEL_INFO, PATHS, ROWS = "/revision/", "/paths-info/", "/api/models$"
FORM = r"answers for 'hf://.*' in a form that no Hub has \(\w+: .*\)"
MALFORMED = [
    (MODEL_INFO, ALL, "[]", FORM),
    (MODEL_INFO, ALL, "null", FORM),
    (MODEL_INFO, ALL, "{}", FORM),
    (MODEL_INFO, ALL, "not JSON", "failed: "),
    (MODEL_INFO, r'"sha": "\w+"', '"sha": 5', "answered without a commit"),
    (MODEL_INFO, r'"sha": "\w+"', '"sha": null', "answered without a commit"),
    (PATHS, r'"size": \d+', '"size": "abc"', "with a size or hash that is none"),
    (PATHS, r'"size": \d+', '"size": 1e400', "with a size or hash that is none"),
    (PATHS, r'"size": \d+', '"size": NaN', "with a size or hash that is none"),
    (PATHS, r'"oid": "\w+"', '"other": 1', FORM),
    (PATHS, r'"path"', '"lfs": [1], "path"', FORM),
    (PATHS, r'"path"', '"lfs": {"size": 3}, "path"', FORM),
    (PATHS, ALL, "{}", "is not an artefact of Atlas: it has no config.yaml"),
    (PATHS, ALL, "null", FORM),
    (PATHS, ALL, "[1]", FORM),
    (PATHS, ALL, "[" * 100_000, "RecursionError"),
]


@pytest.mark.parametrize(("path", "old", "new", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_answer_is_one_sentence(
    hub, repo: str, tmp_path: Path, atlas_command, path: str, old: str, new: str, message: str
) -> None:
    folder = make_alignment(tmp_path / "a")
    upload(repo, folder)
    hub.faults.add(path=path, action="rewrite", old=old, new=new)
    said = atlas_command("pull", f"hf://{repo}", status=1).stderr
    assert re.search(message, said), said
    assert len(said.splitlines()) == 1
    assert "Unexpected" not in said
    hub.faults.clear()
    assert sha256(pull(repo).folder / MODEL) == sha256(folder / MODEL)


ROWS_GIVEN = [
    "[1]",
    "null",
    '[{"id": 7}]',
    '[{"id": "a/b", "tags": 5}]',
    '[{"id": "a/b", "tags": [1], "downloads": "x"}]',
    '[{"id": "a/b", "cardData": [1], "lastModified": "never"}]',
]


@pytest.mark.parametrize("rows", ROWS_GIVEN)
def test_malformed_rows_of_a_search_are_no_surprise(hub, rows: str) -> None:
    hub.faults.add(path=ROWS, action="rewrite", old=ALL, new=rows)
    try:
        assert search() == []
    except AtlasError as error:
        assert re.search(r"in a form that no Hub has|failed: ", str(error))


@pytest.mark.parametrize("after", ["²", "1e9", "-1", "soon", ""])
def test_a_time_to_wait_that_is_none_is_passed_over(hub, repo: str, tmp_path: Path, after: str) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    headers = {"Retry-After": after.encode().decode("latin-1")}
    hub.faults.add(path=MODEL_INFO, action="status", status=429, headers=headers, times=1)
    assert pull(repo).card.id == "left__right__ridge"


def bytes_sent(hub, path: str) -> int:
    return sum(request.bytes_out for request in hub.requests if path in request.path)


@pytest.mark.parametrize("path", [MODEL_INFO, PATHS])
def test_an_answer_without_end_is_given_up(hub, repo: str, tmp_path: Path, path: str, monkeypatch) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    monkeypatch.setattr(hubclient, "MOST", 2**20)
    hub.faults.add(path=path, action="endless")
    with pytest.raises(AtlasError, match=r"127.0.0.1:\d+ answers without end - is it a Hub\?"):
        pull(repo)
    # Some more lies in the buffers between.
    assert bytes_sent(hub, path.strip("$")) < 64 * 2**20


def test_a_compressed_answer_is_refused(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    hub.faults.add(path=PATHS, action="set-headers", headers={"Content-Encoding": "gzip"})
    with pytest.raises(AtlasError, match="answers compressed, which was not asked for - is there a proxy between"):
        pull(repo)


@pytest.mark.parametrize("path", [r"/resolve/.*config\.yaml", "^/-/"])
def test_no_more_of_a_file_is_taken_than_is_listed(hub, repo: str, tmp_path: Path, path: str) -> None:
    folder = make_alignment(tmp_path / "a", d_source=300, d_target=200)
    upload(repo, folder)
    hub.faults.add(kind="download", path=path, action="endless")
    hub.clear_requests()
    assert sha256(pull(repo).folder / MODEL) == sha256(folder / MODEL)
    assert sum(request.bytes_out for request in hub.requests) < 64 * 2**20


def test_what_is_longer_than_listed_is_not_kept(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    from atlas.hub import cache

    folder = make_alignment(tmp_path / "a")
    size = (folder / CARD).stat().st_size
    upload(repo, folder)
    hub.faults.add(kind="download", path="config.yaml", action="rewrite", old=r"\A", new="#" * 10_000_000)
    had = []
    digest_of = cache.digest_of
    monkeypatch.setattr(cache, "digest_of", lambda path, *how: had.append(path.stat().st_size) or digest_of(path, *how))
    with pytest.raises(AtlasError, match=r"config.yaml of 'hf://.*' arrived damaged twice"):
        pull(repo)
    assert had == [size, size]
    assert not list((tmp_path / "home").rglob(".*.tmp"))


def test_a_lost_connection_goes_on_from_where_it_was(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", d_source=700, d_target=600)
    size = (folder / MODEL).stat().st_size
    upload(repo, folder)
    # More often than a request is tried: what leads further is not given up.
    hub.faults.add(kind="download", path="^/-/", action="truncate", fraction=0.5, times=5)
    hub.clear_requests()
    assert sha256(pull(repo).folder / MODEL) == sha256(folder / MODEL)
    assert bytes_sent(hub, "/-/") < 1.5 * size


def test_a_server_that_begins_anew_is_followed(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", d_source=300, d_target=200)
    upload(repo, folder)
    hub.faults.add(kind="download", path="^/-/", action="truncate", times=1)
    hub.faults.add(kind="download", path="^/-/", action="ignore-range")
    assert sha256(pull(repo).folder / MODEL) == sha256(folder / MODEL)


@pytest.fixture
def elsewhere(tmp_path: Path):
    """Another server, that answers nothing."""
    from hubserver import HubServer

    with HubServer(tmp_path / "elsewhere") as other:
        yield other


def tokens_sent(url: str, monkeypatch) -> list[str | None]:
    """Return a list of what requests to an address bear as a token, filled while they are made."""
    from huggingface_hub.utils import get_session

    seen: list[str | None] = []
    send = get_session().send

    def watched(request, **how):
        answer = send(request, **how)
        if str(request.url).startswith(url):
            seen.append(request.headers.get("Authorization"))
        return answer

    monkeypatch.setattr(get_session(), "send", watched)
    return seen


def test_the_next_page_of_a_listing_elsewhere_gets_no_token(hub, repo: str, elsewhere, monkeypatch) -> None:
    upload(repo, {"README.md": b"---\nlibrary_name: latent-atlas\n---\n"})
    link = f'<{elsewhere.url}/api/models?cursor=1>; rel="next"'
    hub.faults.add(path=ROWS, action="set-headers", headers={"Link": link})
    seen = tokens_sent(elsewhere.url, monkeypatch)
    search()
    assert seen == [None]


def test_where_an_upload_is_reported_elsewhere_gets_no_token(
    hub, repo: str, tmp_path: Path, elsewhere, monkeypatch
) -> None:
    folder = make_alignment(tmp_path / "a", seed=int(repo[-8:], 16), d_source=300, d_target=200)
    old = r'(?<="verify": \{"href": ")[^"]+'
    hub.faults.add(kind="lfs-batch", action="rewrite", old=old, new=f"{elsewhere.url}/verify")
    home, away = tokens_sent(hub.url, monkeypatch), tokens_sent(elsewhere.url, monkeypatch)
    with contextlib.suppress(AtlasError):
        push(folder, repo)
    assert away and set(away) == {None}
    assert f"Bearer {TOKEN}" in home


def test_after_a_refused_connection_the_next_page_elsewhere_gets_no_token_either(
    hub, repo: str, elsewhere, monkeypatch
) -> None:
    from huggingface_hub.utils import get_session

    upload(repo, {"README.md": b"---\nlibrary_name: latent-atlas\n---\n"})
    link = f'<{elsewhere.url}/api/models?cursor=1>; rel="next"'
    hub.faults.add(path=ROWS, action="set-headers", headers={"Link": link})
    sent, seen, failed = type(get_session()).send, [], []

    def watched(self, request, **how):
        if str(request.url).startswith(elsewhere.url):
            if not failed:
                failed.append(True)
                raise sys.modules[type(self).__module__.partition(".")[0]].ConnectError("refused", request=request)
            answer = sent(self, request, **how)
            seen.append(request.headers.get("Authorization"))
            return answer
        return sent(self, request, **how)

    monkeypatch.setattr(type(get_session()), "send", watched)
    close_session()
    search()
    assert failed and seen == [None]


@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"ratelimit": '"api";r=0;t=3600'}])
def test_no_server_says_how_long_the_client_sleeps(hub, repo: str, headers: dict, monkeypatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    upload(repo, {"README.md": b"---\nlibrary_name: latent-atlas\n---\n"})
    link = f'<{hub.url}/api/models?cursor=1>; rel="next"'
    hub.faults.add(path=ROWS, action="set-headers", headers={"Link": link}, times=1)
    hub.faults.add(path=ROWS, action="status", status=429, headers=headers)
    with pytest.raises(AtlasError, match="asks for fewer requests - try again in"):
        search()
    assert max([0.0, *slept]) <= 60
