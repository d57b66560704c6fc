"""The verbs composed on the digits that ship with Atlas (`atlas demo`), with a table and a picture of the result."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.anchors import Anchors
from atlas.artefacts.head import Head
from atlas.artefacts.loading import load, read_vectors
from atlas.artefacts.vectors import Vectors
from atlas.metrics import accuracy
from atlas.pictures.projections import projected
from atlas.verbs.aggregate import aggregate
from atlas.verbs.apply import apply
from atlas.verbs.compose import compose
from atlas.verbs.encode import encode
from atlas.verbs.evaluate import class_numbers
from atlas.verbs.fit import fit
from atlas.verbs.train import train as train_head

ENCODERS = ("digits-mlp-s0", "digits-mlp-wide", "digits-conv", "digits-resnet")
HALVES = ("digits-low", "digits-high")
ANCHORS = "digits-256"
METHODS = {
    "own": "the encoder's own head (ceiling)",
    "none": "no alignment (floor)",
    "procrustes": "direct: rotation and one scale, fitted on the anchors",
    "linear": "direct: least squares, fitted on the anchors",
    "relative": "relative representation: similarities to the anchors, with a head trained on those of the other",
    "inverse": "inverse relative projection: into similarities and out of them again, each side fitted alone",
}


@dataclass
class Results:
    """Figures of the demo.

    Attributes:
        pairs: one row for each ordered pair of encoders: source, target, and the accuracy of each method, 0 to 1.
        atlas: rows of the two encoders that have seen half the digits each: a name, and accuracy on all ten.
        points: name of a panel to two-dimensional points (n, 2), for the picture.
        classes: (n,) the digit of each point.
    """

    pairs: list[dict[str, Any]] = field(default_factory=list)
    atlas: list[dict[str, Any]] = field(default_factory=list)
    points: dict[str, Tensor] = field(default_factory=dict)
    classes: Tensor = field(default_factory=lambda: torch.empty(0))

    def mean(self, method: str) -> float:
        """Return the mean accuracy of a method over the pairs."""
        return sum(row[method] for row in self.pairs) / len(self.pairs)

    def least(self, method: str) -> float:
        """Return the lowest accuracy of a method over the pairs."""
        return min(row[method] for row in self.pairs)

    def tell(self, model: str, accuracy: float) -> None:
        """Add the accuracy of a model that reads all digits."""
        self.atlas.append({"what": model, "accuracy": accuracy})

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        summary = [{"method": m, "mean": self.mean(m), "lowest": self.least(m)} for m in METHODS]
        return {"pairs": self.pairs, "methods": summary, "atlas": self.atlas}


def run(say: Callable[[str], None]) -> Results:
    """Run the demo.

    Args:
        say: shows a sentence to the user.
    """
    train, test = read_vectors("digits-train"), read_vectors("digits-test")
    anchors: Anchors = load(ANCHORS, "anchors")
    say(f"{len(train)} handwritten digits to fit on, {len(anchors)} of them anchors, and {len(test)} others to test on")
    say(f"Encoding all of them with {len(ENCODERS)} networks that were trained apart, and never saw each other")
    views = {name: (encode(name, train), encode(name, test)) for name in ENCODERS}
    heads = {name: load(f"{name}__linear", "head") for name in ENCODERS}
    results = Results()
    say("Stitching: each network's encoder to every other one's head, by five methods")
    relative = {name: fit("relative", source=views[name][0], anchors=anchors, centre=False) for name in ENCODERS}
    relative_heads = {name: train_head("network", apply(relative[name], views[name][0])) for name in ENCODERS}
    centred = {name: fit("relative", source=views[name][0], anchors=anchors, centre=True) for name in ENCODERS}
    for source, target in itertools.permutations(ENCODERS, 2):
        fitted = {m: fit(m, source=views[source][0], target=views[target][0], anchors=anchors) for m in FITTED}
        fitted["inverse"] = compose(centred[source], centred[target].inverse())
        row: dict[str, Any] = {"source": source, "target": target, "own": score(heads[source], views[source][1])}
        row |= {name: score(heads[target], apply(a, views[source][1])) for name, a in fitted.items()}
        row["none"] = row.pop("identity")
        row["relative"] = score(relative_heads[target], apply(relative[source], views[source][1]))
        results.pairs.append(row)
    say("An atlas: two networks that have each seen some of the digits, merged without saying which digit is which")
    merge_halves(results, train, test, anchors)
    draw_points(results, views, anchors)
    return results


FITTED = ("identity", "procrustes", "linear")


def score(head: Head, vectors: Vectors) -> float:
    """Return the accuracy of a head on labelled vectors, by the names of the classes."""
    return accuracy(head.predict(vectors), class_numbers(head, vectors))


def merge_halves(results: Results, train: Vectors, test: Vectors, anchors: Anchors) -> None:
    """Measure each half alone, the two merged (relative latent space aggregation), and a network that saw all."""
    views = {name: (encode(name, train), encode(name, test)) for name in (*HALVES, ENCODERS[0])}
    for name, sees in zip(HALVES, ("digits 0 to 5", "digits 4 to 9"), strict=True):
        own = load(f"{name}__linear", "head")
        results.tell(f"{name}, which has seen {sees}: its own head", score(own, views[name][1]))
    merged = aggregate("relative-mean", *(views[name][0] for name in HALVES), anchors=anchors)
    head = train_head("network", merged(*(views[name][0] for name in HALVES)))
    found = score(head, merged(*(views[name][1] for name in HALVES)))
    results.tell("RLSA: the two merged (relative-mean), and a head trained on that", found)
    whole = fit("relative", source=views[ENCODERS[0]][0], anchors=anchors)
    head = train_head("network", apply(whole, views[ENCODERS[0]][0]))
    found = score(head, apply(whole, views[ENCODERS[0]][1]))
    results.tell(f"{ENCODERS[0]}, which has seen all digits, with the same kind of head", found)


def draw_points(results: Results, views: dict[str, tuple[Vectors, Vectors]], anchors: Anchors) -> None:
    """Project test digits to the plane in which the target varies most: its own, and the source's before and after."""
    source, target = "digits-conv", "digits-mlp-s0"
    (fit_x, X), (fit_y, Y) = views[source], views[target]
    panels = {"identity": f"{source}, no alignment", "procrustes": f"{source}, aligned to {target}"}
    fitted = {name: fit(name, source=fit_x, target=fit_y, anchors=anchors) for name in panels}
    mapped = {panel: apply(fitted[name], X) for name, panel in panels.items()}
    results.points = projected({**mapped, f"{target}, its own vectors": Y})
    assert X.labels is not None
    results.classes = X.labels
