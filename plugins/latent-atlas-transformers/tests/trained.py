"""Small classifiers in the format of transformers, trained here in seconds.

    python tests/trained.py FOLDER

writes handwritten digits as images, and a ViT and a ResNet that were trained apart on them, as the README uses them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from checkpoints import SPECIAL, convnext, processor, saved
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import atlas
from atlas_transformers.loading import quietly

DIGITS = [str(i) for i in range(10)]


def digits(split: str, n: int) -> tuple[list[Image.Image], Tensor]:
    """Return images of handwritten digits, 8 x 8, and which they are."""
    vectors = atlas.read_vectors(f"digits-{split}").take(torch.arange(n))
    pixels = (255 * vectors.data.float()).round().to(torch.uint8).view(-1, 8, 8).numpy()
    return [Image.fromarray(image).convert("RGB") for image in pixels], vectors.labels


def digits_at_work(folder: Path, train: int = 600, test: int = 250) -> None:
    """Write images of digits, in folders by class, and two classifiers that know them."""
    for split, n in (("train", train), ("test", test)):
        images, labels = digits(split, n)
        for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            place = folder / split / str(label)
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{i}.png")
    image_classifiers(folder)


def fit(model: Any, inputs: dict[str, Tensor], labels: Tensor, epochs: int, lr: float) -> Any:
    """Train a classifier."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * (len(labels) // 50))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator)[: len(labels) // 50 * 50].split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(**{name: t[rows] for name, t in inputs.items()}).logits, labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def built(cls: Any, classes: list[str], seed: int, **options: Any) -> Any:
    """Return a classifier with random weights."""
    names = {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
    torch.manual_seed(seed)
    return cls(cls.config_class(**options, **names))


def image_classifiers(folder: Path, n: int = 900) -> tuple[str, str]:
    """Save a ViT and a ResNet that know handwritten digits, and return their folders."""
    vit = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    vit |= {"image_size": 16, "patch_size": 8}
    resnet = {"embedding_size": 16, "hidden_sizes": [24, 48], "depths": [1, 1], "layer_type": "basic"}
    rows = [
        ("vit", transformers.ViTForImageClassification, vit, processor(side=16, resample=3), 20, 4e-3),
        ("resnet", transformers.ResNetForImageClassification, resnet, convnext(28), 8, 1e-2),
    ]
    images, labels = digits("train", n)
    with quietly():
        for name, cls, options, prepare, epochs, lr in rows:
            model = built(cls, DIGITS, 0, **options)
            fit(model, dict(prepare(images, return_tensors="pt")), labels, epochs, lr)
            saved(folder / name, model, prepare)
    return str(folder / "vit"), str(folder / "resnet")


def text_classifiers(folder: Path, texts: list[str], labels: Tensor, classes: list[str]) -> tuple[str, str]:
    """Save a BERT and a DistilBERT that tell classes of texts apart, and return their folders."""
    words = sorted({word for text in texts for word in text.lower().replace("?", " ? ").split()})
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, model_max_length=32)
    bert = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    distil = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 96}
    rows = [
        ("bert", transformers.BertForSequenceClassification, bert, 0),
        ("distilbert", transformers.DistilBertForSequenceClassification, distil, 1),
    ]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, return_token_type_ids=False)
    with quietly():
        for name, cls, options, seed in rows:
            model = built(cls, classes, seed, vocab_size=len(vocabulary), max_position_embeddings=32, **options)
            fit(model, dict(inputs), labels, 8, 3e-3)
            saved(folder / name, model, tokenizer)
    return str(folder / "bert"), str(folder / "distilbert")


if __name__ == "__main__":
    digits_at_work(Path(sys.argv[1]), 1200, 597)
