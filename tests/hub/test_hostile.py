"""A server that answers with paths and addresses instead of hashes: it is refused, and nothing outside is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment, sha256, upload

from atlas.cards.folder import CARD, MODEL
from atlas.errors import AtlasError
from atlas.hub.cache import Cache, Listed, Ref
from atlas.hub.pulling import pull
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
both = pytest.mark.parametrize("hub", ["http", "xet"], indirect=True)
# From where the contents of a repository lie in the cache of these tests to the folder that holds the cache.
UP = "../../../../"
NAMES = [CARD, MODEL]
MINE = "import os  # mine\n"


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder, with the content of files, but for what lies in the caches of the client."""
    caches = {folder / "home" / "hub", folder / "home" / "xet"}
    paths = [path for path in sorted(folder.rglob("*")) if not caches & {path, *path.parents}]
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture(params=["new", "existing"])
def victim(request, tmp_path: Path) -> Iterator[Path]:
    """A path beside the cache; after the test, nothing there has been made or changed."""
    path = tmp_path / "victim.pth"
    if request.param == "existing":
        path.write_text(MINE)
    (tmp_path / "home").mkdir()
    make_alignment(tmp_path / "a", seed=3, d_source=300, d_target=200)
    before = everything(tmp_path)
    yield path
    assert everything(tmp_path) == before


def refused(atlas_command, *words: object) -> str:
    """Run a command that must fail with one sentence, and return the sentence."""
    done = atlas_command(*words, status=1)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    return done.stderr


def resolve(name: str) -> str:
    return rf"/resolve/.*{name}"


@both
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag"])
@pytest.mark.parametrize("how", ["relative", "absolute"])
def test_an_etag_never_becomes_a_path(
    hub, repo: str, tmp_path: Path, victim: Path, atlas_command, name: str, header: str, how: str
) -> None:
    upload(repo, tmp_path / "a")
    text = UP + victim.name if how == "relative" else str(victim)
    headers = {"X-Linked-ETag": f'"{text}"', header: f'"{text}"'}
    hub.faults.add(kind="head", path=resolve(name), action="set-headers", headers=headers)
    hub.clear_requests()
    said = refused(atlas_command, "pull", f"hf://{repo}")
    assert f"{name} of 'hf://{repo}'" in said
    assert "another file than the one it lists" in said
    assert not [r.path for r in hub.requests if r.method == "GET" and r.path.endswith(name)]
    hub.faults.clear()
    assert sha256(pull(repo).folder / MODEL) == sha256(tmp_path / "a" / MODEL)


@pytest.mark.parametrize("name", NAMES)
def test_an_etag_of_a_second_try_never_becomes_a_path(
    hub, repo: str, tmp_path: Path, victim: Path, atlas_command, name: str
) -> None:
    """First the answer is honest and the file arrives damaged; the client's own way then overwrites what is there."""
    upload(repo, tmp_path / "a")
    headers = {"ETag": f'"{UP}{victim.name}"', "X-Linked-ETag": f'"{UP}{victim.name}"'}
    hub.faults.add(kind="head", path=resolve(name), action="set-headers", headers=headers, skip=1)
    body = "^/-/" if name == MODEL else resolve(name)
    hub.faults.add(kind="download", path=body, action="corrupt")
    assert "another file than the one it lists" in refused(atlas_command, "pull", f"hf://{repo}")
    assert hub.faults.rules()[0]["applied"] > 0


def test_an_etag_is_refused_after_a_lost_connection(hub, repo: str, tmp_path: Path, victim: Path) -> None:
    upload(repo, tmp_path / "a")
    hub.faults.add(kind="head", action="reset", times=1)
    headers = {"ETag": f'"{victim}"', "X-Linked-ETag": f'"{victim}"'}
    hub.faults.add(kind="head", action="set-headers", headers=headers)
    with pytest.raises(AtlasError, match="another file than the one it lists"):
        pull(repo)


@pytest.mark.parametrize("text", ["0" * 40, "0" * 64, "", "W/", "a" * 39, "\x1b[31m"])
def test_another_etag_than_the_one_listed_is_refused(hub, repo: str, tmp_path: Path, atlas_command, text: str) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    hub.faults.add(kind="head", action="set-headers", headers={"ETag": f'"{text}"'})
    said = refused(atlas_command, "pull", f"hf://{repo}")
    assert "another file than the one it lists" in said
    assert said.strip().isprintable()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["relative", "absolute", "commit"])
def test_a_commit_in_a_header_never_becomes_a_path(
    hub, repo: str, tmp_path: Path, victim: Path, atlas_command, name: str, how: str
) -> None:
    upload(repo, tmp_path / "a")
    text = {"relative": UP + victim.name, "absolute": str(victim), "commit": "0" * 40}[how]
    hub.faults.add(kind="head", path=resolve(name), action="set-headers", headers={"X-Repo-Commit": text})
    assert "another file than the one it lists" in refused(atlas_command, "pull", f"hf://{repo}")
    assert not list((tmp_path / "home").rglob("0" * 40))


@pytest.mark.parametrize("how", ["relative", "absolute"])
def test_what_is_said_of_a_missing_file_never_becomes_a_path(
    hub, repo: str, tmp_path: Path, victim: Path, atlas_command, how: str
) -> None:
    upload(repo, tmp_path / "a")
    text = UP + victim.name if how == "relative" else str(victim)
    headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": text}
    hub.faults.add(kind="head", action="status", status=404, headers=headers)
    assert "does not hold the file" in refused(atlas_command, "pull", f"hf://{repo}")


HASH = r'(?<="oid": ")[0-9a-f]+(?=")'


@pytest.mark.parametrize("how", ["relative", "absolute"])
def test_a_listed_hash_never_becomes_a_path(
    hub, repo: str, tmp_path: Path, victim: Path, atlas_command, how: str
) -> None:
    upload(repo, tmp_path / "a")
    text = UP + victim.name if how == "relative" else str(victim)
    hub.faults.add(path="/paths-info/", action="rewrite", old=HASH, new=text)
    headers = {"ETag": f'"{text}"', "X-Linked-ETag": f'"{text}"'}
    hub.faults.add(kind="head", action="set-headers", headers=headers)
    hub.clear_requests()
    assert "lists config.yaml with a size or hash that is none" in refused(atlas_command, "pull", f"hf://{repo}")
    assert not [r.path for r in hub.requests if "/resolve/" in r.path]


LISTED = [
    (HASH, "0" * 39),
    (HASH, "A" * 40),
    (r'"oid": "[0-9a-f]+"', '"oid": null'),
    (r'"oid": "[0-9a-f]+"', '"oid": ["a"]'),
    (r'"size": \d+', '"size": -1'),
    (r'"size": \d+', '"size": "big"'),
    (r'"size": \d+', '"size": true'),
    (r'"size": \d+', '"size": 1e400'),
    (HASH, "0" * 40 + "\\\\n"),
    (HASH, "\u0661" * 40),
    (HASH, "0" * 38 + "/."),
    (HASH, "0" * 40 + "\\\\u0000"),
    (r'"oid": "[0-9a-f]+"', '"oid": {"a": 1}'),
    (r'"oid": "[0-9a-f]+"', '"oid": 1234567890123456789012345678901234567890'),
    (r'"size": \d+', '"size": 12.5'),
    (r'"size": \d+', '"size": NaN'),
    (r'"size": \d+', '"size": [382]'),
    (r'"size": \d+', '"size": -0.5'),
]


@pytest.mark.parametrize(("old", "new"), LISTED, ids=range(len(LISTED)))
def test_a_listing_without_hashes_and_sizes_is_refused(hub, repo: str, tmp_path: Path, old: str, new: str) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    hub.faults.add(path="/paths-info/", action="rewrite", old=old, new=new)
    with pytest.raises(AtlasError, match=r"lists .* with a size or hash that is none \(.*\) - is it a Hub\?"):
        pull(repo)


@pytest.mark.parametrize(
    "path",
    [
        f'"{UP}victim.pth"',
        '["config.yaml"]',
        "7",
        '"./config.yaml"',
        '"CONFIG.YAML"',
        r'"config.yaml\\u0000"',
        '{"a": 1}',
        "null",
    ],
)
def test_a_listed_name_never_becomes_a_path(hub, repo: str, tmp_path: Path, victim: Path, path: str) -> None:
    upload(repo, tmp_path / "a")
    hub.faults.add(path="/paths-info/", action="rewrite", old=r'(?<="path": )"config.yaml"', new=path)
    with pytest.raises(AtlasError, match=r"is not an artefact of Atlas: it has no config.yaml"):
        pull(repo)


@pytest.mark.parametrize(
    "text", [f"{UP}victim.pth", "main", "0" * 41, "0" * 39 + "/", "\u0661" * 40, "0" * 40 + r"\\n"]
)
def test_a_commit_that_is_none_is_refused(hub, repo: str, tmp_path: Path, victim: Path, text: str) -> None:
    upload(repo, tmp_path / "a")
    hub.faults.add(path="/revision/", action="rewrite", old=r'(?<="sha": ")[0-9a-f]+', new=text)
    with pytest.raises(AtlasError, match=r"answered without a commit for 'hf://.*' - is it a Hub\?"):
        pull(repo)


@pytest.mark.parametrize("how", ["relative", "absolute"])
def test_a_push_that_reads_takes_no_paths_either(
    hub, repo: str, tmp_path: Path, victim: Path, atlas_command, how: str
) -> None:
    push(tmp_path / "a", repo)
    text = UP + victim.name if how == "relative" else str(victim)
    headers = {"ETag": f'"{text}"', "X-Linked-ETag": f'"{text}"'}
    hub.faults.add(kind="head", action="set-headers", headers=headers)
    assert "another file than the one it lists" in refused(atlas_command, "push", tmp_path / "a", repo)


@pytest.mark.parametrize("text", [f"{UP}victim.pth", "main", "a/b"])
def test_a_push_takes_no_head_that_is_not_a_commit(hub, repo: str, tmp_path: Path, atlas_command, text: str) -> None:
    push(make_alignment(tmp_path / "a"), repo)
    hub.faults.add(path="/refs$", action="rewrite", old=r'(?<="targetCommit": ")[0-9a-f]+', new=text)
    said = refused(atlas_command, "push", tmp_path / "a", repo)
    assert "answered without a commit for" in said


def test_a_push_reports_no_commit_that_is_none(hub, repo: str, tmp_path: Path, atlas_command) -> None:
    hub.faults.add(kind="commit", action="rewrite", old=r'(?<="commitOid": ")[0-9a-f]+', new=r"main\u001b[31m")
    said = refused(atlas_command, "push", make_alignment(tmp_path / "a"), repo)
    assert "answered without a commit for" in said


def test_a_redirect_that_leads_nowhere_is_one_sentence(hub, repo: str, tmp_path: Path, victim: Path) -> None:
    upload(repo, tmp_path / "a")
    headers = {"Location": f"file://{tmp_path}/a/{MODEL}"}
    hub.faults.add(path=resolve(MODEL), action="set-headers", headers=headers)
    with pytest.raises(AtlasError, match="failed") as caught:
        pull(repo)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["main", "../x", "0" * 39, ""])
def test_the_cache_has_no_place_for_what_is_no_hash(tmp_path: Path, name: str) -> None:
    cache = Cache(Ref("a/b"), tmp_path)
    with pytest.raises(AtlasError, match="is not a hash"):
        cache.snapshot(name)
    with pytest.raises(AtlasError, match="is not a hash"):
        cache.blob(Listed(1, name))


@both
def test_a_pull_lies_in_the_cache_as_the_client_puts_it(hub, repo: str, tmp_path: Path) -> None:
    from huggingface_hub import constants, scan_cache_dir, try_to_load_from_cache

    commit = upload(repo, make_alignment(tmp_path / "a", seed=3, d_source=300, d_target=200))
    folder = pull(repo).folder
    for name in NAMES:
        assert try_to_load_from_cache(repo, name, revision="main") == str(folder / name)
        assert (folder / name).is_symlink()
    held = scan_cache_dir(constants.HF_HUB_CACHE)
    assert not held.warnings
    [found] = [one for one in held.repos if one.repo_id == repo]
    [revision] = found.revisions
    assert (revision.commit_hash, revision.refs) == (commit, {"main"})
    assert {file.file_name for file in revision.files} == set(NAMES)


def test_where_links_are_switched_off_files_lie_in_the_snapshot(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    upload(repo, make_alignment(tmp_path / "a"))
    folder = pull(repo).folder
    assert not (folder / MODEL).is_symlink()
    assert sha256(pull(repo, local_files_only=True).folder / MODEL) == sha256(tmp_path / "a" / MODEL)


def test_a_file_that_another_commit_shares_is_not_downloaded_again(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    first = pull(repo)
    upload(repo, {"notes.txt": b"more"})
    hub.clear_requests()
    second = pull(repo)
    assert second.commit != first.commit
    assert (second.folder / MODEL).resolve() == (first.folder / MODEL).resolve()
    assert not [r.path for r in hub.requests if r.method == "GET" and r.path.endswith(MODEL)]


def test_downloads_are_counted_as_those_of_the_client_are(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    upload(repo, make_alignment(tmp_path / "a"))
    seen = []
    hooks = get_session().event_hooks["request"]
    hooks.append(lambda r: seen.append((r.method, r.headers.get(constants.X_HF_DOWNLOAD_COUNTER))))
    pull(repo)
    assert ("HEAD", "1") in seen
    assert ("GET", "1") in seen
