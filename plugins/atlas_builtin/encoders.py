"""Built-in encoders: pixels, any network that data can describe, and vectors that something else has made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

import atlas
from atlas import Items
from atlas.authors import ImageItems, as_items, as_real, hash_of, load_tensors, network, sha256_of, slug
from atlas_builtin.tfidf import TfidfSvd

# How RGB becomes grey in ITU-R BT.601, and in Pillow.
GREY = (0.299, 0.587, 0.114)
# Of the vectors of a space; a small file may hold far larger pictures.
MAX_DIM = 2**24


class _Shaped(atlas.Encoder):
    """An encoder of items of one shape, which it learns from the first of them."""

    fits = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return tuple(self.state["shape"].tolist())

    @property
    def dim(self) -> int:
        """The number of values in one item."""
        return math.prod(self.shape)

    def identity(self) -> dict[str, Any]:
        """Return the options and the shape of an item."""
        return {**self.config(), "shape": list(self.shape)}

    def encode(self, items: Any, *, batch_size: int = 256, device: str = "cpu") -> Iterator[Tensor]:
        """Yield the vectors of the items, batch by batch; the first items that are seen decide the shape."""
        items = as_items(items)
        if not self.fitted:
            self.fit(items)
        return super().encode(items, batch_size=batch_size, device=device)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Load the result of `state_dict`."""
        shape = state.get("shape")
        if shape is None or shape.ndim != 1 or not len(shape) or shape.dtype != torch.int64 or bool((shape < 1).any()):
            raise self.fail("needs a tensor 'shape' of whole numbers from 1")
        return super().load_state_dict({"shape": shape})

    def _fit(self, items: Items) -> dict[str, Tensor]:
        shape = self._values(items[:1]).shape[1:]
        if math.prod(shape) > MAX_DIM:
            advice = "make the items smaller, as encoder 'pixels' does with -o size 32"
            raise self.fail(f"makes vectors of {math.prod(shape)} dimensions, more than {MAX_DIM} - {advice}")
        return {"shape": torch.tensor(shape)}

    def _encode(self, batch: Tensor, device: str) -> Tensor:
        X = self._values(batch.to(device))
        if X.shape[1:] != self.shape:
            raise self.fail(f"takes items of shape {self.shape}, as its first, got {tuple(X.shape[1:])}")
        return X.flatten(1)

    def _values(self, batch: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass
class Pixels(_Shaped):
    """The pixels of images, or the values of arrays, one after the other: the plainest space there is.

    Bytes are divided by 255, so that they lie in [0, 1], as images that are read from files do.
    """

    name = "pixels"

    size: int | None = atlas.option(None, help="Resize images to this many pixels in both directions; none: leave them")
    grayscale: bool = atlas.option(False, help="Weigh red, green and blue into one channel")

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise self.fail(f"needs a size of at least 1 pixel, got {self.size}")

    def _prepare(self, items: Items) -> Items:
        # One by one, because images that are yet to be resized cannot be stacked.
        return items.each(lambda image: self._values(image[None])[0]) if isinstance(items, ImageItems) else items

    def _values(self, batch: Tensor) -> Tensor:
        X = as_real(batch)
        if not (self.size or self.grayscale):
            return X
        if X.ndim != 4 or X.shape[1] not in (1, 3):
            raise self.fail(f"can resize and weigh colours of images (3, height, width), got {tuple(X.shape[1:])}")
        if self.grayscale and X.shape[1] == 3:
            X = (X * X.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)
        if self.size and X.shape[2:] != (self.size, self.size):
            X = F.interpolate(X, (self.size, self.size), mode="bilinear", antialias=True)
        return X


@dataclass
class Precomputed(_Shaped):
    """Vectors made elsewhere, as they are: gives the vectors of an outside service a space of their own."""

    name = "precomputed"

    model: str = atlas.option(help="Model that made the vectors, such as text-embedding-3-small")
    revision: str = atlas.option("", help="Which revision of it, and whatever else it takes to make the same vectors")

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise self.fail("needs the name of the model that made the vectors, got ''")

    def space(self, id: str | None = None) -> atlas.Space:
        """Return the space of the vectors, named after their model."""
        return super().space(id or self.stored_id or slug(self.model))

    def _values(self, batch: Tensor) -> Tensor:
        if batch.ndim != 2:
            raise self.fail(f"takes vectors (n, d), got shape {tuple(batch.shape)}")
        return batch if batch.is_floating_point() else batch.float()


@dataclass
class Network(atlas.Encoder):
    """A feed-forward network described by a list of layers, with weights from a .safetensors file.

    Images and arrays go in as they are, bytes divided by 255; a network that wants them scaled otherwise begins with a
    layer that does so. Networks of equal layers and weights make the same space, wherever their files lie.
    """

    name = "network"

    layers: list = atlas.option(help="The layers, as a list; on the command line, @FILE reads it from a YAML file")
    weights: str = atlas.option("", help="Path of the .safetensors file of its tensors; kept in a stored space")
    input_shape: list = atlas.option([], help="Shape of one item, such as [3, 32, 32]; not needed if 'linear' is first")

    def __post_init__(self) -> None:
        self.layers = network.check(self.layers)
        first = self.layers[0] if self.layers else {}
        if not self.input_shape and first.get("type") == "linear":
            self.input_shape = [first["in_features"]]
        if not self.input_shape:
            raise self.fail("needs the shape of one item - give option 'input_shape', such as [3, 32, 32]")
        made = network.output_shape(self.layers, self.input_shape)
        if len(made) != 1:
            raise self.fail(f"must end in vectors, but its layers end in {made} - add a layer such as 'flatten'")
        if self.weights:
            self.load_state_dict(load_tensors(Path(self.weights)))

    @property
    def dim(self) -> int:
        """The number of features of the last layer."""
        return network.output_shape(self.layers, self.input_shape)[0]

    def config(self) -> dict[str, Any]:
        """Return the options but the path of the weights, which are the state."""
        return {"layers": self.layers, "input_shape": self.input_shape}

    def identity(self) -> dict[str, Any]:
        """Return the hashes of layers and weights."""
        return {"layers": sha256_of(self.layers), "weights": hash_of(self.state)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take weights, and refuse those that are not of these layers."""
        network.load(self.layers, state)
        return super().load_state_dict(state)

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights: float32, contiguous, on the CPU."""
        if self._state is None:
            raise self.fail("has no weights - give option 'weights', or load a stored space")
        return self._state

    def _encode(self, batch: Tensor, device: str) -> Tensor:
        X = as_real(batch.to(device))
        if X.shape[1:] != tuple(self.input_shape):
            raise self.fail(f"takes items of shape {tuple(self.input_shape)}, got {tuple(X.shape[1:])}")
        return network.in_parts(self.module().to(device), X, self._rows)

    def module(self) -> torch.nn.Module:
        """Return the network, from real numbers of the input shape to vectors."""
        if "_built" not in vars(self):
            self._built = network.load(self.layers, self.state)
            self._rows = network.batch_rows(self.layers, self.input_shape)
        return self._built


ALL = [Pixels, Precomputed, Network, TfidfSvd]
