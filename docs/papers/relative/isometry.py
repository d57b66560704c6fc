"""How near spaces of the same items are to isometries of each other, and which maps account for their differences.

python docs/papers/relative/isometry.py --data DATA --models MODELS --out isometry
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import paper_networks
import papers
from papers import Report

import atlas
from atlas import metrics

Figures = Iterator[dict[str, Any]]
Views = dict[str, tuple[Tensor, Tensor]]
TEXTS = ("wordllama", "minilm", "e5", "use")
# So many test items make half a million distances.
ITEMS = 1000
# Classes of maps, each of which holds those before it.
MAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "rotation": ("procrustes", {"scale": False}),
    "rotation and scale": ("procrustes", {}),
    "linear": ("linear", {}),
}


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure what the section on isometries tells."""
    read: dict[str, Callable[[], Views]] = {
        "banking77": lambda: texts(data / "vectors"),
        "CIFAR-10": lambda: images(report.out / "networks", data / "cifar10", models),
    }
    for name, views in ({"digits": digits} if report.small else read).items():
        report.part("isometry", isometry, views(), data=name)


def digits() -> Views:
    """Return training and test digits by three networks."""
    pixels = [atlas.read_vectors(f"digits-{split}") for split in ("train", "test")]
    return {name: encoded(model, pixels) for name, model, _ in paper_networks.DIGITS}


def texts(folder: Path) -> Views:
    """Return questions to a bank by four encoders."""
    splits = ("train", "test")
    each = {e: [np.load(folder / f"banking-{split}.{e}.npy").astype("float32") for split in splits] for e in TEXTS}
    return {e: (torch.from_numpy(train), torch.from_numpy(test)) for e, (train, test) in each.items()}


def images(networks: Path, folder: Path, models: Path) -> Views:
    """Return images by two public ResNets."""
    items = [atlas.read_items(folder / split) for split in ("train", "test")]
    found = paper_networks.networks(networks, models, folder / "train", ())
    return {name: encoded(encoder, items) for name, encoder, _ in found}


def encoded(encoder: str, items: list[Any]) -> tuple[Tensor, Tensor]:
    """Return the vectors of training and test items."""
    train, test = (atlas.encode(encoder, some).data.float() for some in items)
    return train, test


def isometry(views: Views, data: str) -> Figures:
    """Yield how distances between test items of one space go with those of another, and what maps explain of it."""
    far = {
        kind: {name: torch.cdist(Z := made(*both), Z) for name, both in views.items()}
        for kind, made in (("absolute", plain), ("whitened", whitened))
    }
    order = torch.randperm(len(next(iter(views.values()))[1][:ITEMS]), generator=torch.Generator().manual_seed(0))
    for one, other in itertools.permutations(views, 2):
        about = {"source": one, "target": other}
        for kind, found in far.items():
            for pairing, target in (("same items", found[other]), ("others", found[other][order][:, order])):
                for metric, value in alike(found[one], target).items():
                    yield {**about, "kind": kind, "items": pairing, "metric": metric, "value": value}
        (A, A_test), (B, B_test) = views[one], views[other]
        for name, (aligner, options) in MAPS.items():
            made = atlas.create(atlas.Aligner, aligner, options).fit(A, B).transform(A_test)
            yield {**about, "map": name, "metric": "r2", "value": metrics.r2(made, B_test)}


def plain(train: Tensor, test: Tensor) -> Tensor:
    """Return the test vectors to take distances between."""
    return test[:ITEMS].double()


def whitened(train: Tensor, test: Tensor) -> Tensor:
    """Return them with the covariance of the training vectors, plus a ridge of a tenth of its mean, taken out."""
    C = torch.cov(train.double().T)
    C = C + 0.1 * C.diagonal().mean() * torch.eye(len(C)).double()
    return torch.linalg.solve_triangular(torch.linalg.cholesky(C), test[:ITEMS].double().T, upper=False).T


def alike(C: Tensor, D: Tensor) -> dict[str, float]:
    """Return the correlation of two matrices of distances, and the factor that nine in ten stay within.

    The factor is about the best common scale: a perfect isometry up to scale has 1.
    """
    upper = torch.triu_indices(len(C), len(C), 1)
    c, d = C[upper[0], upper[1]], D[upper[0], upper[1]]
    there = (c > 0) & (d > 0)
    ratios = (d[there] / c[there]).log().sort().values
    centred = (ratios - ratios[len(ratios) // 2]).abs()
    correlation = float(torch.corrcoef(torch.stack([c, d]))[0, 1])
    return {"correlation": correlation, "factor": float(centred.quantile(0.9).exp())}


if __name__ == "__main__":
    main()
