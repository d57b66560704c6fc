"""Relative representations (Moschella et al., 2022): stitching, comparison, decoders, text, and negative controls.

python docs/papers/relative/run.py --data DATA --models MODELS --out relative
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import paper_networks
import papers
import pictures
from paper_networks import Layers, read_by
from papers import Made, Report

import atlas
from atlas.models import network
from atlas.models.heads import HEADS, HeadModel
from atlas.pictures import plots

RECIPE = HERE / "stitching.yaml"
Figures = Iterator[dict[str, Any]]
# Numbers in a code of an autoencoder, passes over the images, and rate of learning.
CODE, EPOCHS, RATE = 64, 20, 2e-3


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on relative representations tells."""
    values = digits() if report.small else images(report, data, models)
    seeds, names = values["seeds"], values["names"]
    made = report.recipe(RECIPE, **values)
    report.part("correlation", correlations, report.results, names, n=values["most"])
    for seed in seeds:
        report.part("control", controls, made, names, n=values["counts"][-2], seed=seed)
    for seed in seeds:
        report.part("decoders", decoders, report, data / "mnist", seed=seed)
    if not report.small:
        report.recipe(RECIPE, "text", **text(data))
    pictures.draw(report.out, report.results, names, made, values["most"])


def digits() -> dict[str, Any]:
    """Return the values of the recipe for the digits that ship with Atlas."""
    heads = [["mlp", "network", {"epochs": 10}], ["ridge", "linear", {"loss": "ridge"}]]
    about = {"counts": [128, 256], "most": 256, "seeds": [0], "heads": heads}
    return {**paper_networks.named(paper_networks.DIGITS[::2]), **about}


def images(report: Report, data: Path, models: Path) -> dict[str, Any]:
    """Return the values of the recipe for CIFAR-10: two public ResNets, and two small networks trained here."""
    train, test = (data / "cifar10" / split for split in ("train", "test"))
    return {
        **paper_networks.named(paper_networks.networks(report.out / "networks", models, train, ("cnn-s0", "cnn-s1"))),
        "train": str(train),
        "test": str(test),
        "counts": [64, 300, 768],
        "most": 768,
        "seeds": [0, 1, 2],
    }


def text(data: Path) -> dict[str, Any]:
    """Return the values of the recipe for questions to a bank, 77 intents."""
    train, test = (str(data / "banking77" / f"{split}.csv") for split in ("train", "test"))
    about = {"train": train, "test": test, "counts": [300, 768], "most": 768, "seeds": [0, 1, 2]}
    return {**paper_networks.named(paper_networks.text_encoders()), **about}


def correlations(results: Sequence[dict[str, Any]], names: Sequence[str], n: int) -> Figures:
    """Yield how the similarity of two encoders, with nothing trained, goes with what stitching them keeps.

    That is the accuracy of the stitched pair, as a share of that of the encoder with a head of its own.
    """

    pairs = list(itertools.permutations(names, 2))
    kept = [pictures.stitched(results, a, b, n) / pictures.stitched(results, a, a, n) for a, b in pairs]
    for metric, step in pictures.MEASURES.items():
        alike = [pictures.mean(results, "value", step=step, metric=metric, one=a, other=b) for a, b in pairs]
        yield {"of": metric, "metric": "spearman", "value": papers.correlation(alike, kept), "pairs": len(pairs)}


def controls(made: Made, names: Sequence[str], n: int, seed: int) -> Figures:
    """Yield accuracies with anchors that are right, in another order on one side, or random numbers on each side."""
    train, test = ({name: made(f"{split}-vectors", name=name) for name in names} for split in ("train", "test"))
    anchors = made("anchors", n=n, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    projections = {name: atlas.fit("relative", source=train[name], anchors=anchors).aligner for name in names}
    random = {name: torch.randn(n, train[name].space.dim, generator=generator) for name in names}
    gaussian = {name: atlas.create(atlas.Aligner, "relative").fit(random[name]) for name in names}
    for target in names:
        heads = {
            kind: HEADS["network"]().fit(of[target].transform(train[target].data), train[target].labels, seed=seed)
            for kind, of in (("right", projections), ("random", gaussian))
        }
        for source in names:
            X, y = test[source].data, test[source].labels
            if source == target:
                R = gaussian[target].transform(X)
                yield {"anchors": "random", "own": True, **figure(source, target, heads["random"], R, y)}
                continue
            R = projections[source].transform(X)
            yield {"anchors": "right", "own": False, **figure(source, target, heads["right"], R, y)}
            yield {"anchors": "permuted", "own": False, **figure(source, target, heads["right"], R[:, order], y)}
            R = gaussian[source].transform(X)
            yield {"anchors": "random", "own": False, **figure(source, target, heads["random"], R, y)}


def figure(source: str, target: str, head: HeadModel, X: Tensor, y: Tensor) -> dict[str, Any]:
    """Return the accuracy of a head as a figure."""
    return {"source": source, "target": target, "metric": "accuracy", "value": papers.accuracy(head, X, y)}


def decoders(report: Report, mnist: Path, seed: int) -> Figures:
    """Yield errors of autoencoders whose decoders are swapped, and draw what they make of some images."""
    splits = ("digits-train", "digits-test") if report.small else (mnist / "train", mnist / "test")
    train, test = (paper_networks.pixels(split, grayscale=True).data.float() for split in splits)
    side, count = round(train.shape[1] ** 0.5), 128 if report.small else 300
    anchors = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:count]]
    seen: dict[str, Tensor] = {"image": test}
    for kind, models in autoencoders(side, train, anchors, seed, 8 if report.small else EPOCHS).items():
        trained = papers.digest(*itertools.chain(*(model.networks for model in models)))
        yield {"kind": kind, "metric": "sha256", "value": trained}
        found = swapped(models, test)
        for (i, j), decoded in found.items():
            which = "own" if i == j else "same architecture" if {i, j} == {0, 1} else "other architecture"
            error = float((decoded - test).square().mean())
            yield {"kind": kind, "decoder": which, "source": i, "target": j, "metric": "mse", "value": error}
        seen |= {f"{kind}, {name}": found[0, j] for j, name in enumerate(("own", "other seed", "convolutional"))}
    yield {"kind": "mean image", "decoder": "", "metric": "mse", "value": float((train.mean(0) - test).square().mean())}
    if seed == 0:
        shown = {name: made[: len(test) // 10 * 10 : len(test) // 10] for name, made in seen.items()}
        shaped = {name: made.unflatten(1, (side, side)) for name, made in shown.items()}
        plots.images(shaped, report.out / "decoders.png", title="Images, and what decoders make of their codes")


class Model(NamedTuple):
    """An autoencoder: what makes codes, what makes images of them, and the networks in both that were trained."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    networks: tuple[torch.nn.Module | HeadModel, ...]


def autoencoders(side: int, X: Tensor, anchors: Tensor, seed: int, epochs: int) -> dict[str, list[Model]]:
    """Return three autoencoders of each kind: two dense ones that differ in their seed, and a convolutional one."""
    made = [
        paper_networks.mlp_autoencoder,
        paper_networks.mlp_autoencoder,
        partial(paper_networks.conv_autoencoder, channels=8),
    ]
    each = [(*make(side, CODE), X, 10 * seed + i, epochs) for i, make in enumerate(made)]
    whole = [absolute(*given) for given in each]
    pairs = list(zip(whole, each, strict=True))
    return {
        "absolute": whole,
        "relative": [frozen(model.encode, anchors, *given[1:]) for model, given in pairs],
        "relative, end to end": [end_to_end(anchors, *given) for given in each],
    }


@torch.no_grad()
def swapped(models: Sequence[Model], X: Tensor) -> dict[tuple[int, int], Tensor]:
    """Return what the decoder of each model makes of the codes of each: the place of the encoder's, the decoder's."""
    pairs = itertools.product(range(len(models)), repeat=2)
    return {(i, j): models[j].decode(models[i].encode(X)) for i, j in pairs}


def absolute(encoder: Layers, decoder: Layers, X: Tensor, seed: int, epochs: int) -> Model:
    """Return an autoencoder of absolute codes."""
    state = paper_networks.trained([*encoder, *decoder], X, X, seed, epochs=epochs, lr=RATE)
    below, above = paper_networks.cut([*encoder, *decoder], state, len(encoder), X.shape[1])
    return Model(below.module(), above.scores, (below.module(), above))


def frozen(encode: Any, anchors: Tensor, decoder: Layers, X: Tensor, seed: int, epochs: int) -> Model:
    """Return the encoder of an autoencoder, made relative, and a new decoder that was trained on that alone."""
    projection = atlas.create(atlas.Aligner, "relative").fit(encode(anchors))
    layers = read_by(decoder, len(anchors))
    head = HEADS["network"].from_config({"layers": layers, "epochs": epochs, "lr": RATE})
    head.fit(projection.transform(encode(X)), X, seed=seed)
    return Model(lambda images: projection.transform(encode(images)), head.scores, (head,))


def end_to_end(anchors: Tensor, encoder: Layers, decoder: Layers, X: Tensor, seed: int, epochs: int) -> Model:
    """Return an autoencoder trained with its code made relative, the anchors encoded anew in every step.

    No gradient goes through the anchors. Source: the authors' code.
    """
    below, above = network.initialise(encoder, seed), network.initialise(read_by(decoder, len(anchors)), seed)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([*below.parameters(), *above.parameters()], lr=RATE)

    def relative(images: Tensor) -> Tensor:
        with torch.no_grad():
            unit = F.normalize(below(anchors))
        return F.normalize(below(images)) @ unit.T

    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=generator).split(128):
            optimizer.zero_grad()
            F.mse_loss(above(relative(X[rows])), X[rows]).backward()
            optimizer.step()
    return Model(relative, above, (below, above))


if __name__ == "__main__":
    main()
