"""Refuse vectors of another model, even if they have the same dimension. Copy this file: it needs numpy alone.

    from assert_space import assert_space

    vectors = np.load("docs.npy")
    assert_space(vectors, "docs.npy.space.json", expected)

It reads and compares what `docs/space-contract.md` of Atlas (latent-atlas) specifies. Released into the public domain.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np

KEY = "latent_atlas.space"


class SpaceError(ValueError):
    """Vectors are not of the space that is expected."""


def read_space(given):
    """Return a space, a mapping, from one, from its JSON text, or from a .space.json or .safetensors file."""
    if isinstance(given, dict):
        return given
    if isinstance(given, str) and given.lstrip().startswith("{"):
        return json.loads(given)
    path = Path(given)
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        text = header.get("__metadata__", {}).get(KEY)
    else:
        path = path if path.name.endswith(".space.json") else path.with_name(f"{path.name}.space.json")
        text = path.read_text(encoding="utf-8") if path.is_file() else None
    if text is None:
        raise SpaceError(f"'{given}' says nothing of its space")
    return json.loads(text)


def fingerprint(space):
    """Return the sha256 of what makes a space, '' for one of which only the dimension is known."""
    if not space.get("encoder"):
        return ""
    made = {"encoder": space["encoder"], "identity": space.get("identity", {}), "dim": space["dim"]}
    text = json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def assert_space(vectors, stamp, expected, metric=""):
    """Raise `SpaceError` unless vectors (n, d) are of a space, and are compared as it says.

    Args:
        vectors: an array, or None to compare the stamps alone.
        stamp: what they carry, as `read_space` takes it.
        expected: the space that is expected, likewise, or its fingerprint.
        metric: by which they are searched: 'cosine', 'dot', 'l2' or 'l1'; '': unknown. Unknown ones are not compared.
    """
    found = read_space(stamp)
    if vectors is not None and (np.ndim(vectors) != 2 or np.shape(vectors)[1] != found["dim"]):
        raise SpaceError(f"Vectors have shape {np.shape(vectors)}, and their stamp says {found['dim']} dimensions")
    if isinstance(expected, str) and len(expected) == 64 and set(expected) <= set("0123456789abcdef"):
        wanted, name, due = expected, expected[:12], ""
    else:
        space = read_space(expected)
        wanted, name, due = fingerprint(space), space.get("id", ""), space.get("metric", "")
    if not wanted or fingerprint(found) != wanted:
        said = f"Vectors are of '{found.get('id', '')}' ({fingerprint(found)[:12] or 'unknown'})"
        raise SpaceError(f"{said}, not of '{name}' ({wanted[:12] or 'unknown'})")
    metrics = sorted({found.get("metric", ""), due, metric} - {""})
    if len(metrics) > 1:
        raise SpaceError(f"Vectors of '{name}' are compared and searched by different metrics: {', '.join(metrics)}")
