"""Make the registry that ships with Atlas: real, tiny, and the same each time.

Handwritten digits (scikit-learn's copy of the UCI optical recognition data, 1,797 images of 8 x 8) as vectors, encoders
trained apart on them, the heads they were trained with, anchors, and a few fitted alignments. Run from a checkout:

    python registry/build.py [FOLDER]

Needs scikit-learn (pip install 'latent-atlas[text]') and takes about a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

import atlas
from atlas.models import network
from atlas.models.heads import HEADS
from atlas.storage.registry import FOLDERS
from atlas.verbs.encode import encode
from atlas.verbs.fit import fit
from atlas.verbs.sample import sample

LICENSE = "cc-by-4.0"
SOURCE = "Optical recognition of handwritten digits (E. Alpaydin, C. Kaynak, UCI, 1998), as shipped by scikit-learn"
EPOCHS, BATCH = 60, 64


def mlp(hidden: int, dim: int, activation: str) -> list[dict]:
    """Return the layers of a network of one hidden layer, 64 pixels to `dim`."""
    return [
        {"type": "linear", "in_features": 64, "out_features": hidden},
        {"type": activation},
        {"type": "linear", "in_features": hidden, "out_features": dim},
    ]


def conv(channels: int, dim: int) -> list[dict]:
    """Return the layers of a small convolutional network, 64 pixels to `dim`."""
    return [
        {"type": "unflatten", "shape": [1, 8, 8]},
        {"type": "conv", "in_channels": 1, "out_channels": channels, "kernel_size": 3, "padding": 1},
        {"type": "relu"},
        {"type": "max-pool", "kernel_size": 2, "stride": 2},
        {"type": "conv", "in_channels": channels, "out_channels": 2 * channels, "kernel_size": 3, "padding": 1},
        {"type": "relu"},
        {"type": "flatten"},
        {"type": "linear", "in_features": 2 * channels * 16, "out_features": dim},
    ]


def resnet(channels: int) -> list[dict]:
    """Return the layers of a small residual network whose vectors are means over space, 64 pixels to `channels`."""
    convolution = {"type": "conv", "in_channels": channels, "out_channels": channels, "kernel_size": 3, "padding": 1}
    norm = {"type": "batch-norm", "features": channels}
    block = {"type": "residual", "body": [convolution, norm, {"type": "relu"}, convolution, norm]}
    return [
        {"type": "unflatten", "shape": [1, 8, 8]},
        {**convolution, "in_channels": 1},
        norm,
        {"type": "relu"},
        block,
        {"type": "relu"},
        {"type": "max-pool", "kernel_size": 2, "stride": 2},
        block,
        {"type": "relu"},
        {"type": "global-avg-pool"},
    ]


# Name: layers, seed, the classes it is trained on, what it is.
NETWORKS: dict[str, tuple[list[dict], int, range, str]] = {
    "digits-mlp-s0": (mlp(96, 32, "relu"), 0, range(10), "Multilayer perceptron, 32 dimensions, seed 0"),
    "digits-mlp-s1": (mlp(96, 32, "relu"), 1, range(10), "The same architecture from another seed"),
    "digits-mlp-wide": (mlp(128, 48, "gelu"), 2, range(10), "A wider multilayer perceptron, 48 dimensions"),
    "digits-conv": (conv(12, 64), 3, range(10), "Convolutional network, 64 dimensions"),
    "digits-resnet": (resnet(24), 4, range(10), "Residual network, 24 dimensions"),
    "digits-low": (mlp(96, 32, "relu"), 5, range(6), "Multilayer perceptron that has only seen the digits 0 to 5"),
    "digits-high": (mlp(96, 32, "relu"), 6, range(4, 10), "Multilayer perceptron that has only seen the digits 4 to 9"),
}


# Source, target and method; a relative alignment needs no target.
ALIGNMENTS = [
    ("digits-conv", "digits-mlp-s0", "procrustes"),
    ("digits-conv", "digits-mlp-s0", "linear"),
    ("digits-mlp-s1", "digits-mlp-s0", "procrustes"),
    ("digits-conv", "", "relative"),
    ("digits-mlp-s0", "", "relative"),
]


def main(root: Path) -> None:
    """Write the whole registry below a folder."""
    train, test = digits()
    put(root, train, "digits-train", f"1,200 images as vectors of 64 pixels. {SOURCE}")
    put(root, test, "digits-test", f"The other 597 images. {SOURCE}")
    views = []
    for name, (layers, seed, classes, about) in NETWORKS.items():
        encoder, head = trained(name, layers, seed, classes, train)
        put(root, encoder, name, about)
        put(root, head, head.id, f"The head {name} was trained with")
        views.append(encode(encoder, train, id=name))
        print(f"  {100 * accuracy(encoder, head, test):.1f} % of the test images of its own classes")
    anchors = sample("uniform", views[0], 256, seed=0, id="digits-256")
    for vectors in views[1:]:
        anchors = anchors.encoded_in(vectors)
    put(root, anchors, anchors.id, "256 training images, drawn uniformly, encoded by every network")
    by_name = {view.space.id: view for view in views}
    for source, target, aligner in ALIGNMENTS:
        pair = {"source": by_name[source], "target": by_name[target] if target else None}
        alignment = fit(aligner, **pair, anchors=anchors)
        put(root, alignment, alignment.id, f"Fitted on the anchors digits-256, from {source} to {alignment.target.id}")


def digits() -> tuple[atlas.Vectors, atlas.Vectors]:
    """Return the images as vectors of 64 pixels in [0, 1]: 1,200 to train on and 597 to test on, by class alike."""
    data = load_digits()
    rows = range(len(data.target))
    train, test = train_test_split(rows, train_size=1200, random_state=0, stratify=data.target)
    space = atlas.Space("digits-pixels", 64, "precomputed", {"model": "digits-pixels", "revision": ""})
    return tuple(subset(data, sorted(part), space) for part in (train, test))  # type: ignore[return-value]


def subset(data, rows: list[int], space: atlas.Space) -> atlas.Vectors:
    """Return some of the images; sixteenths are exact in half precision, which halves the file."""
    pixels = torch.tensor(data.data[rows] / 16).to(torch.float16)
    labels = [str(label) for label in data.target[rows]]
    return atlas.Vectors.of(pixels, space, ids=[str(i) for i in rows], labels=labels, dataset="digits")


def trained(
    name: str, layers: list[dict], seed: int, classes: range, train: atlas.Vectors
) -> tuple[atlas.Encoder, atlas.Head]:
    """Return an encoder trained with a linear head on the images of some classes, and that head."""
    dim = network.output_shape(layers, (64,))[-1]
    whole = [*layers, {"type": "linear", "in_features": dim, "out_features": len(classes)}]
    net = network.initialise(whole, seed)
    labels = train.labels
    assert labels is not None
    mine = (labels >= classes.start) & (labels < classes.stop)
    X, y = train.data[mine].float(), labels[mine] - classes.start
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(X), generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()
    state = {key: value.detach() for key, value in net.state_dict().items()}
    last = f"{len(layers)}."
    encoder = atlas.create(atlas.Encoder, "network", {"layers": layers, "input_shape": [64]})
    encoder.load_state_dict({key: value for key, value in state.items() if not key.startswith(last)})
    read = HEADS["linear"]().load_state_dict({"weight": state[last + "weight"].T, "bias": state[last + "bias"]})
    names = tuple(str(digit) for digit in classes)
    return encoder, atlas.Head.of(read, encoder.space(name), f"{name}__linear", classes=names, dataset="digits")


def accuracy(encoder: atlas.Encoder, head: atlas.Head, test: atlas.Vectors) -> float:
    """Return the share of the test images of the head's classes that encoder and head together get right."""
    assert test.labels is not None
    known = torch.tensor([test.classes[i] in head.classes for i in test.labels.tolist()])
    vectors = encode(encoder, test, id=head.space.id).take(known.nonzero().flatten())
    assert vectors.labels is not None
    truth = [vectors.classes[i] for i in vectors.labels.tolist()]
    said = [head.classes[i] for i in head.predict(vectors).tolist()]
    return sum(a == b for a, b in zip(truth, said, strict=True)) / len(truth)


def put(root: Path, artefact, id: str, description: str) -> None:
    """Save an artefact where its kind belongs."""
    kind = "space" if isinstance(artefact, atlas.Encoder) else artefact.kind
    folder = root / FOLDERS[kind] / id
    atlas.save(artefact, folder, overwrite=True, license=LICENSE, description=description)
    print(f"{folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
