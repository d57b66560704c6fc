"""Plugins that fail are reported once and left out; everything else works."""

from __future__ import annotations

import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from plugintools import good, look_again
from processtools import Forked

import atlas
from atlas import AtlasError
from atlas.components.aligner import Aligner
from atlas.plugins.catalogue import component, components, missing, plugins, provider
from atlas.plugins.discovery import culprit

pytest_plugins = ["plugin_fixtures"]
HEAD = "from dataclasses import dataclass\nimport atlas\n"
HOOK = "\n@atlas.hookimpl\ndef register_aligners():\n    return [{}]\n"
CLASS = good().partition("@atlas.hookimpl")[0]


def found(name):
    [plugin] = [plugin for plugin in plugins() if plugin.name == name]
    return plugin


def test_a_plugin_provides_its_components(plant, capfd):
    plant("mover", good(), version="1.2")
    aligner = atlas.create(Aligner, "mover").fit(torch.eye(3), torch.eye(3) + 2)
    assert torch.equal(aligner.transform(torch.zeros(1, 3)), torch.full((1, 3), 2.0))
    assert provider(type(aligner)) == "latent-atlas-mover 1.2"
    assert capfd.readouterr() == ("", "")


BROKEN = {
    "missing": ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
    "syntax": ("def (:\n", "SyntaxError: invalid syntax"),
    "exits": ("import sys\nsys.exit(3)\n", r"it calls sys.exit\(\) when it is imported"),
    "raises": ("class Odd(BaseException): pass\nraise Odd('words')\n", "Odd: words"),
    "at-registration": (
        HEAD + "@atlas.hookimpl\ndef register_aligners():\n    return 1 / 0\n",
        "ZeroDivisionError: division by zero",
    ),
    "late": (HEAD + "@atlas.hookimpl\ndef register_aligners():\n    yield 1 / 0\n", "ZeroDivisionError"),
    "misspelt": (CLASS + HOOK.replace("aligners", "aligner").format("Mover"), "unknown hook 'register_aligner'"),
    "arguments": (CLASS + HOOK.replace("()", "(pm)").format("Mover"), "hook 'register_aligners'"),
    "hookless": (CLASS + "def register_aligners(): return [Mover]\n", "it has no hook - write one of register_enc"),
    "wrapper": (
        HEAD + "@atlas.hookimpl(wrapper=True)\ndef register_aligners():\n    return (yield)\n",
        r"register_aligners\(\) must return a list of classes, got None",
    ),
    "nothing": (HEAD + "@atlas.hookimpl\ndef register_aligners(): pass\n", "must return a list of classes, got None"),
    "a-class": (CLASS + "@atlas.hookimpl\ndef register_aligners(): return Mover\n", "must return a list of classes"),
    "an-object": (CLASS + HOOK.format("Mover()"), r"Mover\(\) is not a subclass of atlas.Aligner"),
    "other-kind": (CLASS + HOOK.replace("aligners", "samplers").format("Mover"), "Mover is not a subclass of atlas.S"),
    "no-dataclass": (CLASS.replace("@dataclass", "") + HOOK.format("Mover"), "Mover is not decorated with @dataclass"),
    "nameless": (CLASS.replace('name = "mover"', "") + HOOK.format("Mover"), "Mover has the name ''"),
    "ill-named": (
        CLASS.replace('"mover"', '"My Mover"') + HOOK.format("Mover"),
        "the name 'My Mover' - use lower-case",
    ),
    "numbered": (CLASS.replace('"mover"', "7") + HOOK.format("Mover"), "Mover has the name '7'"),
    "wordless": (re.sub('""".*"""', "", CLASS) + HOOK.format("Mover"), "Mover has no docstring - write one sentence"),
    "helpless": (CLASS.replace('name = "m', 'k: int = 3\n    name = "m') + HOOK.format("Mover"), "Option 'k' .* help"),
    "mistyped": (
        CLASS.replace('name = "m', 'k: complex = atlas.option(0j, help="h")\n    name = "m') + HOOK.format("Mover"),
        "Option 'k' of Mover is complex, but a card can hold bool, int, float, str, list, dict",
    ),
    "unreadable": (
        CLASS.replace('name = "m', 'k: "nonsense" = atlas.option(0, help="h")\n    name = "m') + HOOK.format("Mover"),
        "cannot be read: NameError: name 'nonsense' is not defined",
    ),
    "twice": (CLASS + HOOK.format("Mover, Mover"), "it has more than one aligner 'mover' - give every class a name"),
    "impostor": (good("procrustes"), "its aligner 'procrustes' has the name of one that comes with Atlas - choose"),
    "recursive": (
        good() + "atlas.create(atlas.Aligner, 'other')\n",
        "it asks for components of plugins when it is imported - do that inside a method",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_once_and_left_out(plant, capfd, name):
    code, reason = BROKEN[name]
    plant(name, code)
    plant("zz-other", good("other"))
    assert components(Aligner)["procrustes"][0].__module__ == "atlas_builtin.aligners"
    assert component(Aligner, "other").name == "other"
    with pytest.raises(AtlasError, match="Unknown aligner 'mover' - "):
        atlas.create(Aligner, "mover")
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(rf"Warning: plugin '{name}' was not loaded: .*{reason}.*\n", err), err
    assert re.search(reason, found(name).broken)
    assert not found(name).classes


def test_ctrl_c_while_a_plugin_is_imported_is_obeyed(plant):
    plant("interrupted", "import signal\nsignal.raise_signal(signal.SIGINT)\n" + good())
    with pytest.raises(KeyboardInterrupt):
        plugins()
    with pytest.raises(KeyboardInterrupt):
        list(components(Aligner))


def test_a_polite_kill_while_a_plugin_is_imported_is_obeyed(plant, tmp_path):
    plant("slow", "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "planted-site")}
    assert Forked(["plugins"], env=environment).wait() == 143


@pytest.mark.parametrize("ending", ["KeyboardInterrupt", "SystemExit(0)", "GeneratorExit"])
def test_what_a_plugin_raises_ends_no_listing(plant, capfd, ending):
    plant("ends", f"raise {ending}\n")
    plant("mover", good())
    assert component(Aligner, "mover").name == "mover"
    said = ending if "(" not in ending else "it calls sys.exit() when it is imported"
    assert capfd.readouterr().err == f"Warning: plugin 'ends' was not loaded: {said}\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
def test_an_import_without_end_is_given_up(plant, capfd, monkeypatch):
    monkeypatch.setattr("atlas.plugins.loading.LIMIT", 0.2)
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGINT)
    plant("endless", "while True:\n    try:\n        pass\n    except Exception:\n        pass\n")
    plant("mover", good())
    assert component(Aligner, "mover").name == "mover"
    assert capfd.readouterr().err == "Warning: plugin 'endless' was not loaded: importing it was given up after 0.2 s\n"
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGINT)) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_where_files_are_written_is_not_for_a_plugin_to_say(plant, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0o022)
    try:
        plant("mover", "import os\nos.mkdir('other')\nos.chdir('other')\nos.umask(0)\n" + good())
        assert component(Aligner, "mover").name == "mover"
        assert (Path.cwd(), os.umask(0o022)) == (tmp_path, 0o022)
    finally:
        os.umask(mask)
    note = "Warning: plugin 'mover': it changes the {} when it is imported, which was undone\n"
    assert capfd.readouterr().err == note.format("working folder") + note.format("umask")


def test_a_plugin_that_moves_to_a_folder_that_is_gone_is_brought_back(plant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import os, tempfile\nwith tempfile.TemporaryDirectory() as folder:\n    os.chdir(folder)\n"
    plant("mover", code + good())
    assert component(Aligner, "mover").name == "mover"
    assert Path.cwd() == tmp_path


def test_what_a_plugin_prints_stays_off_stdout(plant, capfd):
    plant("loud", "import os\nprint('hello')\nos.system('echo from a shell')\n" + good())
    assert component(Aligner, "mover").name == "mover"
    assert capfd.readouterr() == ("", "hello\nfrom a shell\n")


def test_a_plugin_does_not_take_stderr(plant, capfd):
    plant("silent", "import io, sys\nsys.stdout = sys.stderr = io.StringIO()\n" + good())
    assert component(Aligner, "mover").name == "mover"
    print("heard", file=sys.stderr)
    assert capfd.readouterr() == ("", "heard\n")


def test_what_a_plugin_warns_of_when_it_is_imported_is_no_error(plant, capfd):
    plant("warner", "import warnings\nwarnings.warn('look out')\n" + good())
    assert component(Aligner, "mover").name == "mover"
    assert capfd.readouterr() == ("", "")


def test_a_slow_plugin_is_named(plant, capfd, monkeypatch):
    monkeypatch.setattr("atlas.plugins.loading.SLOW", 0.02)
    plant("slow", "import time\ntime.sleep(0.03)\n" + good())
    assert component(Aligner, "mover").name == "mover"
    said = "it took 0 s to load - heavy imports belong inside methods"
    assert capfd.readouterr().err == f"Warning: plugin 'slow': {said}\n"


def test_what_comes_with_atlas_needs_no_plugin_of_others(plant, capfd):
    modules = [plant("breaks", "import no_such_library\n"), plant("mover", good())]
    assert atlas.create(Aligner, "procrustes").name == "procrustes"
    assert "identity" in components(Aligner)
    assert "vectors/a" not in components(Aligner)
    assert not {*modules} & {*sys.modules}
    assert capfd.readouterr() == ("", "")
    assert "mover" in components(Aligner)
    assert modules[1] in sys.modules


def test_two_plugins_that_claim_a_name_are_both_named(plant, capfd):
    one, two = plant("one", good()), plant("two", good(cls="Other"))
    assert len(components(Aligner)["mover"]) == 2
    claims = rf"^Aligner 'mover' is claimed by {one}.Mover and {two}.Other - uninstall one .* ATLAS_DISABLE_PLUGINS$"
    with pytest.raises(AtlasError, match=claims):
        component(Aligner, "mover")
    note = "Warning: plugin '{}': its aligner 'mover' is also claimed by plugin '{}', so that neither can be used\n"
    assert capfd.readouterr().err == note.format("one", "two") + note.format("two", "one")


def test_a_module_that_is_registered_twice_does_not_clash_with_itself(plant, capfd, tmp_path):
    module = plant("one", good())
    entries = tmp_path / "planted-site" / "latent_atlas_one-1.0.dist-info" / "entry_points.txt"
    entries.write_text(f"[latent_atlas]\none = {module}\ntwo = {module}\n")
    look_again()
    assert component(Aligner, "mover").name == "mover"
    assert capfd.readouterr().err == ""


def test_metadata_that_is_damaged_is_survived(plant, capfd, tmp_path):
    plant("mover", good())
    (tmp_path / "planted-site" / "latent_atlas_mover-1.0.dist-info" / "METADATA").unlink()
    look_again()
    assert component(Aligner, "mover").name == "mover"
    assert "procrustes" in components(Aligner)


def test_an_entry_point_that_names_no_module_is_reported_and_names_no_culprit(plant, capfd, tmp_path):
    plant("mover", good())
    entries = tmp_path / "planted-site" / "latent_atlas_mover-1.0.dist-info" / "entry_points.txt"
    entries.write_text(f"{entries.read_text()}wrong = no module!\n")
    look_again()
    assert component(Aligner, "mover").name == "mover"
    assert capfd.readouterr().err.startswith("Warning: plugin 'wrong' was not loaded: ")
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert culprit(caught.value) == ""


@pytest.mark.parametrize(
    ("setting", "value", "kept"),
    [
        ("ATLAS_PLUGINS", "one", {"one"}),
        ("ATLAS_PLUGINS", " one , builtin ", {"one", "procrustes"}),
        ("ATLAS_PLUGINS", "latent-atlas-two", {"two"}),
        ("ATLAS_PLUGINS", "", set()),
        ("ATLAS_DISABLE_PLUGINS", "two", {"one", "procrustes"}),
        ("ATLAS_DISABLE_PLUGINS", "one,latent-atlas-two", {"procrustes"}),
        ("ATLAS_DISABLE_PLUGINS", "", {"one", "two", "procrustes"}),
    ],
)
def test_settings_choose_which_plugins_are_loaded(plant, monkeypatch, capfd, setting, value, kept):
    plant("one", good("one"))
    plant("two", good("two"))
    monkeypatch.setenv(setting, value)
    look_again()
    assert set(components(Aligner)) & {"one", "two", "procrustes"} == kept
    assert capfd.readouterr().err == ""
    disabled = {
        plugin.name
        for plugin in plugins()
        if plugin.disabled == f"{setting} " + ("names it" if "DISABLE" in setting else "does not name it")
    }
    assert disabled == {"one", "two", "builtin"} - {name.replace("procrustes", "builtin") for name in kept}


def test_a_plugin_that_is_disabled_is_not_imported(plant, monkeypatch, capfd):
    module = plant("breaks", "import no_such_library\n")
    monkeypatch.setenv("ATLAS_DISABLE_PLUGINS", "breaks")
    look_again()
    assert "procrustes" in components(Aligner)
    assert module not in sys.modules
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("setting", ["ATLAS_PLUGINS", "ATLAS_DISABLE_PLUGINS"])
def test_a_setting_that_names_no_plugin_is_told(plant, monkeypatch, capfd, setting):
    monkeypatch.setenv(setting, "builtin,nonsense")
    look_again()
    list(components(Aligner))
    assert capfd.readouterr().err == f"Warning: {setting} names 'nonsense', but installed are builtin\n"


def test_a_plugin_of_the_repository_that_is_installed_but_broken_is_not_to_be_installed_again(plant):
    plant("faiss", "import nothing_like_this")
    sentence = r"'faiss' comes with plugin 'latent-atlas-faiss', which is installed but not loaded: .*nothing_like_this"
    assert re.search(sentence, str(missing("exporter", "faiss", [])))


def test_a_plugin_of_the_repository_that_is_left_out_is_told_with_the_setting(plant, monkeypatch):
    plant("faiss", "")
    monkeypatch.setenv("ATLAS_DISABLE_PLUGINS", "faiss")
    look_again()
    assert str(missing("exporter", "faiss", [])).endswith("is installed but not loaded: ATLAS_DISABLE_PLUGINS names it")


def test_a_broken_plugin_leaves_the_command_line_and_its_json_whole(tmp_path, plant):
    plant("loud", "print('hello')\n" + good())
    plant("exits", "import sys\nsys.exit()\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "planted-site")}
    stdout, stderr = Forked(["aligners", "--json"], env=environment).communicate()
    assert '"name": "mover"' in stdout and stdout.startswith("[")
    assert stderr.count("Warning") == 1


def test_threads_that_ask_at_once_all_get_the_components(plant, capfd):
    plant("slow", "import time\ntime.sleep(0.2)\n" + good())
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: component(Aligner, "mover"), range(4)))
    assert len(set(found)) == 1
    assert capfd.readouterr().err == ""
