"""Converted and mixed indexes, and verdicts, on vectors of public encoders."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import Vectors
from atlas.authors import unit
from atlas.migration.advice import GATE, Gate, verdict
from atlas.migration.advising import question_of
from atlas.migration.judgements import read_judgements
from atlas.migration.measuring import Measured
from atlas.migration.methods import Method
from atlas.migration.rolling import rolling
from atlas.migration.trial import Maps
from atlas.migration.unknown import _of_mixed

pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
METHODS = {"convert": Method("kernel", {"spread": True}, 0.0), "bridge": Method("cca", {"ridge": 3.0}, 0.0)}


def vectors(name, encoder, rows, ids):
    X = torch.tensor(np.load(DATA / "vectors" / f"{name}.{encoder}.npy")[rows]).float()
    return Vectors.of(unit(X), encoder, ids=ids)


def cranfield(old, new, pairs):
    """Return the question of a change on Cranfield, all of whose documents are known by the new model."""
    ids = json.loads((DATA / "vectors" / "cran-docs.ids.json").read_text())
    names = {"docs": ids, "queries": [str(i + 1) for i in range(225)]}
    (before, after), (asked_before, asked) = (
        [vectors(f"cran-{what}", encoder, slice(None), names[what]) for encoder in (old, new)] for what in names
    )
    some = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:pairs]
    return question_of(
        old=before,
        new=after.take(some),
        new_index=after,
        queries_old=asked_before,
        queries_new=asked,
        judgements=read_judgements(DATA / "cranfield" / "cranqrel.trec.txt"),
    )


def banking(old, new, pairs=300, documents=700, queries=150):
    """Return the question of a change on questions of banking77, and the same with all new vectors.

    Those of the same intent answer each other.
    """
    labels = {}
    for part in ("train", "test"):
        with (DATA / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            labels[part] = [row["category"] for row in csv.DictReader(file)]
    # Others than those of docs/migration/study.py, for the most part.
    random = np.random.default_rng(7)
    rows, asked = (random.permutation(len(labels[p]))[:n] for p, n in (("train", documents), ("test", queries)))
    names = [f"d{i}" for i in rows], [f"q{i}" for i in asked]
    (before, after), (asked_before, asked_after) = (
        [vectors(f"banking-{part}", encoder, some, ids) for encoder in (old, new)]
        for part, some, ids in (("train", rows, names[0]), ("test", asked, names[1]))
    )
    same = {f"q{q}": {f"d{d}": 1 for d in rows if labels["train"][d] == labels["test"][q]} for q in asked}
    given = {"queries_old": asked_before, "queries_new": asked_after, "judgements": same}
    sample = after.take(torch.arange(pairs))
    return (question_of(old=before, new=sample, new_index=index, **given) for index in (None, after))


def measured(question, maps):
    return Measured(question.trial, question.whole, question.given, Gate.of(GATE), METHODS, maps)


def maps_of(question, folds=5, ways=("convert", "bridge")):
    return {way: Maps.of(METHODS[way].create(), question.trial.pairs, way, folds) for way in ways}


def mixed_by(aligner, new):
    """Return the curves of a mixed index whose documents were converted from USE by an aligner."""
    question = cranfield("use", new, 600)
    maps = {"convert": Maps.of(aligner.create(), question.trial.pairs, "convert", 2)}
    return rolling(measured(question, maps), maps["convert"])


def test_mapped_documents_that_crowd_out_those_of_the_new_model_are_reported():
    # Cosines of e5 are all large, and documents that a ridge draws to the mean lie nearer to its queries than its own.
    mixed = mixed_by(Method("linear", {"ridge": 3.0}, 0.0), "e5")
    assert mixed["by chance"][0.75].value < mixed["by chance"][0.0].value
    assert [*_of_mixed(mixed).values()] == [True]


@pytest.mark.parametrize("new", ["e5", "minilm"])
def test_documents_mapped_by_a_kernel_crowd_out_none(new):
    mixed = mixed_by(METHODS["convert"], new)
    for curve in mixed.values():
        assert curve[0.5].value > curve[0.25].value > curve[0.0].value + 0.01
    assert [*_of_mixed(mixed).values()] == [False]


def test_the_curved_map_beats_the_old_model():
    question = cranfield("wordllama", "minilm", 1000)
    maps = maps_of(question, 4, ["convert"])
    found = measured(question, maps)
    points = {
        "stay": found.figure(question.trial.stay()).value,
        "re-embed": found.figure(question.trial.re_embed()).value,
        "convert": found.figure(question.trial.convert(maps["convert"])).value,
    }
    assert points["stay"] == pytest.approx(0.342, abs=0.002)
    assert points["re-embed"] == pytest.approx(0.402, abs=0.002)
    assert points["convert"] > points["stay"] + 0.005


def test_on_a_set_that_no_choice_was_made_on_the_verdict_is_mostly_that_of_hindsight():
    said, right = [], []
    for old, new in itertools.chain(*(((one, "minilm"), ("minilm", one)) for one in ("use", "wordllama", "e5"))):
        question, everything = banking(old, new)
        maps = maps_of(question, 2)
        for found, one in ((said, question), (right, everything)):
            found.append(verdict(measured(one, maps).ways(), Gate.of(GATE), True)[0])
    assert sum(one == other for one, other in zip(said, right, strict=True)) >= 5
    assert {"stay", "recall and re-order"} <= {*right}
