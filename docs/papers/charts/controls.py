"""What the charts of texts are held against: no network, untrained and wide ones, sums; and one chart more.

python docs/papers/charts/controls.py --data DATA --out controls
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import papers
from chart_bench import Figures, Split, one
from chart_splits import Data, embedded, held_out, settings
from paper_networks import Layers, linear
from papers import Report
from run import CODE, dense, digits, of

import atlas
from atlas.models import network
from atlas.models.heads import HEADS


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure what the section on controls tells."""
    given = digits() if report.small else questions(data)
    for seed in range(1 if report.small else 5):
        report.part("controls", controls, given, seed=seed)


def questions(data: Path) -> Data:
    """Return the questions of banking77 as the stored vectors of MiniLM."""
    read = {split: atlas.read_items(data / "banking77" / f"{split}.csv") for split in ("train", "test")}
    rows = {s: np.load(data / "vectors" / f"banking-{s}.minilm.npy").astype("float32") for s in read}
    train, test = (atlas.Vectors.of(rows[s], "minilm", labels=items.labels) for s, items in read.items())
    return of(train, test, lambda c: dense(384, c, 256), epochs=12, shared=32, novel=9, tasks=5, anchors=(128, 256))


def controls(data: Data, seed: int) -> Figures:
    """Yield accuracies of the kernel head on each space, where tasks share samples and where they share nothing."""
    validation = held_out(data.y, seed)
    used = ~validation
    frozen, whole = Split(data.X, data.test), one(data, used, 100 * seed)
    spaces = {
        "no network": frozen,
        "no network, whitened": whitened([frozen], [used]),
        "end-to-end": whole,
        "end-to-end, whitened": whitened([whole], [used]),
        "end-to-end and no network, whitened": whitened([whole, frozen], [used, used]),
        "end-to-end, as wide as all": one(replace(data, layers=wide(data)), used, 100 * seed),
    }
    for row, space in spaces.items():
        yield {"row": row, "setting": "any", "metric": "accuracy", "value": read(data, space, used, seed)}
    for row, value in sums(data, frozen, used).items():
        yield {"row": row, "setting": "any", "metric": "accuracy", "value": value}
    for setting in settings(data, validation, seed):
        if setting.name != "shared classes":
            own = list(setting.own.T)
            tasks = [one(data, rows, 100 * seed + 10 + t) for t, rows in enumerate(own)]
            merged = {
                "whitened": whitened(tasks, own),
                "whitened, untrained networks": whitened([untrained(data, seed + t) for t in range(len(own))], own),
                "whitened, and no network": whitened([*tasks, frozen], [*own, used]),
            }
            for row, space in merged.items():
                value = read(data, space, used, seed)
                yield {"row": row, "setting": setting.name, "metric": "accuracy", "value": value}


def whitened(spaces: list[Split], rows: list[Tensor]) -> Split:
    """Return spaces through 'whitened-concat', each chart fitted on some rows; a single one twice, which is no more."""
    spaces, rows = (2 * given if len(given) == 1 else given for given in (spaces, rows))
    views = {f"space-{t}": space.train[own] for t, (space, own) in enumerate(zip(spaces, rows, strict=True))}
    numbers = {f"space-{t}": own.nonzero().flatten() for t, own in enumerate(rows)}
    fitted = atlas.create(atlas.Aggregator, "whitened-concat").fit(views, numbers)
    return Split(*(through(fitted, [getattr(space, kind) for space in spaces]) for kind in ("train", "test")))


def through(fitted: atlas.Aggregator, views: list[Tensor]) -> Tensor:
    """Return what an aggregator makes of items that are in all spaces, which need not be equally wide."""
    charted = [chart.transform(X) for chart, X in zip(fitted.charts.values(), views, strict=True)]
    most = max(X.shape[1] for X in charted)
    rows = torch.stack([pad(X, (0, most - X.shape[1])) for X in charted], 1)
    return fitted.combine(rows, torch.ones(rows.shape[:2], dtype=torch.bool))


def wide(data: Data) -> Callable[[int], Layers]:
    """Return the layers of a network whose code is as wide as those of all tasks' networks together."""
    first = data.layers(2)[:2]
    hidden, code = first[0]["out_features"], CODE * data.tasks
    return lambda classes: [*first, linear(hidden, code), {"type": "sigmoid"}, linear(code, classes)]


def untrained(data: Data, seed: int) -> Split:
    """Return the vectors of a network as it is before training."""
    net = network.initialise(data.layers(data.classes), seed).eval()
    return Split(embedded(net, data.X), embedded(net, data.test))


def read(data: Data, space: Split, used: Tensor, seed: int) -> float:
    """Return the accuracy of the kernel head, trained on the rows that are used."""
    head = HEADS["kernel"]().fit(space.train[used], data.y[used], seed=seed)
    return papers.accuracy(head, space.test, data.test_y)


def sums(data: Data, space: Split, used: Tensor) -> Mapping[str, float]:
    """Return the accuracy of what needs no more than sums over items: their classes' means, and one covariance."""
    means = HEADS["nearest-mean"](metric="euclidean").fit(space.train[used], data.y[used])
    X, y = space.train[used].double(), data.y[used]
    centres = torch.stack([X[y == c].mean(0) for c in range(data.classes)])
    spread = torch.cov((X - centres[y]).T) + 1e-4 * X.var() * torch.eye(X.shape[1]).double()
    directions = torch.linalg.solve(spread, centres.T)
    scores = space.test.double() @ directions - (centres.T * directions).sum(0) / 2
    return {
        "no network, nearest class mean": papers.accuracy(means, space.test, data.test_y),
        "no network, linear discriminants": float((scores.argmax(1) == data.test_y).double().mean()),
    }


if __name__ == "__main__":
    main()
