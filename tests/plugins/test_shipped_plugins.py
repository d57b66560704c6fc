"""All plugins of the repository together: what a listing shows and imports. Skipped where they are not installed."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from atlas.plugins import catalogue

ROOT = Path(__file__).parents[2]
PROJECTS = [
    tomllib.loads(path.read_text())["project"]
    for path in sorted((ROOT / "plugins").glob("latent-atlas-*/pyproject.toml"))
]
NAMES = [name for project in PROJECTS for name in project["entry-points"]["latent_atlas"]]
# What the plugins are about, and what only a few commands of Atlas itself need.
HEAVY = {"faiss", "onnx", "onnxruntime", "onnxscript", "scipy", "sentence_transformers", "sklearn", "tokenizers"}
HEAVY |= {"chromadb", "daft", "lance", "psycopg", "qdrant_client"}
HEAVY |= {"transformers", "huggingface_hub", "PIL", "pyarrow", "matplotlib"}
PROBE = """
import json, sys
from atlas.cli import main
try:
    main({arguments!r}, prog_name="atlas")
except SystemExit as done:
    assert not done.code, done.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def missing() -> list[str]:
    """Return the distributions that are not installed."""
    found = {distribution.name for distribution in metadata.distributions()}
    return [project["name"] for project in PROJECTS if project["name"] not in found]


needs_all = pytest.mark.skipif(bool(missing()), reason=f"needs {', '.join(missing())}: pip install ./plugins/NAME")


def run(*arguments: str) -> tuple[str, str, set[str]]:
    """Run a command in a new process; return what it printed, what it warned of, and the libraries it imported."""
    code = PROBE.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *said, modules = done.stderr.splitlines()
    return done.stdout, "\n".join(said), {name.partition(".")[0] for name in json.loads(modules)}


@needs_all
@pytest.mark.parametrize("command", ["plugins", "encoders", "aligners", "exporters", "stores", "engines"])
def test_a_listing_shows_all_and_imports_none_of_their_libraries(command):
    printed, warned, modules = run(command, "--json")
    assert not warned
    assert not modules & HEAVY
    if command == "plugins":
        found = {plugin["name"]: plugin for plugin in json.loads(printed)}
        assert {*NAMES} <= {*found}
        assert not [plugin for plugin in found.values() if plugin["broken"] or plugin["notes"]]
        kinds = [
            (name, kind[:-1], one) for name in NAMES for kind, all in found[name]["provides"].items() for one in all
        ]
        assert {kind: {o: n for n, k, o in kinds if k == kind} for _, kind, _ in kinds} == catalogue.SHIPPED


@needs_all
def test_help_imports_no_plugin():
    _, _, modules = run("--help")
    assert not modules & {*HEAVY, "torch", *(name for name in modules if name.startswith("atlas_"))}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project["name"])
def test_each_is_named_as_the_docs_say_and_told_of(project):
    thing = project["name"].removeprefix("latent-atlas-")
    assert project["entry-points"]["latent_atlas"] == {thing: f"atlas_{thing.replace('-', '_')}"}
    page = (ROOT / "docs" / "plugins.md").read_text()
    assert f"[{project['name']}](../plugins/{project['name']}/README.md)" in page
    assert "```" in (ROOT / "plugins" / project["name"] / "README.md").read_text()


@pytest.mark.parametrize("kind", sorted(catalogue.SHIPPED))
def test_a_name_that_needs_a_plugin_of_the_repository_says_which(kind):
    assert {f"latent-atlas-{plugin}" for plugin in catalogue.SHIPPED[kind].values()} <= {
        one["name"] for one in PROJECTS
    }
    name, plugin = next(iter(catalogue.SHIPPED[kind].items()))
    assert f"'{name}' comes with plugin 'latent-atlas-{plugin}'" in str(catalogue.missing(kind, name, []))
    assert str(catalogue.missing(kind, "nothing", ["one"])) == f"Unknown {kind} 'nothing' - known: one"
