"""The Python environment Atlas runs in, and the commands that install plugins into it, whatever made it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError

_URL = re.compile(r"(git\+)?[a-z]+://")
_NAMED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?) *(?:\[[^\]]*\])? *(?:@ .+|[<>=!~].*)?")
OWN_VENV = "install Atlas in an environment of its own, with uv tool install, pipx install or in a venv"
BY_HAND = "run the installer by hand"


@dataclass(frozen=True)
class Environment:
    """An environment and what is used to install into it.

    Attributes:
        kind: "venv", "conda", "pipx", "uv tool" or "system".
        tool: "pip", "uv", "pipx" or "uv tool".
        prefix: its folder.
        python: its interpreter.
        note: what the user should know of it; '' if nothing.
    """

    kind: str
    tool: str
    prefix: Path
    python: str
    note: str = ""

    def install(self, specs: Sequence[str], *, upgrade: bool = False, editable: bool = False) -> list[str]:
        """Return the command that installs packages here.

        Args:
            specs: as `requirement` returns them.
            upgrade: replace what is installed by the newest.
            editable: the specs are folders, used where they are.
        """
        each = [part for spec in specs for part in (["--editable", spec] if editable else [spec])]
        if self.tool == "pipx":
            flags = ["--force"] if upgrade else []
            return [_found("pipx"), "inject", *flags, *(["--editable"] if editable else []), self.prefix.name, *specs]
        if self.tool == "uv tool":
            added = [Extra(name_of(spec), spec, editable) for spec in specs]
            return read_receipt(self.prefix).command(added, flags=_upgraded(specs) if upgrade else [])
        if self.tool == "uv":
            return [*self._installer("install"), *(_upgraded(specs) if upgrade else []), *each]
        return [*self._installer("install"), *(["--upgrade"] if upgrade else []), *each]

    def uninstall(self, distributions: Sequence[str]) -> list[str]:
        """Return the command that removes packages from here."""
        if self.tool == "pipx":
            return [_found("pipx"), "uninject", self.prefix.name, *distributions]
        if self.tool == "uv tool":
            return read_receipt(self.prefix).command([], without=distributions)
        return [*self._installer("uninstall"), *([] if self.tool == "uv" else ["--yes"]), *distributions]

    def _installer(self, verb: str) -> list[str]:
        if self.tool == "uv":
            return [_found("uv"), "pip", verb, "--python", self.python]
        return [self.python, "-m", "pip", verb]


def current() -> Environment:
    """Return the environment this program runs in.

    Raises:
        AtlasError: nothing can or should be installed into it, and what to do instead.
    """
    return detect(Path(sys.prefix), sys.executable)


def detect(prefix: Path, python: str, base: Path | None = None) -> Environment:
    """Return the environment of a folder, by the files that those who make environments leave in it.

    Args:
        prefix: the folder, as `sys.prefix` names it.
        python: its interpreter.
        base: the folder of the Python it was made from; by default that of this program.

    Raises:
        AtlasError: as `current`.
    """
    base = base or Path(sys.base_prefix)
    if (prefix / "uv-receipt.toml").exists():
        return Environment("uv tool", "uv tool", prefix, python)
    if (prefix / "pipx_metadata.json").exists():
        return Environment("pipx", "pipx", prefix, python)
    _refuse(prefix, base)
    if (prefix / "conda-meta").exists():
        return Environment("conda", _pip_or_uv(prefix, "conda install pip"), prefix, python)
    if prefix != base:
        note = ""
        if (prefix.parent / "uv.lock").exists():
            note = "'uv sync' removes what is not in pyproject.toml - 'uv add' what you want to keep"
        return Environment("venv", _pip_or_uv(prefix, f"{python} -m ensurepip"), prefix, python, note)
    return Environment("system", _pip_or_uv(prefix, f"{python} -m ensurepip"), prefix, python)


def _refuse(prefix: Path, base: Path) -> None:
    """Raise `AtlasError` where an installation would be lost, would do harm, or cannot be."""
    if {"archive-v0", "environments-v2", "builds-v0"} & set(prefix.parts):
        again = "uvx --from latent-atlas --with PLUGIN atlas ..."
        raise AtlasError(f"Atlas runs in an environment that uvx makes anew each time - name the plugin there: {again}")
    if ".pixi" in prefix.parts:
        raise AtlasError(
            "This environment belongs to a pixi project, whose file must name the plugin - pixi add --pypi"
        )
    if getattr(sys, "frozen", False):
        raise AtlasError(f"Atlas runs as a single program, into which nothing can be installed - {OWN_VENV}")
    if (prefix / "conda-meta" / "frozen").exists():
        raise AtlasError(f"The conda environment {prefix} is frozen - make another: conda create -n atlas python pip")
    if prefix == base and not (prefix / "conda-meta").exists() and (marker := externally_managed(prefix)):
        raise AtlasError(f"This Python is managed by the operating system ({marker}) - {OWN_VENV}")
    if not os.access(prefix, os.W_OK) and prefix != base:
        raise AtlasError(f"{prefix} cannot be written to - ask whoever made it, or {OWN_VENV}")


def externally_managed(prefix: Path) -> Path | None:
    """Return the file that asks installers to keep out of a Python that others manage; None if there is none."""
    marker = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(prefix), "base": str(prefix)}))
    return marker / "EXTERNALLY-MANAGED" if (marker / "EXTERNALLY-MANAGED").exists() else None


def _pip_or_uv(prefix: Path, otherwise: str) -> str:
    if (
        (prefix / "pyvenv.cfg").exists()
        and "\nuv = " in "\n" + (prefix / "pyvenv.cfg").read_text()
        and shutil.which("uv")
    ):
        return "uv"
    if importlib.util.find_spec("pip"):
        return "pip"
    if shutil.which("uv"):
        return "uv"
    raise AtlasError(f"There is neither pip nor uv to install with - {otherwise}")


def _found(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise AtlasError(f"This environment was made with {tool}, which cannot be found - put it on the PATH")
    return path


def _upgraded(specs: Sequence[str]) -> list[str]:
    # uv's --upgrade would upgrade everything, torch included.
    return [part for spec in specs if (name := name_of(spec)) for part in ("--upgrade-package", name)]


def requirement(spec: str) -> str:
    """Return what a user wants installed as every installer understands it, folders and files as absolute paths.

    Args:
        spec: a name, with extras or a version if need be, a folder, a wheel, or the URL of a git repository.

    Raises:
        AtlasError: nothing of these, or a path where there is nothing that can be installed.
    """
    if _URL.match(spec):
        bare = spec.startswith("https://") and not spec.endswith((".whl", ".zip", ".tar.gz"))
        return f"git+{spec}" if bare else spec
    archive = spec.endswith((".whl", ".tar.gz", ".zip"))
    if _NAMED.fullmatch(spec) and not archive:
        return spec
    if archive or spec.startswith((".", "~")) or ("/" in spec.replace(os.sep, "/") and not spec.startswith("-")):
        path = Path(spec).expanduser().absolute()
        if not path.exists():
            raise AtlasError(f"'{spec}' is not there - give a name, a folder, a wheel or the URL of a git repository")
        if path.is_dir() and not any((path / name).exists() for name in ("pyproject.toml", "setup.py")):
            raise AtlasError(f"'{spec}' is no package - a folder with a pyproject.toml is")
        return str(path)
    raise AtlasError(f"'{spec}' cannot be installed - give a name, a folder, a wheel or the URL of a git repository")


def name_of(spec: str) -> str:
    """Return the name of the distribution that a requirement asks for; '' for a path or a URL."""
    found = _NAMED.fullmatch(spec)
    return found[1] if found else ""


def normal(distribution: str) -> str:
    """Return the name of a distribution as installers compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True)
class Extra:
    """What uv installed beside a tool: its name, the requirement that asks for it, and whether it is editable."""

    name: str
    spec: str
    editable: bool = False


@dataclass(frozen=True)
class Receipt:
    """What uv was asked to install for a tool; asked for less, it removes the rest."""

    tool: Extra
    extras: tuple[Extra, ...]
    options: tuple[str, ...]

    def command(self, added: Sequence[Extra], without: Sequence[str] = (), flags: Sequence[str] = ()) -> list[str]:
        """Return the command that installs the tool with what is there and some more, or without some of it."""
        gone = {normal(name) for name in (*without, *(extra.name for extra in added)) if name}
        specs = {extra.spec for extra in added}
        kept = [extra for extra in self.extras if normal(extra.name) not in gone and extra.spec not in specs]
        tool = ["--editable", self.tool.spec] if self.tool.editable else [self.tool.spec]
        beside = [
            part
            for extra in (*kept, *added)
            for part in ("--with-editable" if extra.editable else "--with", extra.spec)
        ]
        return [_found("uv"), "tool", "install", *self.options, *flags, *tool, *beside]


def read_receipt(prefix: Path) -> Receipt:
    """Return what uv wrote down of the tool in a folder.

    Raises:
        AtlasError: it cannot be read, or asks for something that the command line of uv cannot.
    """
    data = read_toml(prefix / "uv-receipt.toml").get("tool", {})
    extras = [_extra(one) for one in data.get("requirements", [])]
    tool = next((extra for extra in extras if normal(extra.name) == normal(prefix.name)), None)
    if tool is None:
        raise AtlasError(f"{prefix / 'uv-receipt.toml'} does not name the tool - reinstall it: uv tool install --force")
    options = ["--python", data["python"]] if data.get("python") else []
    for key, value in data.get("options", {}).items():
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str):
                raise AtlasError(f"Atlas was installed with option '{key}' of uv, which cannot be repeated - {BY_HAND}")
            options += [f"--{key}", one]
    return Receipt(tool, tuple(extra for extra in extras if extra is not tool), tuple(options))


def _extra(entry: dict[str, Any]) -> Extra:
    """Return an entry of a receipt as a requirement."""
    name = entry["name"] + (f"[{','.join(entry['extras'])}]" if entry.get("extras") else "")
    if "editable" in entry:
        return Extra(entry["name"], entry["editable"], True)
    if "git" in entry:
        url, _, revision = entry["git"].partition("?rev=")
        return Extra(entry["name"], f"{name} @ git+{url}" + (f"@{revision}" if revision else ""))
    for key in ("directory", "path", "url"):
        if key in entry:
            return Extra(entry["name"], entry[key] if key != "url" else f"{name} @ {entry[key]}")
    return Extra(entry["name"], name + entry.get("specifier", ""))


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        AtlasError: it cannot be read; Python 3.10 needs tomli for that.
    """
    try:
        tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ModuleNotFoundError:
        raise AtlasError(f"{path} cannot be read with this Python - pip install tomli") from None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AtlasError(f"{path} cannot be read: {error}") from None
