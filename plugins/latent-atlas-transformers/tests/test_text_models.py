"""Text models: layers and poolings are those of the library, and a text's vector does not depend on its company."""

from __future__ import annotations

import pytest
import torch
import transformers
from checkpoints import TEXTS

from atlas import AtlasError
from atlas.testing import check_encoder
from atlas_transformers import TransformersText
from atlas_transformers.loading import quietly
from atlas_transformers.text import batches


def encode(encoder: TransformersText, texts: list[str] = TEXTS, **how) -> torch.Tensor:
    return torch.cat(list(encoder.encode(texts, **how)))


def states(model, folder: str, text: str) -> list[torch.Tensor]:
    """Return what each layer of a model says of one text, (tokens, d), by the library alone."""
    with quietly(), torch.no_grad():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        out = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
    return [state[0] for state in out.hidden_states]


@pytest.mark.parametrize("row", ["bert", "roberta", "gpt2", "t5", "convbert", "clip", "siglip"])
def test_it_keeps_the_promises_of_encoders(made, row):
    check_encoder(TransformersText(made(row)[0]))


@pytest.mark.parametrize("pooling", ["cls", "last", "max", "pooler"])
def test_every_pooling_keeps_the_promises_of_encoders(made, pooling):
    check_encoder(TransformersText(made("bert-base")[0], pooling=pooling, layer=-1))


def test_the_mean_of_the_last_layer_is_what_sentence_transformers_makes(minilm):
    library = pytest.importorskip("sentence_transformers")
    with quietly():
        model = library.SentenceTransformer(minilm, device="cpu")
    texts = [*TEXTS, "", "a text " * 120]
    expected = torch.from_numpy(model.encode(texts, show_progress_bar=False))
    made = encode(TransformersText(minilm, normalize=True, max_length=model.max_seq_length), texts)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


def test_the_mean_of_the_last_layer_is_the_mean_over_the_tokens_of_a_real_model(minilm):
    with quietly():
        model = transformers.AutoModel.from_pretrained(minilm, dtype=torch.float32).eval()
    expected = torch.stack([states(model, minilm, text)[-1].mean(0) for text in TEXTS])
    torch.testing.assert_close(encode(TransformersText(minilm)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2, 3, -1, -2, -4])
def test_every_layer_is_a_space(made, layer):
    folder, model = made("bert-base")
    expected = torch.stack([states(model, folder, text)[layer].mean(0) for text in TEXTS])
    torch.testing.assert_close(encode(TransformersText(folder, layer=layer)), expected, rtol=0, atol=1e-5)


def test_a_space_tells_its_layer_in_its_name_unless_it_is_the_last(made):
    ids = {layer: TransformersText(made("bert")[0], layer=layer).space().id for layer in (1, -3, 3, -1)}
    assert "-layer-1-" in ids[1] and ids[-3] == ids[1]
    assert "layer" not in ids[-1] and ids[3] == ids[-1]


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [("cls", lambda s: s[0]), ("last", lambda s: s[-1]), ("mean", lambda s: s.mean(0)), ("max", lambda s: s.amax(0))],
)
def test_poolings_are_over_the_tokens_of_a_text_alone(made, pooling, pool):
    folder, model = made("bert-base")
    expected = torch.stack([pool(states(model, folder, text)[2]) for text in TEXTS])
    torch.testing.assert_close(encode(TransformersText(folder, layer=2, pooling=pooling)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "last", "mean", "max", "pooler"])
def test_padding_is_not_pooled_so_that_texts_of_all_lengths_share_batches(made, pooling):
    assert TransformersText(made("bert-base")[0], pooling=pooling)._mixed


def test_the_last_layer_of_a_model_with_a_final_norm_is_what_comes_out_of_it(made):
    folder, model = made("gpt2")
    with torch.no_grad(), quietly():
        ids = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
        expected = model.transformer(**ids).last_hidden_state[:, -1]
    torch.testing.assert_close(encode(TransformersText(folder, pooling="last"), TEXTS[:1]), expected, rtol=0, atol=1e-5)


def test_the_projection_of_clip_is_the_librarys(made):
    folder, model = made("clip")
    with quietly(), torch.no_grad():
        batch = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:1], return_tensors="pt", truncation=True)
        expected = model.get_text_features(**batch).pooler_output
    made_here = encode(TransformersText(folder, pooling="projection"))[:1]
    torch.testing.assert_close(made_here, expected, rtol=0, atol=1e-5)


def test_texts_for_siglip_are_padded_as_it_has_learned_them(made):
    folder, model = made("siglip")
    with quietly(), torch.no_grad():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        batch = tokenizer(TEXTS, return_tensors="pt", padding="max_length", max_length=20, truncation=True)
        expected = model.get_text_features(input_ids=batch["input_ids"]).pooler_output
    torch.testing.assert_close(encode(TransformersText(folder, pooling="projection")), expected, rtol=0, atol=1e-5)


def test_texts_of_unlike_lengths_share_no_batch_where_padding_would_change_them(made):
    encoder = TransformersText(made("convbert")[0])
    together = encode(encoder)
    alone = torch.cat([encode(encoder, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert not encoder._mixed and TransformersText(made("bert")[0])._mixed


def test_batches_hold_the_longest_texts_first_and_no_more_tokens_than_allowed():
    lengths = [3, 9, 2, 9, 4, 1]
    assert list(batches(lengths, 10, 18, True)) == [[1, 3], [4, 0, 2, 5]]
    assert list(batches(lengths, 2, 100, True)) == [[1, 3], [4, 0], [2, 5]]
    assert list(batches(lengths, 10, 5, True)) == [[1], [3], [4], [0], [2, 5]]
    assert list(batches(lengths, 10, 100, False)) == [[1, 3], [4], [0], [2], [5]]


def test_texts_come_back_in_their_order_and_in_batches_of_the_size_asked_for(made):
    encoder = TransformersText(made("bert")[0])
    texts = [" ".join(TEXTS[i % 6].split()[: 1 + i % 5]) for i in range(70)]
    parts = list(encoder.encode(texts, batch_size=3))
    assert [len(part) for part in parts] == [3] * 23 + [1]
    alone = torch.cat([encode(encoder, [text]) for text in texts])
    torch.testing.assert_close(torch.cat(parts), alone, rtol=0, atol=1e-5)


def test_long_texts_are_cut_where_the_model_or_the_option_says(made):
    folder, _ = made("roberta")
    long = "a bank " * 50
    whole = encode(TransformersText(folder), [long])
    # Of 66 positions RoBERTa keeps two; of the 64 left, two are for the tokens around the text.
    torch.testing.assert_close(whole, encode(TransformersText(folder), [long[:62]]), rtol=0, atol=1e-6)
    cut = encode(TransformersText(folder, max_length=12), [long])
    torch.testing.assert_close(cut, encode(TransformersText(folder), [long[:10]]), rtol=0, atol=1e-6)


def test_an_empty_text_of_a_model_that_adds_no_tokens_is_that_of_its_first_token(made):
    folder, model = made("gpt2")
    with torch.no_grad():
        expected = model.transformer(torch.tensor([[0]])).last_hidden_state[0]
    torch.testing.assert_close(encode(TransformersText(folder), ["a", ""])[1:], expected, rtol=0, atol=1e-5)


def test_normalized_vectors_have_length_1(made):
    folder, _ = made("bert")
    X = encode(TransformersText(folder))
    expected = torch.nn.functional.normalize(X)
    torch.testing.assert_close(encode(TransformersText(folder, normalize=True)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near_and_a_space_of_its_own(made, dtype):
    folder, _ = made("bert")
    half, whole = TransformersText(folder, dtype=dtype), TransformersText(folder)
    X = encode(half)
    assert X.dtype == torch.float32
    torch.testing.assert_close(X, encode(whole), rtol=0.1, atol=0.1)
    assert half.space().fingerprint != whole.space().fingerprint


@pytest.mark.parametrize(
    ("row", "options", "sentence"),
    [
        ("bert", {"layer": 4}, r"has layers 0 \(embeddings\) to 3, or -1 \(the last\) to -4, got 4"),
        ("bert", {"layer": -5}, "has layers 0 .* got -5"),
        (
            "bert",
            {"layer": 1, "pooling": "pooler"},
            "reads the last layer with pooling 'pooler', got layer 1 - leave it",
        ),
        ("bert", {"pooling": "projection"}, "finds no projection in this model - choose another pooling"),
        ("distilbert", {"pooling": "pooler"}, "finds no pooler in this model - choose another pooling"),
        (
            "bert-mlm",
            {"pooling": "pooler"},
            "lacks weights: .* 'pooler.dense.bias' and 1 more - choose another pooling",
        ),
        ("roberta", {"max_length": 65}, "reads at most 64 tokens with this model, got max_length 65"),
        ("bert", {"max_length": 2}, "needs a max_length of at least 3 tokens, got 2"),
        ("vit", {}, "takes text, but models of type 'vit' read pixel_values - give another"),
    ],
)
def test_options_that_do_not_go_with_a_model_are_told(made, row, options, sentence):
    with pytest.raises(AtlasError, match=f"Encoder 'transformers-text' {sentence}"):
        TransformersText(made(row)[0], **options).space()


def test_text_is_no_tensor(made):
    with pytest.raises(
        AtlasError, match="is no network from tensors to vectors, since it reads text - export the align"
    ):
        TransformersText(made("bert")[0]).module()
