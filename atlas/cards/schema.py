"""The one checker of plain data: of cards, options of components and layers, and recipes."""

from __future__ import annotations

import functools
import math
import reprlib
import types as pytypes
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union

from atlas.errors import AtlasError, unknown, unquoted


def check_names(
    given: Iterable[Any], known: Iterable[str], needed: Mapping[str, str], what: str = "Field", of: str = ""
) -> None:
    """Raise `AtlasError` for the first name that is not known, or that is needed but not given.

    Args:
        given: the names there are.
        known: the names there may be.
        needed: the names there must be, each with advice for those who left it out, or ''.
        what: the kind of thing that is named.
        of: whose they are, as " of aligner 'ridge'".
    """
    given = list(given)
    for name in given:
        if name not in known:
            raise AtlasError(unknown(what.lower() + of, brief(name), known))
    for name, advice in needed.items():
        if name not in given:
            raise AtlasError(f"{what} '{name}'{of} is missing" + (f" - {advice}" if advice else ""))


def exactly(kind: type, value: Any, fits: Callable[[Any], bool] = lambda value: True) -> Any:
    """Return a value of the very type asked for that fits (a whole number will do for a float), or raise ValueError."""
    value = float(value) if kind is float and type(value) is int else value
    if type(value) is not kind or not fits(value):
        raise ValueError
    return value


def read_as(read: Callable[[Any], Any], words: str, value: Any, what: str) -> Any:
    """Return `read(value)`; where it raises `ValueError`, say in words which values are allowed."""
    try:
        return read(value)
    except (ValueError, OverflowError):
        hint = unquoted(value) if any(word in words for word in ("number", "int", "float")) else ""
        raise AtlasError(f"{what} must be {words}, got {shown(value)}{hint}".lstrip()) from None


def of_type(kind: type, value: Any, what: str, words: str = "") -> Any:
    """Return a value of the very type asked for, which may be called by other words than its name."""
    return read_as(functools.partial(exactly, kind), words or kind.__name__, value, what)


def shown(value: Any) -> str:
    """Return a value as a message shows it, short however large the value is."""
    try:
        return f"{reprlib.repr(value)} ({type(value).__name__})"
    except ValueError:
        return f"a huge {type(value).__name__}"


def brief(name: Any) -> str:
    """Return a name as a message shows it, whatever stands where a name should be."""
    return name[:60] if isinstance(name, str) else shown(name)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def build(cls: type, data: Any, where: str = "") -> Any:
    """Return a dataclass made of plain data.

    Args:
        cls: the dataclass.
        data: a mapping of its fields.
        where: the path of the mapping within the document, such as 'source.'; '' for the whole.

    Raises:
        AtlasError: a field that is unknown, missing or mistyped.
    """
    data = of_type(dict, data, f"Field '{where[:-1]}'" if where else "The card", "a mapping")
    needed = {where + f.name: "" for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    check_names([f"{where}{name}" for name in data], [where + f.name for f in fields(cls)], needed)
    return cls(**{name: _checked(_hints(cls)[name], value, where + name) for name, value in data.items()})


def _checked(hint: Any, value: Any, where: str) -> Any:
    origin, what = typing.get_origin(hint), f"Field '{where}'"
    if origin in (Union, pytypes.UnionType):
        return None if value is None else _checked(typing.get_args(hint)[0], value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, where + ".")
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        listed = of_type(list, value, what, "a list")
        return tuple(_checked(inner, item, f"{where}.{i}") for i, item in enumerate(listed))
    if origin is not None and issubclass(origin, Mapping):
        inner = typing.get_args(hint)[1]
        read = functools.partial(exactly, dict, fits=lambda found: all(isinstance(key, str) for key in found))
        items = read_as(read, "a mapping with text keys", value, what).items()
        return {key: _checked(inner, item, f"{where}.{key}") for key, item in items}
    return value if hint is Any else _scalar(hint, value, what)


def _scalar(hint: type, value: Any, what: str) -> Any:
    value = of_type(hint, value, what)
    if isinstance(value, float) and not math.isfinite(value):
        raise AtlasError(f"{what} must be finite, got {value}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise AtlasError(f"{what} must be from 0 to 2**63 - 1, got {str(value)[:24]}")
    return value
