"""What benchmarks share: the name of the machine, work measured in turn, and tables of ratios."""

from __future__ import annotations

import platform
import re
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def describe() -> str:
    """Return processor, threads, BLAS and versions, as every table of figures names them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    blas = "MKL" if torch.backends.mkl.is_available() else "another BLAS"
    versions = f"Python {platform.python_version()}, torch {torch.__version__} with {blas}"
    return f"{cpu}, {threads} thread{'s' * (threads > 1)}, {versions}"


def written(command: str, lines: Sequence[str]) -> None:
    """Write lines into docs/benchmarks.md, between the marks of the command that made them."""
    begin, end = f"<!-- made by tests/benchmarks/{command} -->", "<!-- end of what is made -->"
    made = "\n".join([begin, "", *lines, "", end])
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{re.escape(begin)}.*?{end}", lambda _: made, text, flags=re.DOTALL), encoding="utf-8")


@dataclass
class Times:
    """Seconds of each round: of the processor, children included, and of the clock."""

    processor: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)


def processor() -> float:
    """Return the seconds of processor that this process and its children that ended have taken."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def in_turn(functions: dict[str, Callable[[], object]], rounds: int = 5, least: float = 0.02) -> dict[str, Times]:
    """Return the times of functions that take turns, so that a slow moment of the machine meets all of them.

    What takes less than the least time is repeated within a round.
    """
    times, repeats = {name: Times() for name in functions}, {}
    for name, function in functions.items():
        took = [seconds(function)]
        if took[0] < 1:
            took.append(seconds(function))
        repeats[name] = max(1, round(least / took[-1]))
    for _ in range(rounds):
        for name, function in functions.items():
            begin, clock = processor(), time.perf_counter()
            for _ in range(repeats[name]):
                function()
            times[name].processor.append((processor() - begin) / repeats[name])
            times[name].clock.append((time.perf_counter() - clock) / repeats[name])
    return times


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def side_by_side(functions: dict[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Return the least time by the clock of functions that take turns."""
    return {name: min(times.clock) for name, times in in_turn(functions, rounds, least=0).items()}


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
