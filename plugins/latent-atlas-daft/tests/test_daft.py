"""Daft works on shards: the same bytes on its native runner, on a local Ray and without it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import write
from pagetools import run_page

import atlas
from atlas.testing import check_engine
from atlas_daft import Daft

ENGINES_PAGE = Path(__file__).parents[3] / "docs" / "engines.md"
# Daft leaves the pipes of its workers to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_it_keeps_the_promises_of_engines():
    check_engine(Daft(workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_are_those_without_an_engine(folder, workers):
    atlas.apply("map", "x", out="many", engine=f"daft:workers={workers}")
    atlas.moments(source="x", target="y", engine=Daft(workers=workers)).save_pretrained("again")
    assert contents(folder / "many") == contents(folder / "alone")
    assert contents(folder / "again") == contents(folder / "sums")


def test_files_of_items_are_encoded_to_the_same_bytes(folder):
    atlas.encode("pixels", np.zeros((2, 3, 4, 4), np.float32), save_space="space", size=2)
    (folder / "arrays").mkdir()
    for part in range(3):
        np.save(folder / "arrays" / f"part-{part}.npy", np.full((5, 3, 4, 4), part, np.float32))
    atlas.encode("space", "arrays", out="vectors", engine=Daft(workers=2))
    atlas.encode("space", "arrays", out="by-one")
    assert contents(folder / "vectors") == contents(folder / "by-one")


def test_the_bytes_are_the_same_on_ray(folder):
    pytest.importorskip("ray")
    atlas.encode("pixels", np.zeros((2, 3, 4, 4), np.float32), save_space="space", size=2)
    (folder / "arrays").mkdir()
    for part in range(3):
        np.save(folder / "arrays" / f"part-{part}.npy", np.full((5, 3, 4, 4), part, np.float32))
    atlas.encode("space", "arrays", out="by-one")
    code = (
        "import atlas\n"
        "atlas.encode('space', 'arrays', out='vectors', engine='daft')\n"
        "atlas.apply('map', 'x', out='many', engine='daft:workers=2')\n"
        "atlas.moments(source='x', target='y', engine='daft').save_pretrained('again')\n"
        "import ray\n"
        "assert ray.is_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "DAFT_RUNNER": "ray"}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert contents(folder / "many") == contents(folder / "alone")
    assert contents(folder / "again") == contents(folder / "sums")
    assert contents(folder / "vectors") == contents(folder / "by-one")


def test_a_bad_shard_is_told_in_a_sentence(folder):
    X = np.zeros((40, 8), np.float32)
    X[33] = np.inf
    write(folder / "bad", X)
    with pytest.raises(atlas.AtlasError, match=r"'bad/part-3.parquet' has 8 values .* the first in row 3"):
        atlas.apply("map", "bad", out="many", engine="daft:workers=1")


def test_a_worker_that_dies_is_told_in_a_sentence():
    with pytest.raises(atlas.AtlasError, match="Engine 'daft' failed: "):
        list(Daft(workers=1).map(os._exit, [1]))


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    work = "import os, time\ndef work(item):\n    open('worker', 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    (tmp_path / "working.py").write_text(work)
    code = "import working, atlas_daft\nlist(atlas_daft.Daft(workers=1).map(working.work, [1]))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    told = tmp_path / "worker"
    while not (told.exists() and told.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    worker = Path(f"/proc/{told.read_text()}")
    parent.kill()
    parent.wait()
    for _ in range(600):
        if not worker.exists() or "(zombie)" in (worker / "status").read_text():
            return
        time.sleep(0.05)
    os.kill(int(worker.name), 9)
    pytest.fail("a worker goes on after its parent was killed")


def test_no_worker_is_refused():
    with pytest.raises(atlas.AtlasError, match="needs at least 1 worker, got 0"):
        list(Daft(workers=0).map(abs, [1]))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_told_at_once(monkeypatch, scheme):
    with socket.socket() as taken:
        # Bound, so that nobody else takes it, and not listening.
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("DAFT_RUNNER", "ray")
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(atlas.AtlasError, match=f"the Ray cluster at RAY_ADDRESS={address}: .*refused - start it"):
            list(Daft().map(abs, [1]))


def test_the_page_runs(folder, monkeypatch):
    (folder / "page").mkdir()
    monkeypatch.chdir(folder / "page")
    assert run_page(Path(__file__).parents[1] / "README.md") == 5


@pytest.mark.parametrize("title", ["Ray Data", "Spark"])
def test_the_same_in_other_engines_finds_the_same_moments(tmp_path, title):
    pytest.importorskip({"Ray Data": "ray.data", "Spark": "pyspark"}[title])
    text = ENGINES_PAGE.read_text()
    begin = text[text.index("## Without a plugin") :].partition("### ")[0]
    section = re.split(r"^##", text[text.index(f"### {title}") + 2 :], flags=re.MULTILINE)[0]
    code = "".join(re.findall(r"^```python\n(.*?)^```", begin + section, re.MULTILINE | re.DOTALL))
    code += "whole = atlas.moments(source=X, target=Y).sums\n"
    code += "np.testing.assert_allclose(total.sums.xy, whole.xy, rtol=1e-9)\nassert total.n == 4000\n"
    # A process of its own, which ends what the engine has started.
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
