"""Fits of this commit beside those of another one, in turn in one run: what has become slower.

    python tests/benchmarks/bench_history.py COMMIT [--rounds 9] [--rows 4000]

Prints, for each method and size, the median ratio of processor times (now / then) of fits in float32, without what
surrounds them. Each commit is served by a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS, SIZES = ("linear", "procrustes", "cca", "low-rank"), (128, 512)
SERVER = """
import sys, time
import atlas
import torch

torch.set_num_threads(1)
for line in sys.stdin:
    name, n, d = line.split()
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(int(n), int(d), generator=generator)
    Y = X @ torch.randn(int(d), int(d), generator=generator) / int(d) ** 0.5 + torch.randn(X.shape, generator=generator)
    aligner = atlas.create(atlas.Aligner, name)
    begun = time.process_time()
    aligner.fit(X, Y)
    print(time.process_time() - begun, flush=True)
"""


def served(commit: str, folder: Path) -> subprocess.Popen[str]:
    """Start the process that fits with the code of a commit."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'plugins'}"}
    command = [sys.executable, "-c", SERVER]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def seconds(server: subprocess.Popen[str], *asked: object) -> float:
    """Return the processor time of one fit."""
    assert server.stdin is not None and server.stdout is not None
    print(*asked, file=server.stdin, flush=True)
    return float(server.stdout.readline())


def main() -> None:
    """Print a ratio for each method and size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=4000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        then, now = served(given.commit, Path(folder, "then")), served("HEAD", Path(folder, "now"))
        for d in SIZES:
            for name in METHODS:
                pairs = [
                    [seconds(server, name, given.rows, d) for server in (now, then)] for _ in range(given.rounds + 1)
                ][1:]
                ratio = statistics.median(a / b for a, b in pairs)
                print(f"{name:<12} {given.rows} x {d}: {ratio:.2f} ({statistics.median(a for a, _ in pairs):.3f} s)")
        for server in (then, now):
            server.terminate()


if __name__ == "__main__":
    main()
