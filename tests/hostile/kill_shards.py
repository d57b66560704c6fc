"""Kill `atlas apply` to shards at random moments, run it again, and look at what is there.

    python tests/hostile/kill_shards.py [--kills 100] [--shards 12] [--rows 4000] [--seed 0]

Each command runs in a process of its own, forked from one that has Atlas imported, and dies by SIGKILL at a moment
drawn uniformly from the time that an undisturbed run takes; one that ended before is not counted. Told are second runs
that end with the bytes of the undisturbed run, finished shards that were made again, and temporary files left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import torch
from pyarrow import parquet

import atlas
from atlas.cli import main

D = 64


def write(folder: Path, shards: int, rows: int) -> None:
    """Write a set of shards."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    for k in range(shards):
        flat = pa.array(torch.randn(rows * D, generator=generator).numpy())
        columns = {"id": [f"{k}-{i}" for i in range(rows)], "vector": pa.FixedSizeListArray.from_arrays(flat, D)}
        parquet.write_table(pa.table(columns), folder / f"part-{k}.parquet")


def begun(*words: object) -> int:
    """Start a command in a process of its own, and return the process."""
    process = os.fork()
    if process:
        return process
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        main([str(word) for word in words], standalone_mode=False)
        os._exit(0)
    except BaseException:
        os._exit(1)


def ended(process: int) -> int:
    """Wait for a process, and return how it ended: 0, or what it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every shard."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a shard is made again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}


def run() -> None:
    """Kill, run again, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"kills": 100, "shards": 12, "rows": 4000, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "in", args.shards, args.rows)
        known = atlas.read_vectors(folder / "in" / "part-0.parquet")
        atlas.fit("procrustes", source=known, target=known).save_pretrained(folder / "map")
        words = ("apply", folder / "map", folder / "in", "--out")
        start = time.perf_counter()
        assert ended(begun(*words, folder / "whole")) == 0
        longest, expected = time.perf_counter() - start, contents(folder / "whole")
        found = dict.fromkeys(("killed", "finished before", "right at the end", "made again", "left over"), 0)
        while found["killed"] < args.kills:
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            process = begun(*words, out)
            time.sleep(draw.uniform(0, longest))
            os.kill(process, signal.SIGKILL)
            if ended(process) != -signal.SIGKILL:
                continue
            found["killed"] += 1
            before = states(out)
            done = ended(begun(*words, out)) == 0
            after = states(out)
            found["finished before"] += len(before)
            found["right at the end"] += done and contents(out) == expected
            found["made again"] += sum(after.get(name) != state for name, state in before.items())
            found["left over"] += sum(path.suffix in (".tmp", ".old") for path in out.rglob("*"))
    print(f"{args.shards} shards: " + ", ".join(f"{n} {name}" for name, n in found.items()))


if __name__ == "__main__":
    run()
