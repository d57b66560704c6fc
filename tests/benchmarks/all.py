"""All that a user waits for, against the arithmetic it cannot do without and against peers, as one table.

    python tests/benchmarks/all.py [--table] [--only WORDS] [--rounds 5] [--threads 1]

Each row is measured at two sizes, its floor, Atlas and peers in turn in every round. --table writes the table into
docs/benchmarks.md; --only measures the rows that have these words. Peers: pip install "latent-atlas[bench]".
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

GIVEN = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
GIVEN.add_argument("--table", action="store_true")
GIVEN.add_argument("--only", default="")
GIVEN.add_argument("--rounds", type=int, default=5)
GIVEN.add_argument("--threads", type=int, default=1)

if __name__ == "__main__":
    given = GIVEN.parse_args()
    # Libraries of peers read these once, when they are imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(given.threads)

import rows  # noqa: E402 - after the settings of threads
import torch  # noqa: E402
from machine import Times, describe, in_turn, written  # noqa: E402

HEADER = ["work", "size", "floor", "Atlas, processor", "spread", "Atlas, clock", "peers, processor"]


def measured(row: rows.Row, rounds: int) -> list[str]:
    """Return the cells of a row: least times as ratios to the floor's, and how far single rounds differ."""
    times = in_turn({"floor": row.run_floor, "Atlas": row.run, **row.peers}, rounds)
    floor, ours = times["floor"], times["Atlas"]
    each = sorted(a / b for a, b in zip(ours.processor, floor.processor, strict=True))
    peers = ", ".join(f"{name} {ratio(times[name], floor):.2f}" for name in row.peers)
    shown = f"{row.floor}, {1000 * min(floor.processor):.3g} ms"
    clock = min(ours.clock) / min(floor.clock)
    return [
        row.work,
        row.size,
        shown,
        f"{ratio(ours, floor):.2f}",
        f"{each[0]:.2f} to {each[-1]:.2f}",
        f"{clock:.2f}",
        peers,
    ]


def ratio(one: Times, floor: Times) -> float:
    """Return the least processor time, in those of the floor."""
    return min(one.processor) / min(floor.processor)


def main() -> None:
    """Measure, print each row as it is done, and write the table if that is asked for."""
    torch.set_num_threads(given.threads)
    about = f"{describe()}. {given.rounds} rounds; processor time is that of the process and its children."
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    print(about, *lines, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        for row in rows.every(Path(folder), given.only):
            lines.append(" | ".join(measured(row, given.rounds)))
            print(lines[-1], flush=True)
    if given.table:
        written("all.py --table", [about, "", *(f"| {line} |" for line in lines)])


if __name__ == "__main__":
    sys.exit(main())
