"""Plain data from anywhere, checked against the fields of a dataclass."""

from __future__ import annotations

import functools
import math
import types as pytypes
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union

from atlas.errors import CardError, unknown, unquoted


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def build(cls: type, data: Any, where: str = "") -> Any:
    """Return a dataclass made of plain data.

    Args:
        cls: the dataclass.
        data: a mapping of its fields.
        where: the path of the mapping within what is read, such as 'source.'; '' for the whole.

    Raises:
        CardError: a field that is unknown, missing or mistyped.
    """
    if not isinstance(data, dict):
        raise CardError(f"{where or 'The card'} must be a mapping, got {type(data).__name__}")
    known = {f.name: f for f in fields(cls)}
    hints = _hints(cls)
    for name in data:
        if name not in known:
            raise CardError(unknown("field", f"{where}{name}", [where + k for k in known]))
    for name, f in known.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise CardError(f"Field '{where}{name}' is missing")
    return cls(**{name: _checked(hints[name], value, where + name) for name, value in data.items()})


def _checked(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (Union, pytypes.UnionType):
        return None if value is None else _checked(typing.get_args(hint)[0], value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, where + ".")
    if origin is tuple:
        if not isinstance(value, list):
            raise CardError(f"Field '{where}' must be a list, got {value!r}")
        inner = typing.get_args(hint)[0]
        return tuple(_checked(inner, item, f"{where}.{i}") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        inner = typing.get_args(hint)[1]
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise CardError(f"Field '{where}' must be a mapping with text keys, got {value!r}")
        return {key: _checked(inner, item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    return _scalar(hint, value, where)


def _scalar(hint: type, value: Any, where: str) -> Any:
    """Return a text, number or truth value of the very type asked for; a whole number will do for a float."""
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        note = unquoted(value) if hint in (int, float) else ""
        raise CardError(f"Field '{where}' must be {hint.__name__}, got {value!r} ({type(value).__name__}){note}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CardError(f"Field '{where}' must be finite, got {value}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise CardError(f"Field '{where}' must be from 0 to 2**63 - 1, got {str(value)[:24]}")
    return value
