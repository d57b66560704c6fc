"""Latent space translation via semantic alignment (Maiorca et al., 2023): four estimators, two scalings, one decoder.

python docs/papers/semantic/run.py --data DATA --models MODELS --out semantic
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import paper_networks
import papers
from papers import Report

import atlas
from atlas.models.heads import HEADS, HeadModel
from atlas.pictures import plots

Figures = Iterator[dict[str, Any]]
TEXTS = ("wordllama", "minilm", "e5", "use")
# The estimators as the paper names them, and how Atlas does; on vectors that are scaled first.
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "affine": ("linear", {}),
    "linear": ("linear", {"ridge": 0.0}),
    "l-ortho": ("linear-orthogonal", {"ridge": 0.0, "scale": False}),
    "ortho": ("procrustes", {"scale": False}),
}
SCALINGS = ("standard", "length 1")


@dataclass(frozen=True)
class Views:
    """Vectors of the same training and test items by several encoders, and their classes."""

    train: Mapping[str, Tensor]
    test: Mapping[str, Tensor]
    y: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class Scaling:
    """A scaling of one space, of the statistics of its anchors, and the way back."""

    mean: Tensor
    size: Tensor
    unit: bool

    @classmethod
    def of(cls, A: Tensor, kind: str) -> Scaling:
        """Return the scaling for anchors A (n, d): columns of variance 1, or rows of length 1 about the mean."""
        mean = A.mean(0)
        unit = kind != "standard"
        spread = A.std(0)
        size = (A - mean).norm(dim=1).mean() if unit else spread.where(spread > 1e-6 * spread.max(), 1.0)
        return cls(mean, size, unit)

    def there(self, X: Tensor) -> Tensor:
        """Return vectors scaled."""
        return normalize(X - self.mean) if self.unit else (X - self.mean) / self.size

    def back(self, Z: Tensor) -> Tensor:
        """Return scaled vectors in the space again; those of length 1 get the mean length."""
        return Z * self.size + self.mean


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on semantic alignment tells."""
    if report.small:
        sets = {"digits": (digits(), (64, 256))}
    else:
        sets = {
            "banking77": (texts(data), (500, 2000)),
            "CIFAR-10": (images(report, data, models), (128, 500)),
        }
    for name, (views, counts) in sets.items():
        heads = {e: HEADS["linear"]().fit(X, views.y) for e, X in views.train.items()}
        report.part("own", own, views, heads, data=name)
        for n, seed in itertools.product(counts, range(1 if report.small else 3)):
            report.part("translated", translated, views, heads, data=name, n=n, seed=seed)
            report.part("relative", relative, views, data=name, n=n, seed=seed)
    draw(report)


def digits() -> Views:
    """Return the digits that ship with Atlas by three networks."""
    pixels = {split: atlas.read_vectors(f"digits-{split}") for split in ("train", "test")}
    return encoded({name: encoder for name, encoder, _ in paper_networks.DIGITS}, pixels)


def images(report: Report, data: Path, models: Path) -> Views:
    """Return CIFAR-10 by two public ResNets and a small network trained here."""
    train = data / "cifar10" / "train"
    found = paper_networks.networks(report.out / "networks", models, train, ("cnn-s0",))
    items = {split: atlas.read_items(data / "cifar10" / split) for split in ("train", "test")}
    return encoded({name: encoder for name, encoder, _ in found}, items)


def encoded(encoders: Mapping[str, str], items: Mapping[str, Any]) -> Views:
    """Return labelled items by encoders."""
    made = {s: {name: atlas.encode(encoder, items[s]) for name, encoder in encoders.items()} for s in items}
    labels = {s: next(iter(found.values())).labels for s, found in made.items()}
    assert labels["train"] is not None and labels["test"] is not None
    train, test = ({name: found.data.float() for name, found in made[s].items()} for s in ("train", "test"))
    return Views(train, test, labels["train"], labels["test"])


def texts(data: Path) -> Views:
    """Return the questions of banking77 by four text encoders, from their stored vectors."""
    read = {split: atlas.read_items(data / "banking77" / f"{split}.csv") for split in ("train", "test")}
    number = {name: k for k, name in enumerate(sorted(set(read["train"].labels)))}
    y, test_y = (torch.tensor([number[name] for name in items.labels]) for items in read.values())
    train, test = (
        {e: torch.from_numpy(np.load(data / "vectors" / f"banking-{s}.{e}.npy").astype("float32")) for e in TEXTS}
        for s in read
    )
    return Views(train, test, y, test_y)


def own(views: Views, heads: Mapping[str, HeadModel], **about: Any) -> Figures:
    """Yield the accuracy of each decoder on its own vectors, and on those of others of its width as they are."""
    for source, target in itertools.product(views.test, heads):
        if views.test[source].shape[1] == views.test[target].shape[1]:
            value = papers.accuracy(heads[target], views.test[source], views.test_y)
            reads = "own" if source == target else "absolute"
            yield {"source": source, "target": target, "reads": reads, "metric": "accuracy", "value": value}


def drawn(views: Views, n: int, seed: int) -> Tensor:
    """Return the rows of the anchors."""
    return torch.randperm(len(views.y), generator=torch.Generator().manual_seed(seed))[:n]


def translated(views: Views, heads: Mapping[str, HeadModel], n: int, seed: int, **about: Any) -> Figures:
    """Yield the accuracy of each decoder on translated vectors of each other encoder, by estimator and scaling."""
    rows = drawn(views, n, seed)
    for (source, target), scaling in itertools.product(itertools.permutations(heads, 2), SCALINGS):
        A, B = views.train[source][rows], views.train[target][rows]
        left, right = Scaling.of(A, scaling), Scaling.of(B, scaling)
        for estimator, (aligner, options) in ESTIMATORS.items():
            made = atlas.create(atlas.Aligner, aligner, options)
            with warnings.catch_warnings():
                # Fitting noise where there are few anchors is part of the claim.
                warnings.simplefilter("ignore", atlas.AtlasWarning)
                made.fit(left.there(A), right.there(B))
            Z = right.back(made.transform(left.there(views.test[source])))
            value = papers.accuracy(heads[target], Z, views.test_y)
            where = {"source": source, "target": target, "estimator": estimator, "scaling": scaling}
            yield {**where, "metric": "accuracy", "value": value}


def relative(views: Views, n: int, seed: int, **about: Any) -> Figures:
    """Yield the accuracy of ridge decoders of cosines to the anchors on those of other encoders, nothing translated."""
    rows = drawn(views, n, seed)
    made = {e: atlas.create(atlas.Aligner, "relative").fit(X[rows]) for e, X in views.train.items()}
    tested = {e: made[e].transform(X) for e, X in views.test.items()}
    for target, X in views.train.items():
        head = HEADS["linear"](loss="ridge").fit(made[target].transform(X), views.y)
        for source in tested:
            value = papers.accuracy(head, tested[source], views.test_y)
            reads = "own" if source == target else "others"
            yield {"source": source, "target": target, "reads": reads, "metric": "accuracy", "value": value}


def draw(report: Report) -> None:
    """Draw the accuracy of estimators by number of anchors, for the first data set."""
    found = [r for r in report.results if r["step"] == "translated" and r["scaling"] == "standard"]
    data = found[0]["data"]
    lines: dict[str, list[plots.Point]] = {}
    for estimator, n in dict.fromkeys((r["estimator"], r["n"]) for r in found if r["data"] == data):
        values = torch.tensor(
            [r["value"] for r in found if (r["data"], r["estimator"], r["n"]) == (data, estimator, n)]
        )
        lines.setdefault(estimator, []).append((n, float(values.mean()), float(values.std())))
    title = "Translated vectors, read by the target's decoder"
    plots.lines(lines, report.out / "estimators.png", title=title, x="anchors", y="accuracy")


if __name__ == "__main__":
    main()
