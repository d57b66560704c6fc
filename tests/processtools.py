"""Processes that begin at once: forks of a server that has imported torch and Atlas, which takes longer than they do.

They are for tests of signals, limits and settings of a process; how Atlas starts is tested in processes of Python.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
# Neither the client of the Hub, which reads its settings as it is imported, nor what plugins import when they work.
_SERVER.set_forkserver_preload(
    [
        *("torch", "atlas_builtin", "atlas.plugins.catalogue", "atlas.recipes.running"),
        *(f"atlas.cli.{name}" for name in ("derived", "made", "run")),
        *(f"atlas.verbs.{name}" for name in ("apply", "encode", "evaluate", "fit")),
    ]
)


class Forked:
    """A process that runs code or the command line, as `subprocess.Popen` with pipes of text does.

    Args:
        work: code to run, or the words of a command.
        cwd: the folder it runs in.
        env: all its environment variables.
        before: called before the work; it can be pickled.
    """

    def __init__(
        self,
        work: str | list[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        # It goes with this object, whether anybody reads what was said or not.
        folder = tempfile.mkdtemp(prefix="atlas-said-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._said = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in self._said:
            path.touch()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"} if env is None else dict(env)
        arguments = work, str(cwd or Path.cwd()), environment, before, self._said
        self._process = _SERVER.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 240) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            raise TimeoutError(f"still running after {timeout} s: {self.said()}")
        return self.returncode

    def said(self) -> tuple[str, str]:
        """Return standard output and standard error up to now."""
        stdout, stderr = (path.read_text() for path in self._said)
        return stdout, stderr

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Wait for the end, and return standard output and standard error."""
        self.wait(timeout)
        return self.said()


def _run(
    work: str | list[str], cwd: str, environment: dict[str, str], before: Callable[[], None] | None, said: list[Path]
) -> None:
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    if before is not None:
        before()
    if isinstance(work, str):
        exec(compile(work, "<code>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = ["atlas", *work]
        runpy.run_module("atlas", run_name="__main__")


def both_into(place: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Run two commands at once, of which the first ends when the second needs only take its place in a folder, too.

    Returns:
        of each, the exit status and what it says.
    """
    with tempfile.TemporaryDirectory() as temporary:
        signs, ended = Path(temporary), []
        running = [_stopping(command, place, signs, number) for number, command in enumerate(commands)]
        while len(list(signs.glob("ready-*"))) < len(running):
            time.sleep(0.002)
        for number, process in enumerate(running):
            (signs / f"turn-{number}").touch()
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            ended.append((status, (signs / f"said-{number}").read_text()))
    return ended


def _stopping(command: list[str], place: Path, signs: Path, number: int) -> int:
    """Run a command in a process that stops before it locks or renames anything in a place, until its turn."""
    child = os.fork()
    if child:
        return child
    stopped = False

    def stop(event: str, arguments: tuple) -> None:
        nonlocal stopped
        at = f"/proc/self/fd/{arguments[0]}" if event == "fcntl.flock" else arguments[0] if event == "os.rename" else ""
        if not stopped and at and Path(at).resolve().is_relative_to(place):
            stopped = True
            (signs / f"ready-{number}").touch()
            while not (signs / f"turn-{number}").exists():
                time.sleep(0.002)

    status = 99
    try:
        from click.testing import CliRunner
        from torch import set_num_threads

        from atlas.cli import main

        set_num_threads(1)  # A pool of threads does not come along.
        sys.addaudithook(stop)
        result = CliRunner().invoke(main, command, prog_name="atlas")
        (signs / f"said-{number}").write_text(result.stderr)
        status = result.exit_code
    finally:
        (signs / f"ready-{number}").touch()
        os._exit(status)
