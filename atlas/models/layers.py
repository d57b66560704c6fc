"""The closed table of layers that a network may have, with the options of each.

Shapes are those of a batch: (n, d) for vectors, (n, channels, height, width) for images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.cards.schema import exactly

MAX_SIZE = 2**24
MAX_LIST = 1024


class BatchNorm(nn.Module):
    """Standardise each channel of (n, channels, ...) with running statistics, in training with the batch's."""

    def __init__(self, features: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, self.training, 0.1, self.eps)


class Normalize(nn.Module):
    """Subtract a given mean from each channel of (n, channels, ...) and divide by a given standard deviation."""

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError("'mean' and 'std' must be equally long, and 'std' greater than 0")
        self.mean: Tensor
        self.std: Tensor
        # Part of the description, not of the tensors, and real even where the rest is built on the meta device.
        self.register_buffer("mean", torch.tensor(mean, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(std, device="cpu"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if x.shape[1] != len(self.mean):
            raise ValueError(f"it has the mean of {len(self.mean)} channels")
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)


class GlobalAvgPool(nn.Module):
    """Mean over space: (n, channels, height, width) to (n, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels)."""
        return x.mean((2, 3))


class SubsamplePad(nn.Module):
    """Keep every stride-th row and column, and add channels of zeros before and after: option A of He et al. (2015)."""

    def __init__(self, stride: int, pad: int):
        super().__init__()
        self.stride, self.pad = stride, pad

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels + 2 pad, ceil(height / stride), ceil(width / stride))."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))


class Residual(nn.Module):
    """The sum of a body and a shortcut; without layers, a shortcut is the identity."""

    def __init__(self, body: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, in the shape that body and shortcut both give."""
        return self.join(self.body(x), self.shortcut(x))

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Add the outputs of body and shortcut; broadcasting would hide a mistake, so the shapes must be equal."""
        if a.shape != b.shape:
            raise ValueError(f"its body gives {tuple(a.shape[1:])}, its shortcut {tuple(b.shape[1:])}")
        return a + b


def _transposed_conv(**options: Any) -> nn.Module:
    # torch checks this only when it computes, which on the meta device it does not.
    if options["output_padding"] >= max(options["stride"], options["dilation"]):
        raise ValueError("'output_padding' must be less than 'stride' or 'dilation'")
    return nn.ConvTranspose2d(**options)


@dataclass(frozen=True)
class Setting:
    """One option of a layer: its values, in words; how to read it; and its default, if it has one.

    `read` returns the value in its one form, or raises ValueError; it is None for a list of layers.
    """

    words: str
    read: Callable[[Any], Any] | None
    default: Any = ...

    def __call__(self, default: Any) -> Setting:
        """Return the same with a default."""
        return replace(self, default=default)


@dataclass(frozen=True)
class LayerType:
    """One row of the table: the layer's work, how it is made, its options, and how many dimensions an item has."""

    help: str
    make: Callable[..., nn.Module]
    options: dict[str, Setting] = field(default_factory=dict)
    takes: int | None = None


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], list]:
    def read_list(values: Any) -> list:
        if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= MAX_LIST:
            raise ValueError
        return [read(value) for value in values]

    return read_list


_SIZE = partial(exactly, int, fits=range(1, MAX_SIZE + 1).__contains__)
_REAL = partial(exactly, float, fits=lambda value: abs(value) <= 1e30)
SIZE = Setting(f"a whole number from 1 to {MAX_SIZE}", _SIZE)
COUNT = Setting(f"a whole number from 0 to {MAX_SIZE}", partial(exactly, int, fits=range(MAX_SIZE + 1).__contains__))
FLAG = Setting("true or false", partial(exactly, bool))
REAL = Setting("a finite number", _REAL)
POSITIVE = Setting("a number greater than 0", partial(exactly, float, fits=lambda value: 0 < value <= 1e30))
SIZES = Setting("a list of whole numbers from 1", _list_of(_SIZE))
REALS = Setting(f"a list of 1 to {MAX_LIST} finite numbers", _list_of(_REAL))
BLOCK = Setting("a list of layers", None)

_WINDOW = {"kernel_size": SIZE, "stride": SIZE, "padding": COUNT(0)}
_CHANNELS = {"in_channels": SIZE, "out_channels": SIZE, "kernel_size": SIZE, "stride": SIZE(1), "padding": COUNT(0)}
_CONV = {**_CHANNELS, "dilation": SIZE(1), "groups": SIZE(1), "bias": FLAG(True)}
_EPS = POSITIVE(1e-5)

LAYERS: dict[str, LayerType] = {
    "linear": LayerType(
        "Vectors times a matrix, and a bias",
        nn.Linear,
        {"in_features": SIZE, "out_features": SIZE, "bias": FLAG(True)},
        takes=1,
    ),
    "conv": LayerType("Convolution over an image", nn.Conv2d, _CONV, takes=3),
    "transposed-conv": LayerType(
        "Transposed convolution, to a larger image", _transposed_conv, {**_CONV, "output_padding": COUNT(0)}, takes=3
    ),
    "max-pool": LayerType("Maximum over windows of an image", nn.MaxPool2d, _WINDOW, takes=3),
    "avg-pool": LayerType("Mean over windows of an image", nn.AvgPool2d, _WINDOW, takes=3),
    "global-avg-pool": LayerType("Mean over space, image to vector", GlobalAvgPool, takes=3),
    "flatten": LayerType("Anything to a vector", nn.Flatten),
    "unflatten": LayerType("Vector to a shape", lambda shape: nn.Unflatten(1, tuple(shape)), {"shape": SIZES}, takes=1),
    "subsample-pad": LayerType(
        "Every stride-th row and column, and `pad` channels of zeros before and after",
        SubsamplePad,
        {"stride": SIZE, "pad": COUNT},
        takes=3,
    ),
    "batch-norm": LayerType(
        "Standardise each channel with running statistics", BatchNorm, {"features": SIZE, "eps": _EPS}
    ),
    "layer-norm": LayerType(
        "Standardise each vector",
        lambda features, eps, affine: nn.LayerNorm(features, eps, affine),
        {"features": SIZE, "eps": _EPS, "affine": FLAG(True)},
        takes=1,
    ),
    "normalize": LayerType("Standardise each channel with given figures", Normalize, {"mean": REALS, "std": REALS}),
    "residual": LayerType(
        "Sum of a body and a shortcut, which without layers is the identity",
        Residual,
        {"body": BLOCK, "shortcut": BLOCK([])},
    ),
    "relu": LayerType("max(x, 0)", nn.ReLU),
    "leaky-relu": LayerType("x, or x times the slope below 0", nn.LeakyReLU, {"negative_slope": REAL(0.01)}),
    "elu": LayerType("x, or alpha (exp(x) - 1) below 0", nn.ELU, {"alpha": REAL(1.0)}),
    "gelu": LayerType("x times the normal distribution function of x", nn.GELU),
    "silu": LayerType("x times sigmoid(x)", nn.SiLU),
    "tanh": LayerType("Hyperbolic tangent", nn.Tanh),
    "sigmoid": LayerType("1 / (1 + exp(-x))", nn.Sigmoid),
}
