"""Options: the fields of a component, written once, and checked wherever they come from."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types as pytypes
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, Union

from atlas.cards.schema import check_names, of_type
from atlas.errors import AtlasError, warn
from atlas.numerics.arrays import frozen

if TYPE_CHECKING:
    from torch import Tensor

# The share of the spread of vectors that rounding may move them by without a word, and at all.
TOLD, REFUSED = 0.01, 0.5
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


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
        value = of_type(self.type, value, f"Option '{self.name}' of {owner}", self.type_name)
        if value != value:
            raise AtlasError(f"Option '{self.name}' of {owner} must be a number, got nan")
        if self.choices and value not in self.choices:
            raise AtlasError(f"Option '{self.name}' of {owner} must be one of {', '.join(self.choices)}, got '{value}'")
        return value

    def parse(self, text: str, owner: str) -> Any:
        """Turn the text after `-o NAME` into a value of the option's type."""
        lowered = text.strip().lower()
        if self.optional and lowered in ("none", "null"):
            return None
        if self.type is bool:
            value: Any = _TRUTHS.get(lowered, text)
        elif self.type in (list, dict):
            from atlas.cards.yaml import parse_yaml, read_yaml

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
    """The base of all kinds: a name, and options that are checked."""

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
        needed = {opt.name: opt.help for opt in known.values() if opt.default is MISSING}
        check_names(config, known, needed, "Option", f" of {cls.label()}")
        return cls(**{name: known[name].check(value, cls.label()) for name, value in config.items()})

    @classmethod
    def parse_config(cls, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Turn name and text, as given with `-o NAME VALUE`, into a mapping of typed options."""
        known = {opt.name: opt for opt in cls.options()}
        config = {}
        for name, text in pairs:
            key = name.replace("-", "_")
            check_names([key], known, {}, "Option", f" of {cls.label()}")
            if key in config:
                raise AtlasError(f"Option '{key}' of {cls.label()} is given twice")
            config[key] = known[key].parse(text, cls.label())
        return config

    def config(self) -> dict[str, Any]:
        """Return the options and their values, defaults included."""
        return {opt.name: getattr(self, opt.name) for opt in self.options()}

    def made(self, result: Any, *shape: int) -> Any:
        """Return the real numbers that a method of a plugin made, or raise `AtlasError` for another type or shape."""
        import torch

        tensor = isinstance(result, torch.Tensor)
        if tensor and result.is_floating_point() and tuple(result.shape) == shape:
            return result
        what = f"{result.dtype} of shape {tuple(result.shape)}" if tensor else type(result).__name__
        raise self.fail(f"made {what} where it should make real numbers of shape {shape} - {self.author()}")

    def check_learned(self, learned: Any) -> dict[str, Tensor]:
        """Return the state that a method of a plugin learned, or raise `AtlasError` if it is no dict of tensors."""
        import torch

        if not isinstance(learned, Mapping):
            what = type(learned).__name__
        else:
            wrong = [name for name, t in learned.items() if not (isinstance(name, str) and isinstance(t, torch.Tensor))]
            if not wrong:
                return dict(learned)
            what = f"{type(learned[wrong[0]]).__name__} under {wrong[0]!r}"
        raise self.fail(f"learned {what} where it should learn a dict of tensors by name - {self.author()}")

    @classmethod
    def author(cls) -> str:
        """Return the remedy for a fault of the code of a component: it names the package that it is in."""
        return f"report this to its author ({cls.__module__.partition('.')[0]})"

    def fail(self, reason: str) -> AtlasError:
        """Return an error that says which component met the reason."""
        return AtlasError(f"{self.label().capitalize()} {reason}")

    def check_rounding(self, error: float, size: float) -> None:
        """Warn, or raise `AtlasError`, where a squared error by rounding to float32 is large beside a squared size."""
        lost = (error / size) ** 0.5 if size > 0 else 0.0
        if lost > TOLD:
            share = f"{min(lost, 1):.0%}"
            said = f"loses {share} of the spread of these vectors when it is rounded to float32, as it is saved"
            told = self.fail(f"{said} - subtract the mean of each space first, or change its unit")
            if lost > REFUSED:
                raise told
            warn(str(told), 2)


class Fitted(Component):
    """A component with a state, tensors by name: learned, or loaded."""

    # How it becomes fitted.
    advice: ClassVar[str] = "call fit() first"
    _state: dict[str, Tensor] | None = None

    @property
    def state(self) -> dict[str, Tensor]:
        """The learned or loaded state: float32 (whole numbers stay), contiguous, on the CPU."""
        if self._state is None:
            raise self.unfitted()
        return self._state

    def unfitted(self) -> AtlasError:
        """Return the error of a component that has no state yet."""
        return self.fail(f"is not fitted - {self.advice}")

    def forget(self) -> None:
        """Drop everything that was learned or loaded."""
        options = {f.name for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        for name in set(vars(self)) - options:
            delattr(self, name)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Load the result of `state_dict`, and forget everything else."""
        self.forget()
        self._state = frozen(state)
        return self


@functools.cache
def _hint(cls: type, f: dataclasses.Field) -> Any:
    """Return the type of an option; other annotations may name imports of type checkers alone."""
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
