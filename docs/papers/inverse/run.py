"""Inverse relative projection (Maiorca et al., 2024): images, text, one from the other, and what scale matters.

python docs/papers/inverse/run.py --data DATA --models MODELS --out inverse
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import paper_networks
import papers
from paper_networks import Encoders
from papers import Made, Report

import atlas
from atlas.pictures import plots
from atlas.pictures.projections import projected
from atlas.verbs.parameters.arguments import items_of

RECIPE = HERE / "translation.yaml"
Figures = Iterator[dict[str, Any]]
WAYS: list[list[Any]] = [
    ["all", {"centre": True}],
    ["all without a ridge", {"centre": True, "ridge": 0.0}],
    ["one choice of 16", {"centre": True, "keep": 16, "subspaces": 1}],
    ["mean of 8 choices of 16", {"centre": True, "keep": 16, "subspaces": 8}],
    ["mean of 8 choices spread by 0.7", {"centre": True, "delta": 0.7}],
    ["whitened", {"similarity": "whitened"}],
]
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = (
    "a photo of a {}",
    "a small picture of a {}",
    "this is a {}",
    "a blurry image of one {}",
    "there is a {} here",
    "a {} seen from the side",
    "we look at a {}",
    "a close view of the {}",
)


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on inverse relative projection tells."""
    how: dict[str, Any] = {"ways": WAYS}
    how |= {"counts": [64, 256], "seeds": [0]} if report.small else {"counts": [64, 300, 768], "seeds": [0, 1, 2]}
    if report.small:
        items: tuple[Any, Any] = ("digits-train", "digits-test")
        encoders = [encoder for encoder in paper_networks.DIGITS if encoder[0] != "wide"]
    else:
        items = (data / "cifar10" / "train", data / "cifar10" / "test")
        encoders = paper_networks.networks(report.out / "networks", models, items[0], ("cnn-s0",))
    made = report.recipe(RECIPE, "images", **of(encoders, *items), **how)
    names, most = [name for name, *_ in encoders], how["counts"][-1]
    report.part("norms", norms, made, names)
    for seed in how["seeds"]:
        report.part("scale", scales, made, names, n=most, seed=seed)
    if not report.small:
        every = paper_networks.text_encoders()
        text = of([every[0], every[-1]], data / "banking77" / "train.csv", data / "banking77" / "test.csv")
        report.recipe(RECIPE, "text", **text, **{**how, "counts": [256, 768, 2000]})
    captions = [write_captions(report.out, split, part) for split, part in zip(("train", "test"), items, strict=True)]
    words = ([] if report.small else paper_networks.sentence_encoder()) or [["words", "tfidf-svd", {"dim": 16}]]
    both = of(encoders[:1], *items)["encoders"] + of(words, *captions)["encoders"]
    about = {"encoders": both, "names": [name for name, *_ in both], "first": both[0][0]}
    across = report.recipe(RECIPE, "modalities", **about, **{**how, "counts": [most]})
    draw_spaces(report.out / "spaces.png", made, names[0], names[1], most)
    draw_spaces(report.out / "modalities.png", across, both[0][0], both[1][0], most)
    draw_accuracies(report, names, how["counts"])


def of(encoders: Encoders, train: Any, test: Any) -> dict[str, Any]:
    """Return encoders and the items they encode as values of the recipe."""
    return paper_networks.named([[*encoder, str(train), str(test)] for encoder in encoders])


def norms(made: Made, names: Sequence[str]) -> Figures:
    """Yield how the lengths of vectors about their mean are spread: a normal distribution has skewness and excess 0."""
    for name in names:
        X = made("train-vectors", name=name).data.double()
        lengths = (X - X.mean(0)).norm(dim=1)
        z = (lengths - lengths.mean()) / lengths.std(correction=0)
        yield {"name": name, "metric": "spread", "value": float(lengths.std() / lengths.mean())}
        yield {"name": name, "metric": "skewness", "value": float(z.pow(3).mean())}
        yield {"name": name, "metric": "excess", "value": float(z.pow(4).mean() - 3)}


def scales(made: Made, names: Sequence[str], n: int, seed: int) -> Figures:
    """Yield accuracies where what is translated has been made longer or shorter, or not moved to the target's mean."""
    for source, target in itertools.permutations(names, 2):
        head = made("head", name=target)
        alignment = made("inverse", source=source, target=target, n=n, seed=seed, way="all")
        X, labels = made("test-vectors", name=source), made("test-vectors", name=target).labels
        mapped = alignment(X).data
        mean = made("train-vectors", name=target).of_items(list(made("anchors", n=n, seed=seed).ids)).data.mean(0)
        about = {"source": source, "target": target, "metric": "accuracy"}
        for scale in (0.25, 0.5, 1.0, 2.0, 4.0):
            Z = mean + scale * (mapped - mean)
            yield {"scale": scale, "moved": True, **about, "value": papers.accuracy(head.model, Z, labels)}
        Z = torch.nn.functional.normalize(mapped - mean)
        yield {"scale": "unit", "moved": False, **about, "value": papers.accuracy(head.model, Z, labels)}
        Z = mapped - mean
        yield {"scale": 1.0, "moved": False, **about, "value": papers.accuracy(head.model, Z, labels)}


def write_captions(folder: Path, split: str, images: Any) -> Path:
    """Write a text about each image, made of the name of its class: they stand in for what a person would write."""
    items = items_of(images) if isinstance(images, str) else atlas.read_items(images)
    path = folder / f"captions-{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for i, (id, label) in enumerate(zip(items.ids, items.labels, strict=True)):
            name = DIGITS[int(label)] if label.isdigit() else label
            row = {"id": id, "text": CAPTIONS[i % len(CAPTIONS)].format(name), "label": label}
            file.write(json.dumps(row) + "\n")
    return path


def draw_spaces(file: Path, made: Made, source: str, target: str, n: int) -> None:
    """Draw a space, what becomes of it in another one through all anchors, and that other one."""
    alignment = made("inverse", source=source, target=target, n=n, seed=0, way="all")
    before, there = (made("test-vectors", name=name) for name in (source, target))
    views = {source: before, f"{source}, in the space of {target}": alignment(before), target: there}
    classes = {name: view.labels for name, view in views.items() if view.labels is not None}
    plots.scatter(projected(views), classes, file, title=f"Before and after, {n} anchors")


def draw_accuracies(report: Report, names: Sequence[str], counts: Sequence[int]) -> None:
    """Draw the accuracy between the first two spaces by number of anchors, and that of all pairs with the most."""
    found = [r for r in report.results if r.get("recipe") == "images" and r["metric"] == "accuracy"]

    def values(figure: str, **scope: Any) -> list[float]:
        return [r[figure] for r in found if scope.items() <= r.items()]

    ways = [way for way in dict.fromkeys(r["way"] for r in found) if way != "identity"]
    lines: dict[str, list[plots.Point]] = {way: [] for way in ways}
    for way, n in itertools.product(ways, counts):
        there, back = (values("value", source=names[i], target=names[1 - i], way=way, n=n) for i in (0, 1))
        lines[way].append((n, statistics.fmean(there + back), statistics.stdev(there + back)))
    title = f"From {names[0]} to {names[1]} and back"
    plots.lines(lines, report.out / "anchors.png", title=title, x="anchors", y="accuracy")

    def mean(source: str, target: str) -> float:
        if source == target:
            return statistics.fmean(values("native", target=target))
        return statistics.fmean(values("value", source=source, target=target, way="all", n=counts[-1]))

    cells = [[mean(source, target) for target in names] for source in names]
    title = f"Encoder down, head across, {counts[-1]} anchors"
    plots.heat_map(names, names, cells, report.out / "pairs.png", title=title)


if __name__ == "__main__":
    main()
