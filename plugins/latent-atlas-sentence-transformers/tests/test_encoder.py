"""The encoder: it keeps the promises of encoders, makes what the library makes, and its space says what fixes that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from makers import edit, tiny
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router
from sentence_transformers.sentence_transformer.modules import Dense

import atlas
import atlas_sentence_transformers.encoder
from atlas import AtlasError
from atlas.testing import check_encoder
from atlas.testing.promises import global_chance
from atlas_sentence_transformers import SentenceTransformers, register_encoders


def vectors(encoder, texts, **how):
    return torch.cat(list(encoder.encode(texts, **how)))


def library(folder):
    return SentenceTransformer(folder, device="cpu", local_files_only=True)


def test_it_is_registered():
    assert register_encoders() == [SentenceTransformers]


def test_it_keeps_the_promises_of_encoders_with_a_real_model(minilm):
    check_encoder(SentenceTransformers(minilm))


def test_it_keeps_them_with_every_option(small):
    options = {"normalize": True, "truncate_dim": 10, "prompt_name": "query", "max_seq_length": 20}
    check_encoder(SentenceTransformers(small, **options, dtype="float32"))


def test_it_makes_what_the_library_makes_with_a_real_model(minilm, texts):
    made = vectors(SentenceTransformers(minilm), texts[:40])
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.numpy(), library(minilm).encode(texts[:40]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, {}),
        ({"normalize": True}, {"normalize_embeddings": True}),
        ({"truncate_dim": 10}, {"truncate_dim": 10}),
        ({"truncate_dim": 10, "normalize": True}, {"truncate_dim": 10, "normalize_embeddings": True}),
        ({"prompt_name": "query"}, {"prompt_name": "query"}),
        ({"prompt": "how: "}, {"prompt": "how: "}),
    ],
)
def test_options_mean_what_they_mean_in_the_library(small, texts, options, how):
    made = vectors(SentenceTransformers(small, **options), texts)
    torch.testing.assert_close(made.numpy(), library(small).encode(texts, **how), rtol=1e-5, atol=1e-5)


def test_tasks_mean_what_they_mean_in_the_library(small, texts):
    model = library(small)
    for task, expected in (("query", model.encode_query(texts)), ("document", model.encode_document(texts))):
        made = vectors(SentenceTransformers(small, task=task), texts)
        torch.testing.assert_close(made.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_fewer_tokens_are_read_where_that_is_asked_for(small, texts):
    model = library(small)
    model.max_seq_length = 8
    made = vectors(SentenceTransformers(small, max_seq_length=8), texts)
    torch.testing.assert_close(made.numpy(), model.encode(texts), rtol=1e-5, atol=1e-5)
    assert float((made - vectors(SentenceTransformers(small), texts)).abs().max()) > 0.01


def test_half_precision_is_that_of_the_library(small, texts):
    made = vectors(SentenceTransformers(small, dtype="float16"), texts)
    model = SentenceTransformer(small, device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float16})
    assert made.dtype == torch.float16
    torch.testing.assert_close(made.numpy(), model.encode(texts), rtol=0, atol=0)


def test_texts_come_back_in_order_however_many_are_sorted_at_once(small, texts, monkeypatch):
    whole = vectors(SentenceTransformers(small), texts)
    for name, value in {"TEXTS": 16, "BATCHES": 4, "CPU_BATCH": 4}.items():
        monkeypatch.setattr(atlas_sentence_transformers.encoder, name, value)
    batches = list(SentenceTransformers(small).encode(texts, batch_size=6))
    assert [len(batch) for batch in batches] == [6] * 11 + [4]
    torch.testing.assert_close(torch.cat(batches), whole, rtol=0, atol=1e-5)


# What changes vectors, and beside it what does not.
SPACES = [
    {},
    {"normalize": True},
    {"truncate_dim": 10},
    {"prompt_name": "query"},
    {"prompt_name": "passage"},
    {"prompt": "how: "},
    {"max_seq_length": 20},
    {"dtype": "float16"},
]


def test_every_option_that_changes_vectors_is_another_space(small):
    prints = [SentenceTransformers(small, **options).space().fingerprint for options in SPACES]
    assert len(set(prints)) == len(SPACES)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"task": "query"}, {"prompt_name": "query"}),
        ({"prompt": "ask: "}, {"prompt_name": "query"}),
        ({"prompt": ""}, {}),
        ({"task": "document"}, {}),
        ({"truncate_dim": 16}, {}),
        ({"max_seq_length": 40}, {}),
        ({"dtype": "float32"}, {}),
    ],
)
def test_options_that_come_to_the_same_vectors_are_the_same_space(small, texts, options, same):
    one, other = SentenceTransformers(small, **options), SentenceTransformers(small, **same)
    assert one.space().fingerprint == other.space().fingerprint
    torch.testing.assert_close(vectors(one, texts), vectors(other, texts), rtol=0, atol=0)


def test_what_a_model_does_by_itself_is_not_in_its_space(minilm):
    assert SentenceTransformers(minilm, normalize=True).space() == SentenceTransformers(minilm).space()
    assert "normalize" in SentenceTransformers(minilm, normalize=True, truncate_dim=100).identity()


def test_a_models_own_prompt_and_truncation_are_its_own(tmp_path, texts):
    about = {"prompts": {"query": "ask: "}, "default_prompt_name": "query", "truncate_dim": 12}
    folder = tiny(tmp_path / "own", **about)
    encoder = SentenceTransformers(folder)
    assert (encoder.dim, set(encoder.identity())) == (12, {"revision"})
    torch.testing.assert_close(vectors(encoder, texts).numpy(), library(folder).encode(texts), rtol=1e-5, atol=1e-5)
    without = SentenceTransformers(folder, prompt="", truncate_dim=16)
    assert (without.dim, without.identity()["prompt"], without.identity()["truncate_dim"]) == (16, "", 16)
    expected = library(folder).encode(texts, prompt="", truncate_dim=16)
    torch.testing.assert_close(vectors(without, texts).numpy(), expected, rtol=1e-5, atol=1e-5)


def routed(folder):
    """Write a model that has another layer for queries than for documents."""
    half, twice = (
        Dense(16, 16, bias=False, activation_function=None, init_weight=s * torch.eye(16)) for s in (0.5, 2.0)
    )
    model = library(tiny(folder / "plain"))
    first, pooling = model.children()
    router = Router.for_query_document([first, pooling, half], [first, pooling, twice], default_route="document")
    SentenceTransformer(modules=[router, Normalize()][:1], device="cpu").save_pretrained(str(folder / "routed"))
    return str(folder / "routed")


def test_a_task_is_in_the_space_of_a_model_that_tells_tasks_apart(tmp_path, texts):
    folder = routed(tmp_path)
    query, document, default = (SentenceTransformers(folder, task=task) for task in ("query", "document", None))
    assert len({encoder.space().fingerprint for encoder in (query, document, default)}) == 3
    torch.testing.assert_close(4 * vectors(query, texts), vectors(document, texts), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vectors(query, texts).numpy(), library(folder).encode_query(texts), rtol=1e-5, atol=1e-5)


def test_a_space_is_named_after_its_model(small):
    encoder = SentenceTransformers(small)
    assert encoder.space().id.startswith("small-")
    assert encoder.space("mine").id == "mine"


def test_a_stored_space_of_a_local_model_works_where_the_model_is_not(small, texts, tmp_path):
    shutil.copytree(small, tmp_path / "moved")
    encoder = SentenceTransformers(str(tmp_path / "moved"), prompt_name="query")
    expected = vectors(encoder, texts)
    atlas.save(encoder, tmp_path / "space")
    shutil.rmtree(tmp_path / "moved")
    again = atlas.load(tmp_path / "space")
    torch.testing.assert_close(vectors(again, texts), expected, rtol=0, atol=0)
    assert again.config() == encoder.config()
    assert again.space().fingerprint == encoder.space().fingerprint
    assert str(tmp_path) not in (tmp_path / "space" / "config.yaml").read_text()


def test_a_model_that_has_changed_since_is_not_stored(small, tmp_path):
    shutil.copytree(small, tmp_path / "changing")
    encoder = SentenceTransformers(str(tmp_path / "changing"))
    assert encoder.dim == 16
    edit(tmp_path / "changing" / "config_sentence_transformers.json", similarity_fn_name="dot")
    with pytest.raises(AtlasError, match=r"finds that the files in '.*' have changed since they were first read"):
        atlas.save(encoder, tmp_path / "space")


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("file:../evil", torch.zeros(3, dtype=torch.uint8), "was given a tensor 'file:../evil', which is not the file"),
        ("file:/evil", torch.zeros(3, dtype=torch.uint8), "was given a tensor 'file:/evil', which is not the file"),
        ("file:", torch.zeros(3, dtype=torch.uint8), "was given a tensor 'file:', which is not the file"),
        ("weight", torch.zeros(3, dtype=torch.uint8), "was given a tensor 'weight', which is not the file"),
        ("file:a.json", torch.zeros(3), "was given a tensor 'file:a.json' of torch.float32"),
        (
            "file:a.json",
            torch.zeros(3, dtype=torch.uint8),
            "needs the files of model 'small' at revision '.*', got oth",
        ),
    ],
)
def test_tensors_that_are_not_the_files_of_the_model_are_refused(small, name, tensor, sentence):
    encoder = SentenceTransformers.from_config(SentenceTransformers(small).config())
    with pytest.raises(AtlasError, match=sentence):
        encoder.load_state_dict({name: tensor})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": " "}, "needs the name of a model or its folder, got ''"),
        ({"prompt": "a", "prompt_name": "b"}, "takes a prompt or the name of one, got 'a' and 'b'"),
        ({"truncate_dim": 0}, "needs a truncate_dim of at least 1, got 0"),
        ({"max_seq_length": 0}, "needs a max_seq_length of at least 1, got 0"),
        ({"task": "passage"}, "must be one of query, document, got 'passage'"),
        ({"dtype": "int8"}, "must be one of auto, float32, float16, bfloat16, got 'int8'"),
        ({"truncate_dim": 17}, "cannot keep 17 dimensions of 16 - lower truncate_dim"),
        ({"max_seq_length": 65}, "cannot read 65 tokens of a text - the model reads at most 64"),
        ({"prompt_name": "ask"}, "has no prompt 'ask' in model 'small' - known: query, document, passage"),
    ],
)
def test_what_cannot_be_is_told(small, options, sentence):
    with pytest.raises(AtlasError, match=sentence):
        SentenceTransformers.from_config({"model": small, **options}).space()


def test_a_file_that_is_not_text_is_refused(small):
    with pytest.raises(AtlasError, match="Encoder 'sentence-transformers' takes text, got arrays"):
        SentenceTransformers(small).encode(torch.zeros(3, 4))


def test_loading_and_encoding_print_nothing(small, texts, capfd):
    vectors(SentenceTransformers(small), texts)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_missing_are_always_the_same(small, texts, tmp_path):
    folder = shutil.copytree(small, tmp_path / "partial")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    made = []
    for seed in (1, 2):
        with global_chance(seed) as untouched:
            made.append(vectors(SentenceTransformers(str(folder)), texts[:5]))
        assert untouched()
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=0)


def test_a_folder_is_found_below_the_home(small, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(small).parent))
    assert SentenceTransformers("~/small").dim == 16
