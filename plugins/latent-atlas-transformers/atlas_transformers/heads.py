"""Classifiers of checkpoints, as the heads of Atlas: a list of layers, and numbers.

The place of the classifier in a model, and the work before it, differ between architectures, and are code. So
the ways that are known are tried, and the one that gives the very scores of the checkpoint is taken.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from atlas import AtlasError
from atlas.authors import create_head
from atlas_transformers import loading
from atlas_transformers.checkpoint import Checkpoint, UnfitError

if TYPE_CHECKING:
    from atlas.authors import HeadModel
    from atlas_transformers.readers import Reader

KINDS = {
    "text": ("ForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING"),
    "images": ("ForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING"),
}
# Modules from the vector to the scores: '*' is the base model, '?' any of the activations below. Where there is but one
# linear layer outside of the base model, that is tried, too.
WAYS = (
    ("*.pooler.dense", "?", "classifier"),  # BERT, RemBERT
    ("*.pooler", "?", "classifier"),  # ALBERT
    ("pooler.dense", "?", "classifier"),  # DeBERTa
    ("pre_classifier", "?", "classifier"),  # DistilBERT
    ("classifier.dense", "?", "classifier.out_proj"),  # RoBERTa, ELECTRA, MPNet
    ("classification_head.dense", "?", "classification_head.out_proj"),  # BART
    ("sequence_summary.summary", "?", "logits_proj"),  # XLNet
    ("head.dense", "?", "head.norm", "classifier"),  # ModernBERT
    ("*.layernorm", "classifier"),  # ConvNeXt
    ("*.pooler.layernorm", "classifier"),  # BEiT
)
ACTIVATIONS = ("tanh", "gelu", "relu", "silu", "sigmoid")
# How far scores may be from those of the checkpoint, as a part of the largest.
TOLERANCES = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.1}


def has_head(architecture: str, takes: str) -> bool:
    """Whether a checkpoint of this architecture carries a classifier of an encoder's items."""
    return KINDS[takes][0] in architecture


def head_of(
    checkpoint: Checkpoint, reader: Reader, examples: Sequence[Mapping[str, Tensor]], takes: str, dtype: str
) -> tuple[HeadModel, tuple[str, ...]]:
    """Return the classifier of a checkpoint, and the names of its classes.

    Args:
        checkpoint: of an architecture with a classifier.
        reader: the network whose vectors the classifier is to read.
        examples: batches of the model's input, on which both are compared.
        takes: "text" or "images".
        dtype: the dtype the model computes in.

    Raises:
        UnfitError: it reads other vectors, or is none that the layers of Atlas can express.
    """
    model, missing = loading.network(checkpoint, KINDS[takes][1], dtype)
    if missing:
        raise UnfitError(f"carries a head that lacks weights, such as '{min(missing)}' - train one with 'atlas train'")
    reader = copy.copy(reader).cpu()
    expected = torch.cat([model(**reader.readable(one)).logits for one in examples]).float()
    heads = list(candidates(model))
    found = best(heads, vectors_of(reader, examples), expected, TOLERANCES[dtype])
    if not found:
        raise UnfitError(_elsewhere(heads, reader, examples, expected, TOLERANCES[dtype]))
    return found, class_names(model.config, expected.shape[1])


def vectors_of(reader: Reader, examples: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Return the vectors of batches, each by itself: some classifiers need the mask of padding."""
    return torch.cat([reader.read(one) for one in examples])


def candidates(model: Any) -> Iterator[HeadModel]:
    """Yield candidates for the classifier of a model."""
    base, modules = model.base_model_prefix, dict(model.named_modules())
    bases = {
        name for name, child in model.named_children() if name == base or isinstance(child, type(model).__mro__[1])
    }
    linear = [name for name, m in modules.items() if isinstance(m, nn.Linear) and name.partition(".")[0] not in bases]
    ways = [*WAYS, tuple(linear)] if len(linear) == 1 else WAYS
    for way in ways:
        names = [name.replace("*", base, 1) for name in way]
        if all(name == "?" or isinstance(modules.get(name), (nn.Linear, nn.LayerNorm)) for name in names):
            steps = [ACTIVATIONS if name == "?" else [modules[name]] for name in names]
            yield from (_network(list(chosen)) for chosen in itertools.product(*steps))


def _network(steps: Sequence[Any]) -> HeadModel:
    """Return a head of linear layers, norms and the names of activations."""
    layers: list[dict[str, Any]] = []
    state: dict[str, Tensor] = {}
    for i, step in enumerate(steps):
        if isinstance(step, str):
            layers.append({"type": step})
            continue
        if isinstance(step, nn.Linear):
            sizes = {"in_features": step.in_features, "out_features": step.out_features}
            layers.append({"type": "linear", **sizes, "bias": step.bias is not None})
        else:
            layers.append({"type": "layer-norm", "features": step.normalized_shape[0], "eps": step.eps})
            state[f"{i}.weight"], state[f"{i}.bias"] = (
                torch.ones(step.normalized_shape),
                torch.zeros(step.normalized_shape),
            )
        state |= {f"{i}.{name}": parameter.detach().float() for name, parameter in step.named_parameters()}
    return create_head("network", layers=layers).load_state_dict(state)


def best(heads: Sequence[HeadModel], vectors: Tensor, expected: Tensor, tolerance: float) -> HeadModel | None:
    """Return the head whose scores of vectors are nearest to those expected, or None if that is not near enough."""
    near = [(_distance(head, vectors, expected), i) for i, head in enumerate(heads)]
    distance, i = min(near, default=(torch.inf, 0))
    return heads[i] if distance <= tolerance * float(expected.abs().max()) else None


def _distance(head: HeadModel, vectors: Tensor, expected: Tensor) -> float:
    try:
        scores = head.scores(vectors)
    except AtlasError:
        # It reads vectors of another dimension.
        return torch.inf
    return float((scores - expected).abs().max()) if scores.shape == expected.shape else torch.inf


def _elsewhere(
    heads: Sequence[HeadModel],
    reader: Reader,
    examples: Sequence[Mapping[str, Tensor]],
    expected: Tensor,
    tolerance: float,
) -> str:
    """Say with which options a head reads the vectors, or that there are none."""
    reader.layer, reader.normalize = -1, False
    for pooling in reader.poolings:
        reader.pooling = pooling
        try:
            vectors = vectors_of(reader, examples)
        except UnfitError:
            continue
        if best(heads, vectors, expected, tolerance):
            return (
                f"carries a head that reads layer -1 with pooling '{pooling}' and normalize false - give these options"
            )
    return "carries a head that is made of other layers than Atlas has - train one with 'atlas train'"


def class_names(config: Any, n: int) -> tuple[str, ...]:
    """Return the names of n classes, made distinct; none for a regression."""
    if n == 1 or config.problem_type == "regression":
        return ()
    names = [str(config.id2label.get(i, f"LABEL_{i}")) for i in range(n)]
    return tuple(name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names))
