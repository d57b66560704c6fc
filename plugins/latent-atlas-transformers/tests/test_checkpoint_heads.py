"""Classifiers of checkpoints: as a head of Atlas, on the encoder's vectors, each says what the checkpoint says."""

from __future__ import annotations

import checkpoints
import pytest
import torch
import transformers
from checkpoints import IMAGE_HEADS, TEXT_HEADS, TEXTS

import atlas
from atlas import AtlasError
from atlas_transformers import TransformersImage, TransformersText, heads
from atlas_transformers.loading import quietly

MEAN = ("modernbert-mean", "beit", "resnet", "convnext", "swin", "clip-classifier", "mobilenet")
POOLING = {**dict.fromkeys(MEAN, "mean"), "xlnet": "last", "gpt2": "last", "llama": "last", "dinov2": "cls-mean"}
LAYERS = {
    "bert": "linear tanh linear",
    "roberta": "linear tanh linear",
    "distilbert": "linear relu linear",
    "electra": "linear gelu linear",
    "deberta": "linear gelu linear",
    "albert": "linear tanh linear",
    "mpnet": "linear tanh linear",
    "xlnet": "linear tanh linear",
    "modernbert": "linear gelu layer-norm linear",
    "modernbert-mean": "linear gelu layer-norm linear",
    "convbert": "linear gelu linear",
    "beit": "layer-norm linear",
    "convnext": "layer-norm linear",
}


def images(n: int = 4) -> torch.Tensor:
    return torch.rand(n, 3, 40, 40, generator=torch.Generator().manual_seed(3))


def said(model, encoder, item) -> torch.Tensor:
    """Return the scores of one item, by the library alone (but for how images are resized)."""
    with torch.no_grad(), quietly():
        if isinstance(item, str):
            tokenizer = transformers.AutoTokenizer.from_pretrained(encoder.model)
            return model(**tokenizer(item, return_tensors="pt", truncation=True, max_length=encoder._limit)).logits[0]
        reader = encoder.module()
        return model(**reader.features(reader.picture.sized(item[None]))).logits[0]


@pytest.mark.parametrize("row", [*TEXT_HEADS, *IMAGE_HEADS])
def test_a_head_on_the_encoders_vectors_says_what_the_checkpoint_says(made, row):
    folder, model = made(row)
    kind, items = (TransformersText, TEXTS) if row in TEXT_HEADS else (TransformersImage, images())
    encoder = kind(folder, pooling=POOLING.get(row, "cls"))
    head = atlas.Head.of_encoder(encoder)
    expected = torch.stack([said(model, encoder, item) for item in items])
    torch.testing.assert_close(head(torch.cat(list(encoder.encode(items)))), expected, rtol=1e-4, atol=1e-4)
    assert head.classes == ("refund", "card", "transfer") and head.space == encoder.space()
    assert " ".join(layer["type"] for layer in head.model.layers) == LAYERS.get(row, "linear")


@pytest.mark.parametrize("row", ["bert", "albert", "beit", "resnet", "convnext"])
def test_what_reads_the_models_own_pooler_is_one_linear_layer(made, row):
    folder, model = made(row)
    kind, items = (TransformersText, TEXTS) if row in TEXT_HEADS else (TransformersImage, images())
    encoder = kind(folder, pooling="pooler")
    expected = torch.stack([said(model, encoder, item) for item in items])
    torch.testing.assert_close(
        atlas.Head.of_encoder(encoder)(torch.cat(list(encoder.encode(items)))), expected, rtol=1e-4, atol=1e-4
    )
    assert [layer["type"] for layer in atlas.Head.of_encoder(encoder).model.layers] == ["linear"]


def test_a_head_survives_being_stored(made, tmp_path):
    encoder = TransformersText(made("electra")[0], pooling="cls")
    head = atlas.Head.of_encoder(encoder)
    atlas.save(head, tmp_path / "head")
    X = torch.cat(list(encoder.encode(TEXTS)))
    assert torch.equal(atlas.load(tmp_path / "head")(X), head(X))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_has_the_same_head(made, dtype):
    folder, _ = made("bert")
    half = atlas.Head.of_encoder(TransformersText(folder, pooling="cls", dtype=dtype))
    whole = atlas.Head.of_encoder(TransformersText(folder, pooling="cls"))
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(half.tensors()[name], tensor, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("row", "options", "pooling"),
    [
        ("bert", {}, "cls"),
        ("bert", {"pooling": "cls", "layer": 2}, "cls"),
        ("bert", {"pooling": "cls", "normalize": True}, "cls"),
        ("gpt2", {"pooling": "mean"}, "last"),
        ("modernbert-mean", {"pooling": "cls"}, "mean"),
        ("vit", {}, "cls"),
        ("dinov2", {"pooling": "cls"}, "cls-mean"),
        ("resnet", {"layer": 1}, "mean"),
    ],
)
def test_options_that_make_other_vectors_are_told_with_those_that_a_head_reads(made, row, options, pooling):
    kind = TransformersText if row in TEXT_HEADS else TransformersImage
    with pytest.raises(AtlasError) as told:
        atlas.Head.of_encoder(kind(made(row)[0], **options))
    assert str(told.value) == (
        f"Encoder '{kind.name}' carries a head that reads layer -1 with pooling '{pooling}' and normalize false - "
        "give these options"
    )


@pytest.mark.parametrize(
    ("row", "kind", "sentence"),
    [
        ("bert-base", TransformersText, "carries no head - train one with 'atlas train', or give another"),
        ("clip", TransformersImage, "carries no head - train one with 'atlas train', or give another"),
        ("bart", TransformersText, "carries a head that is made of other layers than Atlas has - train one with"),
        ("deit-teacher", TransformersImage, "carries a head that is made of other layers than Atlas has - train one"),
    ],
)
def test_a_checkpoint_without_a_head_that_can_be_taken_says_so(made, row, kind, sentence):
    with pytest.raises(AtlasError, match=f"Encoder '{kind.name}' {sentence}"):
        atlas.Head.of_encoder(kind(made(row)[0]))


def test_a_head_whose_weights_are_missing_is_refused(made, tmp_path):
    from safetensors.torch import load_file, save_file

    model = made("bert")[1]
    checkpoints.saved(tmp_path, model, checkpoints.wordpiece())
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: t for name, t in weights.items() if "classifier" not in name}, tmp_path / "model.safetensors")
    with pytest.raises(AtlasError, match=r"carries a head that lacks weights, such as 'classifier\.bias' - train one"):
        atlas.Head.of_encoder(TransformersText(str(tmp_path), pooling="cls"))


def test_an_activation_that_atlas_does_not_have_is_not_taken_for_one_it_has(tmp_path):
    checkpoints.text_model(tmp_path, "DebertaV2ForSequenceClassification", pooler_hidden_act="mish")
    with pytest.raises(AtlasError, match="carries a head that is made of other layers than Atlas has"):
        atlas.Head.of_encoder(TransformersText(str(tmp_path), pooling="cls"))


def test_a_regression_has_no_classes(tmp_path):
    checkpoints.text_model(tmp_path, "BertForSequenceClassification", num_labels=1)
    head = atlas.Head.of_encoder(TransformersText(str(tmp_path), pooling="cls"))
    assert head.classes == () and head(torch.zeros(2, 32)).shape == (2, 1)


def test_classes_of_one_name_are_told_apart():
    config = transformers.BertConfig(id2label={0: "crane", 1: "ship", 2: "crane"}, label2id={})
    assert heads.class_names(config, 3) == ("crane (0)", "ship", "crane (2)")
