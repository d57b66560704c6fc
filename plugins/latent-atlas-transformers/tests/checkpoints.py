"""Small checkpoints in the real format: random weights, tokenizers and image processors as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from atlas_transformers.loading import quietly

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
WORDS = (
    "the a my is are was on in of to and i you how do what why can not card money bank account cat dog mat sat red blue"
    " transfer top up lost stolen pin code exchange rate fee charged twice pending refund cash machine quick brown fox"
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LABELS = {0: "refund", 1: "card", 2: "transfer"}
TEXTS = [
    "my card is lost",
    "a refund was charged twice and is pending on my account",
    "why is the transfer not in my account",
    "cash",
    "the exchange rate of the bank is red and the fee is blue and how can i top up",
    "what",
]


def wordpiece() -> Any:
    """Return a tokenizer of whole words, their letters and numerals."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!:+='"
    tokens = [*SPECIAL, *WORDS.split(), *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return transformers.BertTokenizer(vocab=vocabulary)


def byte_pairs(kind: str, **options: Any) -> Any:
    """Return a tokenizer of single bytes, with the special tokens of RoBERTa or GPT-2."""
    from tokenizers.pre_tokenizers import ByteLevel

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if kind == "RobertaTokenizer" else ["<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}
    return getattr(transformers, kind)(vocab=vocabulary, merges=[], **options)


def seeded(cls: Any, config: Any, spread: float = 4.0) -> Any:
    """Return a model with random weights that are far enough apart for its parts to differ, and its buffers, too."""
    with quietly():
        torch.manual_seed(0)
        model = cls(config).eval()
        generator = torch.Generator().manual_seed(1)
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.add_(torch.rand(tensor.shape, generator=generator))
            elif name.endswith("running_mean") or (name.endswith("bias") and tensor.ndim == 1):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
            elif tensor.is_floating_point() and tensor.ndim > 1:
                tensor.mul_(spread if tensor.std() < 0.05 else 1)
    return model


def text_model(folder: Path, name: str, tokenizer: Any = None, **options: Any) -> Any:
    """Save a small text model of an architecture, such as BertForSequenceClassification, and return it."""
    tokenizer = tokenizer or wordpiece()
    cls = getattr(transformers, name)
    options = {**SMALL, "vocab_size": len(tokenizer), **options}
    if "Classification" in name and "num_labels" not in options:
        options = {**options, "id2label": LABELS, "label2id": {label: i for i, label in LABELS.items()}}
    model = seeded(cls, cls.config_class(**options))
    return saved(folder, model, tokenizer)


def image_model(folder: Path, name: str, processor: Any, **options: Any) -> Any:
    """Save a small image model of an architecture, such as ViTForImageClassification, and return it."""
    cls = getattr(transformers, name)
    if "Classification" in name:
        options = {**options, "id2label": LABELS, "label2id": {label: i for i, label in LABELS.items()}}
    return saved(folder, seeded(cls, cls.config_class(**options)), processor)


def processor(name: str = "ViTImageProcessorPil", side: int = 32, **options: Any) -> Any:
    """Return an image processor, by default of squares."""
    return getattr(transformers, name)(**{"size": {"height": side, "width": side}, **options})


def saved(folder: Path, *parts: Any) -> Any:
    """Save a model and its tokenizer or image processor, and return the model."""
    with quietly():
        for part in parts:
            part.save_pretrained(folder)
    return parts[0]


def both_towers(folder: Path, name: str, tokenizer: Any, processor: Any, text: dict[str, Any], **options: Any) -> Any:
    """Save a small model of texts and images, such as CLIPModel, and return it."""
    cls = getattr(transformers, name)
    towers = {"text_config": {**SMALL, **text}, "vision_config": {**SMALL, "image_size": 32, "patch_size": 8}}
    return saved(folder, seeded(cls, cls.config_class(**towers, **options)), tokenizer, processor)


def _clip(folder: Path) -> Any:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=24)
    n = len(vocabulary)
    text = {"vocab_size": n, "max_position_embeddings": 24, "bos_token_id": n - 2, "eos_token_id": n - 1}
    return both_towers(folder, "CLIPModel", tokenizer, cut("CLIPImageProcessorPil"), text, projection_dim=16)


def _siglip(folder: Path) -> Any:
    tokenizer = wordpiece()
    tokenizer.model_max_length = 20
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 20, "pad_token_id": 0}
    return both_towers(folder, "SiglipModel", tokenizer, processor("SiglipImageProcessorPil"), text)


def cut(name: str, short: int = 40, side: int = 32, **options: Any) -> Any:
    """Return an image processor that cuts a square out of the middle."""
    sizes = {"size": {"shortest_edge": short}, "crop_size": {"height": side, "width": side}}
    return getattr(transformers, name)(**sizes, **options)


def convnext(side: int) -> Any:
    """Return the image processor of ConvNeXt and ResNet."""
    return transformers.ConvNextImageProcessorPil(size={"shortest_edge": side})


def _text(name: str, tokenizer: Any = wordpiece, **options: Any) -> Any:
    return lambda folder: text_model(folder, name, tokenizer(), **options)


def _image(name: str, processor: Any, **options: Any) -> Any:
    return lambda folder: image_model(folder, name, processor(), **options)


def _roberta() -> Any:
    return byte_pairs("RobertaTokenizer")


def _gpt() -> Any:
    return byte_pairs("GPT2Tokenizer")


_ROBERTA = {"max_position_embeddings": 66, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_GPT = {"n_embd": 32, "n_layer": 3, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
_T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 3}
_MODERN = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
_VIT = {**SMALL, "image_size": 32, "patch_size": 8}
_STAGES = {"hidden_sizes": [8, 16, 24], "depths": [1, 1, 1]}
_SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}

TEXT_HEADS = {
    "bert": _text("BertForSequenceClassification"),
    "roberta": _text("RobertaForSequenceClassification", _roberta, **_ROBERTA),
    "distilbert": _text("DistilBertForSequenceClassification", dim=32, n_layers=2, n_heads=2, hidden_dim=48),
    "electra": _text("ElectraForSequenceClassification", embedding_size=16),
    "deberta": _text(
        "DebertaV2ForSequenceClassification", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8
    ),
    "albert": _text("AlbertForSequenceClassification", embedding_size=16),
    "mpnet": _text("MPNetForSequenceClassification"),
    "xlnet": _text("XLNetForSequenceClassification", d_model=32, n_layer=2, n_head=2, d_inner=48),
    "modernbert": _text("ModernBertForSequenceClassification", **_MODERN),
    "modernbert-mean": _text("ModernBertForSequenceClassification", classifier_pooling="mean", **_MODERN),
    "convbert": _text("ConvBertForSequenceClassification", embedding_size=16),
    "gpt2": _text("GPT2ForSequenceClassification", _gpt, **_GPT),
    "llama": _text("LlamaForSequenceClassification", _gpt, num_key_value_heads=2, bos_token_id=0, eos_token_id=0),
}
IMAGE_HEADS = {
    "vit": _image("ViTForImageClassification", processor, **_VIT),
    "deit": _image("DeiTForImageClassification", lambda: cut("DeiTImageProcessorPil"), **_VIT),
    "beit": _image(
        "BeitForImageClassification", lambda: processor("BeitImageProcessorPil", do_center_crop=False), **_VIT
    ),
    "resnet": _image("ResNetForImageClassification", lambda: convnext(64), embedding_size=8, **_STAGES),
    "convnext": _image("ConvNextForImageClassification", lambda: convnext(64), num_stages=3, **_STAGES),
    "swin": _image("SwinForImageClassification", processor, **_SWIN),
    "dinov2": _image("Dinov2WithRegistersForImageClassification", lambda: cut("BitImageProcessorPil"), **_VIT),
    "clip-classifier": _image("CLIPForImageClassification", lambda: cut("CLIPImageProcessorPil"), vision_config=_VIT),
    "mobilenet": _image(
        "MobileNetV2ForImageClassification", lambda: cut("MobileNetV2ImageProcessorPil"), depth_multiplier=0.25
    ),
}
OTHERS = {
    "bert-base": _text("BertModel"),
    "bert-mlm": _text("BertForMaskedLM"),
    "bart": _text(
        "BartForSequenceClassification", _roberta, **_ROBERTA, d_model=32, encoder_layers=1, decoder_layers=1
    ),
    "t5": _text("T5EncoderModel", **_T5),
    "mae": _image("ViTMAEModel", processor, **_VIT),
    "deit-teacher": _image("DeiTForImageClassificationWithTeacher", lambda: cut("DeiTImageProcessorPil"), **_VIT),
    "clip": _clip,
    "siglip": _siglip,
}
ALL = {**TEXT_HEADS, **IMAGE_HEADS, **OTHERS}
