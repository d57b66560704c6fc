"""Feed-forward networks described by plain data: a list of layers out of a closed table, and a file of tensors.

A description holds no code and no import path, and building one allocates nothing that its tensors do not fill, so that
both may come from a stranger. A layer is a mapping of its type and its options:

    - {type: conv, in_channels: 3, out_channels: 16, kernel_size: 3, padding: 1, bias: false}
    - {type: batch-norm, features: 16}
    - {type: relu}

A tensor is called after its place in the list, such as '0.weight' or '3.body.0.weight'.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from atlas.cards.schema import brief, check_names, read_as, shown
from atlas.errors import AtlasError, reported, unknown
from atlas.models.layers import LAYERS, BatchNorm

MAX_LAYERS = 2_000
MAX_DEPTH = 8
MAX_PARAMETERS = 2**30
MAX_ITEM = 2**24
# Numbers that a layer makes of a batch, at most: 256 MB.
MAX_BATCH = 2**26


def check(layers: Any) -> list[dict[str, Any]]:
    """Return the one form of a description: plain lists and dicts, options of the default value left out.

    Descriptions that mean the same become equal, and so have equal hashes, also after a layer has gained an option.

    Raises:
        AtlasError: a type or option that is unknown, missing or ill-valued, too many layers, or nested too deep.
    """
    return _checked_list(layers, "", itertools.count(1), 1)


def _checked_list(layers: Any, where: str, counter: Iterator[int], depth: int) -> list[dict[str, Any]]:
    if not isinstance(layers, (list, tuple)):
        raise AtlasError(f"{where or 'A network'} must be a list of layers, got {shown(layers)}")
    if depth > MAX_DEPTH:
        raise AtlasError(f"{where} is nested too deep - at most {MAX_DEPTH} levels")
    prefix = where + "." if where else ""
    return [_checked_layer(layer, f"{prefix}{i}", counter, depth) for i, layer in enumerate(layers)]


def _checked_layer(layer: Any, where: str, counter: Iterator[int], depth: int) -> dict[str, Any]:
    if next(counter) > MAX_LAYERS:
        raise AtlasError(f"The network has more than {MAX_LAYERS} layers")
    if not isinstance(layer, Mapping) or "type" not in layer:
        raise AtlasError(f"Layer {where} must be a mapping with a 'type', got {shown(layer)}")
    kind = layer["type"]
    if not isinstance(kind, str) or kind not in LAYERS:
        raise AtlasError(f"Layer {where}: {unknown('type', brief(kind), LAYERS)}")
    settings, owner = LAYERS[kind].options, f"layer {where} ({kind})"
    needed = {name: f"it must be {setting.words}" for name, setting in settings.items() if setting.default is ...}
    check_names([name for name in layer if name != "type"], settings, needed, "Option", f" of {owner}")
    result: dict[str, Any] = {"type": kind}
    for name, setting in settings.items():
        given = layer.get(name, setting.default)
        if setting.read is None:
            value = _checked_list(given, f"{where}.{name}", counter, depth + 1)
        else:
            value = read_as(setting.read, setting.words, given, f"Option '{name}' of {owner}")
        if value != setting.default:
            result[name] = value
    return result


def build(layers: Any) -> nn.Sequential:
    """Return the network of a description on the meta device: names and shapes of its tensors, but no memory.

    Raises:
        AtlasError: as `check` raises, or options that do not go together.
    """
    with torch.device("meta"):
        return _sequence(check(layers), "").eval().requires_grad_(False)


def _sequence(layers: Sequence[Mapping[str, Any]], prefix: str) -> nn.Sequential:
    return nn.Sequential(*(_module(layer, f"{prefix}{i}") for i, layer in enumerate(layers)))


def _module(layer: Mapping[str, Any], where: str) -> nn.Module:
    row = LAYERS[layer["type"]]
    options = {name: layer.get(name, setting.default) for name, setting in row.options.items()}
    for name, setting in row.options.items():
        if setting.read is None:
            options[name] = _sequence(options[name], f"{where}.{name}.")
    with reported(f"Layer {where} ({layer['type']}) cannot be built", ValueError, RuntimeError):
        return row.make(**options)


def load(layers: Any, state: Mapping[str, Tensor]) -> nn.Sequential:
    """Return a network ready for use: in evaluation mode, float32, without gradients, sharing memory with `state`.

    Raises:
        AtlasError: as `build` raises, or tensors that are missing, unexpected, misshaped or not finite.
    """
    net = build(layers)
    slots = net.state_dict()
    for what, names in ("missing", slots.keys() - state.keys()), ("not expected", state.keys() - slots.keys()):
        if names:
            first = ", ".join(f"'{name[:60]}'" for name in sorted(names)[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise AtlasError(f"The tensors do not fit the layers: {what} {first}{more}")
    net.load_state_dict({name: _fitting(name, state[name], slot) for name, slot in slots.items()}, assign=True)
    return net


def _fitting(name: str, tensor: Tensor, slot: Tensor) -> Tensor:
    if tensor.shape != slot.shape:
        raise AtlasError(f"Tensor '{name}' must have shape {tuple(slot.shape)}, got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise AtlasError(f"Tensor '{name}' must hold real numbers, got {tensor.dtype}")
    result = tensor.detach().float().contiguous()
    if not bool(torch.isfinite(result).all()):
        raise AtlasError(f"Tensor '{name}' holds NaN or infinity")
    return result


def initialise(layers: Any, seed: int = 0) -> nn.Sequential:
    """Return a network to train: drawn from the seed, on the CPU, in training mode, with gradients.

    As torch does by default, weights and biases of linear and convolutional layers are uniform within ±1/sqrt(fan-in);
    norms start as 1 and 0. The global random state is neither read nor changed.

    Raises:
        AtlasError: as `build` raises, or more than `MAX_PARAMETERS` parameters.
    """
    net = build(layers)
    slots = net.state_dict()
    total = sum(math.prod(slot.shape) for slot in slots.values())
    if total > MAX_PARAMETERS:
        raise AtlasError(f"The network has {total} parameters - at most {MAX_PARAMETERS}")
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, slot in slots.items():
        owner, _, leaf = name.rpartition(".")
        weight = slots[f"{owner}.weight"]
        if weight.ndim == 1:
            state[name] = torch.full(slot.shape, 1.0 if leaf in ("weight", "running_var") else 0.0)
        else:
            bound = math.prod(weight.shape[1:]) ** -0.5
            state[name] = torch.empty(slot.shape).uniform_(-bound, bound, generator=generator)
    net.load_state_dict(state, assign=True)
    return net.train().requires_grad_(True)


def output_shape(layers: Any, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one item after the network, without computing anything.

    Args:
        layers: the description.
        input_shape: of one item, such as (64,) or (3, 32, 32).

    Raises:
        AtlasError: as `build` raises, or the first layer that does not take its input, or that makes items of
            more than `MAX_ITEM` numbers.
    """
    return _shapes(layers, input_shape)[-1]


def batch_rows(layers: Any, input_shape: Sequence[int]) -> int:
    """Return how many items may go through the network at once, so that no layer makes more than `MAX_BATCH` numbers.

    A few hundred bytes may describe a layer that pads each item to millions of zeros.
    """
    return max(1, MAX_BATCH // max(math.prod(shape) for shape in _shapes(layers, input_shape)))


def in_parts(net: nn.Module, X: Tensor, rows: int) -> Tensor:
    """Return the network's output for X, so many rows at a time; a loop would fix the rows of a traced model."""
    if len(X) <= rows or torch.compiler.is_compiling():
        return net(X)
    return torch.cat([net(part) for part in X.split(rows)])


def _shapes(layers: Any, input_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shape of one item before and after each layer, also those within others."""
    layers = check(layers)
    if not all(type(size) is int and size > 0 for size in input_shape) or math.prod(input_shape) > MAX_ITEM:
        raise AtlasError(f"The shape of an item must be whole numbers from 1, got {shown(tuple(input_shape))}")
    # No items and weights that are one number, repeated: shapes are checked by the very modules, nothing is computed or
    # allocated. The meta device would do as well, but its first use imports modules for over a second.
    net = build(layers)
    zeros = {name: torch.zeros((), dtype=slot.dtype).expand(slot.shape) for name, slot in net.state_dict().items()}
    net.load_state_dict(zeros, assign=True)
    shapes = [tuple(input_shape)]
    _trace(layers, net, torch.empty(0, *input_shape), "", shapes)
    return shapes


def _trace(
    layers: Sequence[Mapping[str, Any]], net: Any, x: Tensor, prefix: str, shapes: list[tuple[int, ...]]
) -> Tensor:
    for i, layer in enumerate(layers):
        name = f"{prefix}{i}"
        which = f"Layer {name} ({layer['type']})"
        refusal = f"{which} does not take items of shape {tuple(x.shape[1:])}"
        with reported(refusal, RuntimeError, ValueError, IndexError):
            x = _step(layer, net[i], x, name, shapes)
        if math.prod(x.shape[1:]) > MAX_ITEM:
            raise AtlasError(f"{which} makes items of shape {tuple(x.shape[1:])} - at most {MAX_ITEM} numbers")
        shapes.append(tuple(x.shape[1:]))
    return x


def _convolved(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return no items of the shape a convolution makes, by arithmetic: torch would copy its weights, however large."""
    if x.shape[1] != module.in_channels:
        raise ValueError(f"it takes {module.in_channels} channels")
    sizes = []
    for axis in (0, 1):
        size, stride, pad = x.shape[2 + axis], module.stride[axis], 2 * int(module.padding[axis])
        reach = module.dilation[axis] * (module.kernel_size[axis] - 1)
        if isinstance(module, nn.ConvTranspose2d):
            sizes.append((size - 1) * stride - pad + reach + module.output_padding[axis] + 1)
        else:
            sizes.append((size + pad - reach - 1) // stride + 1)
    if min(sizes) < 1:
        raise ValueError("its kernel is larger than the image, or its padding than the result")
    return x.new_empty(0, module.out_channels, *sizes)


def _step(layer: Mapping[str, Any], module: Any, x: Tensor, name: str, shapes: list[tuple[int, ...]]) -> Tensor:
    takes = LAYERS[layer["type"]].takes
    if takes is not None and x.ndim != takes + 1:
        raise ValueError("it takes " + ("vectors" if takes == 1 else "images (channels, height, width)"))
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return _convolved(module, x)
    if isinstance(module, BatchNorm) and x.shape[1] != len(module.weight):
        raise ValueError(f"it takes {len(module.weight)} channels")
    if layer["type"] != "residual":
        return module(x)
    body = _trace(layer["body"], module.body, x, f"{name}.body.", shapes)
    shortcut = _trace(layer.get("shortcut", []), module.shortcut, x, f"{name}.shortcut.", shapes)
    return module.join(body, shortcut)
