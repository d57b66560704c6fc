"""Running the reproductions of the papers, small, and reading what they measured."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock

PAPERS = Path(__file__).parent.parent / "docs" / "papers"


def shared_run(paper: str, factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """Run a paper once for all processes that test it, and return its figures and its folder."""
    base = factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"paper-{paper}"
    with FileLock(f"{out}.lock"):
        return run(paper, out), out


def run(paper: str, out: Path) -> list[dict[str, Any]]:
    """Run a paper on the digits, and return its figures."""
    spec = importlib.util.spec_from_file_location(f"paper_{paper}", PAPERS / paper / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    done = CliRunner().invoke(module.main, ["--small", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads((out / "results.json").read_text())["results"]


def values(results: list[dict[str, Any]], figure: str = "value", **scope: Any) -> list[float]:
    """Return the figures that were measured under some values of their variables."""
    found = [result[figure] for result in results if scope.items() <= result.items()]
    assert found, scope
    return found


def mean(results: list[dict[str, Any]], figure: str = "value", **scope: Any) -> float:
    """Return the mean of figures."""
    return statistics.fmean(values(results, figure, **scope))
