"""The two aligners: both turn a few pairs into many, and fit an ordinary affine map on those."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import atlas
from atlas_bootstrap.checking import Check, hold_out
from atlas_bootstrap.optimised import Search, optimise
from atlas_bootstrap.rounds import Sides, self_train

# The map is made at most so much larger than that of least squares.
LARGEST = 2.0


@dataclass
class Bootstrapping(atlas.Aligner):
    """Base of both: chooses rows, fits the affine map, and looks whether it helped."""

    fits_on = "seeds"
    affine = invertible = True

    method: str = atlas.option("procrustes", help="Affine aligner that is fitted on the final pairs")
    rows: int = atlas.option(4000, help="Rows of either side to look at beside the seeds, at most")
    folds: int = atlas.option(
        3, help="Parts of the seeds that are held out in turn, to warn if bootstrapping did not help; 0: none are"
    )
    seed: int = atlas.option(0, help="Seed of all random choices")

    # No annotations, so that these are never options.
    _check = None
    _map = None

    def __post_init__(self) -> None:
        self.at_least("rows", 10)
        self.at_least("seed", 0)
        if self.folds < 0 or self.folds == 1:
            raise self.fail(f"needs folds of 0 or of 2 and more, got {self.folds}")

    def at_least(self, option: str, least: int) -> None:
        """Raise unless an option is as large as it must be."""
        if getattr(self, option) < least:
            raise self.fail(f"needs {option} of at least {least}, got {getattr(self, option)}")

    def pairs(self, sides: Sides, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the vectors (r, d_source) and (r, d_target) to fit on."""
        raise NotImplementedError

    @property
    def check(self) -> Check:
        """How well seeds that were held out were found; the fitted map has seen all of them."""
        if self._check is None:
            raise self.fail("has not looked whether it helped - call fit() with folds of 2 or more")
        return self._check

    def _fit_seeds(self, X: Tensor, Y: Tensor | None, pairs: Tensor) -> dict[str, Tensor]:
        assert Y is not None
        generator = torch.Generator().manual_seed(self.seed)
        x = self._drawn(X, "source", pairs[:, 0], generator)
        y = self._drawn(Y, "target", pairs[:, 1], generator)
        sides = Sides(X[x], Y[y], len(pairs), (x, y))
        if self.folds:
            self._check = self._checked(sides, generator)
        # Last, so that its own matches are kept.
        return self._bootstrapped(sides).state_dict()

    def _drawn(self, vectors: Tensor, side: str, known: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows to look at: the seeds, and of the others as many as the options allow."""
        if len(known) == len(vectors):
            hint = "name the few that are known with anchors, or fit 'procrustes'"
            raise self.fail(f"is given the partner of each of the {len(vectors)} vectors of the {side} - {hint}")
        if torch.equal(vectors, vectors[:1].expand_as(vectors)):
            raise self.fail(f"needs vectors that differ, got {len(vectors)} times the same of the {side}")
        others = torch.ones(len(vectors), dtype=torch.bool)
        others[known] = False
        drawn = torch.randperm(len(vectors) - len(known), generator=generator)[: self.rows]
        return torch.cat([known, others.nonzero().flatten()[drawn]])

    def _bootstrapped(self, sides: Sides) -> atlas.Aligner:
        P, Q = self.pairs(sides, torch.Generator().manual_seed(self.seed))
        return spread_like(sides.Y, self._fitted(P, Q), sides.X)

    def _alone(self, sides: Sides) -> atlas.Aligner:
        return self._fitted(sides.X[: sides.seeds], sides.Y[: sides.seeds])

    def _fitted(self, P: Tensor, Q: Tensor) -> atlas.Aligner:
        inner = atlas.create(atlas.Aligner, self.method)
        if not (inner.affine and inner.fits_on == "pairs"):
            raise self.fail(f"needs an affine aligner that fits on pairs, got '{self.method}' - try 'linear'")
        return inner.fit(P, Q)

    def _checked(self, sides: Sides, generator: torch.Generator) -> Check | None:
        """Return how well seeds are found that are held out, with a warning if bootstrapping did not help."""
        # Of every part that is held out, two seeds at least must be left.
        folds = min(self.folds, sides.seeds)
        if sides.seeds - -(-sides.seeds // folds) < 2:
            self._warn(f"cannot tell whether it helped from {sides.seeds} seeds", "give 4 or more")
            return None
        check = hold_out(sides, folds, self._bootstrapped, self._alone, generator)
        if not check.helped:
            found = f"does not find seeds that are held out clearly better than the others alone do ({check})"
            self._warn(found, f"give more seeds, or fit '{self.method}' on them")
        return check

    def _warn(self, found: str, advice: str) -> None:
        warnings.warn(f"{self.label().capitalize()} {found} - {advice}", atlas.AtlasWarning, stacklevel=5)

    def _transform(self, X: Tensor) -> Tensor:
        return self._affine().transform(X)

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        return self._affine().inverse_transform(Y)

    def _affine(self) -> atlas.Aligner:
        """Return the learned state as the built-in map it is."""
        if self._map is None:
            self._map = affine(self.state)
        return self._map


def affine(state: Mapping[str, Tensor]) -> atlas.Aligner:
    """Return the map of a weight and a bias."""
    return atlas.create(atlas.Aligner, "procrustes").load_state_dict(state)


def spread_like(Y: Tensor, fitted: atlas.Aligner, X: Tensor) -> atlas.Aligner:
    """Return an affine map scaled about the mean of its output for X, so that this varies as much as Y does.

    Least squares on rows that are partners only nearly makes a map that is too small. It is made at most twice as
    large: one that is far smaller has found nothing, and would blow up noise.
    """
    mapped = fitted.transform(X)
    factor = (Y.var(0).sum() / mapped.var(0).sum()).sqrt().nan_to_num(1.0).clamp(max=LARGEST)
    weight, bias = (fitted.state_dict()[name].double() for name in ("weight", "bias"))
    return affine({"weight": factor * weight, "bias": factor * bias + (1 - factor) * mapped.mean(0)})


@dataclass
class Bootstrap(Bootstrapping):
    """Grow a handful of known pairs into a map, with many vectors of either side that have no known partner.

    Self-training: every row is matched with those most like it on the other side, a rotation is fitted on all matches,
    and the rows are matched anew under it. The result is the map that `method` fits on the last matches.
    """

    name = "bootstrap"

    rounds: int = atlas.option(12, help="Rounds of matching all rows and fitting a rotation")
    neighbours: int = atlas.option(10, help="Rows whose mean stands in for a partner; half of it in the last round")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least("rounds", 1)
        self.at_least("neighbours", 1)

    def pairs(self, sides: Sides, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return every row, and the mean of those most like it on the other side."""
        return sides.stand_ins(self_train(sides, self.rounds, self.neighbours))


@dataclass
class BootstrapAnchors(Bootstrapping):
    """Optimise parallel anchors from a few seeds by gradient descent and optimal transport, as published."""

    name = "bootstrap-anchors"
    _found = None

    # Every step matches all rows of one side with all of the other: fewer than the other aligner can look at.
    rows: int = atlas.option(1000, help="Rows of either side to look at beside the seeds, at most")
    anchors: int = atlas.option(300, help="Parallel anchors in all, the seeds among them")
    steps: int = atlas.option(250, help="Steps of Adam")
    rate: float = atlas.option(0.02, help="Rate of Adam")
    entropy: float = atlas.option(1e-4, help="How blurred Sinkhorn's matching is, in units of distance")
    iterations: int = atlas.option(1, help="Iterations of Sinkhorn's algorithm at each step")

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("anchors", "steps", "iterations"):
            self.at_least(option, 1)
        for option in ("rate", "entropy"):
            if not 0 < getattr(self, option) < float("inf"):
                raise self.fail(f"needs {option} above 0, got {getattr(self, option)}")

    @property
    def found(self) -> Tensor:
        """The anchors, (k, 2): the row of X and the row of Y, in the fitted sets, of each; the seeds first."""
        if self._found is None:
            raise self.fail("knows no anchors, which are not stored - call fit() with the vectors")
        return self._found

    def pairs(self, sides: Sides, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the anchors of the source, and the row of the target found for each."""
        if self.anchors <= sides.seeds:
            raise self.fail(f"needs more anchors than the {sides.seeds} seeds, got {self.anchors}")
        search = Search(self.anchors, self.steps, self.rate, self.entropy, self.iterations)
        rows = optimise(sides, search, generator)
        self._found = torch.stack([numbers[which] for numbers, which in zip(sides.numbers, rows.T, strict=True)], 1)
        return sides.X[rows[:, 0]], sides.Y[rows[:, 1]]
