"""The engine of processes ends with the process that began it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import atlas
from atlas.components.engine import Engine

WORK = """
import os, sys, time
from pathlib import Path
import atlas
from atlas.components.engine import Engine

def work(item):
    Path("worker").write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    list(atlas.create(Engine, "processes", workers=1).map(work, [1]))
"""


def exists(process: int) -> bool:
    """Whether there is a process that runs."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_process_that_is_killed(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    parent = subprocess.Popen([sys.executable, "work.py"], cwd=tmp_path)
    told = tmp_path / "worker"
    while not (told.exists() and told.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    worker = int(told.read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(600):
        if not exists(worker):
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("a worker goes on after its parent was killed")


def test_a_worker_that_dies_is_told_in_a_sentence():
    with pytest.raises(atlas.AtlasError, match="Engine 'processes' lost a process before its work was done"):
        list(atlas.create(Engine, "processes", workers=1).map(os._exit, [1]))
