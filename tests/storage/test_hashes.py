from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.artefacts import vectors
from atlas.artefacts.loading import load, save
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.errors import CardError
from atlas.storage import hashes
from atlas.storage.checks import problems
from atlas.storage.files import sha256_file, whole_folder
from atlas.storage.hashes import MOST, NOTES, fresh_sha256, known_sha256, mark_of, note_sha256
from atlas.storage.notes import notes_file
from atlas.verbs.apply import apply
from atlas.verbs.encode import encode
from atlas.verbs.fit import fit


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    """A cache of its own, and files that count as large although they are small."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(hashes, "LARGE", 100)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 200)
    return path


def hashed(monkeypatch) -> list[Path]:
    """Return a list that grows by every file that is hashed."""
    found: list[Path] = []
    monkeypatch.setattr(hashes, "sha256_file", lambda path: found.append(path) or sha256_file(path))
    return found


class Opened(list):
    """The names of the files that have been opened to be read."""

    now: Opened | None = None

    def __enter__(self) -> Opened:
        Opened.now = self
        return self

    def __exit__(self, *_: object) -> None:
        Opened.now = None


def note_opened(event: str, arguments: tuple) -> None:
    if event == "open" and Opened.now is not None and isinstance(arguments[0], str) and not arguments[2] & os.O_WRONLY:
        Opened.now.append(Path(arguments[0]).name)


sys.addaudithook(note_opened)


def test_a_file_is_hashed_once(file):
    assert known_sha256(file) == ""
    assert fresh_sha256(file) == known_sha256(file) == sha256_file(file)


def test_a_link_to_a_file_is_the_file(file):
    link = file.with_name("link")
    link.symlink_to(file)
    fresh_sha256(link)
    assert known_sha256(file) == sha256_file(file)


def test_a_small_file_is_not_noted(file):
    file.write_bytes(b"x" * 99)
    fresh_sha256(file)
    assert known_sha256(file) == "" and not notes_file(NOTES).exists()


def rewritten(path: Path) -> None:
    path.write_bytes(b"y" * 200)


def rewritten_with_its_time_set_back(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"y" * 200)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def grown(path: Path) -> None:
    path.write_bytes(b"x" * 201)


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(b"y" * 200)
    path.with_name("new").replace(path)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [rewritten, rewritten_with_its_time_set_back, grown, replaced, removed])
def test_a_file_that_was_touched_is_not_known(file, change):
    fresh_sha256(file)
    # Longer than a tick of a file system's clock, as hashing a large file is.
    before = file.stat().st_ctime_ns
    while True:
        file.with_name("tick").write_text("")
        if file.with_name("tick").stat().st_ctime_ns > before:
            break
    change(file)
    assert known_sha256(file) == ""


def test_a_file_that_changes_while_it_is_hashed_is_not_noted(file, monkeypatch):
    def slow(path: Path) -> str:
        digest = sha256_file(path)
        grown(path)
        return digest

    monkeypatch.setattr(hashes, "sha256_file", slow)
    fresh_sha256(file)
    assert known_sha256(file) == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"x": 1}', "\x00\xff", '{"PATH": [1]}', '{"PATH": null}']
)
def test_damaged_notes_mean_hashing_again(file, text):
    fresh_sha256(file)
    notes_file(NOTES).write_text(text.replace("PATH", str(file)), encoding="latin-1")
    assert known_sha256(file) == ""
    assert fresh_sha256(file) == known_sha256(file) == sha256_file(file)


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_notes_that_others_may_write_are_not_trusted(file, mode):
    fresh_sha256(file)
    assert notes_file(NOTES).stat().st_mode & 0o777 == 0o600
    notes_file(NOTES).chmod(mode)
    assert known_sha256(file) == ""


def test_notes_of_somebody_else_are_not_trusted(file, monkeypatch):
    fresh_sha256(file)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert known_sha256(file) == ""


def test_notes_are_bounded_and_the_newest_stay(file):
    note_sha256(file, "0" * 64, mark_of(file))
    [noted] = json.loads(notes_file(NOTES).read_text()).values()
    notes_file(NOTES).write_text(json.dumps({f"/{i}": noted for i in range(MOST)}))
    note_sha256(file, "1" * 64, mark_of(file))
    kept = json.loads(notes_file(NOTES).read_text())
    assert len(kept) == MOST and [*kept][-1] == str(file) and "/0" not in kept


@pytest.mark.parametrize("home", ["relative", "/proc/nope"])
def test_without_a_place_for_notes_files_are_hashed_again(file, monkeypatch, tmp_path, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", home)
    monkeypatch.chdir(tmp_path)
    assert fresh_sha256(file) == sha256_file(file)
    assert known_sha256(file) == "" and sorted(path.name for path in tmp_path.iterdir()) == ["x"]


def test_what_atlas_wrote_is_loaded_without_being_hashed(tmp_path, pair, monkeypatch):
    found = hashed(monkeypatch)
    pair.source.save_pretrained(tmp_path / "v")
    pair.source.save_pretrained(tmp_path / "v", overwrite=True)
    assert torch.equal(load(tmp_path / "v").data, pair.source.data)
    assert found == []


def test_a_hash_is_not_noted_of_what_another_process_put_in_its_place(tmp_path, pair, monkeypatch):
    @contextlib.contextmanager
    def overtaken(*given: Any) -> Iterator[Path]:
        with whole_folder(*given) as folder:
            yield folder
        monkeypatch.setattr(vectors, "whole_folder", whole_folder)
        pair.target.save_pretrained(tmp_path / "v", overwrite=True)

    monkeypatch.setattr(vectors, "whole_folder", overtaken)
    pair.source.save_pretrained(tmp_path / "v")
    assert torch.equal(load(tmp_path / "v").data, pair.target.data)


def test_what_somebody_else_wrote_is_hashed_when_it_is_first_loaded(tmp_path, pair, monkeypatch):
    pair.source.save_pretrained(tmp_path / "v")
    notes_file(NOTES).unlink()
    found = hashed(monkeypatch)
    for _ in range(3):
        load(tmp_path / "v")
    assert found == [tmp_path / "v" / MODEL]


def test_damage_to_a_known_file_is_found_when_it_is_loaded(tmp_path, pair):
    pair.source.save_pretrained(tmp_path / "v")
    raw = bytearray((tmp_path / "v" / MODEL).read_bytes())
    raw[-1] ^= 1
    (tmp_path / "v" / MODEL).write_bytes(raw)
    with pytest.raises(CardError, match="does not match its card: sha256 is"):
        load(tmp_path / "v")


def test_a_known_file_under_another_card_is_refused(tmp_path, pair):
    pair.source.save_pretrained(tmp_path / "v")
    card = read_card(tmp_path / "v")
    (tmp_path / "v" / CARD).write_text(dump_card(replace(card, sha256="0" * 64)))
    with pytest.raises(CardError, match="does not match its card: sha256 is"):
        load(tmp_path / "v")


def test_checking_hashes_what_is_known(tmp_path, pair, monkeypatch):
    pair.source.save_pretrained(tmp_path / "v")
    found = hashed(monkeypatch)
    assert problems(tmp_path / "v") == [] and found == [tmp_path / "v" / MODEL]


def test_an_artefact_that_is_loaded_has_its_header_read_once(tmp_path, pair):
    pair.source.save_pretrained(tmp_path / "v")
    with Opened() as opened:
        load(tmp_path / "v")
    # Once for the header, and once for each tensor that is mapped.
    assert opened.count(MODEL) == 1 + 4 and opened.count(CARD) == 1


@pytest.mark.parametrize("out", ["v", "v.npy", "v.safetensors"])
def test_what_is_written_is_not_read_back(tmp_path, pair, monkeypatch, out):
    made = fit("procrustes", source=pair.source, target=pair.target)
    found = hashed(monkeypatch)
    with Opened() as opened:
        mapped = apply(made, pair.source, out=tmp_path / out)
        encoded = encode("pixels", torch.rand(30, 8), out=tmp_path / f"e{out}")
    # Once each: the file is mapped, which reads nothing.
    assert opened.count(MODEL) + opened.count(out) + opened.count(f"e{out}") == 2 and found == []
    assert torch.equal(mapped.data, load(tmp_path / "v").data) if out == "v" else mapped.ids == pair.source.ids
    assert len(encoded) == 30 and encoded.space.dim == encoded.data.shape[1]


def test_what_is_returned_is_what_would_be_read(tmp_path, pair):
    made = fit("procrustes", source=pair.source, target=pair.target)
    for returned in (
        apply(made, pair.source, out=tmp_path / "x"),
        encode("pixels", torch.rand(9, 4), out=tmp_path / "y"),
    ):
        read = load(tmp_path / returned.id)
        assert (returned.card, list(returned.ids)) == (read.card, list(read.ids))
        assert torch.equal(returned.data, read.data) and (returned.labels is None) == (read.labels is None)
    save(read, tmp_path / "again" / "y")
    assert (tmp_path / "again" / "y" / MODEL).read_bytes() == (tmp_path / "y" / MODEL).read_bytes()
