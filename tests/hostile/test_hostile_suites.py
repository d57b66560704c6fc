"""Small versions of what is run by hand: changed bytes, inputs that take all there is, kills, and changed source."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from changes import changes
from fuzz import everything, fuzz
from inputs import INPUTS, judged
from mutations import mutated
from processtools import Forked
from readers import Reader


@pytest.fixture
def client_as_it_was(monkeypatch):
    """The client of the Hub, which is given answers without a network, as it was afterwards."""
    import logging

    from huggingface_hub import constants
    from huggingface_hub.utils import _http, close_session, set_client_factory

    from atlas.hub import client

    for where, names in (
        (constants, ("ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HUGGINGFACE_CO_URL_TEMPLATE")),
        (client, ("PAUSE", "LONGEST_PAUSE")),
    ):
        for name in names:
            monkeypatch.setattr(where, name, getattr(where, name))
    yield
    set_client_factory(_http.default_client_factory)
    close_session()
    logging.disable(logging.NOTSET)


def test_changed_bytes_are_read_or_refused_in_words(tmp_path, client_as_it_was):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        harness = fuzz(everything(tmp_path), tmp_path / "given", range(3000), seed=0)
    assert harness.failed == {}
    assert harness.tried.total() == 3000 and set(harness.tried) == set(harness.known)
    # Neither is all refused at once, nor all taken.
    assert 0.2 < harness.refused.total() / 3000 < 0.95


def test_a_reader_that_fails_is_noticed_with_the_bytes_that_show_it(tmp_path, client_as_it_was):
    known = {"bad": Reader(1, "x", [b"abc"], lambda path: {}[path.read_bytes()[:1]])}
    harness = fuzz(known, tmp_path / "given", range(5), seed=0)
    [((name, error, place), (number, data))] = harness.failed.items()
    assert (name, error, number) == ("bad", "KeyError", 0) and place.startswith("test_hostile_suites.py:")
    assert data == mutated(b"abc", [b"abc"], _same_rng())
    assert harness.failures.total() == 5


def _same_rng() -> random.Random:
    rng = random.Random(0)
    rng.choice([b"abc"])
    return rng


@pytest.mark.parametrize(
    "name",
    [
        *("a pipe called .npy", "a link to /dev/zero called .parquet", "4 GB of holes called .txt"),
        *("a card of nesting", "a network with channels of zeros", "pictures of 5,000 x 5,000 as they are"),
        *("a recipe with 10,000 jobs of which each names another", "a recipe with pairs of 20,000"),
    ],
)
def test_no_input_takes_more_than_a_gigabyte_and_ten_seconds(name, tmp_path: Path):
    sound, said = judged(INPUTS[name], tmp_path)
    assert sound, said


def test_a_command_that_takes_more_is_noticed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("inputs.MEMORY", 2**28)
    sound, said = judged(INPUTS["a network with padding 850"], tmp_path)
    assert not sound, said


def test_killed_commands_leave_nothing_half_written():
    script = str(Path(__file__).with_name("kills.py"))
    words = [script, "--kills", "3", "--pairs", "3", "apply over a folder", "run again", "pull to"]
    process = Forked(f"import runpy, sys; sys.argv = {words}; runpy.run_path({script!r}, run_name='__main__')")
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stdout + stderr
    assert "two at once: 3, 0 damaged" in stdout


def test_migrations_that_are_killed_go_on_and_go_back(tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
    from kill_migrations import D, folder_of_parquet, kill_and_look, plan_for

    X = np.random.default_rng(0).normal(size=(500, D)).astype("float32")
    with folder_of_parquet(X) as url:
        kill_and_look(url, plan_for(url, X, tmp_path), 3, random.Random(0))


SOURCE = """def f(a: int = 3) -> str:
    'Text with 1.'
    if a < 2 and not a:
        raise ValueError(f'{a + 1}')
    return 'é' * (a - 1)
"""


def test_changes_of_source_are_small_can_be_run_and_leave_annotations_and_texts():
    found = changes(SOURCE)
    for change in found:
        compile(change.source, "changed", "exec")
        assert change.source != SOURCE and change.before in " ".join(SOURCE.split())
    made = [change.after for change in found]
    assert {
        "if (a <= 2) and not a:",
        "if (a < 2 or not a):",
        "if a < 2 and (a):",
        "if (not (a < 2 and (not a))):",
    } <= set(made)
    assert {"return 'é' * ((a + 1))", "return 'é' * (a - (2))", "pass", "def f(a: int = (4)) -> str:"} <= set(made)
    assert not any("Text" in one for one in made)


def test_a_change_of_a_number_is_another_number():
    assert {change.after for change in changes("x.y = 0.0\n")} == {"x.y = (1.0)", "pass"}


def test_what_guards_against_the_code_itself_is_not_changed():
    assert not changes("@dataclass(frozen=True)\nclass A:\n    x = list(zip(a, b, strict=True))\n")
    assert len(changes("csv.reader(a, strict=True)\n")) == 2


@pytest.mark.apart
def test_a_change_that_tests_notice_is_told_from_one_that_they_do_not(tmp_path):
    import subprocess
    import sys

    pytest.importorskip("coverage")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import mutants
from changes import Change
from pathlib import Path

folder = Path({str(tmp_path)!r})
mutants.copied(folder / "copy")
known = mutants.surveyed("tests/cards/test_space.py", folder, folder / "scratch")
source = Path("atlas/cards/space.py").read_text()
for changed in (source, source.replace("def same", "def other")):
    mutant = mutants.Mutant("atlas/cards/space.py", Change(range(1, 1000), "", "", changed))
    mutants.judge(mutant, known, folder / "scratch")
    print(mutant.fate)
assert Path("atlas/cards/space.py").read_text() == source
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["survived", "noticed"], done.stderr
