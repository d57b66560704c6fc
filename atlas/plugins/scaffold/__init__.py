"""Writing a new plugin: a small, complete, tested package of its kind, to be filled in."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

from atlas._version import __version__
from atlas.components.kinds import KINDS
from atlas.errors import AtlasError
from atlas.plugins.catalogue import components, plugins, provider
from atlas.plugins.loading import NAME

# How a plugin of a kind is used, for its page.
USES = {
    "aligner": "fit $thing --source vectors/a --target vectors/b -o strength 0.5 --out alignments/a-b",
    "encoder": "encode $thing texts.csv -o columns 128 --out vectors/texts",
    "sampler": "sample $thing vectors/a -n 500 -o centre false --out anchors/a",
    "aggregator": "aggregate $thing vectors/a vectors/b vectors/c --out atlases/abc",
    "exporter": "export $thing alignments/a-b -o compressed true --out a-b.npz",
    "store": "apply alignments/a-b $thing://./my.db --out $thing://./my.db",
}


def write_plugin(name: str, kind: str, folder: str | Path | None = None) -> Path:
    """Write the package 'latent-atlas-NAME', with one component of a kind and its tests, and return its folder.

    By default the folder is called so, too; a name that cannot be, or is taken, and a folder that holds something are
    refused.
    """
    thing = thing_of(name)
    if not NAME.fullmatch(thing):
        raise AtlasError(f"'{name}' cannot be the name of a plugin - use lower-case letters, digits and single '-'")
    if taken := components(KINDS[kind]).get(thing):
        whose = provider(taken[0]) or "another plugin"
        raise AtlasError(f"{kind.capitalize()} '{thing}' exists, in {whose} - choose another name")
    if thing in {plugin.name for plugin in plugins()}:
        raise AtlasError(f"Plugin '{thing}' exists - choose another name")
    target = Path(folder or f"latent-atlas-{thing}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise AtlasError(f"'{target}' exists - choose another folder with --out")
    for path, text in contents(thing, kind).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
    return target


def thing_of(name: str) -> str:
    """Return the name of a component from that of its distribution, or from itself."""
    return name.removeprefix("latent-").removeprefix("atlas-")


def contents(thing: str, kind: str) -> dict[str, str]:
    """Return the text of every file of a new package by its path."""
    module = f"atlas_{thing.replace('-', '_')}"
    words = {
        "thing": thing,
        "kind": kind,
        "use": Template(USES[kind]).substitute(thing=thing),
        "module": module,
        "cls": "".join(part.capitalize() for part in thing.split("-")),
        "atlas_version": __version__,
    }
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "readme.md.txt",
        ".gitignore": "gitignore.txt",
        f"{module}.py": f"{kind}.py.txt",
        f"tests/test_{module.removeprefix('atlas_')}.py": f"{kind}_test.py.txt",
    }
    own = resources.files("atlas.plugins.scaffold")
    return {path: Template((own / source).read_text("utf-8")).substitute(words) for path, source in files.items()}
