"""The CIFAR ResNets of He et al. (2015) as stored spaces and heads, from the tensors of public files.

    python docs/cifar-resnets/resnets.py MODELS FOLDER

MODELS holds cifar10-resnet20/model.safetensors and cifar10-resnet32/model.safetensors, with the names of tensors that
github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause) gives them. FOLDER gets a space and a head for each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import atlas
from atlas.models.heads import HEADS
from atlas.storage.tensors import load_tensors

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ABOUT = {"license": "bsd-2-clause", "description": "CIFAR-10 ResNet of He et al. (2015), trained by Yerlan Idelbayev"}

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def resnet_layers(depth: int, classes: int = 10) -> list[dict[str, Any]]:
    """Describe a CIFAR ResNet of 6 n + 2 layers, from RGB in [0, 1] to logits; without the last layer, to features."""
    layers = [{"type": "normalize", "mean": MEAN, "std": STD}, *_conv_norm(3, 16, 1), {"type": "relu"}]
    width = 16
    for stage in range(3):
        for block in range((depth - 2) // 6):
            grows = stage > 0 and block == 0
            out = width * 2 if grows else width
            stride = 2 if grows else 1
            body = [*_conv_norm(width, out, stride), {"type": "relu"}, *_conv_norm(out, out, 1)]
            shortcut = [{"type": "subsample-pad", "stride": 2, "pad": width // 2}] if grows else []
            layers += [{"type": "residual", "body": body, "shortcut": shortcut}, {"type": "relu"}]
            width = out
    return [*layers, {"type": "global-avg-pool"}, {"type": "linear", "in_features": width, "out_features": classes}]


def _conv_norm(d_in: int, d_out: int, stride: int) -> list[dict[str, Any]]:
    shape = {"in_channels": d_in, "out_channels": d_out, "kernel_size": 3, "stride": stride, "padding": 1}
    return [{"type": "conv", **shape, "bias": False}, {"type": "batch-norm", "features": d_out}]


def resnet_names(depth: int) -> dict[str, str]:
    """Map the modules of public files (conv1, layer1.0.bn2, linear, ...) to their places in the description."""
    n = (depth - 2) // 6
    names = {"conv1": "1", "bn1": "2", "linear": str(5 + 6 * n)}
    for index in range(3 * n):
        theirs, ours = f"layer{index // n + 1}.{index % n}", f"{4 + 2 * index}.body"
        names |= {f"{theirs}.conv1": f"{ours}.0", f"{theirs}.bn1": f"{ours}.1"}
        names |= {f"{theirs}.conv2": f"{ours}.3", f"{theirs}.bn2": f"{ours}.4"}
    return names


def rename(state: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return the tensors of a public file under the names of the description."""
    names = resnet_names(depth)
    return {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}


def split(state: dict[str, Any], depth: int, name: str) -> tuple[atlas.Encoder, atlas.Head]:
    """Return the network up to its features as an encoder, and its last layer as a head."""
    layers = resnet_layers(depth)
    last = f"{len(layers) - 1}."
    named = rename(state, depth)
    encoder = atlas.create(atlas.Encoder, "network", {"layers": layers[:-1], "input_shape": [3, 32, 32]})
    encoder.load_state_dict({key: value for key, value in named.items() if not key.startswith(last)})
    linear = HEADS["linear"]().load_state_dict({"weight": named[last + "weight"].T, "bias": named[last + "bias"]})
    return encoder, atlas.Head.of(linear, encoder.space(name), f"{name}__linear", classes=CLASSES, dataset="cifar10")


def main(models: Path, folder: Path) -> None:
    """Write a space and a head for each network."""
    for depth in (20, 32):
        name = f"resnet{depth}"
        state = load_tensors(models / f"cifar10-{name}" / "model.safetensors")
        encoder, head = split(state, depth, name)
        atlas.save(encoder, folder / name, overwrite=True, **ABOUT)
        atlas.save(head, folder / head.id, overwrite=True, **ABOUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
