"""Listings are quick: they import neither torch nor plugins, and little else."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["torch", "numpy", "safetensors", "huggingface_hub", "pluggy", "importlib.metadata", "atlas_builtin", "asyncio"]


def modules(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has imported after running some code."""
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('MODULES', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(process.stdout.split("MODULES ")[-1].split())


def command(*arguments: str) -> str:
    return (
        "from atlas.cli import main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "except SystemExit as error:\n"
        "    assert not error.code, error.code"
    )


@pytest.mark.parametrize("code", ["import atlas", "import atlas.cli", *map(command, ["--help", "--version", "list"])])
def test_no_heavy_import(code):
    assert not modules(code) & set(HEAVY)


def test_checking_needs_neither_torch_nor_plugins():
    assert not modules(command("check")) & {
        "torch",
        "numpy",
        "pluggy",
        "atlas_builtin",
        "huggingface_hub",
        "atlas.artefacts",
    }


@pytest.mark.parametrize("name", ["encode", "fit", "apply", "stitch", "run", "list", "show", "aligners"])
def test_help_of_a_command_needs_no_heavy_import(name):
    assert not modules(command(name, "--help")) & set(HEAVY)


def test_help_of_atlas_imports_no_command():
    imported = {name for name in modules(command("--help")) if name.startswith("atlas.")}
    assert imported == {"atlas._version", "atlas.cli", "atlas.faces"}


def test_listing_reads_cards_alone():
    imported = {name for name in modules(command("list")) if name.startswith("atlas.")}
    assert not imported & {"atlas.components", "atlas.plugins", "atlas.storage.rows", "atlas.artefacts", "atlas.verbs"}


def test_a_public_name_is_loaded_when_it_is_used():
    assert "torch" not in modules(
        "import atlas\natlas.Registry, atlas.Space, atlas.AtlasError, atlas.hookimpl, atlas.option"
    )
    missing = "import sys, atlas\nsys.modules['torch'] = None\ntry: atlas.Vectors\nexcept ImportError: print('MISSED')"
    done = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True, check=True)
    assert done.stdout == "MISSED\n"


@pytest.mark.parametrize("name", ["exporters", "plugins", "heads", "metrics"])
def test_a_listing_imports_little_at_first_and_nothing_heavy_afterwards(name):
    code = f"from atlas.plugins import remembered; remembered.MARGIN = -3600\n{command(name)}"
    assert not modules(code) & {"huggingface_hub", "safetensors", "jinja2"}
    assert not modules(code) & set(HEAVY)
