"""Built-in aggregators."""

from __future__ import annotations

ALL: list = []
