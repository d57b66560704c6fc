"""Small changes planted at random in the source, one at a time: the tests should notice each.

    python tests/hostile/mutants.py [--modules 'atlas/metrics/*'] [--per-module 5] [--seed 1] [--jobs 1]

Needs coverage (in `.[dev]`). First, every file of tests runs once, and it is written down which test runs which lines
(into `--survey`, and not again while it and all sources are the same). Then, in a copy of the repository, each change
is run against the tests that run its line: those of the nearest `FEW` files, then of the others, the quick ones first,
up to `BUDGET` seconds of each. Every run is a fork of one process that has imported torch and the like. What no test
notices is printed, with the line; changes that change nothing anybody could see are listed in equivalents.txt, with the
reason, and counted apart.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import hashlib
import importlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changes import Change, changes

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("atlas", "plugins/atlas_builtin")
# These run by hand, look at pages, times or types alone, or run all of Atlas in processes of their own.
LEFT_OUT = (
    *("tests/benchmarks/*", "tests/hostile/*", "tests/docs/*", "tests/site/test_site_browser.py"),
    *("*/test_typing.py", "*/test_plugin_speed.py", "*/test_startup.py", "*/test_printing.py"),
    *("*/test_shipped_plugins.py", "*/test_object_stores.py", "*/test_hub_faults.py"),
)
IMPORTED = ("numpy", "torch", "pytest", "scipy.stats", "sklearn.linear_model", "pyarrow.parquet")
BUDGET, FEW = 20.0, 4
EQUIVALENTS = Path(__file__).with_name("equivalents.txt")
# They look at what every module declares when it is imported.
DECLARED = "tests/contracts/test_declared_values.py"
# Seconds, and the lines of each module, of one test.
Survey = dict[str, tuple[float, dict[str, list[int]]]]


class Watching:
    """A plugin of pytest that writes down, of every test that passes, its time and the lines it runs."""

    def __init__(self, sources: list[str]) -> None:
        import coverage

        self.cover = coverage.Coverage(data_file=None, source=sources, config_file=False, messages=False)
        self.cover.start()
        self.passed: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.cover.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self.passed[report.nodeid] = report.duration
        elif report.failed:
            self.passed.pop(report.nodeid, None)
        if report.when == "setup":
            self.passed.setdefault(report.nodeid, 0.0)
            self.passed[report.nodeid] += report.duration if report.passed else math.inf

    def survey(self) -> Survey:
        """Return what was found; lines of a test that did not pass are left out."""
        self.cover.stop()
        data = self.cover.get_data()
        found: Survey = {test: (seconds, {}) for test, seconds in self.passed.items() if seconds < math.inf}
        for file in data.measured_files():
            lines = defaultdict(list)
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    lines[test].append(line)
            for test in lines.keys() & found.keys():
                found[test][1][os.path.relpath(file)] = lines[test]
        return found


class Chosen:
    """A plugin of pytest that runs some tests alone, in an order."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: i for i, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.place), key=lambda i: self.place[i.nodeid])


def run_tests(files: Iterable[str], plugin: Any, *options: str) -> int:
    """Run files of tests in this process and return pytest's exit status."""
    import pytest

    return int(pytest.main(["-q", "-p", "no:cacheprovider", *options, *files], plugins=[plugin]))


def forked(work: Callable[[], int], limit: float, scratch: Path) -> int | None:
    """Do work in a fork that prints nothing, and return its status, or None where it takes longer than the limit."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    child = os.fork()
    if not child:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(scratch / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        status = 99
        try:
            status = work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    until = time.monotonic() + limit
    status: int | None = None
    while status is None and time.monotonic() < until:
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return status


def surveyed(file: str, kept: Path, scratch: Path) -> Survey:
    """Return what the tests of a file run; what is kept of the same file is taken as it is."""
    digest = hashlib.sha256(Path(file).read_bytes())
    # Lines are known by their numbers.
    for path in (path for source in SOURCES for path in sorted(Path(source).rglob("*.py"))):
        digest.update(path.read_bytes())
    cache = kept / f"{file.replace('/', '-')}-{digest.hexdigest()[:16]}.json"
    if not cache.is_file():

        def work() -> int:
            watching = Watching([str(Path(source).resolve()) for source in SOURCES])
            run_tests([file], watching)
            cache.write_text(json.dumps(watching.survey()))
            return 0

        begun = time.monotonic()
        if forked(work, 1200, scratch) != 0:
            sys.exit(f"The tests of {file} could not be run:\n{(scratch / 'output').read_text()[-2000:]}")
        print(f"{file}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return json.loads(cache.read_text())


@dataclass
class Mutant:
    """A change of a module, and what became of it: noticed, survived, or equivalent."""

    module: str
    change: Change
    fate: str = ""

    def keys(self) -> set[str]:
        """Return what an equivalent is known by, wherever its line may move; '...' stands for every change of it."""
        line = f"{self.module} | {self.change.before} | "
        return {line + self.change.after, line + "..."}


def drawn(module: str, number: int, seed: int) -> list[Mutant]:
    """Return changes of a module: lines at random, and of each line one change."""
    by_line = defaultdict(list)
    for change in changes(Path(module).read_text()):
        by_line[change.lines.start].append(change)
    rng = random.Random(f"{seed} {module}")
    lines = sorted(rng.sample(sorted(by_line), min(number, len(by_line))))
    return [Mutant(module, rng.choice(by_line[line])) for line in lines]


def runs_at_import(change: Change) -> bool:
    """Whether a line is in no function's body."""
    functions = (node for node in ast.walk(ast.parse(change.source)) if isinstance(node, ast.FunctionDef))
    return not any(node.body[0].lineno <= change.lines.start <= (node.end_lineno or 0) for node in functions)


def tests_of(mutant: Mutant, known: Survey) -> Iterator[list[str]]:
    """Yield the tests that run a changed line, else the module, else those of its folder: a few files first.

    Before them come those of declarations, if the line runs when the module is imported.

    The first are those of the folder that mirrors the module's, and those that run the line most often: to collect
    tests takes as long as to run them.
    """
    lines, package = set(mutant.change.lines), mutant.module.removeprefix("plugins/atlas_").split("/")[-2]
    if declared := [test for test in known if test.startswith(DECLARED)] if runs_at_import(mutant.change) else []:
        yield declared
    near = [test for test, (_, ran) in known.items() if lines & set(ran.get(mutant.module, ()))]
    near = near or [test for test, (_, ran) in known.items() if mutant.module in ran]
    # What is copied elsewhere before it runs, or runs in another process, is not seen to run.
    near = near or [test for test in known if Path(test).parts[1] == package]
    of_file = Counter(test.split("::")[0] for test in near)
    files = sorted(of_file, key=lambda file: (Path(file).parts[1] != package, -of_file[file]))
    for some in (files[:FEW], files[FEW:]):
        chosen, spent = [], 0.0
        for test in sorted((test for test in near if test.split("::")[0] in some), key=lambda test: known[test][0]):
            spent += known[test][0]
            if chosen and spent > BUDGET:
                break
            chosen.append(test)
        if chosen:
            yield chosen


def judge(mutant: Mutant, known: Survey, scratch: Path) -> None:
    """Put a change in its place, run the tests, and put back what was there."""
    path = Path(mutant.module)
    original, times = path.read_bytes(), path.stat()
    path.write_text(mutant.change.source)
    # Bytecode is known by the time of the source, in whole seconds.
    os.utime(path, (times.st_atime, times.st_mtime + 10 + random.randrange(10**6)))
    mutant.fate = "survived"
    try:
        for tests in tests_of(mutant, known):
            files = dict.fromkeys(test.split("::")[0] for test in tests)
            limit = 30 + 10 * sum(known[test][0] for test in tests)
            if forked(lambda files=files, tests=tests: run_tests(files, Chosen(tests), "-x"), limit, scratch) != 0:
                mutant.fate = "noticed"
                break
    finally:
        path.write_bytes(original)
        os.utime(path, (times.st_atime, times.st_mtime))


def equivalents() -> set[str]:
    """Return the keys of all changes that change nothing, whose reason follows on an indented line."""
    lines = EQUIVALENTS.read_text().splitlines()
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def copied(folder: Path) -> None:
    """Copy the repository into a folder, go there, and let it be what is imported."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist", "build"), symlinks=True)
    os.environ.setdefault("ATLAS_SHARED", str(ROOT.parent / "shared"))
    os.chdir(folder)
    places = [str(folder), str(folder / "plugins")]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    sys.path[:0] = places
    for name in IMPORTED:
        importlib.import_module(name)


def in_copies(work: Callable[[int], None], folder: Path, jobs: int) -> None:
    """Do the parts of a work side by side, each in a process in a copy of the repository; end where one fails."""
    children = []
    for number in range(jobs):
        children.append(os.fork())
        if not children[-1]:
            status = 1
            try:
                copied(folder / f"copy{number}")
                work(number)
                status = 0
            except SystemExit as error:
                print(error, file=sys.stderr)
            finally:
                os._exit(status)
    if [child for child in children if os.waitpid(child, 0)[1]]:
        sys.exit("A part of the work failed: see above.")
    for number in range(jobs):
        shutil.rmtree(folder / f"copy{number}")


def wilson(noticed: int, tried: int) -> tuple[float, float]:
    """Return an interval of 95 % of a share."""
    z, share = 1.96, noticed / tried
    middle, half = share + z * z / (2 * tried), z * math.sqrt(share * (1 - share) / tried + (z / (2 * tried)) ** 2)
    return (middle - half) / (1 + z * z / tried), (middle + half) / (1 + z * z / tried)


def told(mutants: list[Mutant]) -> Iterator[str]:
    """Yield a line for each package, and one for all, of what was noticed of what is no equivalent."""
    packages = defaultdict(Counter)
    for mutant in mutants:
        for name in (str(Path(mutant.module).parent), "all"):
            packages[name][mutant.fate] += 1
    for name in sorted(packages, key=lambda name: (name == "all", name)):
        fates = packages[name]
        tried = fates["noticed"] + fates["survived"]
        if tried:
            low, high = wilson(fates["noticed"], tried)
            share = f"{fates['noticed'] / tried:.3f} [{low:.3f}, {high:.3f}]"
            yield f"{name}: noticed {fates['noticed']} of {tried}, {share}, beside {fates['equivalent']} equivalents"


def part(mutants: list[Mutant], known: Survey, folder: Path, number: int, jobs: int) -> None:
    """Judge every so manyth of the changes, and write down what became of them."""
    same = equivalents()
    with (folder / f"fates{number}").open("w") as fates:
        for i in range(number, len(mutants), jobs):
            mutant = mutants[i]
            judge(mutant, known, folder / f"scratch{number}")
            # An equivalent that a test notices is none.
            if mutant.fate == "survived" and mutant.keys() & same:
                mutant.fate = "equivalent"
            if mutant.fate == "survived":
                place = f"{mutant.module}:{mutant.change.lines.start}"
                print(f"{place}\n  - {mutant.change.before}\n  + {mutant.change.after}", flush=True)
            print(i, mutant.fate, file=fates, flush=True)


def judged(mutants: list[Mutant], known: Survey, folder: Path, jobs: int) -> None:
    """Judge all changes, in so many processes."""
    in_copies(lambda number: part(mutants, known, folder, number, jobs), folder, jobs)
    for file in folder.glob("fates*"):
        for line in file.read_text().splitlines():
            i, fate = line.split()
            mutants[int(i)].fate = fate


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--modules", action="append", help="path, with * and ?, of modules to change")
    parser.add_argument("--tests", action="append", help="path, with * and ?, of the tests that are to notice them")
    parser.add_argument("--per-module", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--survey", type=Path, default=Path(tempfile.gettempdir(), "atlas-survey"))
    given = parser.parse_args()
    os.environ.update({"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    given.survey.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    modules = sorted(str(path) for source in SOURCES for path in Path(source).rglob("*.py"))
    modules = [m for m in modules if any(fnmatch.fnmatch(m, p) for p in given.modules or ["*"])]
    tests = sorted(str(p) for p in Path("tests").rglob("test_*.py"))
    tests = [test for test in tests if not any(fnmatch.fnmatch(test, pattern) for pattern in LEFT_OUT)]
    tests = [test for test in tests if any(fnmatch.fnmatch(test, pattern) for pattern in given.tests or ["*"])]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        known: Survey = {}

        def look(number: int) -> None:
            for file in tests[number :: given.jobs]:
                surveyed(file, given.survey, folder / f"scratch{number}")

        in_copies(look, folder, given.jobs)
        for file in tests:
            known |= surveyed(file, given.survey, folder)
        mutants = [mutant for module in modules for mutant in drawn(module, given.per_module, given.seed)]
        judged(mutants, known, folder, given.jobs)
    print("\n".join(told(mutants)))
    return 1 if any(mutant.fate == "survived" for mutant in mutants) else 0


if __name__ == "__main__":
    sys.exit(main())
