"""The base of every encoder: items to vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from atlas.cards.names import sha256_of
from atlas.cards.space import Space
from atlas.components.options import Fitted
from atlas.components.settings import left_alone
from atlas.errors import AtlasError
from atlas.faces import public
from atlas.numerics.arrays import check_device, check_finite, frozen, hash_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from atlas.components.head import HeadModel


# Numbers of a batch of vectors.
MAX_BATCH = 2**26


class Encoder(Fitted):
    """A map from items to vectors; each encoder has a space of its own.

    A subclass sets `takes` ("text", "images" or "arrays"; images are arrays, too) and implements `dim` and `_encode`.
    One that must learn from items before it can encode any sets `fits` and implements `_fit`, which returns its
    state; `_encode` reads it from `self.state`.
    """

    kind = "encoder"
    takes: ClassVar[str] = "arrays"
    fits: ClassVar[bool] = False
    # The id its space was stored under, where the encoder was loaded; no annotation, so that it is never an option.
    stored_id = ""

    advice = "call fit() with items first"

    @classmethod
    def from_pretrained(cls, ref: str | Path, **hub: Any) -> Self:
        """Load the encoder of a stored or published space, with its weights.

        Args:
            ref: a folder, the id of a registry entry, or a repository on the Hub: 'hf://owner/name[@revision]', or
                'owner/name' where there is no such folder.
            **hub: how to pull from the Hub: revision, token, cache_dir, local_files_only, force_download.

        Raises:
            NotFoundError: nothing is there.
            CardError: the card is malformed, or its weights make another space.
            AtlasError: it is of another kind, or its plugin is not installed.
        """
        found = public("load")(ref, "space", **hub)
        if not isinstance(found, cls):
            raise AtlasError(f"'{ref}' is the space of {found.label()} - load it with Encoder.from_pretrained")
        return found

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        raise NotImplementedError

    @property
    def fitted(self) -> bool:
        """Whether it can encode: it is fitted, or needs no fit."""
        return self._state is not None or not self.fits

    def identity(self) -> dict[str, Any]:
        """Return everything that fixes the vectors: options that change them, revisions, hashes of weights.

        By default these are all options, and the hash of any learned or loaded state.
        """
        state = self.state_dict()
        return {**self.config(), **({"state": hash_of(state)} if state else {})}

    def space(self, id: str | None = None) -> Space:
        """Return the space this encoder makes, under an id of the caller's choice."""
        identity = self.identity()
        default = f"{self.name}-{sha256_of(identity)[:8]}"
        return Space(id=id or self.stored_id or default, dim=self.dim, encoder=self.name, identity=identity)

    def fit(self, items: Any) -> Self:
        """Learn from items; everything learned before is forgotten.

        Args:
            items: as in `encode`.
        """
        if not self.fits:
            raise self.fail("learns nothing from items - call encode()")
        ready = self.ready(items)
        self.forget()
        with left_alone(self.label()):
            learned = self._fit(ready)
        self._state = frozen(self.check_learned(learned))
        return self

    def encode(self, items: Any, *, batch_size: int = 256, device: str = "cpu") -> Iterator[Tensor]:
        """Yield the vectors of the items, batch by batch.

        Args:
            items: a sequence whose slices are batches: a list of text, an array (n, ...), or `atlas.read_items(path)`.
            batch_size: items in a batch; it must not change the vectors.
            device: where to compute; it must not change the vectors beyond rounding.

        Returns:
            Batches (b, dim) in the order of the items, on the CPU.

        Raises:
            AtlasError: items of another kind, not fitted, no such device, or vectors that are not finite.
        """
        if batch_size < 1:
            raise self.fail(f"needs batches of at least 1 item, got batch_size {batch_size}")
        if not self.fitted:
            raise self.unfitted()
        return self._batches(self.ready(items), batch_size, check_device(device))

    def own_head(self) -> tuple[HeadModel, Sequence[str]]:
        """Return the head that its checkpoint carries, fitted, and the names of its classes.

        `atlas.Head.of_encoder` makes an artefact of it.

        Raises:
            AtlasError: it carries none, or one that reads other vectors than these options make.
        """
        return self._head()

    def module(self) -> nn.Module:
        """Return the network from a batch of items, as a tensor, to their vectors (b, dim), in evaluation mode.

        An encoder that has one gives the shape of an item in its attribute `input_shape`.

        Raises:
            AtlasError: it is no network, or takes items that are no tensors.
        """
        raise self.fail("is no network from tensors to vectors - export the alignment alone")

    def ready(self, items: Any) -> Any:
        """Return items of the kind this encoder takes, as it wants them."""
        from atlas.items.batches import as_items, of_kind

        given = as_items(items)
        try:
            taken = of_kind(given, self.takes)
        except AtlasError as error:
            raise self.fail(str(error)) from None
        return self._prepare(taken)

    def _batches(self, items: Any, batch_size: int, device: str) -> Iterator[Tensor]:
        import torch

        d = self.dim
        batch_size = min(batch_size, items.at_once(), max(1, MAX_BATCH // d))
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            with left_alone(self.label()), torch.no_grad():
                X = self.made(self._encode(batch, device), len(batch), d).cpu()
            check_finite(X, f"The output of {self.label()}", start, more=start + len(batch) < len(items))
            yield X

    def _prepare(self, items: Any) -> Any:
        """Return items as they are to be read, such as `items.each(resize)` for images of any size."""
        return items

    def _fit(self, items: Any) -> dict[str, Tensor]:
        """Return the state learned from items, whose slices are batches."""
        raise NotImplementedError

    def _encode(self, batch: Any, device: str) -> Tensor:
        """Return the vectors (b, dim) of a batch.

        Args:
            batch: a list of text; images (b, 3, height, width), float32, RGB in [0, 1]; or a tensor (b, ...) of arrays.
            device: where to compute.
        """
        raise NotImplementedError

    def _head(self) -> tuple[HeadModel, Sequence[str]]:
        """Return a fitted head of this space, and the names of its classes."""
        raise self.fail("carries no head - train one with 'atlas train', or give another")

    def __getstate__(self) -> dict[str, Any]:
        """Return all that another process needs: options and state; models that are loaded are loaded again there."""
        options = {f.name for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in vars(self).items() if name in {*options, "_state", "stored_id"}}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the learned or loaded state, as contiguous tensors on the CPU; empty for most encoders."""
        return dict(self.state) if self.fits else dict(self._state or {})
