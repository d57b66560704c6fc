"""Decoders of variational autoencoders, given the codes of another seed's encoder: as they are, translated, relative.

python docs/papers/relative/vae.py --data DATA --out vae
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import paper_networks
import papers
from paper_networks import read_by
from papers import Report

import atlas
from atlas.models import network

Figures = Iterator[dict[str, Any]]
# Numbers in a code, and pairs or anchors; passes over the images, images in a batch, and rate of learning.
CODE, PAIRS = 16, 300
EPOCHS, BATCH, RATE = 40, 128, 2e-3


@dataclass(frozen=True)
class Model:
    """A variational autoencoder: its encoder, which ends in means and logarithms of variances, and its decoder."""

    encoder: torch.nn.Sequential
    decoder: torch.nn.Sequential

    @torch.no_grad()
    def means(self, X: Tensor) -> Tensor:
        """Return the codes of images, without noise."""
        return self.encoder(X).chunk(2, 1)[0]

    def noisy(self, X: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return codes drawn for images, and for each its divergence from the standard normal distribution."""
        mean, log_variance = self.encoder(X).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return mean + (log_variance / 2).exp() * noise, divergence


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure what the section on variational autoencoders tells."""
    splits = ("digits-train", "digits-test") if report.small else (data / "mnist" / "train", data / "mnist" / "test")
    train, test = (paper_networks.pixels(split, grayscale=True).data.float() for split in splits)
    for seed in range(1 if report.small else 5):
        report.part("vae", pair, train, test, 15 if report.small else EPOCHS, seed=seed)


def pair(train: Tensor, test: Tensor, epochs: int, seed: int) -> Figures:
    """Yield errors of the decoder of one seed on test images that the encoder of another has encoded."""
    target, source = (variational(train, 10 * seed + i, epochs) for i in range(2))
    yield {"row": "both", "metric": "sha256", "value": papers.digest(target.encoder, target.decoder, source.encoder)}
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:PAIRS]
    relative = {
        m: atlas.create(atlas.Aligner, "relative").fit(m.means(train[rows])).transform for m in (target, source)
    }
    read = over_similarities(target, relative[target], train, 10 * seed + 2, epochs)
    codes, own = source.means(test), target.means(test)
    maps = {
        name: atlas.create(atlas.Aligner, name).fit(source.means(train[rows]), target.means(train[rows])).transform
        for name in ("procrustes", "linear")
    }
    with torch.no_grad():
        decoded = {
            "own": target.decoder(own),
            "as they are": target.decoder(codes),
            **{name: target.decoder(through(codes)) for name, through in maps.items()},
            "relative, own": read(relative[target](own)),
            "relative": read(relative[source](codes)),
            "mean image": train.mean(0).expand_as(test),
        }
    for row, images in decoded.items():
        yield {"row": row, "metric": "mse", "value": float((images - test).square().mean())}


def variational(X: Tensor, seed: int, epochs: int) -> Model:
    """Return an autoencoder trained with noise in its codes: pixels are read as probabilities."""
    encoder, decoder = paper_networks.mlp_autoencoder(round(X.shape[1] ** 0.5), CODE)
    encoder[-1] = {**encoder[-1], "out_features": 2 * CODE}
    model = Model(network.initialise(encoder, seed), network.initialise(decoder, seed))

    def loss(images: Tensor, generator: torch.Generator) -> Tensor:
        codes, divergence = model.noisy(images, generator)
        return (wrong(model.decoder(codes), images) + divergence).mean()

    descend([*model.encoder.parameters(), *model.decoder.parameters()], loss, X, seed, epochs)
    return model


def over_similarities(
    model: Model, project: Callable[[Tensor], Tensor], X: Tensor, seed: int, epochs: int
) -> torch.nn.Sequential:
    """Return a new decoder that reads similarities of a trained encoder's noisy codes to its anchors."""
    layers = paper_networks.mlp_autoencoder(round(X.shape[1] ** 0.5), CODE)[1]
    decoder = network.initialise(read_by(layers, PAIRS), seed)

    def loss(images: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            similarities = project(model.noisy(images, generator)[0])
        return wrong(decoder(similarities), images).mean()

    descend([*decoder.parameters()], loss, X, seed, epochs)
    return decoder


def wrong(decoded: Tensor, images: Tensor) -> Tensor:
    """Return the cross-entropy of each image, summed over its pixels."""
    return F.binary_cross_entropy(decoded, images, reduction="none").sum(1)


def descend(
    weights: list[torch.nn.Parameter],
    loss: Callable[[Tensor, torch.Generator], Tensor],
    X: Tensor,
    seed: int,
    epochs: int,
) -> None:
    """Make a loss of batches smaller by Adam."""
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(weights, lr=RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss(X[rows], generator).backward()
            optimizer.step()


if __name__ == "__main__":
    main()
