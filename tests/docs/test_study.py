"""The study of changes of model: its draws, and the tables made of its results."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
pytest.importorskip("matplotlib")


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "migration")
    return import_module("study")


@pytest.fixture
def tables(study):
    return import_module("study_tables")


def test_the_results_are_those_of_every_run_and_draw(study, tables):
    for run in study.RUNS:
        rows = [(r["draw"], r["old"], r["new"]) for r in tables.of_run(run)]
        assert rows == [(draw, *change) for draw in range(run.draws) for change in study.CHANGES]
    assert len(tables.results()) == sum(12 * run.draws for run in study.RUNS)


def test_an_interval_over_draws_is_students(tables):
    assert tables.mean_of([1.0, 2.0, 3.0]) == "2.0 ± 2.5"
    assert tables.mean_of([1.0, 3.0], 2) == "2.00 ± 12.71"
    assert tables.mean_of([1.25]) == "1.2"


def test_advice_that_finds_more_than_the_right_one_loses_nothing(tables):
    figures = {"stay": 0.3, "re-order": 0.4, "re-embed": 0.42}
    lost, more = (
        {"figures": figures, "advised": advised, "right": "recall and re-order"} for advised in ("stay", "re-embed")
    )
    assert [round(tables.lost(r), 6) for r in (lost, more)] == [10.0, -2.0]
    assert tables.mean_lost([lost, more]) == pytest.approx(5)


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_other_questions_are_in_no_index_and_other_domains_in_no_question(study):
    sets = study.sets_of(DATA)
    for run in (run for run in study.RUNS if run.of != run.searched):
        given = study.asked_of(sets, run, "use", "minilm", 0)
        old, new = given["pairs"]
        assert len(old) == run.pairs and [*old.ids] == [*new.ids]
        assert len(given["new"]) == study.SAMPLE and {*given["new"].ids} <= {*given["old"].ids}
        if not run.strange:
            assert not {*old.ids} & {*given["old"].ids}
