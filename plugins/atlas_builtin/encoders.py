"""Built-in encoders."""

from __future__ import annotations

ALL: list = []
