"""Items in batches: texts, images and arrays, with the id and, if known, the class of each.

Slices of items are batches: a list of text; a float32 tensor (b, 3, height, width), RGB in [0, 1], for images; a tensor
(b, ...) for arrays.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError, needed, reported
from atlas.numerics.arrays import is_finite, tensor_of
from atlas.storage.item_ids import RowNumbers, SomeRows, check_ids

# Formats Pillow may try, whatever a file is called: none of them runs another program, as EPS would.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
# Less than 1 GB of memory while it is decoded: a small file may claim to be a picture of any size.
MAX_PIXELS = 2**25
# Numbers of a batch.
MAX_BATCH = 2**26


class Items(Sequence[Any]):
    """A sequence whose slices are batches.

    Attributes:
        kind: "text", "images" or "arrays".
        name: of the data set; '' for items given in Python.
        ids: one distinct text for each item, by which vectors are paired.
        labels: the class of each item, '' where it is not known; or None.
    """

    kind = ""

    def __init__(
        self, n: int, *, name: str = "", ids: Sequence[str] | None = None, labels: list[str] | None = None
    ) -> None:
        if n == 0:
            raise AtlasError("The input has no items")
        self.name = name
        self.ids = check_ids(RowNumbers(n) if ids is None else ids, n, "The input")
        self.labels = labels

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order: by value if all are whole numbers, else by alphabet."""
        names = set(self.labels or ()) - {""}
        numbers = all(name.isascii() and name.isdigit() for name in names)
        return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else str))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def __getitem__(self, index: Any) -> Any:
        """Return a batch for a slice, one item for a number."""
        if isinstance(index, slice):
            return self._batch(range(*index.indices(len(self))))
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self._batch(range(row, row + 1))[0]

    def at_once(self) -> int:
        """Return how many items a batch may have so that there is memory for it."""
        return len(self)

    def bad(self) -> list[int]:
        """Return the rows of the items that mean nothing: empty texts, images that cannot be read, NaN or infinity."""
        return [row for row in range(len(self)) if self._is_bad(row)]

    def take(self, rows: Sequence[int]) -> Self:
        """Return the items of some rows."""
        taken = copy.copy(self)
        kind = SomeRows if isinstance(self.ids, (RowNumbers, SomeRows)) else list
        taken.ids = kind(self.ids[row] for row in rows)
        taken.labels = None if self.labels is None else [self.labels[row] for row in rows]
        taken._keep(rows)
        return taken

    def _is_bad(self, row: int) -> bool:
        raise NotImplementedError

    def _keep(self, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def _batch(self, rows: range) -> Any:
        raise NotImplementedError


class TextItems(Items):
    """Texts; a batch is a list."""

    kind = "text"

    def __init__(self, texts: Sequence[str], **about: Any) -> None:
        self.texts = texts
        super().__init__(len(texts), **about)

    def _is_bad(self, row: int) -> bool:
        return not self.texts[row].strip()

    def _keep(self, rows: Sequence[int]) -> None:
        self.texts = [self.texts[row] for row in rows]

    def _batch(self, rows: range) -> list[str]:
        return [self.texts[i] for i in rows]


class ArrayItems(Items):
    """Arrays of one shape, in memory or in a file that is read as it is used; a batch is a tensor (b, ...)."""

    kind = "arrays"

    def __init__(self, data: Tensor | np.ndarray, **about: Any) -> None:
        if not isinstance(data, torch.Tensor):
            _check_numeric(data)
        elif data.is_complex():
            raise AtlasError(f"Items must hold real numbers, got {data.dtype}")
        if data.ndim < 2:
            raise AtlasError(f"Items must be arrays with rows, got shape {tuple(data.shape)} - add a dimension")
        if 0 in data.shape[1:]:
            raise AtlasError(f"Items must not be empty, got shape {tuple(data.shape)}")
        self.data = data
        super().__init__(len(data), **about)

    def at_once(self) -> int:
        """Return how many items a batch may have, by their shape."""
        return max(1, MAX_BATCH // math.prod(self.data.shape[1:]))

    def _is_bad(self, row: int) -> bool:
        return not is_finite(self[row])

    def _keep(self, rows: Sequence[int]) -> None:
        self.data = self.data[list(rows)]

    def _batch(self, rows: range) -> Tensor:
        part = self.data[rows.start : rows.stop] if rows.step == 1 else self.data[list(rows)]
        return part.detach() if isinstance(part, torch.Tensor) else tensor_of(np.array(part))


def _check_numeric(array: np.ndarray) -> None:
    if array.dtype.kind not in "fiub":
        raise AtlasError(f"Items must hold real numbers, got {array.dtype}")


class ImageItems(Items):
    """Images, decoded when a batch of them is asked for.

    They become RGB as they are stored: an alpha channel is dropped, a tag that says which side is up is not followed,
    and of an animation the first picture counts.
    """

    kind = "images"

    def __init__(self, sources: Sequence[Any], **about: Any) -> None:
        self.sources = sources
        self._function: Callable[[Tensor], Tensor] | None = None
        self._first: tuple[str, tuple[int, ...]] | None = None
        super().__init__(len(sources), **about)

    def each(self, function: Callable[[Tensor], Tensor]) -> ImageItems:
        """Return the same images, each put through a function, (3, height, width) to (...), before they are stacked."""
        result = copy.copy(self)
        result._function, result._first = function, None
        return result

    def at_once(self) -> int:
        """Return how many items a batch may have, by the size of the first."""
        return max(1, MAX_BATCH // self._load(0).numel())

    def _is_bad(self, row: int) -> bool:
        try:
            decode(self.sources[row])
        except AtlasError:
            return True
        return False

    def _keep(self, rows: Sequence[int]) -> None:
        self.sources = [self.sources[row] for row in rows]

    def _batch(self, rows: range) -> Tensor:
        images = [self._load(i) for i in rows]
        # A picture may be as large as memory allows, once.
        return images[0][None] if len(images) == 1 else torch.stack(images) if images else torch.empty(0)

    def _load(self, i: int) -> Tensor:
        image = decode(self.sources[i])
        image = self._function(image) if self._function else image
        shape = tuple(image.shape)
        first, expected = self._first = self._first or (self.ids[i], shape)
        if shape != expected:
            sizes = f"'{first}' is {_size(expected)}, '{self.ids[i]}' is {_size(shape)}"
            raise AtlasError(
                f"Images must have one size: {sizes} - resize them, as encoder 'pixels' does with -o size 32"
            )
        return image


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]}" if len(shape) == 3 else str(shape)


def pillow() -> Any:
    """Return `PIL.Image`, or raise `AtlasError` saying how to get it."""
    with needed("Reading images needs", "Pillow", "images"):
        from PIL import Image
    return Image


def decode(source: Any) -> Tensor:
    """Return an image as float32 (3, height, width), RGB in [0, 1].

    Args:
        source: its file; an image of Pillow; or a tensor (3 or 1, height, width), bytes or else from 0 to 1.
    """
    if isinstance(source, torch.Tensor):
        return as_real(source).expand(3, -1, -1)
    image = source
    if isinstance(source, Path):
        # A damaged file can make Pillow raise almost anything: OSError, SyntaxError, ValueError, struct.error...
        with reported(f"{source}: not an image that can be read", Exception), _opened(source) as image:
            image.load()
    if image.mode.startswith(("I", "F")):
        where = f"{source}: it" if isinstance(source, Path) else "The image"
        raise AtlasError(f"{where} has more than 8 bits a channel (mode '{image.mode}') - convert it to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    # From 'La' and 'RGBa', in which colours have been multiplied by alpha, Pillow knows the way by these alone.
    for mode in (image.mode.replace("a", "A"), "RGB"):
        image = image if image.mode == mode else image.convert(mode)
    pixels = np.array(image)
    # Of a large picture there is not room for both.
    del image
    return as_real(torch.from_numpy(pixels).permute(2, 0, 1))


def _opened(path: Path) -> Any:
    """Return an image that has not been decoded yet, or raise `AtlasError` if it is too large to be."""
    library = pillow()
    library.init()
    image = library.open(path, formats=[name for name in FORMATS if name in library.OPEN])
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise AtlasError(f"{path}: {size} pixels are more than the {MAX_PIXELS} that are read - make it smaller")
    return image


def as_real(batch: Tensor) -> Tensor:
    """Return numbers as float32; bytes, which are taken for parts of pixels, are divided by 255."""
    return batch.float().div_(255) if batch.dtype == torch.uint8 else batch.float()


def as_items(data: Any) -> Items:
    """Return Python values as items, numbered from 0: texts, a tensor or array (n, ...), or Pillow's images.

    Raises:
        AtlasError: a single text, nothing, or things that are neither all text, all images nor arrays of one shape.
    """
    if isinstance(data, Items):
        return data
    if isinstance(data, (str, bytes, Path)):
        raise AtlasError(
            f"Items must be a list, got {data!r} alone - give [text], or atlas.read_items(path) for a file"
        )
    if isinstance(data, torch.Tensor):
        return ArrayItems(data)
    if isinstance(data, np.ndarray) and data.dtype.kind not in "OUT":
        return ArrayItems(data)
    if not isinstance(data, Iterable):
        raise AtlasError(f"Items must be a list of text, an array or images, got {type(data).__name__}")
    listed = list(data)
    if not listed:
        raise AtlasError("The input has no items")
    if isinstance(listed[0], str):
        return TextItems(texts(listed, lambda i: f"Item {i}"))
    if hasattr(listed[0], "convert") and all(isinstance(item, pillow().Image) for item in listed):
        return ImageItems(listed)
    with reported("Items must be all text, all images, or arrays of one shape", ValueError, TypeError, RuntimeError):
        arrays = torch.stack(listed) if isinstance(listed[0], torch.Tensor) else np.array(listed)
    return ArrayItems(arrays)


def of_kind(items: Items, takes: str) -> Items:
    """Return items as an encoder takes them: images given to an encoder of arrays stay images, as do their batches.

    Raises:
        AtlasError: items of another kind; the message continues a sentence that begins with the encoder.
    """
    if items.kind == takes or (items.kind, takes) == ("images", "arrays"):
        return items
    if takes == "images" and isinstance(items, ArrayItems):
        if items.data.ndim == 4 and items.data.shape[1] in (1, 3):
            return ImageItems(items, name=items.name, ids=items.ids, labels=items.labels)
        raise AtlasError(f"takes images (n, 3, height, width), got arrays of shape {tuple(items.data.shape)}")
    raise AtlasError(f"takes {takes}, got {items.kind}" + (f" '{items.name}'" if items.name else ""))


def texts(values: Sequence[Any], where: Callable[[int], str]) -> list[str]:
    """Return values that are all text which can be written as UTF-8.

    Args:
        values: the values, which should be text.
        where: the name of the i-th of them in a message.
    """
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise AtlasError(f"{where(i)} is {'missing' if value is None else type(value).__name__}, not text")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise AtlasError(f"{where(i)} holds half a character (a lone surrogate) - correct the text") from None
    return list(values)
