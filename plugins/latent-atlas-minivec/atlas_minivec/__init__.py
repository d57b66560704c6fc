"""A map between two spaces from vectors that are not paired, and a figure that says whether to believe it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import atlas
from atlas_minivec.search import Sides, finished, found

# Fewer rows of a side show no clusters, and leave none to judge a map by.
LEAST = 100
# Measured: wrong maps have margins below this, right ones above; see the README.
TRUSTED = 0.15


@dataclass
class MiniVec(atlas.LinearAligner):
    """Rotate without any pairs, by the shapes of both clouds: for thousands of items of one kind on each side."""

    name = "minivec"
    streaming = False
    fits_on = "sets"

    seed: int = atlas.option(0, help="Seed of all random choices; another one is another try")
    starts: int = atlas.option(600, help="Matchings of clusters to begin from: more find maps that are harder to find")
    rows: int = atlas.option(5000, help="Rows of each side compared at a time at the end; time grows with its square")
    strict: bool = atlas.option(False, help="Refuse a map that is no better than its rivals, instead of warning")

    # No annotation, so that it is no option.
    _margin = None

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("starts", 1), ("rows", LEAST)):
            if getattr(self, name) < least:
                raise self.fail(f"needs {name} of at least {least}, got {getattr(self, name)}")

    # The moments of a linear aligner are sums over pairs, of which there are none here.
    fit = atlas.Aligner.fit
    partial_fit = atlas.Aligner.partial_fit

    def fit_moments(self, m: Any) -> Any:
        """Raise: moments are those of pairs."""
        raise self.fail("is fitted on rows that are not paired, and has no moments - call fit()")

    @property
    def margin(self) -> float:
        """How much closer the map brings both sides than the best different map did, 0 to 1; known after a fit."""
        if self._margin is None:
            raise self.fail("knows its margin after fit() alone - it is not stored with the map")
        return self._margin

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        """Return weight and bias: means onto means, directions by the map that was found, and the spread of the target.

        Args:
            X: (n, d_source), float64.
            Y: (m, d_target), float64; not paired with X.
        """
        assert Y is not None
        (X, mean_x, spread_x), (Y, mean_y, spread_y) = self._centred(X, "source"), self._centred(Y, "target")
        generator = torch.Generator().manual_seed(self.seed)
        V, U = axes(X), axes(Y)
        sides = Sides.of(*(shuffled(F.normalize(Z @ A).float(), generator) for Z, A in ((X, V), (Y, U))))
        W, self._margin = found(sides, self.starts, generator)
        if self._margin < TRUSTED:
            self._doubt(self._margin)
        W = finished(sides, W, self.rows, generator)
        weight = V @ W @ U.T * (spread_y / spread_x)
        return {"weight": weight, "bias": mean_y - mean_x @ weight}

    def _centred(self, X: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows about their mean, the mean, and the root of the mean squared norm about it."""
        if len(X) < LEAST:
            raise self.fail(f"sees no clusters in {len(X)} rows of the {side} - give thousands, at least {LEAST}")
        mean = X.mean(0)
        spread = (X - mean).square().sum(1).mean().sqrt()
        if spread <= 1e-12 * mean.norm():
            raise self.fail(f"needs rows that differ, got the same vector for all of the {side}")
        return X - mean, mean, spread

    def _doubt(self, margin: float) -> None:
        """Say that the map that was found is not to be trusted."""
        doubt = (
            f"found no map that stands out: its margin is {margin:.2f}, and right ones have at least {TRUSTED}"
            " - do not use it; try another seed, more starts or more rows, or align on a few hundred pairs"
        )
        if self.strict:
            raise self.fail(doubt)
        warnings.warn(f"{self.label().capitalize()} {doubt}", atlas.AtlasWarning, stacklevel=4)


def axes(X: Tensor) -> Tensor:
    """Return the eigenvectors (d, d) of X.T @ X, those of largest eigenvalue first."""
    return torch.linalg.eigh(X.T @ X).eigenvectors.flip(1)


def shuffled(X: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows in a random order, so that the first of them stand for all."""
    return X[torch.randperm(len(X), generator=generator)]


@atlas.hookimpl
def register_aligners() -> list[type[atlas.Aligner]]:
    """Return the aligners of this plugin."""
    return [MiniVec]
