"""A curved map: ridge regression on similarities to the rows it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

import atlas
from atlas.authors import all_equal, unit

# Rows in a block: large enough for a matrix product to run at full rate.
BLOCK = 4096
# Below it, rounding decides about rows that are nearly the same.
LEAST_RIDGE = 1e-6
# Rows of a target share a direction if the mean cosine of two of them is larger.
SHARED = 0.5
STATE = {"landmarks": 2, "mean": 1, "coefficients": 2, "offset": 1}


@dataclass
class Kernel(atlas.Aligner):
    """Fit a smooth curved map of vectors compared by cosine: for classes, with a thousand pairs or more.

    Minimises ||K C + mean_y - Y||^2 + ridge tr(C.T K C), where K holds exp(sharpness (cos(x, z) - 1)) of each row x and
    each landmark z, at length 1 about the mean. Landmarks are the pairs' own rows, or so many of them; mapping a row
    costs a product with each. Lengths of rows do not count.

    The penalty draws rows that are uncertain towards the mean. In a target whose rows share a direction (a mean cosine
    above 0.5) they would then lie nearer to every query than true rows do, and mapped rows are moved out again to the
    mean distance from the mean that the pairs' own rows have.

    With `spread`, all of it is undone that the penalty does to the shape of the whole, whatever the target: mapped rows
    vary in each principal direction of the target as much as true ones do, and lie as far from the mean. How much rows
    vary that a map has not seen is known from each pair left out, in closed form.

    Source: C. K. I. Williams and M. Seeger, Using the Nyström method to speed up kernel machines, 2000 (landmarks).
    """

    name = "kernel"

    sharpness: float = atlas.option(2.0, help="How fast similarity falls: near 0 the map is linear, large it is local")
    ridge: float = atlas.option(0.1, help=f"Penalty, at least {LEAST_RIDGE:g}")
    landmarks: int = atlas.option(2000, help="Rows to compare with, at most")
    spread: bool = atlas.option(False, help="Give mapped rows the spread of true ones in every direction, for search")
    seed: int = atlas.option(0, help="Of the choice of landmarks, where there are more pairs")

    def __post_init__(self) -> None:
        if not 0 < self.sharpness < float("inf"):
            raise self.fail(f"needs a sharpness above 0, got {self.sharpness}")
        if not LEAST_RIDGE <= self.ridge < float("inf"):
            raise self.fail(f"needs a ridge of {LEAST_RIDGE:g} or more, got {self.ridge}")
        if self.landmarks < 2:
            raise self.fail(f"needs at least 2 landmarks, got {self.landmarks}")
        if not 0 <= self.seed < 2**63:
            raise self.fail(f"needs a seed from 0 to 2**63 - 1, got {self.seed}")

    @property
    def d_source(self) -> int:
        """Dimension of the landmarks."""
        return self.state["landmarks"].shape[1]

    @property
    def d_target(self) -> int:
        """Dimension of the space mapped to."""
        return self.state["coefficients"].shape[1]

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Load the learned state, and forget everything else."""
        shapes = {name: tuple(t.shape) for name, t in state.items()}
        if {name: len(shape) for name, shape in shapes.items() if name != "length"} != STATE:
            raise self.fail(f"needs the tensors {', '.join(STATE)}, got {', '.join(sorted(state)) or 'none'}")
        (m, d), (n, d_target) = shapes["landmarks"], shapes["coefficients"]
        if (n, shapes["mean"], shapes["offset"], shapes.get("length", (1,))) != (m, (d,), (d_target,), (1,)):
            raise self.fail(f"needs tensors that go together, got shapes {', '.join(map(str, shapes.values()))}")
        return super().load_state_dict(state)

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        assert Y is not None
        if all_equal(X):
            raise self.fail("needs rows that differ, got the same vector for all of them")
        mean, offset = unit(X).mean(0), Y.mean(0)
        U = unit(unit(X) - mean)
        chosen = torch.randperm(len(U), generator=torch.Generator().manual_seed(self.seed))[: self.landmarks]
        landmarks = U if len(U) <= self.landmarks else U[chosen.sort().values]
        K = self._similarities(landmarks, landmarks)
        if landmarks is U:
            A, B = K, Y - offset
            A.diagonal().add_(self.ridge)
        else:
            # Rounding must not make K, of which the smallest eigenvalues are all but zero, indefinite.
            A, B = self.ridge * K, torch.zeros(len(K), Y.shape[1]).to(Y)
            A.diagonal().add_(LEAST_RIDGE * len(U))
            for u, y in zip(U.split(BLOCK), (Y - offset).split(BLOCK), strict=True):
                k = self._similarities(u, landmarks)
                A, B = A.addmm_(k.T, k), B.addmm_(k.T, y)
        root = torch.linalg.cholesky(A)
        coefficients = torch.cholesky_solve(B, root)
        if self.spread:
            unseen = self._left_out(U, Y - offset, landmarks, root, coefficients)
            coefficients = coefficients @ _stretch(Y - offset, unseen)
        state = {"landmarks": landmarks, "mean": mean, "coefficients": coefficients, "offset": offset}
        shared = float(unit(Y).mean(0).square().sum()) > SHARED
        return {**state, "length": (Y - offset).norm(dim=1).mean()[None]} if shared or self.spread else state

    def _left_out(self, U: Tensor, Y: Tensor, landmarks: Tensor, root: Tensor, coefficients: Tensor) -> Tensor:
        """Return each row as the map of all others has it, about the mean (n, d_target).

        Args:
            U: (n, d_source), the rows as they are compared.
            Y: (n, d_target), their targets about the mean.
            landmarks: (m, d_source).
            root: (m, m) lower triangular, the Cholesky factor of the matrix that was solved.
            coefficients: (m, d_target).
        """
        if landmarks is U:
            return Y - coefficients / torch.cholesky_inverse(root).diagonal()[:, None]
        parts = []
        for u, y in zip(U.split(BLOCK), Y.split(BLOCK), strict=True):
            k = self._similarities(u, landmarks)
            own = torch.linalg.solve_triangular(root, k.T, upper=False).square().sum(0)[:, None]
            parts.append((k @ coefficients - own * y) / (1 - own))
        return torch.cat(parts)

    def _similarities(self, U: Tensor, landmarks: Tensor) -> Tensor:
        return (U @ landmarks.T).sub_(1).mul_(self.sharpness).exp_()

    def _transform(self, X: Tensor) -> Tensor:
        landmarks, mean, coefficients, offset = (self.state[name].to(X) for name in STATE)
        parts = (self._similarities(unit(unit(x) - mean), landmarks) for x in X.split(BLOCK))
        if "length" not in self.state:
            return torch.cat([torch.addmm(offset, part, coefficients) for part in parts])
        length = self.state["length"].to(X)
        return torch.cat([unit(part @ coefficients).mul_(length).add_(offset) for part in parts])


def _stretch(Y: Tensor, unseen: Tensor) -> Tensor:
    """Return the symmetric (d, d) that gives rows of a map the variance of true ones in each of their directions.

    Args:
        Y: (n, d) true rows about the mean.
        unseen: (n, d), those that the map makes of rows it has not seen.
    """
    directions = torch.linalg.eigh(Y.T @ Y).eigenvectors
    true, made = ((rows @ directions).square().mean(0) for rows in (Y, unseen))
    # Where true rows do not vary, rounding would be stretched.
    least = 1e-6 * true.mean()
    return (directions * ((true + least) / (made + least)).sqrt()) @ directions.T
