"""Parts of a model: maps from rows to rows, each of which becomes a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import atlas

if TYPE_CHECKING:
    from atlas.authors import HeadModel, NearestNeighboursHead, Stitched


@dataclass(frozen=True)
class Part:
    """One map from rows to rows.

    Attributes:
        name: of its graph.
        label: its name in messages.
        shape: of one row that goes in.
        function: the map, for torch to trace; of rows (n, *shape), float32.
        affine: the tensors weight and bias, where these are all there is to it.
    """

    name: str
    label: str
    shape: tuple[int, ...]
    function: Callable[[Tensor], Tensor]
    affine: tuple[Tensor, Tensor] | None = None


def parts_of(model: atlas.Alignment | Stitched, input_shape: Sequence[int]) -> list[Part]:
    """Return the parts of an alignment or a stitched model in order; nothing of the model is shared with them."""
    if isinstance(model, atlas.Alignment):
        return maps_of(model.aligner)
    first = encoder_part(model.encoder, input_shape)
    maps = [] if model.alignment is None else maps_of(model.alignment.aligner)
    return [first, *maps, head_part(model.head.model, model.head.space.dim)]


def maps_of(aligner: atlas.Aligner) -> list[Part]:
    """Return the parts of a fitted aligner, of which a composed one has several."""
    from atlas.authors import Composed

    steps = copy(aligner).parts if isinstance(aligner, Composed) else [(copy(aligner), False)]
    return [map_part(f"map{i}", *step) for i, step in enumerate(steps)]


def map_part(name: str, aligner: atlas.Aligner, inverse: bool) -> Part:
    """Return a fitted aligner, or its way back, as a part."""
    state, label = aligner.state_dict(), aligner.label()
    if aligner.affine and not inverse:
        return Part(name, label, (aligner.d_source,), aligner._transform, (state["weight"], state["bias"]))
    if inverse:
        return Part(name, f"the way back of {label}", (aligner.d_target,), aligner._inverse_transform)
    return Part(name, label, (aligner.d_source,), aligner._transform)


def encoder_part(encoder: atlas.Encoder, input_shape: Sequence[int]) -> Part:
    """Return the network of an encoder as a part."""
    network = encoder.module()
    shape = tuple(input_shape or getattr(encoder, "input_shape", ()))
    if not shape:
        raise encoder.fail("does not tell the shape of one item - give option 'input_shape', such as [3, 32, 32]")
    return Part("encoder", encoder.label(), shape, network)


def head_part(head: HeadModel, d: int) -> Part:
    """Return a fitted head as a part."""
    from atlas.authors import LinearHead, NearestNeighboursHead

    own = copy(head)
    if isinstance(own, LinearHead):
        return Part("head", own.label(), (d,), own._scores, (own.state["weight"], own.state["bias"]))
    if isinstance(own, NearestNeighboursHead):
        return Part("head", own.label(), (d,), votes(own, own.outputs(d)))
    return Part("head", own.label(), (d,), own._scores)


def votes(head: NearestNeighboursHead, classes: int) -> Callable[[Tensor], Tensor]:
    """Return the scores of neighbours without the head's loop over blocks of rows, which cannot be traced."""
    from atlas.authors import similarity

    vectors, labels = head.state["vectors"], head.state["labels"]
    weights = 1 + 0.5 ** torch.arange(1, head.k + 1).float()

    def scores(X: Tensor) -> Tensor:
        nearest = similarity(X, vectors, head.metric).topk(head.k).indices
        result = X.new_zeros(X.shape[0], classes)
        return result.scatter_add(1, labels[nearest], weights.expand(X.shape[0], -1))

    return scores


def copy(component: Any) -> Any:
    """Return a fitted component of its own, so that traces of tracing stay in it alone."""
    return type(component).from_config(component.config()).load_state_dict(component.state_dict())
