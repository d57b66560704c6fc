"""The kinds of component a plugin can provide, and how they take options.

A component is a dataclass: its fields are its options, written once, and what it has learned is a dictionary of tensors
(`state_dict`), never a field. The base classes check what they are given and keep the promises all components share
(inputs are left alone, computation is in float64, what is used is exactly what will be saved), so that an author writes
the mathematics alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from atlas.aggregator import Aggregator
from atlas.arrays import as_matrix, as_pairs, check_device, check_finite, frozen, hash_of, like
from atlas.errors import AtlasError
from atlas.exporter import Exporter
from atlas.options import Component
from atlas.types import FitsOn, Space, sha256_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from typing_extensions import Self

    from atlas.fitted import Head
    from atlas.headmodel import HeadModel


class Encoder(Component):
    """Items to vectors: what makes a space.

    A subclass sets `takes` ("text", "images" or "arrays"; images are arrays, too) and implements `dim` and `_encode`.
    One that must learn from items before it can encode any sets `fits` and implements `_fit`, which returns what was
    learned; `_encode` reads it from `self.state`.
    """

    kind = "encoder"
    takes: ClassVar[str] = "arrays"
    fits: ClassVar[bool] = False
    # The id its space was stored under, where the encoder was loaded; no annotation, so that it is never an option.
    stored_id = ""

    _state: dict[str, Tensor] | None = None

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        raise NotImplementedError

    @property
    def fitted(self) -> bool:
        """Whether it can encode: it has learned what it must, or need not learn."""
        return self._state is not None or not self.fits

    @property
    def state(self) -> dict[str, Tensor]:
        """What was learned or loaded: float32 (whole numbers stay), contiguous, on the CPU."""
        if self._state is None:
            raise self.fail("is not fitted - call fit() with items first")
        return self._state

    def identity(self) -> dict[str, Any]:
        """Return everything that fixes the vectors: options that change them, revisions, hashes of weights.

        By default these are all options and, of what was learned or loaded, the hash.
        """
        state = self.state_dict()
        return {**self.config(), **({"state": hash_of(state)} if state else {})}

    def space(self, id: str | None = None) -> Space:
        """Return the space this encoder makes, under an id of the caller's choice."""
        identity = self.identity()
        default = f"{self.name}-{sha256_of(identity)[:8]}"
        return Space(id=id or self.stored_id or default, dim=self.dim, encoder=self.name, identity=identity)

    def fit(self, items: Any) -> Self:
        """Learn what must be learned from items; whatever was learned before is forgotten.

        Args:
            items: as in `encode`.
        """
        if not self.fits:
            raise self.fail("learns nothing from items - call encode()")
        ready = self.ready(items)
        self.forget()
        self._state = frozen(self._fit(ready))
        return self

    def encode(self, items: Any, *, batch_size: int = 256, device: str = "cpu") -> Iterator[Tensor]:
        """Yield the vectors of the items, batch by batch.

        Args:
            items: a sequence whose slices are batches: a list of text, an array (n, ...), or `atlas.read_items(path)`.
            batch_size: items in a batch; it must not change the vectors.
            device: where to compute; it must not change the vectors beyond rounding.

        Returns:
            Batches (b, dim) in the order of the items, on the CPU.

        Raises:
            AtlasError: items of another kind, not fitted, no such device, or vectors that are not finite.
        """
        if batch_size < 1:
            raise self.fail(f"needs batches of at least 1 item, got batch_size {batch_size}")
        if not self.fitted:
            raise self.fail("is not fitted - call fit() with items first")
        return self._batches(self.ready(items), batch_size, check_device(device))

    def head(self) -> Head:
        """Return the head that its checkpoint carries: the classifier that was trained on vectors of this space.

        Raises:
            AtlasError: it carries none, or one that reads other vectors than these options make.
        """
        from atlas.fitted import Head
        from atlas.types import slug

        space = self.space()
        model, classes = self._head()
        return Head(slug(f"{space.id}__own"), space, model, tuple(classes))

    def module(self) -> nn.Module:
        """Return the network from a batch of items, as a tensor, to their vectors (b, dim), in evaluation mode.

        An encoder that has one says in its attribute `input_shape` what shape an item has.

        Raises:
            AtlasError: it is no network, or takes items that are no tensors.
        """
        raise self.fail("is no network from tensors to vectors - export the alignment alone")

    def push_to_hub(self, repo: str, **how: Any) -> Any:
        """Publish the card of its space, and what it has learned, as one commit; keywords as for every artefact."""
        from atlas.hub.mixin import OnHub

        return OnHub.push_to_hub(self, repo, **how)  # type: ignore[arg-type]

    def ready(self, items: Any) -> Any:
        """Return items of the kind this encoder takes, as it wants them."""
        from atlas.items import as_items, of_kind

        given = as_items(items)
        try:
            taken = of_kind(given, self.takes)
        except AtlasError as error:
            raise self.fail(str(error)) from None
        return self._prepare(taken)

    def _batches(self, items: Any, batch_size: int, device: str) -> Iterator[Tensor]:
        import torch

        d = self.dim
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            with torch.no_grad():
                X = self._encode(batch, device).cpu()
            if X.shape != (len(batch), d) or not X.is_floating_point():
                made, due = f"{X.dtype} of shape {tuple(X.shape)}", f"real numbers of shape {(len(batch), d)}"
                raise self.fail(f"made {made} where it should make {due} - report this to its author")
            check_finite(X, f"What {self.label()} made", start, more=start + len(batch) < len(items))
            yield X

    def _prepare(self, items: Any) -> Any:
        """Return items as they are to be read, such as `items.each(resize)` for images of any size."""
        return items

    def _fit(self, items: Any) -> dict[str, Tensor]:
        """Return what is learned from items, whose slices are batches."""
        raise NotImplementedError

    def _encode(self, batch: Any, device: str) -> Tensor:
        """Return the vectors (b, dim) of a batch.

        Args:
            batch: a list of text; images (b, 3, height, width), float32, RGB in [0, 1]; or a tensor (b, ...) of arrays.
            device: where to compute.
        """
        raise NotImplementedError

    def _head(self) -> tuple[HeadModel, Sequence[str]]:
        """Return a fitted head of this space, and the names of its classes."""
        raise self.fail("carries no head - train one with 'atlas train', or give another")

    def forget(self) -> None:
        """Drop everything that was learned or loaded."""
        options = {f.name for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        for name in set(vars(self)) - options:
            delattr(self, name)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what was learned or loaded, as contiguous tensors on the CPU; empty for most encoders."""
        return dict(self.state) if self.fits else dict(self._state or {})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take what `state_dict` returned, and forget everything else."""
        self.forget()
        self._state = frozen(state)
        return self


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
        if not 1 <= n <= len(X):
            raise self.fail(f"cannot draw {n} anchors from {len(X)} vectors - ask for 1 to {len(X)}")
        y = None if labels is None else torch.as_tensor(labels)
        if y is not None and len(y) != len(X):
            raise self.fail(f"needs one label per vector, got {len(y)} labels for {len(X)} vectors")
        generator = torch.Generator().manual_seed(seed)
        rows = self._sample(X, n, generator, y)
        return rows.to(torch.int64).sort().values

    def _sample(self, X: Tensor, n: int, generator: torch.Generator, labels: Tensor | None) -> Tensor:
        """Return n distinct rows of X (N, d), in any order; all randomness comes from the generator."""
        raise NotImplementedError


class Aligner(Component):
    """Paired vectors to a map from one space to another.

    A subclass implements `_fit`, which returns what was learned, and `_transform`, which reads it from `self.state`.
    The claims below are checked by the contract tests. `fits_on` says what it learns from: "pairs" of rows; the
    "source" alone; two "sets" of rows of which no two are known to be of one item; or two sets with a few "seeds", rows
    that are known to be, for which it implements `_fit_seeds`.
    """

    kind = "aligner"
    affine: ClassVar[bool] = False
    streaming: ClassVar[bool] = False
    invertible: ClassVar[bool] = False
    fits_on: ClassVar[FitsOn] = "pairs"

    _state: dict[str, Tensor] | None = None

    @property
    def state(self) -> dict[str, Tensor]:
        """What was learned: float32, contiguous, on the CPU."""
        if self._state is None:
            raise self.fail("is not fitted - call fit() first")
        return self._state

    @property
    def d_source(self) -> int:
        """Dimension of the space mapped from."""
        return self.state["weight"].shape[0]

    @property
    def d_target(self) -> int:
        """Dimension of the space mapped to."""
        return self.state["weight"].shape[1]

    def fit(self, X: Any, Y: Any = None, pairs: Any = None) -> Self:
        """Learn the map; whatever was learned before is forgotten.

        Args:
            X: (n, d_source) vectors of the source.
            Y: (n, d_target) vectors of the same items in the target, row by row; None for an aligner that fits on the
                source alone; any number of rows for one that fits on sets or on seeds.
            pairs: (s, 2) whole numbers for an aligner that fits on seeds: the row of X and the row of Y of each item
                that is known on both sides.

        Raises:
            AtlasError: NaN or infinity, fewer than two rows, unequal lengths, or a fit the method cannot do.
        """
        X, Y = self.check_fit(X, Y)
        x, y = X.double(), None if Y is None else Y.double()
        known = self.check_pairs(pairs, len(x), 0 if y is None else len(y))
        self.forget()
        learned = self._fit(x, y) if known is None or y is None else self._fit_seeds(x, y, known)
        # Where the plugin is missing, these two tensors alone are taken for the map.
        if not self.affine and set(learned) == {"weight", "bias"}:
            raise self.fail("learns weight and bias, as affine maps do, and is not affine - give one another name")
        self._state = frozen(learned)
        return self

    def partial_fit(self, X: Any, Y: Any = None) -> Self:
        """Learn from more rows; any number of batches give the same map as one fit on all rows."""
        raise self.fail("does not learn in batches - call fit() with all rows")

    def check_fit(self, X: Any, Y: Any, least: int = 2) -> tuple[Tensor, Tensor | None]:
        """Return X and Y as matrices on the CPU, or raise `AtlasError` saying why they cannot be fitted on."""
        X = as_matrix(X, "X", finite=True).cpu()
        if self.fits_on == "source":
            Y = None
        elif Y is None:
            raise self.fail("needs the vectors of both spaces, got X alone")
        else:
            Y = as_matrix(Y, "Y", finite=True).cpu()
            if self.fits_on == "pairs" and len(X) != len(Y):
                raise self.fail(f"needs paired rows, got {len(X)} in X and {len(Y)} in Y")
        if min(len(X), len(X) if Y is None else len(Y)) < least:
            raise self.fail(f"needs at least {least} rows, got {min(len(X), len(X) if Y is None else len(Y))}")
        return X, Y

    def check_pairs(self, pairs: Any, n: int, m: int) -> Tensor | None:
        """Return the rows (s, 2) of the n of X and the m of Y that are known to be of one item; None if unasked for."""
        if self.fits_on != "seeds":
            if pairs is not None:
                raise self.fail(f"fits on {self.fits_on} and takes no pairs of row numbers - leave out pairs")
            return None
        if pairs is None:
            raise self.fail("needs to know which rows are of one item - give pairs, the numbers of their rows")
        return as_pairs(pairs, n, m)

    def forget(self) -> None:
        """Drop everything that was learned."""
        options = {f.name for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        for name in set(vars(self)) - options:
            delattr(self, name)

    def transform(self, X: Any) -> Any:
        """Map vectors (n, d_source) of the source to the target (n, d_target); dtype, device and kind of array stay."""
        return self._apply(X, self._transform, self.d_source, self.d_target)

    def inverse_transform(self, Y: Any) -> Any:
        """Map vectors (n, d_target) of the target back to the source (n, d_source)."""
        if not self.invertible:
            raise self.fail("cannot be run backwards - fit one from target to source")
        return self._apply(Y, self._inverse_transform, self.d_target, self.d_source)

    def _apply(self, X: Any, function: Any, d_in: int, d_out: int) -> Any:
        import torch

        given = as_matrix(X, "X")
        if given.shape[1] != d_in:
            raise self.fail(f"maps {d_in} to {d_out} dimensions, got X with shape {tuple(given.shape)}")
        working = given if given.dtype in (torch.float32, torch.float64) else given.float()
        return like(function(working), X, given)

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        """Return what is learned from X (n, d_source) and Y (n, d_target), both float64."""
        raise NotImplementedError

    def _fit_seeds(self, X: Tensor, Y: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        """Return what is learned from X (n, d_source), Y (m, d_target) and rows (s, 2) of both that are of one item."""
        raise NotImplementedError

    def _transform(self, X: Tensor) -> Tensor:
        """Map X (n, d_source), float32 or float64, with `self.state`."""
        raise NotImplementedError

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        raise NotImplementedError

    def coordinates(self) -> dict[str, Any]:
        """For an aligner that fits on the source alone: the options that fix what its target coordinates mean.

        Two such alignments reach the same space if these, and the items they were fitted on, are the same.
        """
        return self.config()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what was learned: float32, contiguous, on the CPU."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take what `state_dict` returned, and forget everything else."""
        self.forget()
        self._state = frozen(state)
        return self


KINDS: dict[str, type[Component]] = {cls.kind: cls for cls in (Encoder, Sampler, Aligner, Aggregator, Exporter)}
