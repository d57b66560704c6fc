"""Means of static vectors: those of the libraries that made the models, and the same from a stored space."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WORDS, table, write
from safetensors.numpy import save_file

import atlas
from atlas import AtlasError
from atlas.testing import check_encoder
from atlas_static import Static, register_encoders

TEXTS = ["red fox", "word1 word2 map map", "unknown red thing", "nothing known", ""]


def encoded(encoder: atlas.Encoder, texts: list[str]) -> torch.Tensor:
    return torch.cat(list(encoder.encode(texts)))


def test_it_is_registered():
    assert register_encoders() == [Static]


def test_it_keeps_the_promises_of_encoders(model):
    check_encoder(Static(model))


@pytest.mark.parametrize("config", ['{"normalize": true}', '{"normalize": false, "max_length": 512}', "{}"])
@pytest.mark.parametrize("more", [False, True])
def test_vectors_are_those_of_model2vec(tmp_path, config, more):
    library = pytest.importorskip("model2vec")
    extra = {"weights": np.linspace(0.5, 2, len(WORDS)).astype("float32")} if more else {}
    folder = write(tmp_path / "model", config=config, **extra)
    texts = [*TEXTS, "word3 " * 700 + "fox"]
    expected = library.StaticModel.from_pretrained(folder).encode(texts)
    torch.testing.assert_close(encoded(Static(str(folder)), texts), torch.from_numpy(expected))


def test_a_table_of_sentence_transformers_counts_unknown_words(tmp_path):
    folder = write(tmp_path / "model", "embedding.weight")
    expected = torch.from_numpy(table()[[0, WORDS.index("red"), 0]].mean(0))
    torch.testing.assert_close(encoded(Static(str(folder)), ["unknown red thing"])[0], expected)


def test_a_table_that_lies_deeper_is_found_with_its_settings(tmp_path):
    write(tmp_path / "model" / "0_StaticEmbedding", "embedding.weight")
    modules = [
        {"type": "sentence_transformers.models.StaticEmbedding"},
        {"type": "sentence_transformers.models.Normalize"},
    ]
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
    assert encoded(Static(str(tmp_path / "model")), ["red fox"]).norm() == pytest.approx(1)


def test_no_more_tokens_are_read_than_asked_for(tmp_path):
    folder = str(write(tmp_path / "model", "embedding.weight"))
    short, long = encoded(Static(folder, max_tokens=2), ["red fox", "red fox map"])
    assert torch.equal(short, long)
    assert not torch.equal(*encoded(Static(folder, max_tokens=None), ["red fox", "red fox map"]))


def test_a_stored_space_works_without_its_files(model, tmp_path):
    encoder = Static(model)
    X = encoded(encoder, TEXTS)
    atlas.save(encoder, tmp_path / "space")
    for path in Path(model).iterdir():
        path.unlink()
    again = atlas.load(tmp_path / "space")
    assert torch.equal(encoded(again, TEXTS), X)
    assert str(tmp_path) not in (tmp_path / "space" / "config.yaml").read_text()


def test_the_same_files_elsewhere_are_the_same_space(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "other" / "two")
    assert Static(str(one)).space().fingerprint == Static(str(two)).space().fingerprint
    assert Static(str(one), normalize=True).space().fingerprint != Static(str(one)).space().fingerprint


def test_half_precision_is_stored_as_it_is(tmp_path):
    folder = write(tmp_path / "model")
    save_file({"embeddings": table().astype("float16")}, folder / "model.safetensors")
    atlas.save(Static(str(folder)), tmp_path / "space")
    assert atlas.load(tmp_path / "space").state["vectors"].dtype == torch.float16


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"embeddings": table(rows=5)}, "tokenizer of 18 tokens and a table of 5"),
        ({"embeddings": table()[0]}, "needs a table of vectors"),
        ({"words": table()}, "finds no table 'embeddings' or 'embedding.weight'"),
        ({"embeddings": table(), "mapping": np.full(18, 99)}, "names rows the table does not have"),
        ({"embeddings": table(), "weights": np.ones(3, "float32")}, "weights of shape"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, tensors, said):
    folder = write(tmp_path / "model")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(AtlasError, match=said):
        _ = Static(str(folder)).dim


def test_a_tokenizer_that_is_none_is_refused(tmp_path):
    folder = write(tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"model": {"type": "\x1b[31m"}}')
    with pytest.raises(AtlasError, match="cannot read its tokenizer"):
        _ = Static(str(folder)).dim
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AtlasError, match=r"finds no tokenizer .* option 'tokenizer'"):
        _ = Static(str(folder)).dim


def test_a_model_that_is_nowhere_is_told(tmp_path):
    with pytest.raises(AtlasError, match="finds no file or folder 'no such model', and on the Hub"):
        _ = Static("no such model").dim
    (tmp_path / "empty").mkdir()
    with pytest.raises(AtlasError, match="finds no table in"):
        _ = Static(str(tmp_path / "empty")).dim


@pytest.mark.parametrize(("options", "said"), [({"model": ""}, "needs a folder"), ({"max_tokens": 0}, "at least 1")])
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(AtlasError, match=said):
        Static(**{"model": "m", **options})


def test_a_space_of_a_model_in_a_package_stores_no_weights(wordllama, tmp_path):
    folder = "package:wordllama/wordllama"
    files = {
        "model": "weights/l2_supercat_256.safetensors",
        "tokenizer": "tokenizers/l2_supercat_tokenizer_config.json",
    }
    encoder = Static(**{name: f"{folder}/{file}" for name, file in files.items()})
    assert encoder.space().fingerprint == Static(**wordllama).space().fingerprint
    atlas.save(encoder, tmp_path / "space")
    assert sum(path.stat().st_size for path in (tmp_path / "space").iterdir()) < 4096
    again = atlas.load(tmp_path / "space")
    assert torch.equal(encoded(again, TEXTS), encoded(encoder, TEXTS))
    # Another version of the package may have other weights.
    card = tmp_path / "space" / "config.yaml"
    card.write_text(card.read_text().replace(encoder.identity()["state"], "0" * 64))
    with pytest.raises(AtlasError, match="the card is of"):
        atlas.load(tmp_path / "space")


def test_wordllama_makes_the_vectors_of_its_own_library(wordllama):
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from wordllama.inference import WordLlamaInference

    vectors = load_file(wordllama["model"])["embedding.weight"]
    library = WordLlamaInference(vectors, Tokenizer.from_file(wordllama["tokenizer"]))
    texts = ["How do I change my PIN?", "日本語 ñ 🙂", "transfer of money abroad"]
    torch.testing.assert_close(encoded(Static(**wordllama), texts), torch.from_numpy(library.embed(texts)))


def test_wordllama_makes_the_vectors_that_were_published(wordllama):
    shared = Path(os.environ.get("ATLAS_SHARED") or Path(__file__).parents[3].parent / "shared") / "data"
    if not (shared / "vectors").is_dir():
        pytest.skip("needs the vectors and texts of banking77")
    with (shared / "banking77" / "test.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    X = encoded(Static(**wordllama), texts)
    Y = torch.from_numpy(np.load(shared / "vectors" / "banking-test.wordllama.npy").astype("float32"))
    assert torch.nn.functional.cosine_similarity(X, Y).min() > 0.99999
    # Published in half precision.
    assert float((X - Y).abs().max()) < 2e-3 * float(Y.abs().max())
