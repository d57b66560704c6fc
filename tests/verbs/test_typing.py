"""Type checkers see the types of all that is public."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import atlas
from atlas.verbs.parameters.signatures import VERBS

ROOT = Path(__file__).parents[2]


def revealed(file: Path) -> dict[str, str]:
    """Return what mypy says each public name of Atlas is."""
    names = [name for name in atlas.__all__ if not name.startswith("_")]
    file.write_text("\n".join(["import atlas", *(f"reveal_type(atlas.{name})" for name in names)]))
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--follow-imports=silent", str(file)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    found = re.findall(r'user\.py:(\d+): note: Revealed type is "(.*)"', said.stdout)
    assert len(found) == len(names), said.stdout + said.stderr
    return {names[int(line) - 2]: text.replace("builtins.", "") for line, text in found}


@pytest.mark.apart
def test_all_that_is_public_is_typed_and_verbs_take_an_artefact_or_where_it_is(tmp_path):
    pytest.importorskip("mypy")
    types = revealed(tmp_path / "user.py")
    assert [name for name, text in types.items() if text in ("Any", "def (*Any, **Any) -> Any")] == []
    for name in {*VERBS} & {*atlas.__all__}:
        options = ["options"] if "**options" in types[name] else []
        assert re.findall(r"(\w+)\??: Any\b", types[name]) == options, types[name]
        assert not types[name].endswith("-> Any")
    given = "source: atlas.artefacts.vectors.Vectors | torch._tensor.Tensor | numpy.ndarray"
    assert given in types["fit"] and "| str | pathlib.Path, target: " in types["moments"]
    assert types["apply"].startswith("Overload(") and "-> atlas.artefacts.vectors.Vectors, def (" in types["apply"]
    assert types["fit"].endswith("-> atlas.artefacts.alignment.Alignment")
