"""Running the reproductions of the papers, small, and reading what they measured."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock

from atlas.cli import main

PAPERS = Path(__file__).parent.parent / "docs" / "papers"
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+\.png)\)")


def shared_run(paper: str, factory: pytest.TempPathFactory, command: str = "run") -> tuple[list[dict[str, Any]], Path]:
    """Run a command of a paper once for all processes that test it, and return its figures and its folder."""
    base = factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"paper-{paper}-{command}"
    with FileLock(f"{out}.lock"):
        return run(paper, out, command), out


def run(paper: str, out: Path, command: str = "run") -> list[dict[str, Any]]:
    """Run a command of a paper on the digits, and return its figures."""
    spec = importlib.util.spec_from_file_location(f"paper_{paper}_{command}", PAPERS / paper / f"{command}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for what the types of their fields mean.
    sys.modules[spec.name] = module
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


def pictures(paper: str) -> list[str]:
    """Return the names of the pictures that the page of a paper shows."""
    found = PICTURE.findall((PAPERS / paper / "README.md").read_text(encoding="utf-8"))
    assert found, paper
    return found


def run_page(paper: str) -> tuple[str, str]:
    """Run the commands of the page of a paper, and return what it shows of their output, and what they print."""
    lines = "".join(CONSOLE.findall((PAPERS / paper / "README.md").read_text(encoding="utf-8"))).splitlines()
    printed = ""
    for line in lines:
        if line.startswith("$ "):
            done = CliRunner().invoke(main, shlex.split(line)[2:], catch_exceptions=False)
            assert done.exit_code == 0, f"{line}\n{done.output}"
            printed += done.stdout
    return "\n".join(line for line in lines if not line.startswith("$ ")), printed
