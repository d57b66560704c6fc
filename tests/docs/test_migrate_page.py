"""The walk through a migration runs as the page has it, on the vectors it is about."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from pagetools import run_page

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
pytest.importorskip("pyarrow")
TRY, REST = (ROOT / "docs" / "migrate.md").read_text().split("\n## Ten minutes on real text\n")


def test_the_migration_of_digits_runs_with_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_page(TRY) == 2


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_the_migration_of_real_text_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "migration")
    importlib.import_module("study").example(DATA, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_page(REST) == 5
