"""What a user waits for, with this commit and with another one, in turn in one run.

    python tests/benchmarks/bench_history.py COMMIT [--rounds 5] [--only WORDS] [--table]

Prints, for each work of history_works.py, the least processor time of the other commit and of this one, children
included, and the ratio. Each commit is served by a process of its own, on one thread. --table writes the works that
both can do into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from history_works import WORKS
from machine import describe, written

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent


def served(commit: str, folder: Path) -> subprocess.Popen[str]:
    """Start the process that does works with the code of a commit, which goes into a folder; its files beside it."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    found = os.pathsep.join(map(str, (folder, folder / "plugins")))
    own = {"XDG_CACHE_HOME": f"{folder}-cache", "PYTHONDONTWRITEBYTECODE": ""}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    environment = {**os.environ, **threads, **own, "PYTHONPATH": found}
    command = [sys.executable, str(HERE / "history_works.py"), f"{folder}-works"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def seconds(server: subprocess.Popen[str], work: str) -> float | str:
    """Return the processor time of a work, or why it cannot be done."""
    assert server.stdin is not None and server.stdout is not None
    print(work, file=server.stdin, flush=True)
    said = server.stdout.readline().strip()
    try:
        return float(said)
    except ValueError:
        return said


def compared(servers: list[subprocess.Popen[str]], work: str, rounds: int) -> list[str]:
    """Return the cells of a work: milliseconds then and now, and now / then."""
    if bad := [said for server in servers if isinstance(said := seconds(server, work), str)]:
        return [work, "", "", bad[0]]
    then, now = zip(*([float(seconds(server, work)) for server in servers] for _ in range(rounds)), strict=True)
    return [work, f"{1000 * min(then):.3g} ms", f"{1000 * min(now):.3g} ms", f"{min(now) / min(then):.2f}"]


def main() -> None:
    """Print a row for each work, and write the table if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    about = f"{describe()}, one thread for each commit; the least of {given.rounds} rounds."
    lines = [f"work | {given.commit} | now | now / then", "--- | --- | --- | ---"]
    print(about, *lines, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        servers = [served(given.commit, Path(folder, "then")), served("HEAD", Path(folder, "now"))]
        for work in WORKS:
            if all(word in work for word in given.only.split()):
                lines.append(" | ".join(compared(servers, work, given.rounds)))
                print(lines[-1], flush=True)
        for server in servers:
            server.terminate()
    if given.table:
        both = [f"| {line} |" for line in lines if " |  |  | " not in line]
        written("bench_history.py COMMIT --table", [about, "", *both])


if __name__ == "__main__":
    main()
