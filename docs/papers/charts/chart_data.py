"""The data of the charts' pages, and the networks that are trained on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paper_networks
import torch
from chart_splits import Data
from paper_networks import RELU, Layers, linear

import atlas

CODE = 128


def sources(small: bool, data: Path) -> dict[str, Callable[[], Data]]:
    """Return how to read each data set, by name."""
    return (
        {"digits": digits}
        if small
        else {"CIFAR-10": lambda: images(data / "cifar10"), "banking77": lambda: texts(data)}
    )


def digits() -> Data:
    """Return some of the digits that ship with Atlas."""
    train, test = (paper_networks.pixels(f"digits-{split}") for split in ("train", "test"))
    about: dict[str, Any] = {"epochs": 30, "shared": 4, "novel": 2, "tasks": 3, "anchors": (64, 64)}
    return of(train.take(torch.arange(600)), test, lambda c: dense(64, c, 64), **about, heads=("kernel",))


def images(folder: Path) -> Data:
    """Return CIFAR-10, for the small convolutional network of the authors."""
    train, test = (paper_networks.pixels(folder / split) for split in ("train", "test"))
    about: dict[str, Any] = {"epochs": 16, "shared": 4, "novel": 2, "tasks": 3, "anchors": (128, 256)}
    return of(train, test, convolutional, **about, flips=(3, 32, 32))


def texts(data: Path) -> Data:
    """Return questions to a bank as the stored vectors of MiniLM, for dense networks on top of it."""
    read = {split: atlas.read_items(data / "banking77" / f"{split}.csv") for split in ("train", "test")}
    rows = {s: np.load(data / "vectors" / f"banking-{s}.minilm.npy").astype("float32") for s in read}
    train, test = (atlas.Vectors.of(rows[s], "minilm", labels=items.labels) for s, items in read.items())
    return of(train, test, lambda c: dense(384, c, 256), epochs=12, shared=32, novel=9, tasks=5, anchors=(128, 256))


def of(train: atlas.Vectors, test: atlas.Vectors, layers: Callable[[int], Layers], **about: Any) -> Data:
    """Return vectors with their labels as data."""
    assert train.labels is not None and test.labels is not None and train.classes == test.classes
    return Data(train.data.float(), train.labels, test.data.float(), test.labels, layers, **about)


def dense(d: int, classes: int, hidden: int) -> Layers:
    """Return a network for vectors of d numbers."""
    return [linear(d, hidden), RELU, linear(hidden, CODE), {"type": "sigmoid"}, linear(CODE, classes)]


def convolutional(classes: int) -> Layers:
    """Return the authors' 'vanilla CNN' for images of 32 x 32 pixels."""
    window, silu = {"kernel_size": 5, "padding": 2}, {"type": "silu"}
    pool = {"type": "max-pool", "kernel_size": 2, "stride": 2}
    return [
        {"type": "unflatten", "shape": [3, 32, 32]},
        {"type": "conv", "in_channels": 3, "out_channels": 16, **window},
        silu,
        pool,
        {"type": "conv", "in_channels": 16, "out_channels": 32, **window},
        silu,
        pool,
        {"type": "flatten"},
        linear(32 * 64, CODE),
        {"type": "sigmoid"},
        linear(CODE, classes),
    ]
