"""The base of every sampler: vectors to the rows to use as anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.components.options import Component
from atlas.components.settings import left_alone
from atlas.numerics.arrays import as_matrix, check_unit

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Sampler(Component):
    """Vectors to the rows to use as anchors."""

    kind = "sampler"

    def sample(self, vectors: Any, n: int, *, seed: int = 0, labels: Any = None) -> Tensor:
        """Choose n distinct rows.

        Args:
            vectors: (N, d), tensor or array.
            n: how many rows, 1 to N.
            seed: of the random choices; equal seeds give equal rows.
            labels: (N,) whole numbers, the class of each row, if known.

        Returns:
            (n,) int64 rows, distinct, sorted.

        Raises:
            AtlasError: fewer rows than asked for, or labels missing where they are needed.
        """
        import torch

        X = as_matrix(vectors, "vectors", finite=True)
        check_unit(X)
        if not 1 <= n <= len(X):
            raise self.fail(f"cannot draw {n} anchors from {len(X)} vectors - ask for 1 to {len(X)}")
        y = None if labels is None else torch.as_tensor(labels)
        if y is not None and len(y) != len(X):
            raise self.fail(f"needs one label per vector, got {len(y)} labels for {len(X)} vectors")
        generator = torch.Generator().manual_seed(seed)
        with left_alone(self.label()):
            rows = self._sample(X, n, generator, y)
        sound = isinstance(rows, torch.Tensor) and rows.shape == (n,) and not rows.is_floating_point()
        if not sound or len(rows.unique()) < n or not 0 <= int(rows.min()) <= int(rows.max()) < len(X):
            raise self.fail(f"chose no {n} distinct rows of {len(X)} - {self.author()}")
        return rows.to(torch.int64).sort().values

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        """Return n distinct rows of X (N, d), in any order; all randomness comes from the generator."""
        raise NotImplementedError
