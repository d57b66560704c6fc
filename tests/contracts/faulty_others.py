"""Samplers, aggregators and exporters with one fault each, which `atlas.testing` is to find; `Honest...` have none."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

import atlas
from atlas_builtin.aligners import Procrustes


@dataclass
class HonestSampler(atlas.Sampler):
    """Draw by chance, the long vectors with a higher probability."""

    name = "long"

    def _sample(self, X, n, generator, labels):
        lengths = X.double().norm(dim=1)
        luck = torch.rand(len(X), generator=generator, dtype=torch.float64)
        return (luck ** (1 / (1 + lengths / (1 + lengths.mean())))).topk(n).indices


class WithReplacement(HonestSampler):
    def _sample(self, X, n, generator, labels):
        return torch.randint(len(X), (n,), generator=generator)


class ChanceOfTorch(HonestSampler):
    def _sample(self, X, n, generator, labels):
        return torch.randperm(len(X))[:n]


class ChangesX(HonestSampler):
    def _sample(self, X, n, generator, labels):
        return super()._sample(X.mul_(0.5), n, generator, labels)


class SeededByTheClock(HonestSampler):
    def _sample(self, X, n, generator, labels):
        return torch.from_numpy(np.random.default_rng(time.time_ns()).permutation(len(X))[:n])


class SeedIgnored(HonestSampler):
    def _sample(self, X, n, generator, labels):
        return super()._sample(X, n, torch.Generator().manual_seed(0), labels)


class LabelsIgnored(HonestSampler):
    def _sample(self, X, n, generator, labels):
        if labels is None:
            raise self.fail("needs the class of each vector - give labels")
        return super()._sample(X, n, generator, labels)


class NeverTheLast(HonestSampler):
    def _sample(self, X, n, generator, labels):
        last = len(X) - 1
        return super()._sample(X[:last], n, generator, labels) if n <= last else torch.arange(n)


class AlwaysTheFirst(HonestSampler):
    def _sample(self, X, n, generator, labels):
        return torch.arange(n)


@dataclass
class HonestAggregator(atlas.Aggregator):
    """Turn every space onto the first, and average."""

    name = "first"

    def chart_aligner(self):
        return Procrustes()

    def _fit(self, views, items):
        rows = {space: X[items[space].argsort()] for space, X in views.items()}
        widest = max(rows.values(), key=lambda X: X.shape[1])
        self.extra = {"target": widest}
        return {space: self.chart_aligner().fit(X, widest) for space, X in rows.items()}

    def _add(self, space, X, items):
        return self.chart_aligner().fit(X[items.argsort()], self.extra["target"])

    def _combine(self, rows, present):
        return rows.sum(1) / present.sum(1, keepdim=True)


class PairsByPosition(HonestAggregator):
    def _fit(self, views, items):
        return super()._fit(views, {space: torch.arange(len(X)) for space, X in views.items()})


class KeepsAnAttribute(HonestAggregator):
    shift = 0.0

    def _fit(self, views, items):
        self.shift = 1.0
        return super()._fit(views, items)

    def _combine(self, rows, present):
        return super()._combine(rows, present) + self.shift


class CentresTheBatch(HonestAggregator):
    def _combine(self, rows, present):
        X = super()._combine(rows, present)
        return X - X.mean(0)


class CountsTheAbsent(HonestAggregator):
    def _combine(self, rows, present):
        return rows.mean(1)


class AddingMovesTheRest(HonestAggregator):
    def _add(self, space, X, items):
        for chart in self.charts.values():
            chart.state["bias"].add_(1)
        return super()._add(space, X, items)


@dataclass
class HonestExporter(atlas.Exporter):
    """Write the weight and the bias with numpy."""

    name = "npz"
    writes = (".npz",)
    affine = True

    def arrays(self, model):
        return {name: model.tensors()[name].numpy() for name in ("weight", "bias")}

    def _export(self, model, path):
        with path.open("wb") as file:
            np.savez(file, **self.arrays(model))


def apply(path, X):
    """Apply what the exporters above write."""
    with np.load(path) as there:
        return X @ there["weight"] + there["bias"]


class WritesBeside(HonestExporter):
    def _export(self, model, path):
        super()._export(model, path)
        (path.parent / "log.txt").write_text("written")


class ChangesTheMap(HonestExporter):
    def _export(self, model, path):
        super()._export(model, path)
        model.tensors()["bias"].add_(1)


class WritesNothing(HonestExporter):
    def _export(self, model, path):
        path.touch()


class Transposed(HonestExporter):
    def arrays(self, model):
        return {name: array.T for name, array in super().arrays(model).items()}


class SaysItTakesAnyMap(HonestExporter):
    affine = False


class WritesTheTime(HonestExporter):
    def arrays(self, model):
        return {**super().arrays(model), "written": np.array(time.strftime("%H:%M:%S"))}
