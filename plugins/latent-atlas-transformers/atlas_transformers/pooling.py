"""From the vectors of tokens, or of places in an image, to one vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atlas_transformers.checkpoint import UnfitError


def hidden_states(out: Any, layer: int) -> Tensor:
    """Return the output of a layer: that of the model for -1, of layer 0, 1... or from the end -2, -3... otherwise.

    Raises:
        UnfitError: there is no such layer.
    """
    if layer == -1:
        return out.last_hidden_state
    states = out.hidden_states
    if states is None:
        raise UnfitError(f"can only read the last layer of this model, got layer {layer} - leave it at -1")
    n = len(states)
    if not -n <= layer < n:
        raise UnfitError(f"has layers 0 (embeddings) to {n - 1}, or -1 (the last) to -{n}, got {layer}")
    return out.last_hidden_state if layer == n - 1 else states[layer]


def pooler_output(out: Any) -> Tensor:
    """Return the output of the model's own pooler, (b, d), or raise `UnfitError` if it has none."""
    made = getattr(out, "pooler_output", None)
    if made is None:
        raise UnfitError("finds no pooler in this model - choose another pooling")
    return made.flatten(1)


def pool_tokens(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return one vector for each text.

    Args:
        hidden: (b, tokens, d).
        mask: (b, tokens) bool, false where a text has ended; texts begin at the first token.
        pooling: cls, last, mean or max.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    if pooling == "max":
        return hidden.masked_fill(~mask[..., None], -torch.inf).amax(1)
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def pool_places(hidden: Tensor, special: int, pooling: str) -> Tensor:
    """Return one vector for each image.

    Args:
        hidden: (b, tokens, d), or (b, d, height, width).
        special: how many tokens at the beginning stand for no place in the image: class, distillation, registers.
        pooling: cls, mean, max or cls-mean; all but cls over places alone.

    Raises:
        UnfitError: there is no class token.
    """
    places = hidden.flatten(2).mT if hidden.ndim == 4 else hidden[:, special:]
    if "cls" in pooling and (hidden.ndim == 4 or not special):
        raise UnfitError(f"cannot pool by '{pooling}', since this model has no class token - choose mean or max")
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return places.amax(1)
    mean = places.mean(1)
    return torch.cat([hidden[:, 0], mean], 1) if pooling == "cls-mean" else mean


def special_tokens(model: torch.nn.Module) -> int:
    """Return how many tokens at the beginning stand for no place in an image, by the parameters that hold them."""
    count = 0
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2]
        if last in ("cls_token", "distillation_token", "class_embedding"):
            count += 1
        elif last == "register_tokens":
            count += parameter.shape[-2]
    return count
