"""The walk through a migration runs as the page has it, on the vectors it is about."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest
from pagetools import run_page

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_the_page_on_changing_the_embedding_model_runs(tmp_path, monkeypatch):
    pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
    pytest.importorskip("pyarrow")
    monkeypatch.syspath_prepend(ROOT / "docs" / "migration")
    importlib.import_module("study").example(DATA, tmp_path)
    shutil.copy(DATA / "cranfield" / "cranqrel.trec.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_page(ROOT / "docs" / "migrate.md") == 5
