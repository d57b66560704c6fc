"""The encoder of one checkpoint with the classifier of another, on the command line: own, none and stitched."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from trained import digits_at_work, text_classifiers

import atlas
from atlas_transformers import TransformersImage, TransformersText

SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[4] / "shared"))
INTENTS = [
    "card_arrival",
    "exchange_rate",
    "lost_or_stolen_card",
    "pending_top_up",
    "request_refund",
    "terminate_account",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the digits as images, in folders by class, and two classifiers that were trained apart on them."""
    folder = tmp_path_factory.mktemp("digits")
    digits_at_work(folder)
    return folder


def test_an_image_encoder_with_the_classifier_of_another_checkpoint(workplace, monkeypatch, atlas_command):
    monkeypatch.chdir(workplace)
    encode = ("encode", "transformers-image", "train", "-o", "model")
    atlas_command(*encode, "vit", "-o", "pooling", "cls", "--out", "vit-train", "--save-space", "space-vit")
    atlas_command(*encode, "resnet", "--out", "resnet-train", "--save-space", "space-resnet")
    atlas_command("fit", "linear", "--source", "vit-train", "--target", "resnet-train", "--out", "vit-to-resnet")
    models = {
        "own": ("space-resnet", "space-resnet"),
        "source": ("space-vit", "space-vit"),
        "stitched": ("space-vit", "vit-to-resnet", "space-resnet"),
    }
    right = {}
    for name, parts in models.items():
        [measured] = json.loads(atlas_command("stitch", *parts, "test", "--json").stdout)
        right[name] = measured["value"]
    assert right["own"] > 0.95 and right["source"] > 0.9
    assert right["stitched"] > right["source"] - 0.05


def test_without_an_alignment_a_classifier_reads_what_it_knows_nothing_of(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    encoders = TransformersImage("vit", pooling="cls"), TransformersImage("resnet")
    vectors = atlas.encode(encoders[0], "test")
    assert vectors.space.dim == encoders[1].dim
    assert (atlas.Head.of_encoder(encoders[1]).model.predict(vectors.data) == vectors.labels).float().mean() < 0.4
    with pytest.raises(
        atlas.AtlasError, match=r"Head 'resnet-.*__own' reads 'resnet-.*', but the encoder's vectors are of"
    ):
        atlas.stitch(encoders[0], None, atlas.Head.of_encoder(encoders[1]))


def test_the_whole_stitched_model_is_in_its_files(workplace, tmp_path, monkeypatch, atlas_command):
    """Whoever is given three folders, and none of the checkpoints, gets the same predictions."""
    monkeypatch.chdir(workplace)
    for name, pooling in (("vit", "cls"), ("resnet", "mean")):
        atlas.save(TransformersImage(name, pooling=pooling), f"to-give-{name}")
    X, Y = (atlas.encode(atlas.load(f"to-give-{name}"), "train") for name in ("vit", "resnet"))
    atlas.save(atlas.fit("procrustes", source=X, target=Y), "to-give-map")
    parts = ("to-give-vit", "to-give-map", "to-give-resnet")
    atlas_command("stitch", *parts, "test", "--out", "here.csv")
    for part in (*parts, "test"):
        shutil.copytree(part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    atlas_command("stitch", *parts, "test", "--out", "there.csv")
    assert (tmp_path / "there.csv").read_text() == (workplace / "here.csv").read_text()


def test_a_text_encoder_with_the_classifier_of_another_checkpoint(tmp_path, monkeypatch, atlas_command):
    if not (SHARED / "data" / "banking77").is_dir():
        pytest.skip("needs banking77 in ATLAS_SHARED")
    splits = {}
    for split in ("train", "test"):
        with (SHARED / "data" / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            splits[split] = [
                (text, INTENTS.index(label)) for text, label in list(csv.reader(file))[1:] if label in INTENTS
            ]
    texts, labels = zip(*splits["train"], strict=True)
    folders = text_classifiers(tmp_path, list(texts), torch.tensor(labels), INTENTS)
    a, b = (TransformersText(folder, pooling="cls") for folder in folders)
    X, Y = (atlas.encode(encoder, list(texts)) for encoder in (a, b))
    alignment = atlas.fit("linear", source=X, target=Y)
    queries, expected = zip(*splits["test"], strict=True)
    truth = [INTENTS[i] for i in expected]
    models = {
        "own": (b, None, atlas.Head.of_encoder(b)),
        "source": (a, None, atlas.Head.of_encoder(a)),
        "stitched": (a, alignment, atlas.Head.of_encoder(b)),
    }
    right = {name: score(atlas.stitch(*parts).predict(list(queries)), truth) for name, parts in models.items()}
    assert right["own"] > 0.85 and right["source"] > 0.85
    assert right["stitched"] > min(right["own"], right["source"]) - 0.05


def score(said: list[str], truth: list[str]) -> float:
    return sum(a == b for a, b in zip(said, truth, strict=True)) / len(truth)
