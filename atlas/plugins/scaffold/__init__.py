"""Writing a new plugin: a small, complete, tested package of its kind, to be filled in."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

from atlas._version import __version__
from atlas.components.kinds import KINDS
from atlas.errors import AtlasError
from atlas.plugins.catalogue import components, provider

_THING = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(name: str, kind: str, folder: str | Path | None = None) -> Path:
    """Write the package 'atlas-NAME', with one component of a kind and its tests, and return its folder.

    Args:
        name: of the component, such as "mean-shift"; the distribution is 'atlas-mean-shift'.
        kind: aligner, encoder, sampler or aggregator.
        folder: where to; by default 'atlas-NAME' in the working folder.

    Raises:
        AtlasError: a name that cannot be, or is taken, or a folder that holds something.
    """
    thing = name.removeprefix("atlas-")
    if not _THING.fullmatch(thing):
        raise AtlasError(f"'{name}' cannot be the name of a plugin - use lower-case letters, digits and single '-'")
    if taken := components(KINDS[kind]).get(thing):
        whose = provider(taken[0]) or "another plugin"
        raise AtlasError(f"{kind.capitalize()} '{thing}' exists, in {whose} - choose another name")
    target = Path(folder or f"atlas-{thing}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise AtlasError(f"'{target}' exists - choose another folder with --out")
    for path, text in contents(thing, kind).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
    return target


def contents(thing: str, kind: str) -> dict[str, str]:
    """Return the text of every file of a new package by its path."""
    module = f"atlas_{thing.replace('-', '_')}"
    words = {
        "thing": thing,
        "kind": kind,
        "module": module,
        "cls": "".join(part.capitalize() for part in thing.split("-")),
        "atlas_version": __version__,
    }
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": f"{kind}_readme.md.txt",
        ".gitignore": "gitignore.txt",
        f"{module}.py": f"{kind}.py.txt",
        f"tests/test_{module.removeprefix('atlas_')}.py": f"{kind}_test.py.txt",
    }
    own = resources.files("atlas.plugins.scaffold")
    return {path: Template((own / source).read_text("utf-8")).substitute(words) for path, source in files.items()}
