"""What benchmarks share: the name of the machine, the best of several runs, and tables of ratios."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch


def describe() -> str:
    """Return processor, cores, memory and versions, as every table of figures names them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{cpu}, {threads} threads, Python {platform.python_version()}, torch {torch.__version__}"


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def side_by_side(functions: dict[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Return the least time of each function, run in turn so that a slow moment of the machine meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: min(values) for name, values in times.items()}


def peak_mb() -> float:
    """Return the most memory this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which starts at what the parent held when it started this process.
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a title and rows of two columns."""
    width = max(len(left) for left, _ in rows)
    print(f"\n{title}")
    for left, right in rows:
        print(f"  {left.ljust(width)}  {right}")
