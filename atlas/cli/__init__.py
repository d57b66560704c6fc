"""The `atlas` command.

Commands are found in a table and imported when they are run, so that `atlas --help` and completion are quick.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click

from atlas._version import __version__

# Section -> command -> (module of this package, summary). A command is the object of its name in that module;
# those of the verbs are made there.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Begin": {
        "demo": ("demo", "Stitch networks that were trained apart on handwritten digits."),
    },
    "Make": {
        "encode": ("derived", "Turn items into vectors."),
        "sample": ("derived", "Draw anchors from vectors."),
        "moments": ("derived", "Sum up the paired vectors of two spaces."),
        "merge": ("derived", "Merge moments of disjoint sets of items."),
        "fit": ("derived", "Fit a map from one space to another."),
        "train": ("derived", "Train a head on labelled vectors."),
        "compose": ("derived", "Chain alignments into one."),
        "aggregate": ("derived", "Fit an atlas of several spaces."),
        "extend": ("derived", "Add spaces to an atlas."),
        "chart": ("derived", "Take one map out of an atlas."),
    },
    "Use and measure": {
        "apply": ("derived", "Map vectors through an alignment or an atlas."),
        "stitch": ("derived", "Run one model's encoder with another model's head."),
        "export": ("derived", "Write an alignment for another program."),
        "evaluate": ("derived", "Measure an alignment, a head or an atlas."),
        "compare": ("derived", "Measure how similar spaces are."),
        "calibrate": ("derived", "Learn how far to trust results found through an alignment."),
        "search": ("stores", "Search indexes of several models through maps between them."),
        "migrate": ("migrate", "Change an embedding model: measure whether it pays, then do it."),
        "run": ("run", "Run a recipe: these commands, composed in a file."),
    },
    "Find": {
        "list": ("listing", "List the artefacts of the registry."),
        "route": ("listing", "Find the best way between two spaces over published maps."),
        "show": ("listing", "Show the card of an artefact."),
        "check": ("listing", "Report everything that is wrong with artefacts."),
        "space": ("stores", "Record which space vectors belong to, or check it."),
    },
    "Share": {
        "site": ("listing", "Write registries as pages to look at."),
        "push": ("hub", "Publish an artefact on the Hugging Face Hub."),
        "pull": ("hub", "Download an artefact from the Hub, and check it."),
        "verify": ("hub", "Check an artefact's hashes, numbers and figures."),
        "index": ("hub", "Rebuild a registry from the Hub."),
        "lock": ("hub", "Lock the versions of everything a recipe takes from the Hub."),
    },
    "Components": {
        "encoders": ("components", "List encoders and their options."),
        "samplers": ("components", "List samplers and their options."),
        "aligners": ("components", "List aligners and their options."),
        "aggregators": ("components", "List aggregators and their options."),
        "exporters": ("components", "List exporters and their options."),
        "stores": ("stores", "List stores; show, switch and drop the vectors in one."),
        "engines": ("components", "List engines and their options."),
        "heads": ("components", "List heads and their options."),
        "metrics": ("components", "List metrics."),
        "plugins": ("plugins", "List, install, make and check plugins."),
    },
}

EPILOG = """\b
A result goes to stdout, everything else to stderr. Exit status: 0, 1 for a
mistake in the input, 2 for wrong usage, 130 when interrupted.
\b
Completion: eval "$(_ATLAS_COMPLETE=bash_source atlas)" in ~/.bashrc
(zsh_source, or: _ATLAS_COMPLETE=fish_source atlas | source)."""


class LazyGroup(click.Group):
    """A group that imports a command when it is needed, and turns every error into one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, as help lists them."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        for section in COMMANDS.values():
            if cmd_name in section:
                from atlas.cli.output import working

                module = importlib.import_module(f"atlas.cli.{section[cmd_name][0]}")
                made = getattr(module, f"{cmd_name}_command", None)
                return working(made or module.command(cmd_name))
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command, or say which one may have been meant."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], names, n=1)
            ctx.fail(f"Unknown command '{args[0]}'" + (f" - did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the table."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, help) for name, (_, help) in section.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from atlas.cli.errors import explained

        with explained():
            return super().invoke(ctx)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; Ctrl-C and a polite kill leave nothing half-written."""
        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a letter shows its number.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with _signals():
            return super().main(*args, **extra)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    before = {}
    # Signals can be handled in the main thread alone.
    with contextlib.suppress(ValueError):
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: Any) -> None:
    # A second Ctrl-C would only disturb the cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _terminate(*_: Any) -> None:
    # An exception, so that unfinished output is removed on the way out.
    sys.exit(143)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="atlas")
def main() -> None:
    """Fit, measure, store, share and apply maps between the latent spaces of encoders trained apart."""
