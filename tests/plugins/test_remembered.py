"""What listings print is kept for the next process, and is never out of date."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Files that were just written are kept all the same, as tests do not wait.
PATIENT = "from atlas.plugins import remembered; remembered.MARGIN = -3600\n"
FIND = """
from atlas.plugins.remembered import remembered

def find():
    import planted
    print("imported")
    return planted.FOUND, planted.LASTING

print(remembered("planted", find))
"""


@pytest.fixture
def place(tmp_path):
    """A folder with a module that stands for plugins, and one for notes."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "planted.py").write_text("FOUND, LASTING = {'a': 1}, True")
    return tmp_path


def found(place, first=PATIENT, **settings):
    """Return what a process of its own prints."""
    about = {"PYTHONPATH": str(place / "site"), "XDG_CACHE_HOME": str(place / "cache")}
    command = [sys.executable, "-B", "-c", first + FIND]
    environment = {**os.environ, **about, **settings}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.split("\n")[:-1]


def test_what_is_kept_is_what_was_found(place):
    assert found(place) == ["imported", "{'a': 1}"]
    assert found(place) == ["{'a': 1}"]


def test_a_file_that_is_edited_in_place_is_imported_again(place):
    found(place)
    with (place / "site" / "planted.py").open("r+") as file:
        file.write("FOUND, LASTING = {'b': 1}, True")
    assert found(place) == ["imported", "{'b': 1}"]
    assert found(place) == ["{'b': 1}"]


def test_what_is_installed_or_removed_or_left_out_is_noticed(place):
    found(place)
    info = place / "site" / "x-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[latent_atlas]\nx = x\n")
    assert len(found(place)) == 2
    (info / "entry_points.txt").write_text("[latent_atlas]\ny = x\n")
    assert len(found(place)) == 2
    assert len(found(place)) == 1
    assert len(found(place, ATLAS_DISABLE_PLUGINS="x")) == 2


def test_faults_are_told_each_time(place):
    (place / "site" / "planted.py").write_text("FOUND, LASTING = {'a': 1}, False")
    assert found(place) == found(place) == ["imported", "{'a': 1}"]


def test_what_has_just_changed_is_not_kept(place):
    assert found(place, first="") == found(place, first="") == ["imported", "{'a': 1}"]


def changed(text):
    """Return notes that tell of something else than what was found."""
    return json.dumps({**json.loads(text), "found": {"b": 2}})


@pytest.mark.parametrize(
    "damage", [changed, lambda text: text[:-9], lambda text: '{"paths": 3}', lambda text: '{"paths": [[], 2, null]}']
)
def test_damaged_notes_are_found_anew(place, damage):
    found(place)
    notes = place / "cache" / "latent-atlas" / "planted.json"
    notes.write_text(damage(notes.read_text()))
    assert found(place) == ["imported", "{'a': 1}"]


def test_without_a_place_for_notes_listings_work(place):
    assert found(place, XDG_CACHE_HOME="/proc/nope") == ["imported", "{'a': 1}"]
