"""Images as a model wants them: resized, cropped and standardised by tensor operations that can be exported."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas_transformers.checkpoint import UnfitError

# As Pillow numbers them.
_MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Picture:
    """The image processor of a model.

    Attributes:
        size: height and width to resize to; (n, 0) makes the shorter side n and keeps the proportions; None: as it is.
        crop: height and width to cut out of the middle; None: nothing is cut.
        mode: how to resize: bilinear, bicubic or nearest.
        mean: of each channel, of numbers from 0 to 1.
        std: the same.
        flip: whether the model wants blue, green and red, in this order.
    """

    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = False

    @property
    def natural(self) -> tuple[int, int] | None:
        """Height and width of an image that needs not be resized; None where none is."""
        if self.size is None:
            return self.crop
        return (self.size[0], self.size[1] or self.size[0])

    def sized(self, images: Tensor) -> Tensor:
        """Return images (b, 3, height, width), of any size, in the size of the model."""
        return self._cropped(self._resized(images))

    def scaled(self, images: Tensor) -> Tensor:
        """Return images (b, 3, height, width) in [0, 1] in the scale of the model."""
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return ((images.flip(1) if self.flip else images) - mean) / std

    def _resized(self, images: Tensor) -> Tensor:
        tall, wide = self._target(*images.shape[2:])
        # Across, then down, and bytes after each, as Pillow does it; its newest versions go down first where that is
        # less work, which changes the last bit of some.
        return self._stretched(self._stretched(images, images.shape[2], wide), tall, wide)

    def _stretched(self, images: Tensor, height: int, width: int) -> Tensor:
        if images.shape[2:] == (height, width):
            return images
        if self.mode == "nearest":
            return images[:, :, _nearest(height, images.shape[2])][:, :, :, _nearest(width, images.shape[3])]
        made = F.interpolate(images, (height, width), mode=self.mode, antialias=True)
        return (255 * made).round().clamp(0, 255) / 255

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is None:
            return height, width
        short, other = self.size
        if other:
            return self.size
        long = int(short * max(height, width) / min(height, width))
        return (short, long) if height <= width else (long, short)

    def _cropped(self, images: Tensor) -> Tensor:
        if self.crop is None or images.shape[2:] == self.crop:
            return images
        (height, width), (tall, wide) = images.shape[2:], self.crop
        # An image smaller than the piece to cut gets a black frame, the larger half of it above and on the left.
        rows, columns = max(tall - height, 0), max(wide - width, 0)
        padded = F.pad(images, (columns - columns // 2, columns // 2, rows - rows // 2, rows // 2))
        top, left = (padded.shape[2] - tall) // 2, (padded.shape[3] - wide) // 2
        return padded[:, :, top : top + tall, left : left + wide]


def _nearest(to: int, of: int) -> list[int]:
    """Return which of the pixels in a row become those of a row of another length, rounding as Pillow does."""
    step = of / to
    return [int(place) for place in itertools.accumulate([step] * (to - 1), initial=step / 2)]


def picture_of(processor: Any) -> Picture:
    """Return the work of an image processor of `transformers`.

    Raises:
        UnfitError: it does something else than resize, cut and standardise.
    """
    settings = processor.to_dict()
    name = settings.get("image_processor_type", type(processor).__name__)
    try:
        made = _read(settings, str(name))
        worst = max(_difference(made, processor, *shape) for shape in ((61, 83), (90, 40), (200, 300)))
    except UnfitError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, ZeroDivisionError):
        worst = torch.inf
    if worst > 2.5:
        raise UnfitError(f"cannot do the work of the image processor {name} - give a model with a plainer one")
    return made


def _read(settings: Mapping[str, Any], name: str) -> Picture:
    """Return the picture by the settings of an image processor; `picture_of` checks that it is so."""
    size = _pair(settings["size"]) if settings.get("do_resize") else None
    crop = _pair(settings["crop_size"]) if settings.get("do_center_crop") else None
    if size and not size[1] and settings.get("crop_pct"):
        short = size[0]
        # As ConvNeXt does: small images are cut out of larger ones, large ones are squeezed.
        size, crop = ((int(short / settings["crop_pct"]), 0), (short, short)) if short < 384 else ((short, short), None)
    elif size and not size[1] and name.startswith("Levit"):
        size = int(256 / 224 * size[0]), 0
    mean, std = _statistics(settings)
    # Images here are from 0 to 1, which a processor makes of bytes by its factor.
    unit = 255 * (settings["rescale_factor"] if settings.get("do_rescale") else 1)
    shift, scale = (tuple(float(value) / unit for value in values) for values in (mean, std))
    flip = bool(settings.get("do_flip_channel_order"))
    return Picture(size, crop, _MODES[int(settings.get("resample", 2))], shift, scale, flip)


def _statistics(settings: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return the mean and the divisor of each channel, in the units of the processor."""
    mean, std = [0.0] * 3, [1.0] * 3
    if settings.get("do_normalize"):
        mean, std = list(settings["image_mean"]), list(settings["image_std"])
    # As EfficientNet does.
    if settings.get("include_top"):
        std = [a * b for a, b in zip(std, settings["image_std"], strict=True)]
    return [value + bool(settings.get("rescale_offset")) for value in mean], std


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, 0
    if "shortest_edge" in size:
        if set(size) - {"shortest_edge"}:
            raise ValueError
        return int(size["shortest_edge"]), 0
    return int(size["height"]), int(size["width"])


def _difference(picture: Picture, processor: Any, height: int, width: int) -> float:
    """Return by how much, in 255ths of the whole range, picture and processor differ on an image of waves."""
    from PIL import Image

    y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 7, width), indexing="ij")
    waves = torch.stack([torch.sin(x + y * y), torch.cos(2 * x) * torch.sin(y), torch.cos(x * y / 3)])
    pixels = ((waves + 1) * 127.5).round().to(torch.uint8)
    theirs = processor(Image.fromarray(pixels.permute(1, 2, 0).numpy()), return_tensors="pt")["pixel_values"]
    ours = picture.scaled(picture.sized(pixels[None] / 255))
    if ours.shape != theirs.shape:
        return torch.inf
    return float(((ours - theirs).abs() * torch.tensor(picture.std).view(1, -1, 1, 1)).max() * 255)
