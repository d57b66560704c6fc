"""Encoder, alignment and head as one model that is used like any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.head import Head
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError


class Stitched(nn.Module):
    """One model's encoder, a map between spaces, and the head of another model.

    Attributes:
        encoder: what turns items into vectors.
        alignment: the map from its space to the head's; None where both are of one space.
        head: what reads the vectors.
        classes: names of the classes, in the order of the columns of the scores.
    """

    kind = "stitched"

    def __init__(self, encoder: Encoder, alignment: Alignment | None, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.alignment = alignment
        self.head = head
        self.classes = head.classes

    def batches(self, items: Any, *, batch_size: int = 256, device: str = "cpu") -> Iterator[Tensor]:
        """Yield the scores of the items (b, classes), batch by batch."""
        for X in self.encoder.encode(items, batch_size=batch_size, device=device):
            yield self.head(X if self.alignment is None else self.alignment(X))

    def forward(self, items: Any) -> Tensor:
        """Return the scores (n, classes) of items: a list of text, an array, or `atlas.read_items(path)`."""
        return torch.cat(list(self.batches(items)))

    def predict(self, items: Any) -> list[str]:
        """Return the name of the class of each item."""
        if not self.classes:
            raise AtlasError(f"Head '{self.head.id}' names no classes - call the model for its scores")
        return [self.classes[i] for i in self.forward(items).argmax(1).tolist()]


def stitch(encoder: Encoder, alignment: Alignment | None, head: Head) -> Stitched:
    """Attach the head of one model to the encoder of another.

    Args:
        encoder: of the source.
        alignment: from the encoder's space to the head's; None if they are the same.
        head: of the target.

    Raises:
        SpaceMismatchError: encoder, alignment and head do not meet.
    """
    space = encoder.space()
    if alignment is not None:
        alignment.source.require(space, f"Alignment '{alignment.id}' maps from", "the encoder's vectors")
        space = alignment.target
        head.space.require(space, f"Head '{head.id}' reads", f"the vectors alignment '{alignment.id}' makes")
    else:
        head.space.require(space, f"Head '{head.id}' reads", "the encoder's vectors")
    return Stitched(encoder, alignment, head)
