"""Type checkers see the types of all that is public."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import atlas
from atlas.verbs.signatures import VERBS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def revealed(tmp_path_factory) -> dict[str, str]:
    """What mypy says each public name of Atlas is."""
    pytest.importorskip("mypy")
    names = [name for name in atlas.__all__ if not name.startswith("_")]
    lines = ["import atlas", *(f"reveal_type(atlas.{name})" for name in names)]
    file = tmp_path_factory.mktemp("typing") / "user.py"
    file.write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--follow-imports=silent", str(file)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    found = re.findall(r'user\.py:(\d+): note: Revealed type is "(.*)"', said.stdout)
    assert len(found) == len(names), said.stdout + said.stderr
    return {names[int(line) - 2]: text for line, text in found}


def test_no_public_name_is_of_any_type(revealed):
    assert [name for name, text in revealed.items() if text in ("Any", "def (*Any, **Any) -> Any")] == []


@pytest.mark.parametrize("name", [name for name in VERBS if name in atlas.__all__])
def test_what_a_verb_takes_and_returns_is_typed(revealed, name):
    assert re.findall(r"(\w+)\??: Any\b", revealed[name]) == (["options"] if "**options" in revealed[name] else [])
    assert not revealed[name].endswith("-> Any")


def test_a_user_may_give_an_artefact_or_where_it_is(revealed):
    said = revealed["fit"].replace("builtins.", "")
    assert "source: atlas.artefacts.vectors.Vectors | str | pathlib.Path," in said
    assert said.endswith("-> atlas.artefacts.alignment.Alignment")
