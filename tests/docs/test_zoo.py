"""The shipped zoo of text encoders: small, said where it is from, and its routes keep what is told of them."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import pytest

import atlas
from atlas.cards.folder import read_card
from atlas.storage.registry import Registry

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "data" / "vectors"
NAMES = ("minilm", "e5", "use", "wordllama")
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors of the four encoders are not here")


@pytest.fixture(scope="module")
def measure():
    sys.path.insert(0, str(ROOT / "docs" / "zoo"))
    import measure

    return measure


def test_the_wheel_stays_small():
    sizes = [path.stat().st_size for path in (ROOT / "registry").rglob("*") if path.is_file()]
    assert sum(sizes) < 15_000_000


def test_every_pair_has_a_map_with_figures_of_two_data_sets():
    registry = Registry(ROOT / "registry")
    for source, target in itertools.permutations(NAMES, 2):
        [entry] = registry.list(kind="alignment", source=source, target=target)
        card = entry.card
        assert card.license == "cc-by-4.0"
        figures = {(m.name, m.dataset): m for m in card.metrics}
        assert {dataset for _, dataset in figures} == {"banking77", "cranfield"}
        assert all(m.overlap == 0 for m in card.metrics)
        assert figures["self-recall@10", "banking77"].value > 0.95 > figures["self-recall@10", "cranfield"].value
    assert {space.id for space in atlas.load("text-four").charts} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_space_names_the_package_its_encoder_is_made_from(name):
    card = read_card(ROOT / "registry" / "spaces" / name)
    said = str(card.config)
    assert "package" in said and card.takes == "text" and card.license
    # The identity has the hash of the weights, or their package and precision.
    identity = card.space.identity
    assert re.fullmatch("[0-9a-f]{64}|package .* weights of 4 bits", identity.get("state") or identity["revision"])


@pytest.mark.parametrize(
    ("figure", "by", "least"),
    [
        ("r2", "cards", 0.9),
        ("r2", "moments", 0.99),
        ("r2", "anchors", 0.99),
        ("self-recall@10", "cards", 0.9),
        ("self-recall@10", "anchors", 0.9),
    ],
)
def test_what_is_told_ranks_what_is_measured(measure, figure, by, least):
    rows = json.loads(measure.RESULTS.read_text())["rows"]
    assert len(rows) == 60
    real = [row[figure]["measured"] for row in rows]
    assert measure.correlation([row[figure][by] for row in rows], real) >= least


def test_what_is_told_is_what_atlas_tells(measure):
    rows = {tuple(row["stops"]): row["r2"] for row in json.loads(measure.RESULTS.read_text())["rows"]}
    found = atlas.route("minilm", "use")
    assert found.metrics[0].value == pytest.approx(rows["minilm", "use"]["cards"], abs=1e-3)
    assert [part.id for part in found.parts] == ["minilm__use__linear"]


@needs_vectors
@pytest.mark.parametrize("stops", [("minilm", "use"), ("wordllama", "e5", "minilm")])
def test_what_is_measured_is_measured_again(measure, stops):
    sys.path.insert(0, str(ROOT / "registry"))
    import text

    rows = {tuple(row["stops"]): row["r2"] for row in json.loads(measure.RESULTS.read_text())["rows"]}
    made = atlas.compose(*(f"{a}__{b}__linear" for a, b in itertools.pairwise(stops)))
    held = {name: text.vectors(VECTORS, text.HELD_OUT, stops[end]) for name, end in (("source", 0), ("target", -1))}
    [figure] = atlas.evaluate(made, **held, metrics=["r2"])
    assert figure.value == pytest.approx(rows[stops]["measured"], abs=1e-3)
    assert figure.overlap == 0
