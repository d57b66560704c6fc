"""Settings of the whole process that the code of a plugin must leave alone: looked at before, put back after."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atlas.errors import warn

# They say which server is talked to, with which token, and which plugins are loaded.
VARIABLES = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "ATLAS_DISABLE_PLUGINS")
_STATUS = Path("/proc/self/status")
Settings = dict[str, tuple[Any, Callable[[Any], Any]]]


def settings() -> Settings:
    """Return the value of each setting by its name, and the function that sets it; torch's if it is imported."""
    found: Settings = {"umask": (_umask(), os.umask)}
    for name in VARIABLES:
        found[f"environment variable {name}"] = (os.environ.get(name), functools.partial(_set, name))
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        found["default dtype of torch"] = (torch.get_default_dtype(), torch.set_default_dtype)
        found["gradient mode of torch"] = (torch.is_grad_enabled(), torch.set_grad_enabled)
        found["number of threads of torch"] = (torch.get_num_threads(), torch.set_num_threads)
    return found


def put_back(before: Settings) -> list[str]:
    """Put back all settings that are other than before, and return their names."""
    changed = []
    for name, (value, change) in settings().items():
        as_it_was = before[name][0] if name in before else _fresh(name, value)
        if value != as_it_was:
            change(as_it_was)
            changed.append(name)
    return changed


@contextlib.contextmanager
def left_alone(label: str) -> Iterator[None]:
    """Put back the settings that the code of a component changes meanwhile, with a warning that names the component."""
    before = settings()
    try:
        yield
    finally:
        for name in put_back(before):
            warn(f"{label.capitalize()} changes the {name}, which was undone", 3)


def _umask() -> int:
    # To ask for it in any other way is to change it, also for other threads.
    # It stands in the second line; this runs at every fit, and every batch that is encoded.
    with contextlib.suppress(OSError, ValueError, IndexError), _STATUS.open("rb", buffering=0) as file:
        return int(file.read(256).split(b"Umask:")[1].split()[0], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _fresh(name: str, value: Any) -> Any:
    """Return a setting of torch as it is after its import; its threads cannot be known."""
    torch = sys.modules["torch"]
    return {"default dtype of torch": torch.float32, "gradient mode of torch": True}.get(name, value)
