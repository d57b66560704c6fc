"""What plugins cost: listings with and without them, and encoding through one against calling its library.

    python tests/benchmarks/bench_plugins.py

Every figure is a ratio of two times measured in turn in one run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from machine import describe, side_by_side, table

sys.path.insert(0, str(Path(__file__).parent.parent))

import tomllib

from plugintools import good, write_plugin

import atlas

ROOT = Path(__file__).parent.parent.parent
PLUGINS, ROUNDS = 8, 9
BATCH, ITEMS = 32, 128


def bench_listings() -> None:
    """`atlas --help` and `atlas plugins` with plugins against none, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        made, shipped = Path(name, "made"), Path(name, "shipped")
        made.mkdir()
        for n in range(PLUGINS):
            write_plugin(made, f"plugin-{n}", good(f"mover-{n}"))
        count = write_shipped(shipped)
        # Those that are installed where this runs are left out, so that none is none.
        none = {**os.environ, "ATLAS_PLUGINS": "builtin"}
        others = {f"{PLUGINS} small ones": made, f"the {count} of the repository": shipped}
        ways = {"none": none} | {key: every(folder) for key, folder in others.items()}
        for command in ("--help", "plugins"):
            times = side_by_side({key: lambda c=command, e=e: run(c, e) for key, e in ways.items()}, rounds=ROUNDS)
            rows = [(key, f"{times[key]:.2f} s, x {times[key] / times['none']:.2f}") for key in ways]
            table(f"atlas {command}", rows)


def run(command: str, environment: dict[str, str]) -> None:
    """Run a command in a process of its own."""
    words = [sys.executable, "-m", "atlas", command]
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)


def every(folder: Path) -> dict[str, str]:
    """Return an environment in which the plugins of a folder are installed and used, and no others."""
    names = [entry.name for one in metadata.distributions(path=[str(folder)]) for entry in one.entry_points]
    return {**os.environ, "PYTHONPATH": str(folder), "ATLAS_PLUGINS": ",".join(["builtin", *names])}


def write_shipped(folder: Path) -> int:
    """Write the modules and the metadata of the plugins of this repository, as installed; return how many there are."""
    projects = sorted(ROOT.glob("plugins/latent-atlas-*/pyproject.toml"))
    for path in projects:
        project = tomllib.loads(path.read_text())["project"]
        entries = project["entry-points"]["latent_atlas"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        (info / "entry_points.txt").write_text(
            "[latent_atlas]\n" + "".join(f"{name} = {module}\n" for name, module in entries.items())
        )
        for module in entries.values():
            package = path.parent / module
            if package.is_dir():
                shutil.copytree(package, folder / module)
            else:
                shutil.copy(path.parent / f"{module}.py", folder)
    return len(projects)


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
