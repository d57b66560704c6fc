"""The four kinds of component a plugin can provide, and how they take options.

A component is a dataclass: its fields are its options, written once, and what it has learned is a dictionary of tensors
(`state_dict`), never a field. The base classes check what they are given and keep the promises all components share
(inputs are left alone, computation is in float64, what is used is exactly what will be saved), so that an author writes
the mathematics alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
import types as pytypes
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Union

from atlas.errors import AtlasError, unknown, unquoted
from atlas.types import FitsOn, Space, sha256_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self


def option(default: Any = MISSING, *, help: str, choices: Sequence[str] = ()) -> Any:
    """Declare an option of a component: a dataclass field with a help text, and the allowed values if they are few."""
    metadata = {"help": help, "choices": tuple(choices)}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option of a component, as the command line, the cards and the docs see it."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]

    @property
    def type_name(self) -> str:
        """The type in words, such as 'float' or 'int or none'."""
        return self.type.__name__ + (" or none" if self.optional else "")

    def check(self, value: Any, owner: str) -> Any:
        """Return the value (a whole number becomes a float where one is wanted), or raise `AtlasError`."""
        if value is None and self.optional:
            return None
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            hint = unquoted(value) if self.type in (int, float) else ""
            given = f"{value!r} ({type(value).__name__})"
            raise AtlasError(f"Option '{self.name}' of {owner} must be {self.type_name}, got {given}{hint}")
        if self.choices and value not in self.choices:
            raise AtlasError(f"Option '{self.name}' of {owner} must be one of {', '.join(self.choices)}, got '{value}'")
        return value

    def parse(self, text: str, owner: str) -> Any:
        """Turn the text after `-o NAME` into a value of the option's type."""
        lowered = text.strip().lower()
        if self.optional and lowered in ("none", "null"):
            return None
        if self.type is bool:
            value: Any = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
                lowered, text
            )
        elif self.type in (list, dict):
            from atlas.cards import parse_yaml, read_yaml

            what = f"Option '{self.name}' of {owner}"
            # '@' begins nothing in YAML, so it can say that the rest names a file.
            value = read_yaml(text[1:]) if text.startswith("@") else parse_yaml(text, what)
        else:
            try:
                value = self.type(text)
            except ValueError:
                value = text
        return self.check(value, owner)


class Component:
    """What the four kinds share: a name, and options that are checked."""

    kind: ClassVar[str] = "component"
    name: ClassVar[str] = ""

    @classmethod
    def label(cls) -> str:
        """Return kind and name, as messages call this component."""
        return f"{cls.kind} '{cls.name}'"

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Return the options, in the order they are written."""
        return tuple(_option(f, _hint(cls, f)) for f in dataclasses.fields(cls) if f.init)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a component from a mapping of options, checking names and types.

        Raises:
            AtlasError: an option that is unknown, missing, or of the wrong type or value.
        """
        known = {opt.name: opt for opt in cls.options()}
        for name in config:
            if name not in known:
                raise AtlasError(unknown(f"option of {cls.label()}", name, known))
        for opt in known.values():
            if opt.default is MISSING and opt.name not in config:
                raise AtlasError(f"Option '{opt.name}' of {cls.label()} is missing - {opt.help}")
        return cls(**{name: known[name].check(value, cls.label()) for name, value in config.items()})

    @classmethod
    def parse_config(cls, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Turn name and text, as given with `-o NAME VALUE`, into a mapping of typed options."""
        known = {opt.name: opt for opt in cls.options()}
        config = {}
        for name, text in pairs:
            key = name.replace("-", "_")
            if key not in known:
                raise AtlasError(unknown(f"option of {cls.label()}", name, known))
            if key in config:
                raise AtlasError(f"Option '{key}' of {cls.label()} is given twice")
            config[key] = known[key].parse(text, cls.label())
        return config

    def config(self) -> dict[str, Any]:
        """Return the options and their values, defaults included."""
        return {opt.name: getattr(self, opt.name) for opt in self.options()}

    def fail(self, reason: str) -> AtlasError:
        """Return an error that says which component met the reason."""
        return AtlasError(f"{self.label().capitalize()} {reason}")


def _hint(cls: type, f: dataclasses.Field) -> Any:
    """Return the type of an option; other annotations may name what is imported for type checkers alone."""
    owner = next(base for base in cls.__mro__ if f.name in inspect.get_annotations(base))
    alone = pytypes.SimpleNamespace(__annotations__={f.name: f.type})
    return typing.get_type_hints(alone, vars(sys.modules[owner.__module__]))[f.name]


def _option(f: dataclasses.Field, hint: Any) -> Option:
    args = [a for a in typing.get_args(hint) if a is not type(None)]
    optional = typing.get_origin(hint) in (Union, pytypes.UnionType)
    plain = args[0] if optional else hint
    default = f.default_factory() if f.default_factory is not MISSING else f.default
    return Option(
        name=f.name,
        type=typing.get_origin(plain) or plain,
        optional=optional,
        default=default,
        help=f.metadata.get("help", ""),
        choices=f.metadata.get("choices", ()),
    )


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
    The claims below are checked by the contract tests.
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

    def fit(self, X: Any, Y: Any = None) -> Self:
        """Learn the map; whatever was learned before is forgotten.

        Args:
            X: (n, d_source) vectors of the source.
            Y: (n, d_target) vectors of the same items in the target, row by row; None for an aligner that fits on the
                source alone; any number of rows for one that fits on sets.

        Raises:
            AtlasError: NaN or infinity, fewer than two rows, unequal lengths, or a fit the method cannot do.
        """
        X, Y = self.check_fit(X, Y)
        self.forget()
        learned = self._fit(X.double(), None if Y is None else Y.double())
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


class Aggregator(Component):
    """Vectors of many spaces to an atlas: one chart into a shared space for each, and a rule that combines them.

    A subclass implements `_fit`, which returns a fitted aligner for each space and may leave tensors of its own in
    `self.extra`, and `_combine`. `chart_aligner` returns an unfitted aligner of the kind its charts are. One that can
    make use of items that are in some of the spaces only sets `partial`.
    """

    kind = "aggregator"
    partial: ClassVar[bool] = False

    charts: dict[str, Aligner]
    extra: dict[str, Tensor]

    def fit(self, views: Mapping[str, Any], items: Mapping[str, Any] | None = None) -> Self:
        """Fit one chart for each space; whatever was learned before is forgotten.

        Args:
            views: space id to vectors (n_s, d_s).
            items: space id to (n_s,) whole numbers, the item each row encodes; None: every view has the same items,
                row by row.

        Raises:
            AtlasError: fewer than two spaces, NaN or infinity, or items in some of the spaces only for a method that
                needs every item in all.
        """
        if len(views) < 2:
            raise self.fail(f"needs at least 2 spaces, got {len(views)}")
        matrices = {name: self._view(name, X) for name, X in views.items()}
        lengths = {name: len(X) for name, X in matrices.items()}
        if items is None and len(set(lengths.values())) != 1:
            raise self.fail(f"needs the same items in every space, got rows {lengths}")
        rows = {name: self._rows(name, n, items[name] if items is not None else None) for name, n in lengths.items()}
        if not self.partial and len({tuple(r.sort().values.tolist()) for r in rows.values()}) != 1:
            raise self.fail("needs every item in every space - give anchors that are encoded in all of them")
        self.charts, self.extra = {}, {}
        self.charts = dict(self._fit(matrices, rows))
        self.extra = frozen(self.extra)
        return self

    def add(self, space: str, vectors: Any, items: Any = None) -> Self:
        """Fit one more chart against what is already there, and leave the others untouched.

        Args:
            space: id of the new space.
            vectors: (n, d) vectors of the new space.
            items: (n,) whole numbers, the item each row encodes, as in `fit`; None: the items of the first fit.
        """
        if space in self._fitted():
            raise self.fail(f"already has a chart for '{space}' - choose another id")
        X = self._view(space, vectors)
        self.charts[space] = self._add(space, X, self._rows(space, len(X), items))
        return self

    def _view(self, space: str, vectors: Any) -> Tensor:
        return as_matrix(vectors, f"The matrix of '{space}'", finite=True).cpu().double()

    def _rows(self, space: str, n: int, items: Any) -> Tensor:
        import torch

        rows = torch.arange(n) if items is None else torch.as_tensor(items, dtype=torch.int64)
        if rows.shape != (n,):
            raise self.fail(f"needs one item for each of the {n} rows of '{space}', got shape {tuple(rows.shape)}")
        if len(rows.unique()) != n:
            raise self.fail(f"needs every item once in '{space}', got {n} rows of {len(rows.unique())} items")
        return rows

    def _fitted(self) -> dict[str, Aligner]:
        if not getattr(self, "charts", None):
            raise self.fail("is not fitted - call fit() first")
        return self.charts

    def chart(self, space: str) -> Aligner:
        """Return the fitted map of a space into the shared one."""
        if space not in self._fitted():
            raise AtlasError(unknown("chart", space, self.charts))
        return self.charts[space]

    @property
    def dim(self) -> int:
        """Dimension of the shared space, after `combine`."""
        return next(iter(self._fitted().values())).d_target

    def combine(self, rows: Tensor, present: Tensor) -> Tensor:
        """Combine what the charts say of each item.

        Args:
            rows: (n, k, d) coordinates of n items through k charts, in the order of `self.charts`.
            present: (n, k) bool, whether the item was seen through the chart; a row that was not counts for nothing.

        Returns:
            (n, d') vectors of the shared space, d' being `dim`.

        Raises:
            AtlasError: other shapes, or an item that was seen through no chart.
        """
        import torch

        k = len(self._fitted())
        if rows.ndim != 3 or rows.shape[1] != k or present.shape != rows.shape[:2] or present.dtype != torch.bool:
            given = f"rows {tuple(rows.shape)} and {present.dtype} {tuple(present.shape)}"
            raise self.fail(f"combines rows (n, {k}, d) that are present (n, {k}) or not, got {given}")
        if not bool(present.any(1).all()):
            raise self.fail(f"cannot combine row {int((~present.any(1)).nonzero()[0])} - it is in none of the spaces")
        return self._combine(torch.where(present[..., None], rows, 0), present)

    def identity(self) -> dict[str, Any]:
        """Return what fixes the coordinates of the shared space beside the anchors.

        By default these are all options and the hash of what was learned beside the charts, or the charts if that is
        nothing. "encoder" names what makes such a space, if it is not this aggregator.
        """
        return {**self.config(), **({"state": hash_of(self.extra)} if self.extra else {"charts": sorted(self.charts)})}

    def chart_aligner(self) -> Aligner:
        """Return an unfitted aligner of the kind the charts are, for loading."""
        raise NotImplementedError

    def _fit(self, views: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> Mapping[str, Aligner]:
        raise NotImplementedError

    def _add(self, space: str, X: Tensor, items: Tensor) -> Aligner:
        raise self.fail("cannot add a space to a fitted atlas - fit again with all spaces")

    def _combine(self, rows: Tensor, present: Tensor) -> Tensor:
        """Return (n, d') for rows (n, k, d), zero where they are not present (n, k); every item is present once."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of every chart as 'space.tensor', and those of the aggregator itself."""
        charts = {f"{space}.{key}": value for space, c in self.charts.items() for key, value in c.state_dict().items()}
        return {**charts, **self.extra}

    def load_state_dict(self, state: Mapping[str, Tensor], spaces: Sequence[str]) -> Self:
        """Take what `state_dict` returned, for charts of these spaces in this order."""
        self.charts = {}
        for space in spaces:
            own = {key[len(space) + 1 :]: value for key, value in state.items() if key.startswith(space + ".")}
            self.charts[space] = self.chart_aligner().load_state_dict(own)
        self.extra = frozen({key: value for key, value in state.items() if "." not in key})
        return self


KINDS: dict[str, type[Component]] = {cls.kind: cls for cls in (Encoder, Sampler, Aligner, Aggregator)}


def frozen(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as they will be saved: float32 (whole numbers stay), contiguous, on the CPU, sharing no memory."""
    import torch

    def one(t: Tensor) -> Tensor:
        t = t.detach().cpu()
        t = t.to(torch.float32) if t.is_floating_point() else t
        return t.clone(memory_format=torch.contiguous_format)

    return {name: one(t) for name, t in state.items()}


def hash_of(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors: their names, dtypes, shapes and bytes, whatever order they are given in."""
    import torch

    def one(t: Tensor) -> list[Any]:
        raw = t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return [str(t.dtype), list(t.shape), hashlib.sha256(raw.data).hexdigest()]

    return sha256_of({name: one(t) for name, t in state.items()})


def check_device(device: str) -> str:
    """Return a device's name, or raise `AtlasError` if torch has no such device here."""
    import torch

    try:
        # Not all of torch's devices compute: 'meta' holds no numbers.
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AtlasError(f"Device '{device}' cannot be used: {str(error).partition(chr(10))[0]} - use 'cpu'") from None
    return device


def as_matrix(X: Any, what: str, finite: bool = False) -> Tensor:
    """Return a tensor or array of rows as a floating-point tensor (n, d), without a copy where there can be one.

    Raises:
        AtlasError: not two-dimensional, no rows, not numbers, or (if asked) NaN or infinity: how many, and where.
    """
    import torch

    try:
        t = X if isinstance(X, torch.Tensor) else torch.as_tensor(X)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AtlasError(f"{what} must be a tensor or an array of numbers, got {type(X).__name__} ({error})") from None
    if t.ndim != 2:
        raise AtlasError(f"{what} must have two dimensions (rows, features), got shape {tuple(t.shape)}")
    if 0 in t.shape:
        raise AtlasError(f"{what} must have at least one row and one column, got shape {tuple(t.shape)}")
    if t.is_complex() or t.dtype == torch.bool:
        raise AtlasError(f"{what} must hold real numbers, got {t.dtype}")
    t = t.detach()
    t = t if t.is_floating_point() else t.float()
    if finite:
        check_finite(t, what)
    return t


def check_finite(t: Tensor, what: str, first_row: int = 0, more: bool = False) -> None:
    """Raise `AtlasError` if the matrix holds NaN or infinity: how many values, and the first row that has one.

    Args:
        t: (n, d).
        what: the subject of the sentence.
        first_row: the number of the first row of t, when t is a batch of something larger.
        more: whether rows follow that have not been looked at.
    """
    import torch

    # One pass that keeps nothing: a sum is finite unless an element is not, or it overflows.
    if bool(torch.isfinite(t.sum())):
        return
    bad = ~torch.isfinite(t)
    count = int(bad.sum())
    if count:
        raise not_finite(what, count, first_row + int(bad.any(1).nonzero()[0]), more)


def not_finite(what: str, count: int, row: int, more: bool = False) -> AtlasError:
    """Return the error for values that are NaN or infinite: how many (at least, if there are more rows), and where."""
    values = ("at least " if more else "") + ("1 value that is" if count == 1 else f"{count} values that are")
    return AtlasError(f"{what} has {values} NaN or infinite, the first in row {row} - remove those rows")


def like(result: Tensor, given: Any, tensor: Tensor) -> Any:
    """Return a result as what went in: the tensor's dtype and device, and a numpy array if it was one."""
    import torch

    out = result.to(device=tensor.device, dtype=tensor.dtype)
    return out if isinstance(given, torch.Tensor) else out.numpy()
