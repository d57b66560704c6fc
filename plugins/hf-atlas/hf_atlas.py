"""Atlas as an extension of the Hugging Face CLI: `hf atlas ...` does what `atlas ...` does."""

from __future__ import annotations

from importlib import metadata


def main() -> None:
    """Run the command `atlas`, as its distribution names it, under the name it was called by."""
    [command] = metadata.distribution("latent-atlas").entry_points.select(group="console_scripts", name="atlas")
    command.load()(prog_name="hf atlas")
