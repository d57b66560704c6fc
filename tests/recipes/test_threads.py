"""Jobs side by side: the results are those of one after another, and what fails or is stopped leaves nothing half."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from processtools import Forked
from test_recipes import MANY, folder, recipe, run  # noqa: F401

from atlas.errors import AtlasError
from atlas.recipes.reading import read_recipe
from atlas.recipes.running import FINISHING, Runner
from atlas.recipes.threads import side_by_side
from atlas.storage.files import whole_folder

pytestmark = pytest.mark.usefixtures("folder")


def reported(out: str, at_once: int) -> list[tuple[int, str, str]]:
    said: list[tuple[int, str, str]] = []
    runner = Runner(read_recipe("grid.yaml"), out)
    runner.run(at_once=at_once, report=lambda number, job, state: said.append((number, str(job), state)))
    return said


def test_side_by_side_is_what_one_after_another_is():
    assert reported("one", 1) == reported("many", 4)
    made = {str(file.relative_to("one")): file.read_bytes() for file in Path("one").rglob("*") if file.is_file()}
    assert len(made) > 80
    for name, content in made.items():
        assert Path("many", name).read_bytes() == content, name
    assert {state for _, _, state in reported("many", 3)} == {"cached"}


def test_the_command_does_jobs_side_by_side(atlas_command):
    one, two = (atlas_command("run", "grid.yaml", "--out", f"out{n}", "-j", n) for n in (1, 2))
    assert (one.stdout, one.stderr) == (two.stdout, two.stderr)
    assert atlas_command("run", "grid.yaml", "--out", "out3", "-j", "0", status=2).stdout == ""


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_the_first_failure_is_told_and_what_was_begun_is_done(at_once):
    path = recipe(MANY.replace("[1, 2]", "[5, 500, 6, 600, 7, 8, 9]"))
    with pytest.raises(AtlasError, match=r"x.yaml: step 'm' \(k=500\): Sampler 'uniform' cannot draw 500 anchors"):
        run(path, at_once=at_once)
    assert Path("out/m__5").is_dir() and not Path("out/m__9").exists() and not Path("out/results.json").exists()
    assert not list(Path("out").rglob(".*.tmp"))


def test_a_job_waits_for_what_it_needs():
    done: list[str] = []

    def slow() -> None:
        time.sleep(0.2)
        done.append("slow")

    with side_by_side(4, print) as threads:
        threads.begin("slow", slow)
        threads.begin("free", lambda: done.append("free"))
        threads.wait_for(["slow"])
        threads.begin("after", lambda: done.append("after"))
    assert done == ["free", "slow", "after"]


def test_an_interrupt_stops_no_thread_whose_job_is_done():
    done = threading.Event()
    with side_by_side(2, print) as threads:
        threads.begin("first", lambda: None)
        threads.wait_for(["first"])
        threads.interrupt()
        threads.begin("second", done.set)
        assert done.wait(30)


def test_no_more_are_at_work_than_were_asked_for():
    at_work, most = [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.01)
        with lock:
            at_work[0] -= 1

    with side_by_side(3, print) as threads:
        for i in range(30):
            threads.wait_for([])
            threads.begin(i, work)
    assert most == [3] and at_work == [0]


def test_jobs_at_work_are_finished_when_another_fails_and_the_first_says_why():
    failed, finished, told = threading.Event(), threading.Event(), []

    def first() -> None:
        assert failed.wait(30)
        time.sleep(0.1)
        raise AtlasError("the first")

    def second() -> None:
        failed.set()
        raise AtlasError("the second")

    def third() -> None:
        assert failed.wait(30)
        time.sleep(0.2)
        finished.set()

    with pytest.raises(AtlasError, match="the first"), side_by_side(3, told.append) as threads:
        threads.begin("first", first)
        threads.begin("third", third)
        threads.begin("second", second)
    assert finished.is_set() and set(told) == {"first", "third"}


def test_a_job_at_work_is_told_by_its_number(monkeypatch):
    path = recipe(MANY.replace("[1, 2]", "[5, 500]"))
    runner, failed = Runner(read_recipe(path), "out"), threading.Event()
    do, said = runner._do, []

    def waiting(job):  # type: ignore[no-untyped-def]
        if job.scope["k"] == 5:
            assert failed.wait(30)
            return do(job)
        try:
            do(job)
        finally:
            threading.Timer(0.2, failed.set).start()

    monkeypatch.setattr(runner, "_do", waiting)
    with pytest.raises(AtlasError, match=r"k=500"):
        runner.run(at_once=2, report=lambda *told: said.append(told))
    assert (said[-1][0], str(said[-1][1]), said[-1][2]) == (1, "'m' (k=5)", FINISHING)
    assert Path("out/m__5").is_dir()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_stops_every_job_and_leaves_nothing_half_written(stop):
    begun, stopped = threading.Barrier(3), []

    def write(name: str) -> None:
        try:
            with whole_folder(Path(name)) as temporary:
                (temporary / "half").write_text("half")
                begun.wait(30)
                for _ in range(3000):
                    time.sleep(0.01)
        except BaseException as error:
            stopped.append(type(error))
            raise

    with pytest.raises(stop), side_by_side(2, print) as threads:
        for name in ("x", "y"):
            threads.begin(name, lambda name=name: write(name))  # type: ignore[misc]
        begun.wait(30)
        assert len(list(Path().glob(".*.tmp/half"))) == 2
        raise stop
    assert stopped == [KeyboardInterrupt] * 2
    assert not list(Path().glob(".*.tmp")) and not Path("x").exists()


def test_ctrl_c_stops_a_run_of_several_jobs():
    recipe(MANY.replace("[1, 2]", "[5, 6, 7]"))
    # Jobs that take long, each told when it begins.
    code = (
        "import time\nfrom atlas.recipes.running import Runner\n"
        "Runner._do = lambda self, job: [time.sleep(0.01) for _ in range(6000)]\n"
        "from atlas.cli import main\nmain(['run', 'x.yaml', '--out', 'out', '-j', '2'])"
    )
    running, first = Forked(code), "[1/3] sample 'm' (k=5) to do\n[2/3] sample 'm' (k=6) to do\n"
    while running.said()[1] != first:
        assert running.poll() is None, running.said()
        time.sleep(0.01)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=50) == 130
    assert running.said()[1] == first + "Interrupted - nothing half-written was left\n"
