"""Listing, installing, making and checking plugins."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_either, put_json, put_table, say
from atlas.errors import AtlasError, unknown

if TYPE_CHECKING:
    from atlas.plugins.discovery import Plugin
    from atlas.testing.package import Found

KINDS = ("aligner", "encoder", "sampler", "aggregator", "exporter", "store")
dry_run = click.option("--dry-run", is_flag=True, help="Print the command and do not run it.")


@click.group("plugins", invoke_without_command=True)
@params.as_json
@click.pass_context
def plugins_command(ctx: click.Context, as_json: bool) -> None:
    """List, install, make and check plugins.

    ATLAS_PLUGINS=a,b loads only these, ATLAS_DISABLE_PLUGINS=a,b all but these.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_plugins, as_json=as_json)


@plugins_command.command("list")
@params.as_json
def list_plugins(as_json: bool) -> None:
    """List plugins, their components, and their faults."""
    from atlas.plugins.remembered import remembered

    found = remembered("plugins", found_plugins)
    rows = [[one["name"], one["version"], one["distribution"], provided(one), state(one)] for one in found]
    header = ["name", "version", "distribution", "provides", "problem"]
    put_either(as_json, found, header, rows, "No plugin is installed")


def found_plugins() -> tuple[list[dict[str, Any]], bool]:
    """Describe the plugins, and say whether none has a fault."""
    from atlas.plugins.catalogue import faults, plugins

    return [described(plugin) for plugin in plugins()], not faults()


def described(plugin: Plugin) -> dict[str, Any]:
    """Return a plugin as JSON shows it."""
    known = {key: value for key, value in vars(plugin).items() if key not in ("entry", "classes")}
    provides = {f"{kind}s": plugin.names(kind) for kind in plugin.classes}
    seconds = round(plugin.seconds, 3)
    return {"name": plugin.name, "module": plugin.entry.value, **known, "provides": provides, "seconds": seconds}


def provided(plugin: dict[str, Any]) -> str:
    """Return a plugin's components in a few words: names, or how many if there are more than a few."""
    kinds = {kind.removesuffix("s"): names for kind, names in plugin["provides"].items()}
    many = sum(map(len, kinds.values())) > 4
    return ", ".join(
        params.count(len(names), kind) if many else f"{kind} {' and '.join(names)}" for kind, names in kinds.items()
    )


def state(plugin: dict[str, Any]) -> str:
    """Return the fault of a plugin; '' if it has none."""
    if plugin["broken"]:
        return f"not loaded: {plugin['broken']}"
    return f"left out: {plugin['disabled']}" if plugin["disabled"] else "; ".join(plugin["notes"])


@plugins_command.command("install")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("--upgrade", "-U", is_flag=True, help="Replace the installed version by the newest.")
@click.option("--editable", "-e", is_flag=True, help="Use folders where they are, so that changes are seen at once.")
@dry_run
def install_plugins(specs: tuple[str, ...], upgrade: bool, editable: bool, dry_run: bool) -> None:
    """Install plugins into the environment Atlas runs in.

    SPEC is a name on PyPI, a folder, a wheel or the URL of a git repository.
    """
    from atlas.plugins.discovery import installed
    from atlas.plugins.installing import detect, refuse_strangers, requirement

    wanted = [requirement(spec) for spec in specs]
    for spec, ready in zip(specs, wanted, strict=True):
        if editable and not Path(ready).is_dir():
            raise AtlasError(f"'{spec}' is no folder - only a folder can be installed with --editable")
        if ready == spec and Path(spec).is_dir() and not Path(spec).is_absolute():
            say(f"Note: '{spec}' is looked up by name - for the folder, write ./{spec}")
    before, here = installed(), detect()
    if here.note:
        say(f"Note: {here.note}")
    if not dry_run:
        with tempfile.TemporaryDirectory() as folder:
            run(here.unpack(wanted, folder))
            refuse_strangers(folder)
    run(here.install(wanted, upgrade=upgrade, editable=editable), dry_run)
    if not dry_run:
        put_new(before)


@plugins_command.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@dry_run
def uninstall_plugins(names: tuple[str, ...], dry_run: bool) -> None:
    """Remove plugins, by their names or those of their distributions."""
    from atlas.plugins.discovery import installed
    from atlas.plugins.installing import detect

    found = installed()
    distributions = []
    for name in names:
        matched = [plugin for plugin in found if plugin.is_in([name])]
        if not matched:
            raise AtlasError(unknown("plugin", name, [plugin.name for plugin in found]))
        if matched[0].own:
            raise AtlasError(f"Plugin '{name}' comes with Atlas - to leave it out, set ATLAS_DISABLE_PLUGINS={name}")
        distributions.append(matched[0].distribution)
    run(detect().uninstall(sorted(set(distributions))), dry_run)


def run(command: list[str], dry_run: bool = False) -> None:
    """Run a command, its output on stderr, or print it."""
    if dry_run:
        put(shlex.join(command))
        return
    say(f"Running: {shlex.join(command)}")
    try:
        done = subprocess.run(command, stdout=2, check=False)
    except OSError as error:
        raise AtlasError(f"'{command[0]}' cannot be run: {error.strerror}") from None
    if done.returncode:
        raise AtlasError(f"The command failed with exit status {done.returncode} - its output is above")


def put_new(before: list[Plugin]) -> None:
    """Print the plugins that were not there before, as a new process finds them."""
    command = [sys.executable, "-m", "atlas", "plugins", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AtlasError(f"Atlas does not run after the installation: {done.stderr.strip()}")
    known = [(plugin.name, plugin.version) for plugin in before]
    new = [one for one in json.loads(done.stdout) if (one["name"], one["version"]) not in known]
    for one in new:
        if one["broken"]:
            raise AtlasError(f"Plugin '{one['name']}' is installed but was not loaded: {one['broken']}")
        provides = ", ".join(f"{kind} {', '.join(names)}" for kind, names in one["provides"].items())
        put(f"{one['name']} {one['version']}: {provides or one['disabled']}")
    if not new:
        say("No new plugin was found - all of it was installed already")


@plugins_command.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="The kind of its component.")
@click.option("--out", metavar="FOLDER", type=params.PATH, help="Where to; by default ./latent-atlas-NAME.")
def new_plugin(name: str, kind: str, out: Path | None) -> None:
    """Write a small, complete, tested package, to be filled in."""
    from atlas.plugins.scaffold import thing_of, write_plugin

    folder = write_plugin(name, kind, out)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        put(path.as_posix())
    say(f"Wrote {kind} '{thing_of(name)}' - next: atlas plugins check {shlex.quote(str(folder))}")


@plugins_command.command("check")
@click.argument("package", default=".", metavar="[PACKAGE]")
@params.options
@params.as_json
def check_plugin(package: str, options: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """Check that a plugin keeps every promise.

    PACKAGE is its folder, by default this one, or its name if it is installed. Each of its components takes those of
    the options that it has.
    """
    from atlas.testing.package import check_package

    found = check_package(package, options)
    if as_json:
        put_json([dataclasses.asdict(one) for one in found])
    else:
        put_table(["", "subject", "promise"], [[verdict(one), one.what, one.broken or one.promise] for one in found])
        for one in found:
            if one.skipped:
                say(f"Note: {one.what} was not checked: {one.skipped}")
    broken = sum(bool(one.broken) for one in found)
    if broken:
        raise AtlasError(f"{broken} of {params.count(len(found), 'promise')} {'is' if broken == 1 else 'are'} broken")
    say(f"All {sum(not one.skipped for one in found)} promises that were checked are kept")


def verdict(found: Found) -> str:
    """Return the verdict on a promise in one word."""
    return "BROKEN" if found.broken else "skipped" if found.skipped else "ok"
