"""What tests share: no network, no plugins but the built-in ones, and small spaces with planted maps."""

from __future__ import annotations

import gc
import os
import signal
import tempfile

# huggingface_hub reads these once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="atlas-test-")
for _name in ("ATLAS_REGISTRY", "ATLAS_PLUGINS", "ATLAS_DISABLE_PLUGINS", "ATLAS_DEBUG"):
    os.environ.pop(_name, None)

# A shell lets what it starts in the background ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where tests run side by side, threads of each would only wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner, Result

from atlas.cards.space import Space

if TYPE_CHECKING:
    from atlas.artefacts.vectors import Vectors


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was collected and lives to the end: it would go through it again and again."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process run all tests of a file, in the order of files, so that each costly fixture is made once."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def orthogonal(d: int, seed: int) -> torch.Tensor:
    """Return a random orthogonal matrix (d, d), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q


def space_of(name: str, dim: int, **identity: Any) -> Space:
    """Return a space that is known by more than its dimension."""
    return Space(name, dim, "planted", {"name": name, **identity})


@dataclass
class Planted:
    """Two spaces of the same items: Y is X rotated, moved and noisy.

    Attributes:
        source: Vectors of space 'a', with labels.
        target: Vectors of space 'b', of the same items in another order.
        rotation: (8, 8), the planted map.
        shift: (8,), what is added after it.
    """

    source: Vectors
    target: Vectors
    rotation: torch.Tensor
    shift: torch.Tensor


def planted(n: int = 120, d: int = 8, seed: int = 0, noise: float = 0.05) -> Planted:
    """Return clustered vectors of n items in three classes, in two spaces."""
    from atlas.artefacts.vectors import Vectors

    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = 3 * torch.randn(3, d, generator=generator, dtype=torch.float64)
    X = centres[labels] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    rotation, shift = orthogonal(d, seed + 1), torch.linspace(-1, 1, d, dtype=torch.float64)
    Y = X @ rotation + shift + noise * torch.randn(n, d, generator=generator, dtype=torch.float64)
    ids = [f"item-{i}" for i in range(n)]
    names = ["ant", "bee", "cat"]
    order = torch.randperm(n, generator=generator)
    source = Vectors.of(X.float(), space_of("a", d), ids=ids, labels=labels, classes=names, dataset="toy")
    target = Vectors.of(Y.float(), space_of("b", d), ids=ids, labels=labels, classes=names, dataset="toy").take(order)
    return Planted(source, target, rotation, shift)


@pytest.fixture
def pair() -> Planted:
    return planted()


@pytest.fixture
def stored(pair: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that holds the planted vectors as folders 'a' and 'b'."""
    monkeypatch.chdir(tmp_path)
    pair.source.save_pretrained("a")
    pair.target.save_pretrained("b")
    yield tmp_path


@pytest.fixture
def atlas_command() -> Callable[..., Result]:
    """The command line in this process: `atlas_command("list", "--json")`; the exit status must be 0 unless asked."""

    def run(*arguments: object, status: int | None = 0) -> Result:
        from atlas.cli import main

        result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="atlas")
        assert status is None or result.exit_code == status, f"{result.output}\n{result.exception!r}"
        return result

    return run
