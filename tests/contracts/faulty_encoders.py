"""Encoders with one fault each, which `atlas.testing` is to find; the first has none."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch.nn.functional import dropout

import atlas


@dataclass
class Words(atlas.Encoder):
    """Count words, and project the counts by chance."""

    name = "words"
    takes = "text"

    seed: int = atlas.option(0, help="Of the projection")
    lower: bool = atlas.option(False, help="Treat upper and lower case alike")

    @property
    def dim(self):
        return 16

    def number(self, word):
        return zlib.crc32(word.encode()) % 64

    def read(self, text):
        return text.split()

    def _encode(self, batch, device):
        counts = torch.zeros(len(batch), 64)
        for row, text in enumerate(batch):
            for word in self.read(text.lower() if self.lower else text):
                counts[row, self.number(word)] += 1
        weights = torch.randn(64, 16, generator=torch.Generator().manual_seed(self.seed))
        return counts.to(device) @ weights.to(device)


class SortsTheBatch(Words):
    def _encode(self, batch, device):
        return super()._encode(sorted(batch), device)


class CentresTheBatch(Words):
    def _encode(self, batch, device):
        X = super()._encode(batch, device)
        return X - X.mean(0)


class DimIsWrong(Words):
    @property
    def dim(self):
        return 15


class DropsOut(Words):
    def _encode(self, batch, device):
        return dropout(super()._encode(batch, device), 0.1)


class KeepsAnAttribute(Words):
    fits = True

    def _fit(self, items):
        self.mean = super()._encode(items[:], "cpu").mean(0)
        return {"count": torch.tensor(len(items))}

    def _encode(self, batch, device):
        if "mean" not in vars(self):
            raise self.fail("is not fitted - call fit() first")
        return super()._encode(batch, device) - self.mean.to(device)


class Float64Result(Words):
    def _encode(self, batch, device):
        return super()._encode(batch, device).double()


class ChangesTheBatch(Words):
    def _encode(self, batch, device):
        X = super()._encode(batch, device)
        batch[:] = [text.upper() for text in batch]
        return X


class OptionNotInTheSpace(Words):
    def identity(self):
        return {name: value for name, value in super().identity().items() if name != "seed"}


class HashOfStrings(Words):
    def number(self, word):
        return hash(word) % 64


class StaysOnTheCPU(Words):
    def _encode(self, batch, device):
        return super()._encode(batch, "cpu")


class DropsEmptyTexts(Words):
    def _encode(self, batch, device):
        return super()._encode([text for text in batch if text.strip()], device)


class ThreeCharacters(Words):
    def read(self, text):
        return super().read(text[:3])


class OneVector(Words):
    def read(self, text):
        return ["same"]
