"""README front matter -> card data, Hub tags and validation messages."""

from __future__ import annotations

import datetime
import re
from typing import Any

import yaml

FRONT_MATTER_RE = re.compile(r"^\ufeff?\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|$)", re.DOTALL)

# Fields whose value must be a string or a list of strings.
_STRING_LISTS = ("tags", "language", "datasets", "base_model", "metrics")
_STRINGS = ("library_name", "pipeline_tag", "license_name", "license_link", "inference")

LICENSES = frozenset(
    [
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "wtfpl",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "agpl-3.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "h-research",
        "intel-research",
        "lppl-1.3c",
        "ms-pl",
        "apple-ascl",
        "apple-amlr",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "openmdw-1.0",
        "openrail++",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
        "pddl",
        "lgpl-lr",
        "deepfloyd-if-license",
        "fair-noncommercial-research-license",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "grok2-community",
        "gemma",
        "unknown",
        "other",
    ]
)
LANGUAGE_RE = re.compile(r"^([a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual|other)$")


def front_matter(text: str) -> str | None:
    """The raw YAML block, or None when the README has none."""
    match = FRONT_MATTER_RE.match(text)
    return match.group(1) if match else None


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_jsonable(v) for v in value]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value


def validate(text: str, repo_type: str = "model") -> tuple[dict | None, list[str], list[str]]:
    """Return ``(card data, errors, warnings)`` for a README."""
    block = front_matter(text)
    if block is None:
        return None, [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(block)
    except yaml.YAMLError as exc:
        return None, [f"YAML metadata error: {exc}".replace("\n", " ")], []
    if data is None:
        return None, [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(data, dict):
        return None, ["YAML metadata must be a mapping"], []
    data, errors = _jsonable(data), []
    for key in _STRING_LISTS:
        value = data.get(key)
        items = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(item, (str, bool, int, float)) for item in items):
            errors.append(f'"{key}" must be a string or a list of strings')
    for key in _STRINGS:
        if data.get(key) is not None and not isinstance(data[key], (str, bool)):
            errors.append(f'"{key}" must be a string')
    if not errors:
        if any(x not in LICENSES for x in _listify(data.get("license"))):
            errors.append('"license" must be one of [' + ", ".join(sorted(LICENSES)) + "]")
        for i, language in enumerate(_listify(data.get("language"))):
            if not LANGUAGE_RE.match(language):
                errors.append(f'"language[{i}]" must be an ISO 639-1, 639-2 or 639-3 code (two/three letters)')
    if data.get("model-index") is not None and not isinstance(data["model-index"], list):
        errors.append('"model-index" must be an array')
    else:
        for i, entry in enumerate(data.get("model-index") or []):
            if not isinstance(entry, dict) or not isinstance(entry.get("results"), list):
                errors.append(f'"model-index[{i}].results" is required')
    return data, errors, []


def _listify(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in (value if isinstance(value, list) else [value])]


def repo_tags(repo_type: str, card: dict | None, paths: list[str]) -> list[str]:
    """Tags the way the Hub derives them: file formats, card fields with their prefixes, free tags."""
    card = card or {}
    tags: list[str] = []

    def add(*values: str) -> None:
        tags.extend(v for v in values if v and v not in tags)

    if repo_type == "model":
        add(*_listify(card.get("library_name")))
        if any(p.endswith(".safetensors") for p in paths):
            add("safetensors")
        if any(p.endswith(".gguf") for p in paths):
            add("gguf")
        if any(p.endswith(".onnx") for p in paths):
            add("onnx")
        if any(re.search(r"(^|/)pytorch_model.*\.bin$", p) for p in paths):
            add("pytorch")
        if any(p.startswith("runs/") and "tfevents" in p for p in paths):
            add("tensorboard")
        if card.get("model-index"):
            add("model-index")
        add(*_listify(card.get("tags")))
        add(*_listify(card.get("pipeline_tag")))
        add(*_listify(card.get("language")))
        add(*(f"dataset:{d}" for d in _listify(card.get("datasets"))))
        for base in _listify(card.get("base_model")):
            add(f"base_model:{base}")
            if card.get("base_model_relation"):
                add(f"base_model:{card['base_model_relation']}:{base}")
    else:
        add(*(f"task_categories:{t}" for t in _listify(card.get("task_categories"))))
        add(*(f"language:{x}" for x in _listify(card.get("language"))))
        add(*(f"size_categories:{x}" for x in _listify(card.get("size_categories"))))
        add(*_listify(card.get("tags")))
    add(*(f"license:{x}" for x in _listify(card.get("license"))))
    add("region:us")
    return tags
