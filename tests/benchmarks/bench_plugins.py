"""What plugins cost: listings with and without them, and encoding through one against calling its library.

    python tests/benchmarks/bench_plugins.py

Every figure is a ratio of two times measured in turn in one run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import describe, side_by_side, table

sys.path.insert(0, str(Path(__file__).parent.parent))

from plugintools import good, write_plugin

import atlas

PLUGINS = 8
BATCH, ITEMS = 32, 128


def bench_listings() -> None:
    """`atlas --help` and `atlas plugins` with eight plugins against none, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        for n in range(PLUGINS):
            write_plugin(Path(name), f"plugin-{n}", good(f"mover-{n}"))
        with_plugins = {**os.environ, "PYTHONPATH": name}

        def run(command: str, environment: dict[str, str]) -> None:
            words = [sys.executable, "-m", "atlas", command]
            subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)

        rows = []
        for command in ("--help", "plugins"):
            times = side_by_side(
                {"none": lambda c=command: run(c, dict(os.environ)), "some": lambda c=command: run(c, with_plugins)}
            )
            ratio = times["some"] / times["none"]
            rows.append((f"atlas {command}", f"{times['none']:.2f} s with none, x {ratio:.2f} with {PLUGINS}"))
        table("Listings", rows)


LAYER = torch.nn.TransformerEncoderLayer(384, 12, 1536, batch_first=True)
MODEL = torch.nn.TransformerEncoder(LAYER, 6, enable_nested_tensor=False).eval()


@dataclass
class Tokens(atlas.Encoder):
    """The mean over tokens of what a transformer of the size of MiniLM makes of them."""

    name = "tokens"
    dim = 384

    def _encode(self, batch: torch.Tensor, device: str) -> torch.Tensor:
        return MODEL(batch).mean(1)


@dataclass
class Small(atlas.Encoder):
    """One matrix product: an encoder so quick that whatever surrounds it is seen."""

    name = "small"
    dim = 384

    def _encode(self, batch: torch.Tensor, device: str) -> torch.Tensor:
        return batch.flatten(1)[:, :384] @ WEIGHT


WEIGHT = torch.randn(384, 384, generator=torch.Generator().manual_seed(0))


def bench_encoding() -> None:
    """Encoding through Atlas against the same calls in a plain loop."""
    items = torch.randn(ITEMS, 16, 384, generator=torch.Generator().manual_seed(0))

    def plain(encoder: atlas.Encoder) -> None:
        with torch.no_grad():
            torch.cat([encoder._encode(batch, "cpu") for batch in items.split(BATCH)])

    rows = []
    for encoder in (Tokens(), Small()):
        times = side_by_side(
            {
                "plain": lambda e=encoder: plain(e),
                "atlas": lambda e=encoder: torch.cat(list(e.encode(items, batch_size=BATCH))),
            }
        )
        each = (times["atlas"] - times["plain"]) / (ITEMS / BATCH)
        ratio = f"x {times['atlas'] / times['plain']:.3f}, {1e6 * each:.0f} us more for each batch of {BATCH}"
        rows.append((encoder.name, f"{1e3 * times['plain']:.1f} ms, through Atlas {ratio}"))
    table("Encoding", rows)


if __name__ == "__main__":
    print(describe())
    bench_listings()
    bench_encoding()
