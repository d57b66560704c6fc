"""Images to vectors, with the vision models of `transformers`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import atlas
from atlas.authors import ImageItems
from atlas_transformers import checkpoint, loading
from atlas_transformers.encoder import Transformer
from atlas_transformers.pictures import Picture, picture_of
from atlas_transformers.readers import ImageReader

POOLINGS = ("mean", "cls", "cls-mean", "max", "pooler", "projection")
# Images in one batch on a CPU: more would not compute faster, only need more memory.
IMAGES = 32


@dataclass
class TransformersImage(Transformer):
    """Any layer of a vision model of transformers, from the Hub or a folder; its classifier, if it has one, is a head.

    Images of any size go in; they are resized, cropped and standardised as the image processor of the model does it.
    """

    name = "transformers-image"
    takes = "images"
    files = checkpoint.IMAGE

    pooling: str = atlas.option(
        "mean",
        help="The vector of an image: mean or max over places, the class token (cls), both (cls-mean), the output "
        "of the model's own pooler, or its projection where a model such as CLIP has one space for texts and images",
        choices=POOLINGS,
    )

    def module(self) -> nn.Module:
        """Return the network, from images (b, 3, height, width) of any size, RGB in [0, 1], to vectors."""
        self._facts  # noqa: B018 - options that do not go with the model are told now
        return self._reader

    @property
    def input_shape(self) -> list[int]:
        """The shape of an image that needs not be resized: channels, height, width."""
        side = self._checkpoint.config.get("image_size", 224)
        return [3, *(self._picture.natural or ([side, side] if isinstance(side, int) else side))]

    @functools.cached_property
    def _picture(self) -> Picture:
        return self._telling(lambda: picture_of(loading.image_processor(self._checkpoint)))

    def _load(self) -> ImageReader:
        model, part = self._model("MODEL_MAPPING")
        return ImageReader(self._picture, model, part, self.layer, self.pooling, self.normalize).eval()

    @functools.cached_property
    def _examples(self) -> list[dict[str, Tensor]]:
        reader: Any = self._reader
        noise = torch.rand(2, *self.input_shape, generator=torch.Generator().manual_seed(0))
        return [reader.features(self._sized(image)[None]) for image in noise]

    def _prepare(self, items: ImageItems) -> ImageItems:
        return items.each(self._sized)

    def _sized(self, image: Tensor) -> Tensor:
        return self._picture.sized(image[None])[0]

    def _encode(self, batch: Tensor, device: str) -> Tensor:
        reader: Any = self._reader.to(device)
        parts = batch.split(IMAGES if device == "cpu" else len(batch))
        # They have been resized and cut already, one by one, when they were read.
        return self._computing(lambda: torch.cat([reader.read(reader.features(X.to(device))).cpu() for X in parts]))
