"""The commands that install plugins into the environment Atlas runs in, whatever made it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from atlas.errors import AtlasError
from atlas.plugins.discovery import GROUP

_URL = re.compile(r"(git\+)?[a-z]+://")
_ARCHIVES = (".whl", ".tar.gz", ".zip")
_KNOWN = "a name, a folder, a wheel or the URL of a git repository"
OWN_VENV = "install Atlas in an environment of its own, with uv tool install, pipx install or in a venv"


@dataclass(frozen=True)
class Environment:
    """An environment: its installer ("pip", "uv", "pipx", "uv tool"), its folder, its interpreter, a note."""

    tool: str
    prefix: Path
    python: str
    note: str = ""

    def install(self, specs: Sequence[str], *, upgrade: bool = False, editable: bool = False) -> list[str]:
        """Return the command that installs packages, as `requirement` returns them, here; editable: where they are."""
        # uv's --upgrade would upgrade everything, torch included.
        newest = [part for name in map(name_of, specs) if upgrade and name for part in ("--upgrade-package", name)]
        if self.tool == "uv tool":
            added = [(name_of(spec), "--with-editable" if editable else "--with", spec) for spec in specs]
            return _uv_tool(self.prefix, newest, added, [])
        flags = {"uv": newest, "pip": ["--upgrade"] * upgrade, "pipx": ["--force"] * upgrade}[self.tool]
        if self.tool == "pipx":
            return [_found("pipx"), "inject", *flags, *["--editable"] * editable, self.prefix.name, *specs]
        each = [part for spec in specs for part in (*["--editable"] * editable, spec)]
        return [*self._pip("install"), *flags, *each]

    def unpack(self, specs: Sequence[str], folder: str) -> list[str]:
        """Return the command that puts packages, and nothing that they need, into a folder to look at."""
        return [*self._pip("install"), "--quiet", "--no-deps", "--target", folder, *specs]

    def uninstall(self, distributions: Sequence[str]) -> list[str]:
        """Return the command that removes packages from here."""
        if self.tool == "uv tool":
            return _uv_tool(self.prefix, [], [], distributions)
        if self.tool == "pipx":
            return [_found("pipx"), "uninject", self.prefix.name, *distributions]
        return [*self._pip("uninstall"), *["--yes"] * (self.tool == "pip"), *distributions]

    def _pip(self, verb: str) -> list[str]:
        if self.tool == "pipx":
            return [_found("pipx"), "runpip", self.prefix.name, verb]
        if self.tool == "pip":
            return [self.python, "-m", "pip", verb]
        return [_found("uv"), "pip", verb, "--python", self.python]


def detect(
    prefix: Path = Path(sys.prefix), python: str = sys.executable, base: Path = Path(sys.base_prefix)
) -> Environment:
    """Return the environment of a folder, by default this one, or raise `AtlasError` with the remedy.

    The tool that made an environment is known by its files; `base` is the folder of the Python it made one from.
    """
    for mark, tool in (("uv-receipt.toml", "uv tool"), ("pipx_metadata.json", "pipx")):
        if (prefix / mark).exists():
            return Environment(tool, prefix, python)
    for said in _refusals(prefix, base):
        raise AtlasError(said)
    settings, pip, uv = prefix / "pyvenv.cfg", importlib.util.find_spec("pip"), shutil.which("uv")
    if not (pip or uv):
        make = "conda install pip" if (prefix / "conda-meta").exists() else f"{python} -m ensurepip"
        raise AtlasError(f"There is neither pip nor uv to install with - {make}")
    by_uv = settings.exists() and re.search("^uv = ", settings.read_text(), re.MULTILINE)
    tool = "uv" if uv and (by_uv or not pip) else "pip"
    note = "'uv sync' removes packages that are not in pyproject.toml - 'uv add' those you want to keep"
    return Environment(tool, prefix, python, note if (prefix.parent / "uv.lock").exists() else "")


def _refusals(prefix: Path, base: Path) -> Iterator[str]:
    """Say why an installation would be lost, would do harm, or cannot be, if so."""
    conda = prefix / "conda-meta"
    marker = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(prefix), "base": str(prefix)}))
    marker /= "EXTERNALLY-MANAGED"
    if {"archive-v0", "environments-v2", "builds-v0"} & set(prefix.parts):
        again = "name the plugin there: uvx --with PLUGIN latent-atlas ..."
        yield f"Atlas runs in an environment that uvx makes anew each time - {again}"
    if ".pixi" in prefix.parts:
        yield "This environment belongs to a pixi project, whose file must name the plugin - pixi add --pypi"
    if (conda / "frozen").exists():
        yield f"The conda environment {prefix} is frozen - make another: conda create -n atlas python pip"
    if prefix == base and not conda.exists() and marker.exists():
        yield f"This Python is managed by the operating system ({marker}) - {OWN_VENV}"
    if prefix != base and not os.access(prefix, os.W_OK):
        yield f"{prefix} cannot be written to - ask its owner, or {OWN_VENV}"


def _found(tool: str) -> str:
    if path := shutil.which(tool):
        return path
    raise AtlasError(f"This environment was made with {tool}, which cannot be found - put it on the PATH")


def requirement(spec: str) -> str:
    """Return a name, folder, wheel or URL as every installer understands it, paths absolute; refuse anything else."""
    if _URL.match(spec):
        return f"git+{spec}" if spec.startswith("https://") and not spec.endswith(_ARCHIVES) else spec
    if name_of(spec) and not spec.endswith(_ARCHIVES):
        return spec
    if not (spec.endswith(_ARCHIVES) or re.match(r"[.~]|[^-].*[/\\]", spec)):
        raise AtlasError(f"'{spec}' cannot be installed - give {_KNOWN}")
    path = Path(spec).expanduser().absolute()
    if not path.exists():
        raise AtlasError(f"'{spec}' is not there - give {_KNOWN}")
    if path.is_dir() and not any((path / name).exists() for name in ("pyproject.toml", "setup.py")):
        raise AtlasError(f"'{spec}' is no package - a folder with a pyproject.toml is")
    return str(path)


def name_of(spec: str) -> str:
    """Return the name of the distribution that a requirement asks for; '' for a path or a URL."""
    try:
        return Requirement(spec).name
    except InvalidRequirement:
        return ""


def refuse_strangers(folder: str) -> None:
    """Raise `AtlasError` if one of the packages in a folder is no plugin of Atlas, by its metadata alone."""
    for found in metadata.distributions(path=[folder]):
        if not found.entry_points.select(group=GROUP):
            why = f"it has no entry point in the group '{GROUP}', and nothing was installed"
            raise AtlasError(f"'{found.name}' is no plugin of Atlas: {why} - plugins are called latent-atlas-NAME")


def _uv_tool(prefix: Path, flags: list[str], added: list[tuple[str, str, str]], without: Sequence[str]) -> list[str]:
    """Return the command that installs a tool of uv with its companions and some more, or without some of them.

    Asked for less, uv removes the rest. Its receipt lists the requirements; `uv tool list` leaves out folders,
    extras and settings, such as which torch.
    """
    receipt = prefix / "uv-receipt.toml"
    try:
        tool = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]
        (_, how, atlas), *beside = [_asked(entry) for entry in tool["requirements"]]
        settings = {"python": tool.get("python", []), **tool.get("options", {})}
        listed = {key: value if isinstance(value, list) else [value] for key, value in settings.items()}
        again = [part for key, values in listed.items() for one in values for part in (f"--{key}", one)]
        if odd := [part for part in again if not isinstance(part, str)]:
            raise TypeError(f"{odd} has no form on the command line")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AtlasError(f"{receipt} cannot be repeated: {error} - run 'uv tool install' by hand") from None
    gone = {canonicalize_name(name) for name in (*without, *(name for name, _, _ in added)) if name}
    specs = {spec for _, _, spec in added}
    kept = [one for one in beside if canonicalize_name(one[0]) not in gone and one[2] not in specs]
    withs = [part for _, option, spec in (*kept, *added) for part in (option, spec)]
    return [_found("uv"), "tool", "install", *again, *flags, *["--editable"] * (how != "--with"), atlas, *withs]


def _asked(entry: dict[str, Any]) -> tuple[str, str, str]:
    """Return the name of something in a tool of uv, the option that asks for it, and the value of that."""
    name = entry["name"]
    for key, option in (("editable", "--with-editable"), ("directory", "--with"), ("path", "--with")):
        if key in entry:
            return name, option, entry[key]
    full = name + (f"[{','.join(entry['extras'])}]" if entry.get("extras") else "")
    if "git" in entry:
        return name, "--with", f"{full} @ git+{entry['git'].replace('?rev=', '@')}"
    return name, "--with", f"{full} @ {entry['url']}" if "url" in entry else full + entry.get("specifier", "")
