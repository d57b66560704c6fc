"""Verdicts, figures and notes from numbers that are known, one by one."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from types import SimpleNamespace

import pytest
import torch
from planted import normal

import atlas.migration
from atlas import AtlasError
from atlas.authors import unit
from atlas.migration.advice import Gate, Way, verdict
from atlas.migration.domain import leverage, outside
from atlas.migration.learning import curve
from atlas.migration.measuring import Measured
from atlas.migration.rolling import order, rolling
from atlas.migration.scoring import Figure, resampled, scorer
from atlas.migration.trial import Pairs
from atlas.migration.unknown import check_better_than_chance, unknown

MEASURES = ("ndcg@10", "recall@10", "mrr@10")


def test_what_was_decided_cannot_be_changed():
    names = [name for _, name, _ in pkgutil.walk_packages(atlas.migration.__path__, "atlas.migration.")]
    found = {one for name in names for one in vars(importlib.import_module(name)).values() if isinstance(one, type)}
    made = [one for one in found if dataclasses.is_dataclass(one) and one.__module__.startswith("atlas.migration")]
    assert len(made) >= 15
    assert [one for one in made if not one.__dataclass_params__.frozen] == []


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("ndcg@10>=0.95", ("ndcg@10", 0.95)),
        (" recall@10 >= .5 ", ("recall@10", 0.5)),
        ("mrr@10>=1", ("mrr@10", 1.0)),
        ("ndcg@10>=1.00", ("ndcg@10", 1.0)),
        ("ndcg@10>=0", ("ndcg@10", 0.0)),
    ],
)
def test_gates(text, gate):
    found = Gate.of(text)
    assert (found.measure, found.least) == gate


@pytest.mark.parametrize(
    "text", ["", "ndcg@10", "ndcg@10>=1.5", "ndcg@10>=2", "ndcg@10>=.", "recall@5>=0.5", "x ndcg@10>=1"]
)
def test_gates_that_are_none(text):
    with pytest.raises(
        AtlasError, match=r"A gate must be like 'ndcg@10>=0\.95', of ndcg@10 or recall@10 or mrr@10 and"
    ):
        Gate.of(text)


def way(name, share, gain=(0.05, 0.2), **more):
    """Return a way that keeps a share and gains points over the old model."""
    gained = None if gain is None else Figure(sum(gain) / 2, *gain)
    return Way(name, "", {}, Figure(share, share - 0.02, share + 0.02), gained, **more)


def ways(convert=0.8, bridge=0.7, re_order=0.9, stay=0.6, **gains):
    """Return all ways; gains are their intervals over the old model."""
    shares = {"stay": stay, "convert": convert, "bridge": bridge, "re-order": re_order, "re-embed": 1.0}
    known = {name.replace("-", "_"): name for name in shares if shares[name] is not None}
    depth = {"re-order": {"depth": 100}}
    return [
        way(one, shares[one], None if one == "stay" else gains.get(name, (0.05, 0.2)), **depth.get(one, {}))
        for name, one in known.items()
    ]


@pytest.mark.parametrize(
    ("given", "judged", "said", "passed", "reason"),
    [
        (
            {},
            True,
            "re-embed",
            False,
            "no cheaper way keeps 95 % of the new model's ndcg@10; re-order keeps 90 % [88, 92]",
        ),
        ({"convert": 0.95}, True, "convert", True, "convert keeps 95 % [93, 97] of the new model's ndcg@10, 12.5 [5.0"),
        ({"convert": 0.96, "bridge": 0.97}, True, "bridge", True, "bridge keeps 97 % [95, 99]"),
        ({"convert": 0.97, "bridge": 0.96, "re_order": 0.99}, True, "convert", True, "convert keeps 97 %"),
        ({"re_order": 0.95}, True, "recall and re-order", True, "re-order from the top 100 keeps 95 % [93, 97] of the"),
        (
            {"re_embed": (-0.2, 0.0)},
            True,
            "stay",
            False,
            "the new model is not shown to be better on these queries: -10",
        ),
        ({"re_embed": (-0.2, -0.1), "stay": 0.95}, True, "stay", True, "the new model is worse on these queries: -15"),
        ({"re_embed": (-0.2, 0.0)}, False, "re-embed", False, "no cheaper way"),
        ({"stay": None, "convert": 0.95}, True, "convert", True, "convert keeps"),
    ],
)
def test_verdicts(given, judged, said, passed, reason):
    found = verdict(ways(**given), Gate("ndcg@10", 0.95), judged)
    assert found[0] == said and found[2] == passed
    assert found[1].startswith(reason)


def test_a_map_that_is_not_shown_to_beat_the_old_model_is_not_advised():
    close = ways(convert=0.97, re_order=0.98)
    close[1] = way("convert", 0.97, (0.0, 0.2))
    assert verdict(close, Gate("ndcg@10", 0.95), True)[0] == "recall and re-order"
    # Against the new model's own finds, the old one is no measure.
    assert verdict(close, Gate("ndcg@10", 0.95), False)[0] == "convert"


def test_a_share_below_the_gate_does_not_look_like_it():
    reason = verdict(ways(convert=0.9492), Gate("ndcg@10", 0.95), True)[1]
    assert "keeps 95 % of the new model's ndcg@10; convert keeps 94.9 % [" in reason
    close = ways()
    close[1] = way("convert", 0.97, (0.0, 0.2))
    reason = verdict(close, Gate("ndcg@10", 0.95), True)[1]
    assert reason.endswith("and is better than the old model by more than chance; convert keeps 97 % [95, 99]")


def test_costs_are_those_of_texts_at_a_rate():
    one = way("re-embed", 1.0, texts=7200)
    assert (one.costed(2, 150.4).hours, one.costed(2, 150.4).tokens) == (1.0, 1_082_880)
    assert (one.costed(0, 0).hours, one.costed(0, 0).tokens) == (None, None)


def test_a_ratio_is_of_means_and_its_interval_of_both_drawn_at_once():
    values, whole = normal(40).abs(), normal(40, seed=1).abs() + 1
    found, draws = Figure.ratio(values, whole), resampled(40)
    expected = values[draws].mean(1) / whole[draws].mean(1)
    assert found.value == pytest.approx(float(values.mean() / whole.mean()))
    low, high = expected.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert draws.shape == (1000, 40) and (int(draws.min()), int(draws.max())) == (0, 39)
    assert str(Figure(0.1234, 0.1, 0.2)) == "12.3 [10.0, 20.0]"
    assert Figure.ratio(values, torch.zeros(40)).value > 1e9


def test_the_measures_are_named_where_they_are_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)
    with pytest.raises(AtlasError, match=r"Search is measured by ir-measures - pip install 'latent-atlas\[migrate\]'"):
        scorer({"q": {"d": 1}})


def test_measures_count_places():
    pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
    score = scorer({"b": {"x": 1, "z": 2, "far": 1}, "a": {"y": 1}})
    found = score(["a", "b"], ["x", "y", "z"], torch.tensor([[0, 1, 2], [0, 1, 2]]))
    assert score.queries == ["b", "a"]
    gained = (1 + 2 / math.log2(4)) / (2 + 1 / math.log2(3) + 1 / math.log2(4))
    assert found["ndcg@10"].tolist() == pytest.approx([gained, 1 / math.log2(3)])
    assert found["recall@10"].tolist() == pytest.approx([2 / 3, 1])
    assert found["mrr@10"].tolist() == pytest.approx([1, 1 / 2])
    assert [*found] == [*MEASURES]


def test_leverage_is_the_distance_by_the_covariance_of_pairs():
    pairs, rows = normal(60, 5) + 0.5, normal(7, 5, seed=1)
    X = unit(pairs)
    C = torch.cov(X.T, correction=0)
    C = C + 0.1 * C.diagonal().mean() * torch.eye(5)
    away = unit(rows) - X.mean(0)
    torch.testing.assert_close(leverage(pairs)(rows), (away @ torch.linalg.inv(C) * away).sum(1))
    far = leverage(pairs[::2])
    share = (far(rows) > far(pairs[1::2]).quantile(0.95)).double().mean()
    assert outside(pairs, rows) == pytest.approx(float(share))


def test_of_many_rows_some_are_looked_at_from_the_first_to_the_last():
    pairs = normal(60, 5) + 3
    inside = pairs.mean(0)[None]
    assert outside(pairs, torch.cat([inside.expand(3000, -1), -inside.expand(1000, -1)])) == pytest.approx(
        0.25, abs=1e-3
    )
    assert outside(pairs, torch.cat([-inside, inside])) == outside(pairs, torch.cat([inside, -inside])) == 0.5


def test_documents_are_embedded_in_the_order_in_which_they_are_asked_for():
    queries, pairs, rows = normal(6, 4), normal(30, 4, seed=1), normal(230, 4, seed=2)
    asked = torch.zeros(230, dtype=torch.float64)
    for query in unit(queries.float()):
        for place, row in enumerate((unit(rows.float()) @ query).argsort(descending=True)[:200].tolist()):
            asked[row] += 1 / math.log2(2 + place)
    doubt = leverage(pairs)(rows)
    unasked = (asked == 0).nonzero().flatten().tolist()
    last = sorted(unasked, key=lambda row: -float(doubt[row]))
    found = order(queries, pairs, rows.split(50)).tolist()
    assert found[:150] == sorted(range(230), key=lambda row: -float(asked[row]))[:150]
    assert sorted(found) == [*range(230)]
    assert found[len(found) - len(last) :] == last


def test_a_curve_knows_how_many_pairs_its_maps_have_seen():
    trial = SimpleNamespace(pairs=Pairs(normal(160, 2), normal(160, 2), torch.arange(160)), documents=["d"] * 200)
    trial.fewer = lambda size, seed: (size, seed)
    asked = []

    def find(one, folds):
        asked.append((*one, folds))
        return torch.tensor([one[0] + one[1]] * 3)

    found = curve(trial, find, lambda rows: rows.double(), torch.ones(3))
    assert asked == [(20, 0, 4), (20, 1, 4), (40, 0, 4), (40, 1, 4), (80, 0, 4), (80, 1, 4), (160, 0, 4)]
    assert found.sizes == pytest.approx([size * (1 - 0.8 * size / 160 / 4) for size in (20, 40, 80, 160)])
    assert found.values[:, :, 0].tolist() == [[20, 21], [40, 41], [80, 81], [160, 160]]


def test_candidates_are_as_deep_as_the_gate_needs():
    asked = []

    def scores(found):
        asked.append(found.shape[1])
        return {"ndcg@10": torch.tensor([found.shape[1] / 200]).double()}

    trial = SimpleNamespace(candidates=lambda depth: depth, re_order=lambda rows: rows, part=1.0, queries_old=1)
    trial.documents, trial.stay = ["d"] * 300, lambda k: torch.zeros(1, k)
    one = SimpleNamespace(trial=trial, whole=trial, candidates=Measured._recalled(None, trial), _scores=scores)
    assert one.candidates.shape[1] == 200
    ceiling = {"ndcg@10": torch.tensor([1.0]).double()}
    for least, depth in ((0.2, 50), (0.25, 50), (0.26, 100), (0.5, 100), (0.9, 200), (1.1, 200)):
        one.gate = Gate("ndcg@10", least)
        found, there = Measured._deep_enough(one, ceiling)
        assert (found, float(there["ndcg@10"])) == (depth, depth / 200)
    # Ten in a twentieth of the index are two hundred in all of it.
    trial.part, one.gate = 1 / 20, Gate("ndcg@10", 0.2)
    assert Measured._deep_enough(one, ceiling)[0] == 200
    trial.documents = ["d"] * 120
    assert Measured._deep_enough(one, ceiling)[0] == 120


def test_what_is_embedded_is_counted_once_and_not_where_it_is_known():
    whole = SimpleNamespace(native=torch.tensor([0, 4]), documents=["d"] * 9)
    one = SimpleNamespace(candidates=torch.tensor([[0, 1, 2], [1, 3, 4]]), whole=whole)
    assert [Measured.texts(one, depth) for depth in (1, 2, 3)] == [1, 2, 3]
    assert Measured.everything.fget(one) == 7


@pytest.mark.parametrize(("documents", "known"), [(20, 20), (5001, 5001), (100, 99)])
def test_an_index_that_is_small_or_large_or_not_all_known_is_not_measured_mixed(documents, known):
    trial = SimpleNamespace(documents=range(documents), native=range(known))
    assert rolling(SimpleNamespace(trial=trial), None) == {}


def seen(documents=200, known=200, sampled=False, part=1.0, **others):
    """Return what `unknown` looks at, of which nothing is to be told."""
    whole = SimpleNamespace(
        documents=[f"d{i}" for i in range(documents)],
        native=torch.arange(known),
        queries=["q0", "q1"],
        old=SimpleNamespace(tensor=torch.ones(1)),
        part=part,
    )
    trial = SimpleNamespace(**{**vars(whole), "documents": whole.documents[:known]}) if sampled else whole
    given = {"q0": {"d0": 1}}
    return SimpleNamespace(**{"trial": trial, "whole": whole, "given": given, "queries": 50, **others})


def outcome(recalled=5, everything=10, **recall):
    figures = {"stay": 0.5, "re-embed": 0.5, **{name.replace("_", "-"): value for name, value in recall.items()}}
    costs = {"re-order": recalled, "re-embed": everything}
    return [
        Way(name, "", {"recall@10": Figure(figures.get(name, 0.5), 0, 1)}, Figure(1, 1, 1), texts=costs.get(name, 0))
        for name in ("stay", "re-order", "re-embed")
    ]


NONE = {"old index": 0.3, "new queries": 0.3}
EVEN = {"in order": {0.0: 0.5, 0.5: 0.491, 1.0: 0.6}}
HALF = SimpleNamespace(tensor=torch.ones(1, dtype=torch.float16))


@pytest.mark.parametrize(
    ("measured", "outcomes", "outside", "curve", "notes"),
    [
        ({}, {}, NONE, {0.0: 0.5, 0.5: 0.491, 1.0: 0.6}, []),
        ({"given": None}, {}, NONE, {}, ["There are no judgements: figures are against the new model's finds, and"]),
        ({"queries": 49}, {}, NONE, {}, ["There are 49 queries that count, which tell only large differences"]),
        ({"known": 199}, {}, NONE, {}, ["The new vectors of 1 documents are not known, so that the ceiling may be a"]),
        (
            {"documents": 2000, "known": 400, "sampled": True, "part": 0.2},
            {},
            NONE,
            {},
            ["Figures are of the 400 documents whose new vectors are known; in all 2,000 more compete"],
        ),
        (
            {"documents": 2000, "known": 380, "sampled": True, "part": 0.19},
            {},
            NONE,
            {},
            [
                "Figures are of the 380 documents",
                "This sample tells nothing of re-ordering fewer than 53 candidates - embed the old index's top 50 of",
            ],
        ),
        ({}, {"recalled": 6}, NONE, {}, ["Re-ordering embeds 6 of the 10 documents that re-embedding does, for"]),
        ({}, {}, {**NONE, "old index": 0.31}, {}, ["31% of the old index lie where pairs do not, and 5 % would by"]),
        ({}, {}, {**NONE, "new queries": 0.31}, {}, ["31% of the new queries lie where pairs do not, and 5 % would"]),
        ({}, {}, NONE, {0.0: 0.5, 0.5: 0.489, 1.0: 0.6}, ["With 50% embedded anew a mixed index finds less than a"]),
        ({}, {}, NONE, {0.0: 0.5, 0.5: 0.6, 1.0: 0.4}, ["With 100% embedded anew a mixed index finds less than a"]),
        ({}, {"stay": 0.099}, NONE, {}, ["The old queries find hardly more than chance does - check that they are of"]),
        ({"documents": 99, "known": 99}, {"stay": 0.1}, NONE, {}, []),
        ({"documents": 100, "known": 100}, {"stay": 0.199}, NONE, {}, ["The old queries find hardly more than chance"]),
        (
            {"given": {"q0": {"d0": 1, "x": 1}, "q7": {"y": 0}}},
            {},
            NONE,
            {},
            ["The judgements name 1 queries and 2 documents of which there are no vectors; they do not count"],
        ),
    ],
)
def test_limits_are_told_from_where_they_begin(measured, outcomes, outside, curve, notes):
    curves = {"in order": {share: Figure(value, 0, 1) for share, value in curve.items()}} if curve else {}
    told = unknown(seen(**measured), outcome(**outcomes), outside, curves)
    assert len(told) == len(notes), told
    for note, begin in zip(told, notes, strict=True):
        assert note.startswith(begin)


def test_a_new_model_that_finds_what_chance_would_is_refused():
    check_better_than_chance(seen(), outcome(re_embed=0.1))
    check_better_than_chance(seen(given=None), outcome(re_embed=0.0))
    with pytest.raises(
        AtlasError, match="The new queries find hardly more than chance does - check that they are of th"
    ):
        check_better_than_chance(seen(), outcome(re_embed=0.099))
