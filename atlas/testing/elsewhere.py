"""Another process, in which components are made again: one for all checks, started when it is first needed.

Strings hash differently there, so that a dependence on `hash()` or on the order of a set shows.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.components.options import Component
from atlas.testing.promises import attempt, ensure, equal_states


def elsewhere(function: Callable[..., dict[str, Tensor]], component: Any, *args: Any) -> dict[str, Tensor] | None:
    """Return the result of a function of a component's class, its options and more in another process.

    None: the class cannot be imported there, as it was made in a function or in the program itself.

    Raises:
        RuntimeError: the function's exception there.
    """
    cls = type(component)
    if "<" in cls.__qualname__ or cls.__module__ == "__main__":
        return None
    file = getattr(sys.modules[cls.__module__], "__file__", None)
    try:
        call = pickle.dumps((function, component.config(), args))
    except Exception:
        return None
    here = sys.path, str(Path.cwd()), dict(os.environ), torch.get_num_threads()
    found, answer = _ask(pickle.dumps((here, (cls.__module__, cls.__qualname__, file), call)))
    if not found:
        return None
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def ensure_same_elsewhere(function: Callable[..., dict[str, Tensor]], component: Any, does: str, *args: Any) -> None:
    """Raise `AssertionError` if a function has another result in another process; `does` names its work."""
    promise = f"must {does} in another process - hash() and the order of sets are others there"
    there = attempt(lambda: elsewhere(function, component, *args), component, promise)
    ensure(there is None or equal_states(there, function(component, *args)), component, promise)


def _ask(job: bytes) -> tuple[bool, Any]:
    worker = _worker()
    assert worker.stdin is not None and worker.stdout is not None
    try:
        worker.stdin.write(job)
        worker.stdin.flush()
        return pickle.load(worker.stdout)
    except (EOFError, OSError):
        _worker.cache_clear()
        return True, f"the process ends, with exit status {worker.wait()}"


@functools.cache
def _worker() -> subprocess.Popen[bytes]:
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "from atlas.testing import elsewhere; elsewhere.main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    atexit.register(worker.communicate)
    return worker


def _imported(module: str, name: str, file: str | None) -> type[Component]:
    """Return a class by its module, or by its file where the module is not on the path."""
    try:
        there: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(module, str(file))
        assert spec is not None and spec.loader is not None
        there = sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(there)
    return functools.reduce(getattr, name.split("."), there)


def _answer(here: Any, cls: Any, call: bytes) -> tuple[bool, Any]:
    sys.path[:], folder, environment, threads = here
    os.chdir(folder)
    os.environ.update(environment)
    torch.set_num_threads(threads)
    try:
        component = _imported(*cls)
    except Exception:
        return False, None
    try:
        function, config, args = pickle.loads(call)
        return True, function(component.from_config(config), *args)
    except Exception as error:
        return True, f"{type(error).__name__}: {' '.join(str(error).split())}"


def main() -> None:
    """Do jobs until there are no more."""
    # A plugin's own output must not stand among the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        while True:
            try:
                job = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(_answer(*job), answers)
            answers.flush()
