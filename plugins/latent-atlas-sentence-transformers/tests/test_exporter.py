"""The exporter: what the library loads and encodes is what encoding and applying the alignment gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from makers import tiny
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from test_encoder import library, routed, vectors
from test_source import FIRST, cached

import atlas
from atlas import AtlasError
from atlas.cards.kinds import Metric
from atlas.components.linear import Affine
from atlas.testing import check_exporter
from atlas_sentence_transformers import SentenceTransformers, SentenceTransformersExporter, register_exporters


def affine(d_source, d_target, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Affine.of(torch.randn(d_source, d_target, generator=g), torch.randn(d_target, generator=g))


def alignment_from(encoder, d_target=24, **about):
    """Return an alignment of random weights from the space of an encoder to one of another dimension."""
    source = encoder.space()
    target = atlas.Space("target", d_target, "precomputed", {"model": "target"})
    return atlas.Alignment.of(affine(source.dim, d_target), source, target).with_card(**about)


def exported(alignment, path, **options):
    """Return the exported model, as the library loads it."""
    return library(str(atlas.export("sentence-transformers", alignment, path, **options)))


def same(made, expected, tolerance=1e-5):
    """Compare within rounding, relative to the largest value."""
    torch.testing.assert_close(torch.as_tensor(made), expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def test_it_is_registered():
    assert register_exporters() == [SentenceTransformersExporter]


def test_it_keeps_the_promises_of_exporters(minilm):
    check_exporter(SentenceTransformersExporter(source=minilm), alignment_from(SentenceTransformers(minilm)))


@pytest.mark.parametrize("d_target", [7, 500])
def test_a_real_model_and_a_map_are_one_model(minilm, texts, tmp_path, d_target):
    encoder = SentenceTransformers(minilm)
    alignment = alignment_from(encoder, d_target)
    model = exported(alignment, tmp_path / "out", source=minilm)
    assert model.get_embedding_dimension() == d_target
    same(model.encode(texts[:20]), alignment(vectors(encoder, texts[:20])))


OPTIONS = [
    {},
    {"normalize": True},
    {"truncate_dim": 10},
    {"truncate_dim": 10, "normalize": True},
    {"prompt_name": "query"},
    {"prompt": "how: "},
    {"max_seq_length": 8},
    {"dtype": "float32", "task": "query", "normalize": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_options_of_the_source_are_part_of_the_model(small, texts, tmp_path, options):
    encoder = SentenceTransformers(small, **options)
    alignment = alignment_from(encoder)
    expected = alignment(vectors(encoder, texts))
    model = exported(alignment, tmp_path / "out", source=small)
    same(model.encode(texts), expected)
    model.save_pretrained(str(tmp_path / "again"))
    same(library(str(tmp_path / "again")).encode(texts), expected)


def test_a_models_own_truncation_comes_before_the_map(tmp_path, texts):
    encoder = SentenceTransformers(tiny(tmp_path / "own", truncate_dim=12))
    alignment = alignment_from(encoder)
    model = exported(alignment, tmp_path / "out", source=str(tmp_path / "own" / "own"))
    same(model.encode(texts), alignment(vectors(encoder, texts)))


def test_a_prompt_of_the_model_can_be_taken_away(tmp_path, texts):
    folder = tiny(tmp_path / "own", prompts={"query": "ask: "}, default_prompt_name="query")
    encoder = SentenceTransformers(folder, prompt="")
    alignment = alignment_from(encoder)
    same(exported(alignment, tmp_path / "out", source=folder).encode(texts), alignment(vectors(encoder, texts)))


@pytest.mark.parametrize("task", ["query", "document", None])
def test_the_task_of_the_source_need_not_be_named(tmp_path, texts, task):
    encoder = SentenceTransformers(routed(tmp_path), task=task)
    alignment = alignment_from(encoder)
    model = exported(alignment, tmp_path / "out", source=str(tmp_path / "routed"))
    same(model.encode(texts), alignment(vectors(encoder, texts)))


def test_half_precision_is_kept_where_the_files_have_it(small, texts, tmp_path):
    SentenceTransformer(small, device="cpu", model_kwargs={"dtype": torch.float16}).save_pretrained(
        str(tmp_path / "half")
    )
    encoder = SentenceTransformers(str(tmp_path / "half"))
    alignment = alignment_from(encoder)
    model = exported(alignment, tmp_path / "out", source=str(tmp_path / "half"))
    same(model.encode(texts).astype("float32"), alignment(vectors(encoder, texts).float()), 1e-2)
    whole = SentenceTransformers(str(tmp_path / "half"), dtype="float32")
    alignment = alignment_from(whole)
    model = exported(alignment, tmp_path / "whole", source=str(tmp_path / "half"))
    same(model.encode(texts), alignment(vectors(whole, texts)))


def test_the_map_is_a_dense_module_of_the_library_in_float32(small, tmp_path):
    alignment = alignment_from(SentenceTransformers(small))
    exported(alignment, tmp_path / "out", source=small)
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)
    settings = json.loads((tmp_path / "out" / "2_Dense" / "config.json").read_text())
    assert settings["activation_function"] == "torch.nn.modules.linear.Identity"
    tensors = load_file(tmp_path / "out" / "2_Dense" / "model.safetensors")
    torch.testing.assert_close(tensors["linear.weight"], alignment.tensors()["weight"].T, rtol=0, atol=0)
    torch.testing.assert_close(tensors["linear.bias"], alignment.tensors()["bias"], rtol=0, atol=0)
    assert not list((tmp_path / "out").rglob("*.bin"))


def test_prompts_and_similarity_are_carried_over(tmp_path):
    folder = tiny(tmp_path / "dot", prompts={"query": "ask: "}, similarity_fn_name="dot")
    model = exported(alignment_from(SentenceTransformers(folder)), tmp_path / "out", source=folder)
    assert (model.prompts["query"], model.default_prompt_name, model.similarity_fn_name) == ("ask: ", None, "dot")


def test_a_chain_of_maps_is_one_map(small, texts, tmp_path):
    encoder = SentenceTransformers(small)
    first = alignment_from(encoder)
    second = atlas.Alignment.of(affine(24, 5, 1), first.target, atlas.Space("last", 5))
    chain = atlas.compose(first, second)
    same(exported(chain, tmp_path / "out", source=small).encode(texts), chain(vectors(encoder, texts)))


def test_a_model_on_the_hub_is_known_from_the_alignment(small, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))
    cached(tmp_path / "cache", "you/tiny", FIRST, small, "main")
    encoder = SentenceTransformers("you/tiny", prompt_name="query")
    alignment = alignment_from(encoder)
    same(exported(alignment, tmp_path / "out").encode(texts), alignment(vectors(encoder, texts)))
    with pytest.raises(AtlasError, match=r"needs 'you/tiny', which made space 'tiny-.*' - leave out option 'source'"):
        exported(alignment, tmp_path / "no", source=small)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: you/tiny" in card and f"(commit `{FIRST}`)" in card


def test_a_stored_space_is_a_model(small, texts, tmp_path):
    encoder = SentenceTransformers(small, normalize=True)
    atlas.save(encoder, tmp_path / "space")
    alignment = alignment_from(encoder)
    model = exported(alignment, tmp_path / "out", source=str(tmp_path / "space"))
    same(model.encode(texts), alignment(vectors(encoder, texts)))


def test_vectors_of_something_else_are_taken_at_their_word(small, texts, tmp_path):
    encoder = SentenceTransformers(small, normalize=True)
    alignment = alignment_from(encoder).with_card(source=atlas.Space("index", 16))
    model = exported(alignment, tmp_path / "out", source=small, encoder={"normalize": True})
    same(model.encode(texts), alignment(vectors(encoder, texts)))


def test_the_card_says_what_it_is_and_keeps_what_was_there(minilm, tmp_path):
    metric = Metric("self-recall@1", 0.8125, dataset="queries", split="test", n=32)
    alignment = alignment_from(SentenceTransformers(minilm), n_pairs=40, license="mit", metrics=(metric,))
    exported(alignment, tmp_path / "out", source=minilm)
    card = (tmp_path / "out" / "README.md").read_text()
    front, body = re.match(r"---\n(.*?)---\n(.*)", card, re.DOTALL).groups()
    assert "license: apache-2.0" in front and "vector-alignment" in front and "datasets" not in front
    assert body.startswith("\n# Vectors of target, made by model\n")
    assert f"`{alignment.id}`, fitted with `affine` on 40 pairs under the licence mit" in body
    assert "| self-recall@1 | 0.8125 | queries test (32 items) |" in body
    assert "# all-MiniLM-L6-v2" in body


def test_nothing_that_is_written_names_a_place(small, tmp_path):
    exported(alignment_from(SentenceTransformers(small)), tmp_path / "out", source=small)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or str(Path(small).parent).encode() not in path.read_bytes()


def test_the_encoder_of_others_is_not_changed(small, texts, tmp_path):
    encoder = SentenceTransformers(small)
    before = vectors(encoder, texts)
    atlas.export("sentence-transformers", alignment_from(encoder), tmp_path / "out", source=small)
    torch.testing.assert_close(vectors(encoder, texts), before, rtol=0, atol=0)


def test_another_model_than_that_of_the_source_is_refused(small, tmp_path):
    alignment = alignment_from(SentenceTransformers(small))
    other = tiny(tmp_path / "other", seed=1)
    with pytest.raises(AtlasError, match=f"needs another model than that in '{other}': sha256 "):
        atlas.export("sentence-transformers", alignment, tmp_path / "out", source=other)
    atlas.save(SentenceTransformers(small, normalize=True), tmp_path / "space")
    with pytest.raises(AtlasError, match=r"from 'small-.*', but the vectors of the model are of 'space': normalize is"):
        atlas.export("sentence-transformers", alignment, tmp_path / "out", source=str(tmp_path / "space"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("space", "options", "sentence"),
    [
        (None, {}, "needs the local model that made space 'small-.*' - give option 'source', its folder"),
        (
            None,
            {"encoder": {"normalize": True}},
            "takes the options of the encoder from space 'small-.*' - leave",
        ),
        (atlas.Space("b", 16), {}, "needs the model that makes vectors of 'b' - give option 'source'"),
        (
            atlas.Space("b", 9),
            {"source": "small"},
            "maps from 'b', but the vectors of the model are of 'small-.*': dimens",
        ),
        (
            atlas.Space("b", 16),
            {"source": "small", "encoder": {"norm": 1}},
            "Unknown option 'norm' of encoder 'sentence-transformers'",
        ),
        (
            atlas.Space("b", 16, "tfidf-svd"),
            {"source": "small"},
            "encoder is 'tfidf-svd' there, 'sentence-transformers'",
        ),
    ],
)
def test_what_cannot_be_written_is_told(small, tmp_path, space, options, sentence):
    alignment = alignment_from(SentenceTransformers(small))
    alignment = alignment if space is None else atlas.Alignment.of(affine(space.dim, 24), space, alignment.target)
    options = {**options, **({"source": small} if "source" in options else {})}
    with pytest.raises(AtlasError, match=sentence):
        atlas.export("sentence-transformers", alignment, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_stored_space_of_another_encoder_is_refused(small, tmp_path):
    atlas.save(atlas.create(atlas.Encoder, "pixels").fit(torch.zeros(2, 16)), tmp_path / "pixels")
    with pytest.raises(AtlasError, match="needs a space of 'sentence-transformers', got one of 'pixels'"):
        atlas.export(
            "sentence-transformers",
            alignment_from(SentenceTransformers(small)),
            tmp_path / "out",
            source=str(tmp_path / "pixels"),
        )


def two_models(small, tmp_path, **options):
    """Return the alignment between two models, the encoders of both, and the model of two that it becomes."""
    other = tiny(tmp_path / "other", width=24, seed=1, prompts={"document": "stored: "})
    queries, documents = SentenceTransformers(small, task="query"), SentenceTransformers(other, **options)
    d_source, d_target = queries.space(), documents.space()
    alignment = atlas.Alignment.of(affine(d_source.dim, d_target.dim), d_source, d_target)
    model = exported(alignment, tmp_path / "both", source=small, documents=other)
    return alignment, queries, documents, model


@pytest.mark.parametrize(
    "options", [{}, {"task": "document"}, {"truncate_dim": 10, "normalize": True}, {"truncate_dim": 10}]
)
def test_one_model_maps_queries_and_encodes_documents_as_the_target_does(small, texts, tmp_path, options):
    alignment, queries, documents, model = two_models(small, tmp_path, **options)
    same(model.encode_query(texts), alignment(vectors(queries, texts)))
    same(model.encode_document(texts), vectors(documents, texts), 1e-6)


def test_one_model_of_two_is_saved_and_loaded_equal_to_the_last_bit(small, texts, tmp_path):
    model = two_models(small, tmp_path)[-1]
    model.save_pretrained(str(tmp_path / "again"))
    again = library(str(tmp_path / "again"))
    for encode in ("encode_query", "encode_document"):
        assert torch.equal(torch.tensor(getattr(model, encode)(texts)), torch.tensor(getattr(again, encode)(texts)))


def test_documents_need_the_model_of_the_target(small, tmp_path):
    alignment = two_models(small, tmp_path)[0]
    with pytest.raises(AtlasError, match=f"needs another model than that in '{small}'"):
        atlas.export("sentence-transformers", alignment, tmp_path / "wrong", source=small, documents=small)
    assert not (tmp_path / "wrong").exists()


def test_of_a_target_that_is_a_file_of_vectors_documents_are_checked_by_dimension(small, texts, tmp_path):
    queries = SentenceTransformers(small)
    alignments = [atlas.Alignment.of(affine(16, d), queries.space(), atlas.Space("index", d, "", {})) for d in (16, 24)]
    model = exported(alignments[0], tmp_path / "fits", source=small, documents=small)
    same(model.encode_document(texts), vectors(queries, texts))
    with pytest.raises(AtlasError, match="maps to"):
        atlas.export("sentence-transformers", alignments[1], tmp_path / "wrong", source=small, documents=small)
