"""What is told of committed results: how a rerun compares, and how draws and pairs of spaces vary."""

from __future__ import annotations

import json
import statistics
from importlib import import_module

import pytest
from papertools import PAPERS


@pytest.fixture
def tables(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(PAPERS)
    found = import_module("paper_tables")
    monkeypatch.setattr(found, "ROOT", tmp_path)
    return found


def test_a_rerun_says_how_many_figures_and_networks_are_the_committed_ones(tables):
    def run(value, net):
        rows = [
            {"row": "a", "value": 0.5},
            {"row": "b", "value": value},
            {"row": "c", "metric": "sha256", "value": net},
        ]
        return {"about": {"networks": {"cnn": net}}, "results": rows}

    told = import_module("papers").compared(run(0.75, "beef"), run(0.5, "cafe"))
    assert told.startswith(
        "1 of 3 committed figures come out the same, 0 were not measured, the largest difference is 0.25"
    )
    assert told.endswith("; 0 of 1 networks are the same")


def test_the_spread_over_draws_is_kept_apart_from_the_range_over_pairs(tables, tmp_path):
    values = {("a", "b"): (0.8, 0.82, 0.84), ("b", "a"): (0.4, 0.41, 0.42)}
    rows = [
        {"step": "s", "metric": "accuracy", "source": a, "target": b, "seed": i, "value": v}
        for (a, b), drawn in values.items()
        for i, v in enumerate(drawn)
    ]
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "results.json").write_text(json.dumps({"results": rows}))
    [cell] = tables.cells("page", "s", [], "")
    pooled = statistics.fmean(statistics.variance(drawn) for drawn in values.values()) ** 0.5
    assert cell["sd"] == pytest.approx(pooled)
    assert tables.told(cell) == "61.5 ± 1.6 (41.0 to 82.0)"
    assert tables.told(tables.cells("page", "s", ["source"], "target")[0]) == "82.0 ± 2.0"


def test_differences_are_paired_by_seed_after_the_mean_over_pairs_of_spaces(tables, tmp_path):
    rows = [
        {"way": way, "source": source, "seed": seed, "value": value + seed / 10 + (source == "b") / 5}
        for way, value in (("one", 0.5), ("other", 0.25))
        for source in ("a", "b", "c")
        for seed in range(3)
    ]
    rows[-1]["source"] = "d"
    rows[0]["value"] += 0.02
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "results.json").write_text(json.dumps({"results": rows}))
    scopes = ({"way": way, "source": ("a", "b")} for way in ("one", "other"))
    # Differences of 26, 25 and 25 points: t with two degrees of freedom.
    half = 4.303 * (1 / 3) ** 0.5 / 3**0.5
    assert tables.difference("page", *scopes) == f"+25.3 ({25 + 1 / 3 - half:+.1f} to {25 + 1 / 3 + half:+.1f})"
