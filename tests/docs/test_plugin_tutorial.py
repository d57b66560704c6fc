"""A stranger's plugin works: the tutorial, followed to the letter in an environment of its own.

New, filled in, checked, installed, used from the command line; what was made with it, published, and used where it is
not installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from hubtools import environment

pytest_plugins = ["hub_fixtures"]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-plugins.md"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<kind>python|console)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
NEEDED = [name for name in ("pip", "hatchling") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=f"{', '.join(NEEDED)} is not installed")


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The variables of a throwaway environment that sees what is installed here, and in which nothing is downloaded."""
    folder = tmp_path_factory.mktemp("stranger") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder), "platbase": str(folder)}))
    here = sysconfig.get_path("purelib")
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for name in ("atlas", "pytest"):
        (scripts / name).write_text(f'#!/bin/sh\nexec "{python}" -m {name} "$@"\n')
        (scripts / name).chmod(0o755)
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV", "PYTEST"))
    }
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **offline, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}


def blocks():
    return [match.groupdict() for match in BLOCK.finditer(PAGE.read_text())]


def steps(text):
    """Return each command of a console block with the lines that the page shows of its output."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def write_file(folder, before, text):
    """Write the file that the sentence before a block names; a hook that was there gives way to what is added."""
    name = re.findall(r"`([\w/]+\.py)`", before)[-1]
    path = folder / name
    kept = path.read_text().partition("@atlas.hookimpl")[0] if before.startswith("Add to") else ""
    path.write_text(kept + text)


def assert_shown(shown, output, command):
    """Assert that an output is what the page shows of it, where '...' stands for anything."""
    if shown:
        pattern = r"[\s\S]*?".join(re.escape(part) for part in "\n".join(shown).split("..."))
        assert re.fullmatch(pattern, output.rstrip()), f"{command}\nshown:\n{pattern}\nprinted:\n{output}"


@pytest.mark.apart
@pytest.mark.skipif(os.name == "nt", reason="the scripts of the throwaway environment are for a POSIX shell")
def test_the_tutorial_works_to_the_letter(outside, server, tmp_path):
    folder = tmp_path
    known = {key: value for key, value in environment(server, tmp_path / "home").items() if key.startswith("HF_")}
    outside = {**outside, **known, "HF_TOKEN": "hf_you_write"}
    for block in blocks():
        if block["kind"] == "python":
            write_file(folder, block["before"], block["text"])
            continue
        for command, shown in steps(block["text"]):
            words = shlex.split(command)
            if words[0] == "cd":
                folder = folder / words[1]
                continue
            done = subprocess.run(words, cwd=folder, env=outside, capture_output=True, text=True, check=False)
            fails = bool(shown) and shown[0].startswith("Error: ")
            assert done.returncode == (1 if fails else 0), f"{command}\n{done.stdout}\n{done.stderr}"
            # A page shows what is wrong, without the notes that may stand before it.
            errors = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("Note: "))
            assert_shown(shown, errors if fails else done.stdout, command)


def test_the_plugin_that_ships_is_that_of_the_tutorial():
    written = [block for block in blocks() if block["kind"] == "python"][:2]
    for block in written:
        [name] = re.findall(r"`([\w/]+\.py)`", block["before"])
        assert block["text"] in (ROOT / "plugins" / "latent-atlas-mean-shift" / name).read_text()


def test_what_a_page_shows_is_compared():
    shown = ["name  ...", "last"]
    assert_shown(shown, "name  one\ntwo\nlast\n", "atlas")
    with pytest.raises(AssertionError):
        assert_shown(shown, "name  one\ntwo\n", "atlas")
