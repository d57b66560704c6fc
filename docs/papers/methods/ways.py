"""The ways between two encoders, apart from run.py so that one more of them measures nothing else again."""

from __future__ import annotations

from typing import Any

# How each is called, and the aligner with its options. The forward map of 'two-way' is that of 'linear'.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("identity", {}),
    "procrustes": ("procrustes", {}),
    "linear-orthogonal": ("linear-orthogonal", {}),
    "low-rank": ("low-rank", {}),
    "linear": ("linear", {}),
    "cca": ("cca", {}),
    "auto": ("auto", {}),
    "auto, queries": ("auto", {"role": "queries"}),
    "kernel": ("kernel", {}),
    "halves, whitened": ("relative", {"similarity": "whitened"}),
    "halves, cosine": ("relative", {"centre": True}),
    "mlp": ("mlp", {}),
}
POWER: dict[str, Any] = {"centre": True, "power": 4.0}
# Relative vectors that are read: the similarities, side by side if there are several.
READ: dict[str, list[dict[str, Any]]] = {
    "cosine": [{}],
    "cosine, centred": [{"centre": True}],
    "cosine, centred, power 4": [POWER],
    "the same, but for the 100 largest zero": [POWER],
    "whitened": [{"similarity": "whitened"}],
    "euclidean": [{"similarity": "euclidean"}],
    "cosine, centred, power 4 beside whitened": [POWER, {"similarity": "whitened"}],
}
LARGEST = {"the same, but for the 100 largest zero": 100}
