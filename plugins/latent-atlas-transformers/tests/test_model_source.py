"""Where a model comes from: a folder, a stored space or the Hub's cache, and what of it is in the space."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from checkpoints import TEXTS, wordpiece

import atlas
from atlas import AtlasError
from atlas_transformers import TransformersImage, TransformersText
from atlas_transformers.loading import quietly
from atlas_transformers.source import HASH

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def encode(encoder, items=TEXTS) -> torch.Tensor:
    return torch.cat(list(encoder.encode(items)))


@pytest.fixture
def bert(made, tmp_path) -> Path:
    """A copy of a small classifier, to be changed."""
    return Path(shutil.copytree(made("bert")[0], tmp_path / "tiny-bert"))


@pytest.fixture
def cached(made, tmp_path, monkeypatch) -> str:
    """The name of a model in the Hub's cache, as it is left there by a download, without a connection."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--tester--tiny"
    shutil.copytree(made("bert")[0], repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return "tester/tiny"


def edit(path: Path, **settings) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_a_folder_is_known_by_the_hash_of_its_files_and_not_by_its_path(bert, tmp_path):
    moved = Path(shutil.copytree(bert, tmp_path / "elsewhere" / "other-name"))
    one, other = TransformersText(str(bert)), TransformersText(str(moved))
    assert one.space().fingerprint == other.space().fingerprint
    assert HASH.fullmatch(one.identity()["revision"]) and "model" not in one.identity()
    assert one.space().id.startswith("tiny-bert-")
    assert str(tmp_path) not in json.dumps([one.config(), one.identity()])


def test_a_stored_space_holds_the_model_and_no_path(bert, tmp_path):
    encoder = TransformersText(str(bert), layer=2)
    X = encode(encoder)
    atlas.save(encoder, tmp_path / "space")
    shutil.rmtree(bert)
    loaded = atlas.load(tmp_path / "space")
    assert torch.equal(encode(loaded), X)
    assert loaded.space().fingerprint == encoder.space().fingerprint
    for path in (tmp_path / "space").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_stored_space_holds_the_head_too(bert, tmp_path):
    encoder = TransformersText(str(bert), pooling="cls")
    expected = atlas.Head.of_encoder(encoder)(encode(encoder))
    atlas.save(encoder, tmp_path / "space")
    shutil.rmtree(bert)
    loaded = atlas.load(tmp_path / "space")
    torch.testing.assert_close(atlas.Head.of_encoder(loaded)(encode(loaded)), expected, rtol=0, atol=0)
    assert atlas.Head.of_encoder(loaded).id == "space__own"


def test_images_have_no_tokenizer_in_their_space(made, tmp_path):
    encoder = TransformersImage(made("clip")[0])
    assert sorted(encoder.state_dict()) == [
        "file:config.json",
        "file:model.safetensors",
        "file:preprocessor_config.json",
    ]


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"id2label": {"0": "a", "1": "b", "2": "c"}}),
        ("tokenizer_config.json", {"model_max_length": 9}),
    ],
)
def test_settings_that_change_what_is_made_make_another_space(bert, file, settings):
    before = TransformersText(str(bert)).space()
    edit(bert / file, **settings)
    assert TransformersText(str(bert)).space().fingerprint != before.fingerprint


def test_settings_that_change_nothing_make_the_same_space(bert):
    before = TransformersText(str(bert)).space()
    settings = json.loads((bert / "config.json").read_text())
    settings |= {"_name_or_path": "/home/somebody/models", "transformers_version": "4.0.0", "dtype": "float16"}
    (bert / "config.json").write_text(json.dumps(dict(reversed(settings.items())), indent=4))
    assert TransformersText(str(bert)).space().fingerprint == before.fingerprint


def test_other_weights_make_another_space(bert):
    from safetensors.torch import load_file, save_file

    before = TransformersText(str(bert)).space()
    weights = load_file(bert / "model.safetensors")
    save_file({name: t + 1e-3 for name, t in weights.items()}, bert / "model.safetensors", {"format": "pt"})
    assert TransformersText(str(bert)).space().fingerprint != before.fingerprint


def test_weights_in_several_files_are_read(bert):
    X = encode(TransformersText(str(bert)))
    with quietly():
        whole = transformers.BertForSequenceClassification.from_pretrained(bert)
        (bert / "model.safetensors").unlink()
        whole.save_pretrained(bert, max_shard_size="20KB")
    assert len(list(bert.glob("model-*-of-*.safetensors"))) > 2
    sharded = TransformersText(str(bert))
    torch.testing.assert_close(encode(sharded), X, rtol=0, atol=0)
    again = TransformersText("tiny-bert", sharded.config()["revision"]).load_state_dict(sharded.state_dict())
    torch.testing.assert_close(encode(again), X, rtol=0, atol=0)


@pytest.mark.parametrize(
    "alike",
    [
        ({"layer": -1}, {"layer": 3}),
        ({"layer": -2}, {"layer": 2}),
        ({"max_length": None}, {"max_length": 512}),
    ],
)
def test_options_that_mean_the_same_make_the_same_space(made, alike):
    one, other = (TransformersText(made("bert")[0], **options).space() for options in alike)
    assert one.fingerprint == other.fingerprint


def test_options_that_change_vectors_make_spaces_of_their_own(made):
    folder, _ = made("bert")
    rows = [{}, {"layer": 2}, {"pooling": "cls"}, {"normalize": True}, {"dtype": "float16"}, {"max_length": 8}]
    assert len({TransformersText(folder, **options).space().fingerprint for options in rows}) == len(rows)


def test_a_model_of_the_hub_is_known_by_its_commit_without_a_connection(cached, tmp_path):
    encoder = TransformersText(cached)
    assert encoder.config()["revision"] == COMMIT and encoder.config()["model"] == "tester/tiny"
    assert encoder.identity() == {"model": cached, "revision": COMMIT, "layer": -1, "pooling": "mean"}
    assert encoder.space().id.startswith("tiny-") and encoder.state_dict() == {}
    atlas.save(encoder, tmp_path / "space")
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == ["config.yaml"]
    assert torch.equal(encode(atlas.load(tmp_path / "space")), encode(encoder))
    for revision in ("main", COMMIT):
        assert TransformersText(cached, revision).space().fingerprint == encoder.space().fingerprint


def test_a_commit_means_the_hub_also_where_a_folder_has_its_name(cached, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tester" / "tiny").mkdir(parents=True)
    assert TransformersText(cached, COMMIT).dim == 32


def test_a_model_that_was_never_downloaded_is_told(cached):
    with pytest.raises(
        AtlasError, match="finds no folder 'tester/none', and 'tester/none' has not been downloaded and"
    ):
        TransformersText("tester/none").space()


def test_files_that_change_are_noticed_before_they_are_stored(bert, tmp_path):
    encoder = TransformersText(str(bert))
    encoder.space()
    edit(bert / "config.json", hidden_act="relu")
    with pytest.raises(AtlasError, match=r"finds that the files in '.*' have changed since they were first read"):
        atlas.save(encoder, tmp_path / "space")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("",), "needs the name of a model or its folder, got ''"),
        (("./none",), "finds no folder './none', and it is not the name of a model on the Hub, as owner/name is"),
        (("tiny-bert", "a" * 64), "needs the files of the local model 'tiny-bert' - load the stored space that keeps"),
    ],
)
def test_a_wrong_name_is_told(options, sentence):
    with pytest.raises(AtlasError, match=f"Encoder 'transformers-text' {sentence}"):
        TransformersText(*options).space()


def test_a_wrong_revision_of_a_folder_is_told(bert):
    with pytest.raises(AtlasError, match=r"finds that '.*' is a folder, which has no revision 'main' - leave it out"):
        TransformersText(str(bert), "main").space()
    with pytest.raises(AtlasError, match=r"needs another model than that in '.*': sha256 aaaaaaaaaaaa\.\.\., not"):
        TransformersText(str(bert), "a" * 64).space()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"file:evil.py": torch.zeros(3, dtype=torch.uint8)},
            "was given a tensor 'file:evil.py', which is not the file",
        ),
        ({"file:../x.json": torch.zeros(3, dtype=torch.uint8)}, "was given a tensor 'file:../x.json', which is not"),
        ({"weight": torch.zeros(3)}, "was given a tensor 'weight', which is not the file of a model"),
        (
            {"file:vocab.txt": torch.zeros(3)},
            "was given a tensor 'file:vocab.txt' of torch.float32, which is not the b",
        ),
        ({"file:config.json": torch.zeros(3, dtype=torch.uint8)}, "needs the files of model 'tiny-bert' at revision"),
    ],
)
def test_a_state_that_is_not_that_of_the_model_is_refused(bert, change, sentence):
    encoder = TransformersText(str(bert))
    state, config = encoder.state_dict(), encoder.config()
    with pytest.raises(AtlasError, match=sentence):
        TransformersText.from_config(config).load_state_dict({**state, **change})


def test_a_tokenizer_alone_is_no_model(tmp_path):
    wordpiece().save_pretrained(tmp_path)
    with pytest.raises(AtlasError, match=r"finds no model in '.*' - it has no config\.json"):
        TransformersText(str(tmp_path)).space()
