"""Which model is meant: folders by the hash of their files, repositories by their commit, also without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from makers import edit, tiny

import atlas
from atlas import AtlasError
from atlas_sentence_transformers import SentenceTransformers
from atlas_sentence_transformers.source import find, hash_of_folder

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def folder(small, tmp_path) -> Path:
    """A copy of the small model."""
    return Path(shutil.copytree(small, tmp_path / "copy"))


def cached(cache: Path, repo: str, commit: str, folder: str, *refs: str) -> None:
    """Lay a model into a cache as if it had been downloaded."""
    there = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, there / "snapshots" / commit)
    for ref in refs:
        (there / "refs").mkdir(exist_ok=True)
        (there / "refs" / ref).write_text(commit)


@pytest.fixture
def cache(small, tmp_path, monkeypatch) -> Path:
    """A cache that holds 'you/tiny' at two commits: 'main', and the tag 'v1'."""
    home = tmp_path / "cache"
    other = tiny(tmp_path / "other", seed=1)
    cached(home, "you/tiny", FIRST, other, "v1")
    cached(home, "you/tiny", SECOND, small, "main")
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(home))
    return home


def test_a_folder_is_the_same_model_wherever_it_lies(small, folder):
    assert SentenceTransformers(str(folder)).identity() == SentenceTransformers(small).identity()
    assert SentenceTransformers(str(folder)).space().fingerprint == SentenceTransformers(small).space().fingerprint


def test_what_no_vector_depends_on_is_not_in_the_hash(folder):
    before = hash_of_folder(folder)
    for name in ("README.md", "pytorch_model.bin", "onnx/model.onnx", ".gitattributes", "picture.png", "code.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("anything")
    assert hash_of_folder(folder) == before


@pytest.mark.parametrize(
    "name", ["modules.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors", "new.json"]
)
def test_whatever_else_changes_is_another_model(folder, name):
    before = hash_of_folder(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert hash_of_folder(folder) != before


def test_neither_the_card_nor_the_space_of_a_local_model_names_its_place(folder):
    encoder = SentenceTransformers(str(folder))
    config, space = encoder.config(), encoder.space()
    assert (config["model"], config["revision"]) == ("copy", hash_of_folder(folder))
    assert space.identity == {"revision": config["revision"]}
    assert str(folder.parent) not in json.dumps([config, space.identity, space.id])


def test_the_hash_of_a_folder_is_checked_where_it_is_given(folder):
    digest = hash_of_folder(folder)
    assert find(str(folder), digest).revision == digest
    with pytest.raises(AtlasError, match=f"needs another model than that in '{folder}': sha256 000000000000..., not "):
        find(str(folder), "0" * 64)


def test_a_local_model_without_its_files_says_where_they_are(small):
    encoder = SentenceTransformers.from_config(SentenceTransformers(small).config())
    with pytest.raises(
        AtlasError, match="needs the files of the local model 'small' - load the stored space that keeps"
    ):
        encoder.space()


def test_a_name_on_the_hub_becomes_a_commit(cache, small, texts):
    encoder = SentenceTransformers("you/tiny")
    assert (encoder.config()["model"], encoder.config()["revision"]) == ("you/tiny", SECOND)
    assert encoder.identity() == {"model": "you/tiny", "revision": SECOND}
    assert encoder.space().id.startswith("tiny-")
    made = torch.cat(list(encoder.encode(texts)))
    torch.testing.assert_close(made, torch.cat(list(SentenceTransformers(small).encode(texts))), rtol=0, atol=0)


def test_another_revision_is_another_space(cache):
    tagged, pinned, latest = (SentenceTransformers("you/tiny", revision) for revision in ("v1", FIRST, ""))
    assert tagged.space() == pinned.space()
    assert pinned.space().fingerprint != latest.space().fingerprint


def test_a_stored_space_of_the_hub_keeps_the_commit_and_no_tensors(cache, tmp_path):
    atlas.save(SentenceTransformers("you/tiny"), tmp_path / "space")
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == ["config.yaml"]
    (cache / "models--you--tiny" / "refs" / "main").write_text(FIRST)
    assert atlas.load(tmp_path / "space").config()["revision"] == SECOND
    with pytest.raises(AtlasError, match="revision is "):
        atlas.load(tmp_path / "space").space().require(SentenceTransformers("you/tiny").space(), "It is", "those")


def test_a_name_alone_is_one_of_the_librarys_own(cache, small):
    cached(cache, "sentence-transformers/tiny", FIRST, small, "main")
    assert SentenceTransformers("tiny").config()["model"] == "sentence-transformers/tiny"


def test_a_commit_is_never_that_of_a_folder(cache, small, tmp_path, monkeypatch):
    shutil.copytree(small, tmp_path / "you" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert SentenceTransformers("you/tiny").source().local
    assert not SentenceTransformers("you/tiny", FIRST).source().local


def test_the_hubs_own_cache_is_used(small):
    # HF_HOME is read once, when the client is imported.
    cached(Path(os.environ["HF_HOME"]) / "hub", "you/cached", FIRST, small, "main")
    code = """
from atlas_sentence_transformers.source import find, hash_of_folder
with find("you/cached").folder() as folder:
    print(find("you/cached").revision, hash_of_folder(folder))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{FIRST} {hash_of_folder(Path(small))}\n"


@pytest.mark.parametrize(
    ("model", "revision", "sentence"),
    [
        (
            "you/none",
            "",
            "finds no folder 'you/none', and 'hf://you/none' has not been downloaded and cannot be now - go",
        ),
        ("you/tiny", "v2", "finds no folder 'you/tiny', and 'hf://you/tiny@v2' has not been downloaded and cannot be"),
        ("you/tiny", "3" * 40, "'hf://you/tiny@3{40}': the connection to .* failed|'hf://you/tiny@3{40}' cannot be"),
        (
            "no/such/folder",
            "",
            "finds no folder 'no/such/folder', and on the Hub, .* is not a repository of the Hub - ",
        ),
        ("/no/such", "", "finds no folder '/no/such', and on the Hub, '/no/such' is not a repository"),
        (
            "you/tiny",
            "a b",
            "finds no folder 'you/tiny', and on the Hub, 'a b' is not the name of a branch, tag or com",
        ),
    ],
)
def test_what_is_not_here_is_told(cache, model, revision, sentence):
    with pytest.raises(AtlasError, match=sentence):
        SentenceTransformers(model, revision).space()


def test_a_folder_has_no_branches(small):
    with pytest.raises(AtlasError, match=f"'{small}' is a folder, and has no revision 'main' - leave it out"):
        find(small, "main")


def test_a_folder_of_something_else_is_told(tmp_path):
    with pytest.raises(AtlasError, match=r"finds no model in '.*' - it has neither a modules.json nor a config.json"):
        SentenceTransformers(str(tmp_path)).space()


def test_a_changed_file_is_noticed(folder):
    before = hash_of_folder(folder)
    edit(folder / "config_sentence_transformers.json", similarity_fn_name="dot")
    assert hash_of_folder(folder) != before


@pytest.fixture
def installed(small, tmp_path, monkeypatch) -> str:
    """The small model in a package that is installed, by its name."""
    site = tmp_path / "site"
    shutil.copytree(small, site / "tiny_weights" / "model")
    about = site / "tiny_weights-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    files = [path for path in site.rglob("*") if path.is_file()]
    (about / "RECORD").write_text("".join(f"{path.relative_to(site).as_posix()},,\n" for path in files))
    monkeypatch.syspath_prepend(str(site))
    return "package:tiny-weights/tiny_weights/model"


def test_a_space_of_a_model_in_a_package_stores_no_weights(small, installed, texts, tmp_path):
    encoder = SentenceTransformers(installed)
    assert encoder.space().fingerprint == SentenceTransformers(small).space().fingerprint
    atlas.save(encoder, tmp_path / "space")
    assert [path.name for path in (tmp_path / "space").iterdir()] == ["config.yaml"]
    again = atlas.load(tmp_path / "space")
    assert (again.config()["model"], again.revision) == (installed, hash_of_folder(Path(small)))
    X, Y = (torch.cat(list(one.encode(texts[:3]))) for one in (again, SentenceTransformers(small)))
    assert torch.equal(X, Y)


def test_another_version_of_the_package_is_refused(installed, tmp_path):
    atlas.save(SentenceTransformers(installed), tmp_path / "space")
    with (tmp_path / "site" / "tiny_weights" / "model" / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(AtlasError, match="needs another model than that in 'package:tiny-weights/"):
        atlas.load(tmp_path / "space").space()


def test_the_package_of_the_zoo_makes_the_space_that_ships(minilm):
    ships = atlas.load("minilm")
    assert ships.space().fingerprint == SentenceTransformers(minilm).space().fingerprint
    assert torch.cat(list(ships.encode(["How do I change my card PIN?"]))).shape == (1, 384)
