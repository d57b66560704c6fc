"""Instructions of ten small pieces of work, beside those that were kept: what a change made slower, on any machine.

    python tests/benchmarks/instructions.py [--update]

valgrind counts them, so that neither the clock nor other processes matter; a few in a thousand are left to chance, such
as where memory lies. It needs valgrind with its headers, and gcc. Counts of another torch or Python are others: where
those that made `instructions.json` differ, the table says so, and nothing is judged. Exits with 1 if a count has grown
by more than 2 %.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

KEPT = Path(__file__).with_suffix(".json")
TOLERANCE = 0.02
TIMES = 3
COUNTER = """
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void stop(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""
# What would make two runs differ.
STILL = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE"}


def works(folder: Path) -> dict[str, Callable[[], object]]:
    """Return the pieces of work, on data that are the same each time."""
    import torch

    import atlas
    from atlas.artefacts.vectors import paired
    from atlas.models.heads import create_head
    from atlas.numerics.moments import Moments

    generator = torch.Generator().manual_seed(0)
    X = torch.randn(1000, 64, generator=generator)
    Y = X @ torch.randn(64, 64, generator=generator) + 0.1 * torch.randn(1000, 64, generator=generator)
    ids = [f"item-{i}" for i in range(1000)]
    order = torch.randperm(1000, generator=generator)
    source = atlas.Vectors.of(X, "a", ids=ids, labels=torch.arange(1000) % 5)
    target = atlas.Vectors.of(Y[order], "b", ids=[ids[i] for i in order.tolist()])
    same = atlas.Vectors.of(Y, "b", ids=ids)
    alignment = atlas.fit("linear", source=source, target=same)
    alignment.save_pretrained(folder / "map")
    relative = atlas.create(atlas.Aligner, "relative").fit(X[:100])
    one, f = X[0].numpy(), alignment.compiled()
    knn = create_head("knn").fit(X, torch.arange(1000) % 5)
    figures = {"source": source, "target": same}
    return {
        "fit procrustes": lambda: atlas.fit("procrustes", source=source, target=same),
        "fit linear": lambda: atlas.fit("linear", source=source, target=same),
        "moments": lambda: Moments.of(X, Y, ("xy", "xx")),
        "apply": lambda: atlas.apply(alignment, X),
        "one row": lambda: f(one),
        "relative": lambda: relative.transform(X),
        "knn head, one row": lambda: knn.predict(X[:1]),
        "evaluate": lambda: atlas.evaluate(alignment, **figures, metrics=["cosine", "r2", "self-recall@10"]),
        "pair by ids": lambda: paired(source, target),
        "load a map": lambda: atlas.load(folder / "map"),
    }


def inside(library: str) -> None:
    """Do each piece of work under valgrind, once before it is counted."""
    counter = ctypes.CDLL(library)
    with tempfile.TemporaryDirectory() as folder:
        for name, work in works(Path(folder)).items():
            work()
            counter.start()
            for _ in range(TIMES):
                work()
            counter.stop(name.encode())


def counted() -> dict[str, int]:
    """Return the instructions of each piece of work."""
    with tempfile.TemporaryDirectory() as place:
        code, library, out = (Path(place) / name for name in ("counter.c", "counter.so", "out"))
        code.write_text(COUNTER)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, code], check=True)
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        command = [*valgrind, sys.executable, __file__, "--inside", str(library)]
        subprocess.run(command, env={**os.environ, **STILL}, check=True, stderr=subprocess.DEVNULL)
        found = {}
        for file in sorted(Path(place).glob("out.*"), key=lambda path: int(path.suffix[1:] or 0)):
            text = file.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
            if name and total:
                found[name[1]] = int(total[1]) // TIMES
        return found


def versions() -> dict[str, str]:
    """Return the versions that counts depend on."""
    import torch

    return {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}


def main(update: bool) -> int:
    """Print the counts beside those that were kept; return the exit status."""
    found, here = counted(), versions()
    if update:
        KEPT.write_text(json.dumps({**here, "instructions": found}, indent=2) + "\n")
    kept = json.loads(KEPT.read_text())
    others = [f"{name} {kept[name]}, here {value}" for name, value in here.items() if kept[name] != value]
    print(f"{'work':<20} {'instructions':>14} {'kept':>14} {'ratio':>7}")
    grown = []
    for name, count in found.items():
        before = kept["instructions"].get(name, count)
        grown += [name] * (count > (1 + TOLERANCE) * before)
        print(f"{name:<20} {count:>14,} {before:>14,} {count / before:>7.3f}")
    if others:
        print(f"Not judged: the counts that were kept are of {'; '.join(others)}")
        return 0
    print(f"Grown by more than {TOLERANCE:.0%}: {', '.join(grown) or 'none'}")
    return 1 if grown else 0


if __name__ == "__main__":
    if "--inside" in sys.argv:
        inside(sys.argv[-1])
    else:
        sys.exit(main("--update" in sys.argv))
