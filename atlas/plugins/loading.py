"""Importing a plugin, and collecting its hooks' results, without letting it hurt anything else."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy

from atlas.components.kinds import KINDS
from atlas.components.options import Component
from atlas.components.settings import put_back, settings
from atlas.errors import AtlasError
from atlas.plugins import hooks
from atlas.plugins.discovery import Plugin

# Seconds after which importing a plugin is worth a word, and after which it is given up.
SLOW, LIMIT = 3.0, 30.0
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TYPES = (bool, int, float, str, list, dict)


class _TooLong(BaseException):
    """No `Exception`, which the plugin may catch."""


def load(plugin: Plugin) -> None:
    """Import a plugin and keep the classes its hooks return; note in the plugin why they cannot be had."""
    begin = time.perf_counter()
    with _contained(plugin) as arrived:
        try:
            plugin.classes = checked(call_hooks(plugin.entry.load()))
        except BaseException as error:  # sys.exit() is no Exception.
            if arrived:
                raise
            plugin.broken = reason(error)
    plugin.seconds = time.perf_counter() - begin
    if plugin.seconds > SLOW and not (plugin.own or plugin.broken):
        plugin.notes.append(f"it took {plugin.seconds:.0f} s to load - heavy imports belong inside methods")


@contextlib.contextmanager
def _contained(plugin: Plugin) -> Iterator[list[int]]:
    """Isolate the side effects of an import; yield the signals that arrive, so that Ctrl-C is obeyed."""
    if plugin.own:
        yield []
        return
    # The folder it moves to may be gone by now, and would have no name.
    folder, place, before = Path.cwd(), Path().stat(), settings()
    hub = "huggingface_hub.constants" in sys.modules
    with _off_stdout(), _timed() as arrived:
        yield arrived
    changed = ["working folder"] if not os.path.samestat(Path().stat(), place) else []
    changed += put_back(before)
    plugin.notes += [f"it changes the {what} when it is imported, which was undone" for what in changed]
    os.chdir(folder)
    # The Hub's client reads the environment once, when it is imported.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and not hub and any("HF_" in what for what in changed):
        importlib.reload(constants)


@contextlib.contextmanager
def _off_stdout() -> Iterator[None]:
    """Send everything printed meanwhile to stderr, also by libraries in C and other programs; drop warnings."""
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, sys, "stderr", sys.stderr)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        with contextlib.suppress(OSError):
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
        yield


@contextlib.contextmanager
def _timed() -> Iterator[list[int]]:
    """Yield the signals that arrive meanwhile, which are obeyed, and end any work that takes longer than `LIMIT`."""
    arrived: list[int] = []
    before: dict[int, Any] = {}
    timer = (0.0, 0.0)

    def obey(number: int, frame: Any) -> None:
        arrived.append(number)
        signal.signal(number, before[number])
        signal.raise_signal(number)

    def give_up(number: int, frame: Any) -> None:
        raise _TooLong(f"importing it was given up after {LIMIT:g} s")

    # There are signals in the main thread alone, and on Windows no alarm.
    with contextlib.suppress(ValueError, AttributeError):
        before[signal.SIGINT] = signal.signal(signal.SIGINT, obey)
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, obey)
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
        timer = signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield arrived
    finally:
        if len(before) == 3:
            signal.setitimer(signal.ITIMER_REAL, *timer)
        for number, handler in before.items():
            signal.signal(number, handler)


def reason(error: BaseException) -> str:
    """Say why a plugin cannot be loaded."""
    if isinstance(error, SystemExit):
        return "it calls sys.exit() when it is imported"
    text = " ".join(str(error).split())
    return text if isinstance(error, (AtlasError, _TooLong)) else f"{type(error).__name__}: {text}".removesuffix(": ")


def call_hooks(plugin: object) -> dict[str, list[Any]]:
    """Return the results of the hooks of a plugin, a module or any object, by kind; raise for invalid ones.

    A plugin has a manager of its own, so that nothing in it, such as a wrapper, gets in the way of another.
    """
    manager = pluggy.PluginManager("atlas")
    manager.add_hookspecs(hooks)
    manager.register(plugin)
    # Otherwise a misspelt hook, such as register_aligner, is silently ignored.
    manager.check_pending()
    found = {}
    for kind in KINDS:
        hook = getattr(manager.hook, f"register_{kind}s")
        if hook.get_hookimpls():
            found[kind] = _list(hook.name, hook())
    if not found:
        known = ", ".join(f"register_{kind}s" for kind in KINDS)
        raise AtlasError(f"it has no hook - write one of {known} and decorate it with @atlas.hookimpl")
    return found


def _list(hook: str, results: Any) -> list[Any]:
    """Return the result of a hook of one plugin; pluggy leaves out None."""
    [returned] = results or [None]
    if isinstance(returned, (str, type)) or not hasattr(returned, "__iter__"):
        raise AtlasError(f"{hook}() must return a list of classes, got {returned!r}")
    return list(returned)


def checked(returned: dict[str, list[Any]]) -> dict[str, list[type[Component]]]:
    """Return the classes that hooks returned, by kind, or raise `AtlasError` if one is no well-formed component."""
    for kind, classes in returned.items():
        for cls in classes:
            try:
                check_class(cls, KINDS[kind])
            except AtlasError:
                raise
            except Exception as error:
                raise AtlasError(f"{cls!r} cannot be read: {type(error).__name__}: {error}") from None
        for name, times in Counter(cls.name for cls in classes).items():
            if times > 1:
                raise AtlasError(f"it has more than one {kind} '{name}' - give every class a name of its own")
    return {kind: classes for kind, classes in returned.items() if classes}


def check_class(cls: Any, base: type[Component]) -> None:
    """Raise `AtlasError` unless a class is a dataclass of its kind, well named, with a help text for every option."""
    where = getattr(cls, "__qualname__", repr(cls))
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise AtlasError(f"{where} is not a subclass of atlas.{base.__name__}")
    if "__dataclass_fields__" not in vars(cls):
        raise AtlasError(f"{where} is not decorated with @dataclass")
    if not isinstance(cls.name, str) or not NAME.fullmatch(cls.name):
        raise AtlasError(f"{where} has the name '{cls.name}' - use lower-case letters, digits and single '-'")
    if not (cls.__doc__ or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
        raise AtlasError(f"{where} has no docstring - write one sentence a user can choose by")
    for opt in cls.options():
        if not opt.help:
            raise AtlasError(f"Option '{opt.name}' of {where} has no help text - declare it with atlas.option()")
        if opt.type not in _TYPES:
            known = ", ".join(t.__name__ for t in _TYPES)
            raise AtlasError(f"Option '{opt.name}' of {where} is {opt.type_name}, but a card can hold {known}")
