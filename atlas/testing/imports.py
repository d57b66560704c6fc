"""What importing a plugin does to the process it is imported in: a program, run as a new process."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.plugins.discovery import GROUP, Plugin, heavy, import_plugin

# Modules of one library from which on importing it is felt.
MANY = 25


def global_state() -> dict[str, Any]:
    """Return settings that everything in a process shares, by what they are called."""
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
    entry, plugin = metadata.EntryPoint(name, module, GROUP), Plugin(name, module)
    before, modules = global_state(), set(sys.modules)
    import_plugin(entry, plugin)
    there = {one.partition(".")[0] for one in modules}
    new = [one for one in set(sys.modules) - modules if one.partition(".")[0] not in there]
    large = [root for root in heavy(new, module) if sum(one.partition(".")[0] == root for one in new) >= MANY]
    after = global_state()
    changed = [what for what in before if before[what] != after[what]]
    slow = (
        f"It imports {', '.join(large)}, and every listing waits for that - import it inside the method that needs it"
    )
    shared = f"It changes {', '.join(changed)}, which everything in the program shares"
    noise = [note for note in plugin.notes if "prints" in note or "warns" in note]
    return [
        ("It can be imported", plugin.broken),
        ("Importing it imports no heavy library", slow if large else ""),
        ("Importing it changes nothing that others share", shared if changed else ""),
        ("Importing it prints nothing and warns of nothing", "; ".join(noise)[:1].upper() + "; ".join(noise)[1:]),
    ]


if __name__ == "__main__":
    _, name, module, report = sys.argv
    Path(report).write_text(json.dumps(look(name, module)))
