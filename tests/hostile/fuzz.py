"""Changed bytes for every reader: whatever is read is read, or refused in words.

    python tests/hostile/fuzz.py --runs 1000000 --seed 1 [--reader NAME] [--only RUN] [--minutes N] [--keep FOLDER]

Any exception but `AtlasError`, more than 10 s, or more than 1 GiB of memory beside what was there is a failure; each
kind of failure is printed once, and a file that shows it kept. A run is the same whatever runs are beside it: it is
made of its number and the seed. The files lie in memory, and nothing talks to a network.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.update({"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from mutations import mutated
from readers import Reader, readers

from atlas.errors import AtlasError

SECONDS, MEMORY = 10, 2**30
MEMORY_FILES = "/dev/shm"


class Harness:
    """Readers, and what became of what they were given.

    Attributes:
        tried: how many runs each reader had.
        refused: how many of them were refused in words.
        failed: each kind of failure, by reader, exception and place, with the first run of it and the bytes.
    """

    def __init__(self, folder: Path, known: Mapping[str, Reader], seed: int) -> None:
        self.folder, self.known, self.seed = folder, known, seed
        self.tried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failed: dict[tuple[str, str, str], tuple[int, bytes]] = {}
        self.failures: Counter[tuple[str, str, str]] = Counter()

    def run(self, number: int, name: str) -> None:
        """Give one reader changed bytes."""
        rng = random.Random(self.seed * 10**9 + number)
        reader = self.known[name]
        data = mutated(rng.choice(reader.seeds), reader.seeds, rng)
        path = self.folder / reader.name
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        self.tried[name] += 1
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            reader.read(path)
        except AtlasError:
            self.refused[name] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = (name, type(error).__name__, f"{Path(place.filename).name}:{place.lineno}")
            self.failures[kind] += 1
            self.failed.setdefault(kind, (number, data))
            traceback.clear_frames(error.__traceback__)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def turns(known: Mapping[str, Reader]) -> Iterator[str]:
    """Yield the names of readers for ever, each as often as its share says, mixed."""
    order = [name for name, reader in known.items() for _ in range(reader.share)]
    random.Random(0).shuffle(order)
    return itertools.cycle(order)


def everything(folder: Path) -> dict[str, Reader]:
    """Return the readers of files and those of a Hub's answers."""
    from answers import answering

    known = readers(folder)
    for name, (seeds, read) in answering().items():
        known[f"answers of a Hub: {name}"] = Reader(3, f"{name}.json", seeds, read)
    return known


def bounded() -> None:
    """Let a run raise what is caught where it takes too long or too much memory."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))


def fuzz(known: Mapping[str, Reader], folder: Path, runs: range, seed: int, until: float = math.inf) -> Harness:
    """Run some runs, or as many as there is time for, and return what became of them."""
    folder.mkdir()
    harness = Harness(folder, known, seed)
    names = itertools.islice(turns(known), runs.start, runs.stop)
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, name in zip(runs, names, strict=True):
            harness.run(number, name)
            if time.monotonic() > until:
                break
    return harness


def report(harness: Harness, seconds: float, keep: Path) -> None:
    """Print a table of what became of the runs, and keep what failed."""
    print(f"{'reader':<32}{'tried':>9}{'refused':>9}{'failed':>8}")
    for name in harness.known:
        failed = sum(n for kind, n in harness.failures.items() if kind[0] == name)
        print(f"{name:<32}{harness.tried[name]:>9}{harness.refused[name]:>9}{failed:>8}")
    total = sum(harness.tried.values())
    print(f"{'all':<32}{total:>9}{harness.refused.total():>9}{harness.failures.total():>8}   {seconds:.0f} s")
    for i, (kind, (number, data)) in enumerate(harness.failed.items()):
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / f"{i:03}-{harness.known[kind[0]].name}"
        path.write_bytes(data)
        print(f"{harness.failures[kind]} x {kind[1]} at {kind[2]}, first in run {number} of {kind[0]}: {path}")


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", default="")
    parser.add_argument("--only", type=int)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    where = MEMORY_FILES if Path(MEMORY_FILES).is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        known = {n: r for n, r in everything(Path(name)).items() if given.reader in n}
        bounded()
        runs = range(given.runs) if given.only is None else range(given.only, given.only + 1)
        start = time.process_time()
        harness = fuzz(known, Path(name) / "given", runs, given.seed, time.monotonic() + 60 * given.minutes)
        report(harness, time.process_time() - start, given.keep)
    return 1 if harness.failures else 0


if __name__ == "__main__":
    sys.exit(main())
