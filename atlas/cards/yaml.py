"""YAML files and the cards in them, read as if they were hostile.

The YAML read and written here has the scalars of YAML 1.2: `1e-3` is a number, and `no`, `1:30` and dates are text.
Aliases, tags, repeated keys, deep nesting and huge numbers are refused before anything is built from them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import AtlasError, CardError, NotFoundError

MAX_BYTES = 1_000_000

MAX_DEPTH = 32

# Characters that move the cursor, change colours or turn the direction of writing in a terminal.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_NUMERIC = re.compile(r"[-+0-9_.:eExXoO]{65,}")

_INT = re.compile(r"[-+]?[0-9]+")

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

_NULLS = ("", "~", "null", "Null", "NULL")

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


# The dumper quotes every text that would be read as something else.
for _tag, _regexp, _first in (
    ("bool", re.compile("|".join(_BOOLS)), "tTfF"),
    ("null", re.compile("|".join(map(re.escape, _NULLS))), ["~", "n", "N", ""]),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
):
    _whole = re.compile(f"^({_regexp.pattern})$")
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, list(_first))


def _is_flat(data: Any) -> bool:
    return not any(isinstance(item, (dict, list)) for item in data)


def _represent_list(dumper: Any, data: list) -> Any:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=_is_flat(data))


def _represent_dict(dumper: Any, data: dict) -> Any:
    plain = all(_is_flat([value]) or (isinstance(value, list) and _is_flat(value)) for value in data.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=plain and len(str(data)) < 90)


# Short values stand on one line, as a person would write them.
_Dumper.add_representer(list, _represent_list)

_Dumper.add_representer(dict, _represent_dict)


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain data of a YAML text.

    Args:
        text: at most 1 MB.
        where: a name for the text, the start of every message.

    Raises:
        CardError: not YAML, or more than data: aliases, tags, repeated keys, deep nesting, huge numbers.
    """
    if len(text) > MAX_BYTES:
        raise CardError(f"{where}: {len(text)} characters are too many - the limit is {MAX_BYTES}")
    try:
        return _build(text)
    except yaml.YAMLError as error:
        raise CardError(f"{where}: not valid YAML: {_reason(error)}") from None
    except CardError as error:
        raise CardError(f"{where}: {error}") from None
    except (ValueError, RecursionError, TypeError) as error:
        raise CardError(f"{where}: not valid YAML: {error}") from None


def _reason(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    return f"{problem} in line {mark.line + 1}" if mark else " ".join(str(problem).split())


class _Root(list):
    """Holds the one document of a text."""


def _build(text: str) -> Any:
    """Build the data of a YAML text from its events in one pass, and refuse everything a card never holds."""
    root = _Root()
    stack: list[Any] = [root]
    # The key that waits for its value, for each mapping that is open; _Root where none does.
    keys: list[Any] = [_Root]
    for event in yaml.parse(text, Loader=_PARSER):
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
            keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            value = _value(event)
            _put(stack[-1], keys, value, event)
            if isinstance(value, (dict, list)):
                stack.append(value)
                keys.append(_Root)
                if len(stack) > MAX_DEPTH + 1:
                    raise CardError(f"nested deeper than {MAX_DEPTH} levels (line {_line(event)})")
    if len(root) > 1:
        raise CardError(f"holds {len(root)} documents, must hold one")
    return root[0] if root else None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _value(event: yaml.NodeEvent) -> Any:
    """Return the value that a node begins: a scalar, or an empty list or mapping."""
    if isinstance(event, yaml.AliasEvent) or event.anchor:
        raise CardError(f"aliases are not allowed (line {_line(event)})")
    if tag := getattr(event, "tag", None):
        raise CardError(f"tags such as {tag!r} are not allowed (line {_line(event)})")
    if isinstance(event, yaml.CollectionStartEvent):
        return {} if isinstance(event, yaml.MappingStartEvent) else []
    assert isinstance(event, yaml.ScalarEvent)
    if _CONTROL.search(event.value):
        raise CardError(f"characters that cannot be printed are not allowed (line {_line(event)})")
    return _plain(event.value, event) if event.implicit[0] else event.value


def _plain(text: str, event: yaml.Event) -> Any:
    """Return the value of an unquoted scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _NUMERIC.fullmatch(text):
        raise CardError(f"a number of {len(text)} digits is too long (line {_line(event)})")
    if _INT.fullmatch(text):
        return int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if _FLOAT.fullmatch(text) else text


def _put(parent: Any, keys: list[Any], value: Any, event: yaml.Event) -> None:
    """Add a value to the open collection: to a list, or to a mapping as a key or as the value of the key that waits."""
    if isinstance(parent, list):
        parent.append(value)
    elif keys[-1] is not _Root:
        parent[keys[-1]] = value
        keys[-1] = _Root
    elif isinstance(value, (dict, list)):
        raise CardError(f"a key must be a text (line {_line(event)})")
    elif value in parent:
        raise CardError(f"key '{value}' is given twice (line {_line(event)})")
    else:
        keys[-1] = value


def dump_yaml(data: Any) -> str:
    """Return plain data as YAML text: keys in the order given, every line the same each time."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


def read_yaml(path: str | Path) -> Any:
    """Return the plain data of a YAML file; raise `NotFoundError` or `CardError` with its path."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file '{path}'") from None
    except OSError as error:
        raise AtlasError(f"'{path}' cannot be read: {error.strerror}") from None
    try:
        return parse_yaml(raw.decode(), str(path))
    except UnicodeDecodeError as error:
        raise CardError(f"{path}: not UTF-8 text (byte {error.start})") from None
