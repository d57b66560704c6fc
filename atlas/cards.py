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
from atlas.types import Card

CARD = "config.yaml"
# Endings of bare files of vectors: a name that has one is a path, never an id.
BARE = (".npy", ".safetensors", ".parquet")
MAX_BYTES = 1_000_000
MAX_DEPTH = 32
# What moves the cursor, changes colours or turns the direction of writing when it is printed to a terminal.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NUMERIC = re.compile(r"[-+0-9_.:eExXoO]{65,}")

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_RESOLVERS = [
    ("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), "-+0123456789"),
    ("tag:yaml.org,2002:float", re.compile(f"^({_FLOAT.pattern})$"), "-+0123456789."),
]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise CardError(f"key '{name}' is given twice")
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: Any) -> int:
        return int(self.construct_scalar(node))

    def construct_float(self, node: Any) -> float:
        return float(self.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _cls in (_Loader, _Dumper):
    for _tag, _regexp, _first in _RESOLVERS:
        _cls.add_implicit_resolver(_tag, _regexp, list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)


def _is_flat(data: Any) -> bool:
    return not any(isinstance(item, (dict, list)) for item in data)


def _represent_list(dumper: Any, data: list) -> Any:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=_is_flat(data))


def _represent_dict(dumper: Any, data: dict) -> Any:
    plain = all(_is_flat([value]) or (isinstance(value, list) and _is_flat(value)) for value in data.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=plain and len(str(data)) < 90)


# What fits on a line stands on one, as a person would write it.
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(dict, _represent_dict)


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain data of a YAML text.

    Args:
        text: at most 1 MB.
        where: what the text is, the start of every message.

    Raises:
        CardError: not YAML, or more than data: aliases, tags, repeated keys, deep nesting, huge numbers.
    """
    if len(text) > MAX_BYTES:
        raise CardError(f"{where}: {len(text)} characters are too many - the limit is {MAX_BYTES}")
    try:
        _inspect(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise CardError(f"{where}: not valid YAML: {_reason(error)}") from None
    except CardError as error:
        raise CardError(f"{where}: {error}") from None
    except (ValueError, RecursionError, TypeError) as error:
        raise CardError(f"{where}: not valid YAML: {error}") from None


def _reason(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    return f"{problem} in line {mark.line + 1}" if mark else " ".join(str(problem).split())


def _inspect(text: str) -> None:
    """Walk the events of a YAML text, which builds nothing, and refuse what a card never holds."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise CardError(f"aliases are not allowed (line {line})")
        if tag := getattr(event, "tag", None):
            raise CardError(f"tags such as {tag!r} are not allowed (line {line})")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _NUMERIC.fullmatch(event.value):
            raise CardError(f"a number of {len(event.value)} digits is too long (line {line})")
        if isinstance(event, yaml.ScalarEvent) and _CONTROL.search(event.value):
            raise CardError(f"characters that cannot be printed are not allowed (line {line})")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise CardError(f"nested deeper than {MAX_DEPTH} levels (line {line})")


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


def read_card(folder: str | Path) -> Card:
    """Return the card of an artefact's folder.

    Raises:
        NotFoundError: no such folder, or no card in it.
        CardError: the card is malformed; the message begins with its path.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder '{folder}'")
    if not (folder / CARD).is_file():
        raise NotFoundError(f"'{folder}' is not an artefact of Atlas: it has no {CARD}")
    data = read_yaml(folder / CARD)
    try:
        return Card.from_dict(data)
    except CardError as error:
        raise CardError(f"{folder / CARD}: {error}") from None


def dump_card(card: Card) -> str:
    """Return a card as the text of its file."""
    return dump_yaml(card.to_dict())
