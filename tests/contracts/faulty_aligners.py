"""Aligners with one fault each, which `atlas.testing` is to find; the first two have none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize, pad

import atlas


@dataclass
class Turn(atlas.Aligner):
    """Turn the source about its mean."""

    name = "turn"
    invertible = True

    def _fit(self, X, Y):
        U, _, Vh = torch.linalg.svd((X - X.mean(0)).T @ (Y - Y.mean(0)), full_matrices=False)
        return {"turn": U @ Vh, "from": X.mean(0), "to": Y.mean(0)}

    def _transform(self, X):
        turn, centre, to = (self.state[name].to(X) for name in ("turn", "from", "to"))
        return (X - centre) @ turn + to

    def _inverse_transform(self, Y):
        turn, centre, to = (self.state[name].to(Y) for name in ("turn", "from", "to"))
        return (Y - to) @ turn.T + centre

    @property
    def d_source(self):
        return self.state["turn"].shape[0]

    @property
    def d_target(self):
        return self.state["turn"].shape[1]


@dataclass
class Moved(atlas.LinearAligner):
    """Turn the source about its mean, from moments."""

    name = "moved"

    def solve(self, m):
        U, _, Vh = torch.linalg.svd(m.xy, full_matrices=False)
        return U @ Vh


class WiderResult(Turn):
    def _transform(self, X):
        return pad(super()._transform(X), (0, 1))


class FitChangesX(Turn):
    def _fit(self, X, Y):
        return super()._fit(X.mul_(2), Y)


class MappingChangesX(Turn):
    def _transform(self, X):
        return super()._transform(X.add_(1))


class ChanceOfTorch(Turn):
    def _fit(self, X, Y):
        return super()._fit(X + 0.01 * torch.randn(X.shape), Y)


class UnseededChance(Turn):
    def _fit(self, X, Y):
        chance = torch.Generator()
        chance.seed()
        return super()._fit(X + 0.01 * torch.randn(X.shape, generator=chance), Y)


class ChanceOfNumpy(Turn):
    def _fit(self, X, Y):
        return super()._fit(X + 0.01 * torch.from_numpy(np.random.standard_normal(X.shape)), Y)


class SeedsTorch(Turn):
    def _fit(self, X, Y):
        torch.manual_seed(0)
        return super()._fit(X, Y)


class KeepsAnAttribute(Turn):
    scale = 1.0

    def _fit(self, X, Y):
        self.scale = float(Y.std() / X.std())
        return super()._fit(X, Y)

    def _transform(self, X):
        return super()._transform(X) * self.scale

    def _inverse_transform(self, Y):
        return super()._inverse_transform(Y / self.scale)


class BackInAnotherOrder(Turn):
    def _inverse_transform(self, Y):
        return super()._inverse_transform(Y).roll(1, 0)


class CentresTheBatch(Turn):
    def _transform(self, X):
        return super()._transform(X - X.mean(0))


class AffineButBent(Moved):
    def _transform(self, X):
        return super()._transform(X).tanh()


class AffineButScaled(Moved):
    def _transform(self, X):
        return super()._transform(X) * 1.1


class DimensionsSwapped(Turn):
    @property
    def d_source(self):
        return super().d_target

    @property
    def d_target(self):
        return super().d_source


class NeedsNothing(Moved):
    needs = ()


class Float64Result(Turn):
    def _transform(self, X):
        return super()._transform(X).double()


class BackWithoutTheMean(Turn):
    def _inverse_transform(self, Y):
        return super()._inverse_transform(Y) - self.state["from"].to(Y)


class FirstTwentyPairs(Turn):
    def _fit(self, X, Y):
        return super()._fit(X[:20], Y[:20])


class StaysOnTheCPU(Turn):
    def _transform(self, X):
        return (X - self.state["from"].to(X.dtype)) @ self.state["turn"].to(X.dtype) + self.state["to"].to(X.dtype)


@dataclass
class AnyK(Turn):
    k: int = atlas.option(3, help="Nearest neighbours to smooth over")

    def _fit(self, X, Y):
        near = (normalize(X) @ normalize(X).T).topk(self.k).indices
        return super()._fit(X[near].mean(1), Y)


class SortsTheTarget(Turn):
    def _fit(self, X, Y):
        return super()._fit(X, Y[Y.norm(dim=1).argsort()])


class StartsFromTheLast(Turn):
    def forget(self):
        last = vars(self).get("_state")
        super().forget()
        self.last = last

    def _fit(self, X, Y):
        learned = super()._fit(X, Y)
        if self.last is not None and self.last["turn"].shape == learned["turn"].shape:
            learned["turn"] = 0.9 * learned["turn"] + 0.1 * self.last["turn"].double()
        return learned


class DividesBySpread(Turn):
    invertible = False

    def _fit(self, X, Y):
        learned = super()._fit(X / X.std(0), Y)
        return {**learned, "turn": learned["turn"] / X.std(0)[:, None]}
