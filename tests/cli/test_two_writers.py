"""Two processes that write into one place at once: it is whole, and of one of them, whoever comes last."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from conftest import planted, space_of
from processtools import both_into

import atlas
from atlas.artefacts.vectors import Vectors


def digests(path: Path) -> dict[str, str]:
    """Return the hash of a file and of the space beside it, or of each file in a folder."""
    files = path.parent.glob(f"{path.name}*") if path.is_file() else path.rglob("*")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder of vectors of two spaces and maps into two, and an empty folder in it."""
    folder = tmp_path_factory.mktemp("two-writers")
    pair = planted()
    other = Vectors.of(pair.target.rows.tensor, space_of("c", 8), ids=list(pair.target.ids))
    for name, vectors in (("a", pair.source), ("b", pair.target)):
        vectors.save_pretrained(folder / name)
    for name, vectors in (("to-b", pair.target), ("to-c", other)):
        atlas.fit("procrustes", source=pair.source, target=vectors).save_pretrained(folder / name)
    (folder / "at").mkdir()
    return folder / "at"


FIT = [["fit", name, "--source", "../a", "--target", "../b", "--out"] for name in ("linear", "procrustes")]
APPLY = [["apply", name, "../a", "--out"] for name in ("../to-b", "../to-c")]


@pytest.mark.parametrize(("commands", "out"), [(FIT, "made"), (APPLY, "mapped"), (APPLY, "mapped.npy")])
def test_of_two_that_write_one_artefact_the_last_is_there_where_it_may_replace_and_else_is_told(
    here, commands, out, monkeypatch, atlas_command
):
    monkeypatch.chdir(here)
    alone = []
    for command in commands:
        atlas_command(*command, out, "--overwrite")
        alone.append(digests(here / out))
        for file in here.glob("mapped.npy*"):
            file.unlink()
        shutil.rmtree(here / out, ignore_errors=True)
    assert alone[0] != alone[1]
    (first, _), told = both_into(here, *([*command, out] for command in commands))
    assert (first, digests(here / out)) == (0, alone[0])
    told_of = "' exists - choose another name, or pass --overwrite (overwrite=True) to replace it\n"
    assert told[0] == 1 and told[1].startswith("Error: '") and told[1].endswith(f"{out}{told_of}")
    for order in (1, -1):
        ended = both_into(here, *([*command, out, "--overwrite"] for command in commands[::order]))
        assert [status for status, _ in ended] == [0, 0]
        assert digests(here / out) == alone[::order][1]
    assert not list(here.glob(".*"))
