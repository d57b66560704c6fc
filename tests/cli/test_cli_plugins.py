"""`atlas plugins`: list, install, uninstall, new and check."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from plugintools import good, look_again
from processtools import Forked

from atlas.plugins.scaffold import contents

pytest_plugins = ["plugin_fixtures"]
KINDS = ["aligner", "encoder", "sampler", "aggregator"]


def row(result, name):
    """Return the line of a listing that is about a plugin."""
    [line] = [line for line in result.stdout.splitlines() if line.startswith(name + " ")]
    return " ".join(line.split())


def test_the_listing_says_what_there_is_and_what_is_wrong(plant, atlas_command, monkeypatch):
    plant("mover", good(), version="1.2")
    plant("wrong", "import no_such_library\n")
    plant("left", good("left"))
    plant("meddler", "import os\nos.umask(0o011)\n" + good("meddler"))
    monkeypatch.setenv("ATLAS_DISABLE_PLUGINS", "left")
    look_again()
    for result in (atlas_command("plugins"), atlas_command("plugins", "list")):
        assert row(result, "mover") == "mover 1.2 latent-atlas-mover aligner mover"
        assert row(result, "wrong").endswith("not loaded: ModuleNotFoundError: No module named 'no_such_library'")
        assert row(result, "left") == "left 1.0 latent-atlas-left left out: ATLAS_DISABLE_PLUGINS names it"
        said = "it changes the umask when it is imported, which was undone"
        assert row(result, "meddler") == f"meddler 1.0 latent-atlas-meddler aligner meddler {said}"
        assert row(result, "builtin").startswith("builtin 0.1.0 latent-atlas ")
        assert " aligners" in row(result, "builtin")
        assert result.stderr == ""


def test_the_listing_as_json_holds_all_that_is_known(plant, atlas_command):
    module = plant("mover", good(), version="1.2")
    found = {one["name"]: one for one in json.loads(atlas_command("plugins", "--json").stdout)}
    assert found["mover"].pop("seconds") < 60
    assert found["mover"] == {
        "name": "mover",
        "version": "1.2",
        "distribution": "latent-atlas-mover",
        "module": module,
        "provides": {"aligners": ["mover"]},
        "broken": "",
        "disabled": "",
        "notes": [],
    }
    assert "procrustes" in found["builtin"]["provides"]["aligners"]
    assert json.loads(atlas_command("plugins", "list", "--json").stdout)


FAILS = good().replace("        return", "        {}\n        return", 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import urllib.error; raise urllib.error.URLError('no route')", "URLError: <urlopen error no route>"),
        ("open('missing')", "FileNotFoundError: [Errno 2] No such file or directory: 'missing'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import click; raise click.exceptions.Exit(0)", "Exit: 0"),
        ("import json; json.loads('{')", "JSONDecodeError: Expecting property name enclosed in double quotes"),
    ],
)
def test_a_plugin_that_fails_at_work_is_named(plant, stored, atlas_command, line, words):
    plant("fails", FAILS.format(line))
    result = atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made", status=1)
    assert result.stderr.startswith(f"Error: Plugin 'fails' failed: {words}")
    assert result.stderr.endswith(" - set ATLAS_DEBUG=1 to see where\n")
    assert not (stored / "made").exists()


def test_a_plugin_that_exits_where_it_maps_is_named_and_nothing_is_written(plant, stored, atlas_command):
    exits = "    def _transform(self, X):\n        raise SystemExit(0)\n    def solve"
    plant("exits", good().replace("    def solve", exits))
    atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made")
    for out in ("mapped", "mapped.npy"):
        result = atlas_command("apply", "made", "a", "--out", out, status=1)
        assert result.stderr == "Error: Plugin 'exits' failed: SystemExit: 0 - set ATLAS_DEBUG=1 to see where\n"
        assert sorted(path.name for path in stored.iterdir()) == ["a", "b", "made", "planted-site"]


def test_a_plugin_at_work_does_not_say_where_files_are_written(plant, stored, atlas_command, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    plant("moves", FAILS.format(f"import os; os.chdir({str(elsewhere)!r})"))
    atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made")
    assert (stored / "made" / "config.yaml").is_file() and not any(elsewhere.iterdir())


def test_a_plugin_that_forgets_to_return_is_named(plant, stored, atlas_command):
    plant("forgets", FAILS.format("return None"))
    result = atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made", status=1)
    assert result.stderr.startswith("Error: Aligner 'mover' made NoneType where it should make real numbers of shape (")


def test_what_a_plugin_says_in_words_of_its_own_is_printed_as_it_is(plant, stored, atlas_command):
    plant("fails", FAILS.format("raise self.fail('needs more')"))
    result = atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made", status=1)
    assert result.stderr == "Error: Aligner 'mover' needs more\n"


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_plugin_at_work_does_not_keep_a_signal_from_being_obeyed(plant, stored, atlas_command, number, status):
    plant("slow", FAILS.format(f"import signal; signal.raise_signal(signal.{number})"))
    result = atlas_command("fit", "mover", "--source", "a", "--target", "b", "--out", "made", status=status)
    assert "failed" not in result.stderr
    assert not (stored / "made").exists()


def test_install_shows_its_command_first(atlas_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pyproject.toml").touch()
    result = atlas_command("plugins", "install", "latent-atlas-x>=1", "./here", "--dry-run")
    assert result.stdout.endswith(f"install 'latent-atlas-x>=1' {tmp_path / 'here'}\n")
    assert result.stderr == ""
    result = atlas_command("plugins", "install", "-e", "./here", "--dry-run")
    assert result.stdout.endswith(f"install --editable {tmp_path / 'here'}\n")
    result = atlas_command("plugins", "install", "here", "--dry-run")
    assert result.stderr == "Note: 'here' is looked up by name - for the folder, write ./here\n"
    result = atlas_command("plugins", "install", "-e", "latent-atlas-x", "--dry-run", status=1)
    assert result.stderr == "Error: 'latent-atlas-x' is no folder - only a folder can be installed with --editable\n"
    assert "cannot be installed" in atlas_command("plugins", "install", "--", "--pre", status=1).stderr


def test_a_stranger_is_not_installed(atlas_command, tmp_path, monkeypatch):
    """With a real installer, offline: what is looked at is built by the hatchling that is here."""
    for name, value in {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "UV_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pyproject.toml").write_text(STRANGER)
    (tmp_path / "planted_stranger.py").write_text("raise SystemExit('imported')\n")
    result = atlas_command("plugins", "install", tmp_path, status=1)
    assert result.stderr.splitlines()[-1].startswith("Error: 'planted-stranger' is no plugin of Atlas: it has no entry")
    assert result.stdout == ""
    assert importlib.util.find_spec("planted_stranger") is None


STRANGER = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "planted-stranger"
version = "1.0"
[project.scripts]
planted-stranger = "planted_stranger:main"
"""


def test_an_installer_that_fails_is_told(atlas_command, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    result = atlas_command("plugins", "install", "latent-atlas-no-such-plugin-at-all", status=1)
    assert result.stderr.startswith("Running: ")
    assert result.stderr.endswith("Error: The command failed with exit status 1 - its output is above\n")
    assert result.stdout == ""


def test_uninstall_takes_the_name_of_a_plugin_or_of_its_distribution(plant, atlas_command):
    plant("mover", good(), distribution="latent-atlas-moving")
    plant("wrong", "import no_such_library\n")
    for name in ("mover", "latent-atlas-moving"):
        assert atlas_command("plugins", "uninstall", name, "--dry-run").stdout.endswith(" latent-atlas-moving\n")
    both = atlas_command("plugins", "uninstall", "mover", "latent-atlas-moving", "wrong", "--dry-run").stdout
    assert both.endswith(" latent-atlas-moving latent-atlas-wrong\n")
    assert (
        "Unknown plugin 'mowver' - did you mean 'mover'?"
        in atlas_command("plugins", "uninstall", "mowver", status=1).stderr
    )
    said = "Plugin 'builtin' comes with Atlas - to leave it out, set ATLAS_DISABLE_PLUGINS=builtin"
    assert said in atlas_command("plugins", "uninstall", "builtin", status=1).stderr


@pytest.mark.parametrize("kind", KINDS)
def test_new_writes_a_complete_package(kind, atlas_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = atlas_command("plugins", "new", "two-words", "--kind", kind)
    written = sorted(f"latent-atlas-two-words/{path}" for path in contents("two-words", kind))
    assert result.stdout.splitlines() == written
    assert result.stderr == f"Wrote {kind} 'two-words' - next: atlas plugins check latent-atlas-two-words\n"
    text = (tmp_path / "latent-atlas-two-words" / "atlas_two_words.py").read_text()
    assert f"class TwoWords(atlas.{'LinearAligner' if kind == 'aligner' else kind.capitalize()}):" in text
    assert "$" not in text


def test_new_plugins_of_every_kind_pass_their_own_tests_and_the_house_style(tmp_path, monkeypatch, atlas_command):
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        atlas_command("plugins", "new", f"latent-atlas-own-{kind}", "--kind", kind, "--out", kind)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tmp_path / kind) for kind in KINDS)}
    tests = [f"{kind}/tests" for kind in KINDS]
    words = ["-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", ".", *tests]
    running = Forked(f"import pytest, sys; sys.exit(pytest.main({words!r}))", env=environment)
    assert running.wait() == 0, running.said()
    check = ["check", "--select", "B,C4,E,F,I,PTH,SIM,UP"]
    for words in (check, ["format", "--check"]):
        for kind in KINDS:
            command = [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length", "120", "."]
            done = subprocess.run(command, cwd=kind, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My Plugin", "'My Plugin' cannot be the name of a plugin - use lower-case letters, digits and single '-'"),
        ("atlas-", "'atlas-' cannot be the name of a plugin"),
        ("../up", "'../up' cannot be the name of a plugin"),
        ("procrustes", "Aligner 'procrustes' exists, in latent-atlas 0.1.0 - choose another name"),
        ("builtin", "Plugin 'builtin' exists - choose another name"),
    ],
)
def test_new_refuses_names_that_cannot_be(name, words, atlas_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in atlas_command("plugins", "new", name, "--kind", "aligner", status=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_new_never_writes_over_anything(atlas_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latent-atlas-mine").mkdir()
    (tmp_path / "latent-atlas-mine" / "kept").write_text("kept")
    said = atlas_command("plugins", "new", "mine", "--kind", "sampler", status=1).stderr
    assert said == "Error: 'latent-atlas-mine' exists - choose another folder with --out\n"
    (tmp_path / "empty").mkdir()
    assert atlas_command("plugins", "new", "mine", "--kind", "sampler", "--out", "empty").stdout


BAD = """
import logging, os, sys, warnings
from dataclasses import dataclass
import scipy.optimize
import torch
import atlas

print("hello")
warnings.warn("look out")
torch.set_num_threads(1 + torch.get_num_threads())
os.environ["PLANTED_SETTING"] = "1"

@dataclass
class Bad(atlas.LinearAligner):
    '''Do it badly.'''
    name = "bad"

    def solve(self, m):
        print("solving")
        assert torch.rand(1) < 2
        return torch.rand(len(m.mean_x), len(m.mean_y), dtype=torch.float64)

@dataclass
class Picky(atlas.Sampler):
    '''Need to be told.'''
    name = "picky"
    how: str = atlas.option(help="How to")

@atlas.hookimpl
def register_aligners():
    return [Bad]

@atlas.hookimpl
def register_samplers():
    return [Picky]
"""


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """A folder whose plugin breaks many promises."""
    for path, text in contents("bad", "aligner").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "atlas_bad.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    # What the plugin changes would slow down every test after these.
    monkeypatch.setenv("PLANTED_SETTING", "0")
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
    sys.modules.pop("atlas_bad", None)


@pytest.fixture
def forked(monkeypatch):
    """Where a plugin is imported in a process of its own, this is a fork with torch in it."""

    def run(command, env, timeout, **_):
        assert command[:3] == [sys.executable, "-m", "atlas.testing.imports"]
        code = "import runpy, sys; sys.argv = {!r}; runpy.run_module(sys.argv[0], run_name='__main__')"
        running = Forked(code.format(command[2:]), env=env)
        try:
            status = running.wait(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(command, timeout) from None
        return subprocess.CompletedProcess(command, status, *running.said())

    stands_for = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("atlas.testing.package.subprocess", stands_for)


def test_check_says_what_is_broken_and_why_it_matters(bad, forked, atlas_command):
    result = atlas_command("plugins", "check", "--json", status=1)
    found = json.loads(result.stdout)
    broken = {one["promise"]: one["broken"] for one in found if one["broken"]}
    assert broken["Importing it imports no heavy library"].startswith("It imports scipy, and every listing waits for")
    changed = "It changes the number of threads of torch, environment variables, which everything in the program shares"
    assert broken["Importing it changes nothing that others share"] == changed
    noise = "It says 'hello', 'look out'"
    assert broken["Importing it prints nothing and warns of nothing"] == noise
    assert broken["It prints nothing"].startswith("It prints 'solving' - a program that reads results from stdout")
    assert any("must leave the global random state alone" in words for words in broken.values())
    said = "It imports scipy, which it does not require - add it to its dependencies"
    assert broken["Installing it brings along all its imports"] == said
    [skipped] = [one for one in found if one["skipped"]]
    assert skipped["what"] == "sampler picky"
    hint = "set it with -o, or in its tests, call atlas.testing.check_sampler()"
    assert skipped["skipped"] == f"option 'how' has no default - {hint}"
    assert f"Error: {len(broken)} of {len(found)} promises are broken" in result.stderr.splitlines()


def test_check_gives_each_component_the_options_it_has(bad, forked, atlas_command):
    result = atlas_command("plugins", "check", "-o", "how", "well", "--json", status=1)
    found = json.loads(result.stdout)
    assert not any(one["skipped"] for one in found)
    assert len([one for one in found if one["what"] == "sampler picky" and one["broken"]]) > 5
    said = atlas_command("plugins", "check", "-o", "hwo", "well", status=1).stderr
    assert said == "Error: Unknown option 'hwo' of the components of this plugin - did you mean 'how'? known: how\n"


def test_check_of_a_folder_shows_a_table_and_takes_imports_that_are_required(bad, forked, atlas_command):
    project = bad / "pyproject.toml"
    project.write_text(project.read_text().replace('"latent-atlas>=', '"scipy", "latent-atlas>='))
    result = atlas_command("plugins", "check", bad, status=1)
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    assert {line[0] for line in lines[1:]} == {"ok", "BROKEN", "skipped"}
    assert "which it does not require" not in result.stdout
    assert "Note: sampler picky was not checked: option 'how' has no default" in result.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("import os\nos._exit(3)\n", "Importing it ends the program: exit status 3"),
        ("import sys\nsys.exit(3)\n", "it calls sys.exit() when it is imported"),
        ("while True: pass\n", "Importing it takes more than 0.1 s"),
        (good("procrustes"), "Plugin 'builtin' has one of this name, too - neither could be used"),
        (good("Not A Name"), "Mover has the name 'Not A Name' - use lower-case letters"),
    ],
)
def test_check_survives_whatever_a_plugin_does(bad, forked, atlas_command, monkeypatch, code, words):
    (bad / "atlas_bad.py").write_text(code)
    if "while" in code:
        monkeypatch.setattr("atlas.testing.package.LIMIT", 0.1)
        monkeypatch.setattr("atlas.plugins.loading.LIMIT", 0.1)
    if "_exit" in code:
        sys.modules["atlas_bad"] = sys
    assert words in atlas_command("plugins", "check", ".", status=1).stdout


def test_check_takes_the_name_of_what_is_installed(plant, atlas_command, tmp_path, monkeypatch):
    plant("mover", good())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "planted-site"))
    result = atlas_command("plugins", "check", "latent-atlas-mover")
    assert result.stderr.startswith("All ") and result.stderr.endswith(" promises that were checked are kept\n")
    said = atlas_command("plugins", "check", "mowver", status=1).stderr
    assert said.startswith("Error: Unknown plugin 'mowver' - did you mean 'mover'?")


def test_check_of_a_folder_without_a_plugin_says_what_is_missing(tmp_path, atlas_command):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    said = atlas_command("plugins", "check", tmp_path, status=1).stderr
    assert said.endswith("names no plugin - add [project.entry-points.latent_atlas]\n")
    (tmp_path / "pyproject.toml").unlink()
    said = atlas_command("plugins", "check", tmp_path, status=1).stderr
    assert said == f"Error: There is no pyproject.toml in '{tmp_path}' - give the folder or the name of a plugin\n"
