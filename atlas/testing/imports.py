"""Effects of importing a plugin on its process: a program, run as a new process."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.plugins.discovery import GROUP
from atlas.plugins.loading import call_hooks, reason

# Modules of one library from which on importing it is felt.
MANY = 25


def global_state() -> dict[str, Any]:
    """Return settings that everything in a process shares, by name."""
    return {
        "the default dtype of torch": torch.get_default_dtype(),
        "the number of threads of torch": torch.get_num_threads(),
        "whether torch records gradients": torch.is_grad_enabled(),
        "the random state of torch": torch.get_rng_state().numpy().tobytes(),
        "the random state of numpy": repr(list(np.random.get_state()[1])),  # type: ignore[index]
        "the random state of Python": random.getstate(),
        "how numpy treats errors": np.geterr(),
        "the handlers of the root logger": list(logging.getLogger().handlers),
        "what Ctrl-C does": signal.getsignal(signal.SIGINT),
        "the working folder": Path.cwd(),
        "environment variables": dict(os.environ),
        "sys.path": list(sys.path),
        "stdout or stderr": (sys.stdout, sys.stderr),
    }


def look(name: str, module: str) -> list[tuple[str, str]]:
    """Import a plugin; return promises, each with how it is broken, '' if it is kept."""
    before, modules, broken, said = global_state(), set(sys.modules), "", io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        try:
            call_hooks(metadata.EntryPoint(name, module, GROUP).load())
        except BaseException as error:
            broken = reason(error)
    there = {one.partition(".")[0] for one in modules}
    new = [one for one in set(sys.modules) - modules if one.partition(".")[0] not in there]
    large = heavy(new, module)
    after = global_state()
    changed = [what for what in before if before[what] != after[what]]
    slow = (
        f"It imports {', '.join(large)}, and every listing waits for that - import it inside the method that needs it"
    )
    shared = f"It changes {', '.join(changed)}, which everything in the program shares"
    texts = [said.getvalue(), *(str(one.message) for one in warned if issubclass(one.category, UserWarning))]
    noise = [f"'{' '.join(text.split())[:60]}'" for text in texts if text.strip()]
    return [
        ("It can be imported", broken),
        ("Importing it imports no heavy library", slow if large else ""),
        ("Importing it changes nothing that others share", shared if changed else ""),
        ("Importing it prints nothing and warns of nothing", f"It says {', '.join(noise)}" if noise else ""),
    ]


def heavy(modules: Iterable[str], own: str) -> list[str]:
    """Return the libraries of which many modules are among these, largest first, but for Python's own and one's own."""
    roots = Counter(name.partition(".")[0] for name in modules)
    ours = {"atlas", own.partition(":")[0].partition(".")[0], *sys.stdlib_module_names}
    return [root for root, count in roots.most_common() if count >= MANY and root not in ours]


if __name__ == "__main__":
    _, name, module, report = sys.argv
    Path(report).write_text(json.dumps(look(name, module)))
