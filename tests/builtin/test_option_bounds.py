"""The first and the last value that each option takes, and those just beyond."""

from __future__ import annotations

import math

import pytest

import atlas
from atlas.components.kinds import KINDS
from atlas.errors import AtlasError
from atlas.models.heads import create_head

ABOVE_0 = ([1e-9, 1e9], [0.0, -1.0, math.inf])
FROM_0 = ([0.0, 1e9], [-1e-9, math.inf])
FROM_1 = ([1], [0])
# What is taken, and what is not.
BOUNDS = {
    "aligner mlp": {
        "width": FROM_1,
        "depth": FROM_1,
        "steps": FROM_1,
        "lr": ABOVE_0,
        "held_out": ([0.0, 0.5], [-0.01, 0.51]),
        "weight_decay": ([0.0, 499.0], [-0.1, 500.0]),
    },
    "aligner kernel": {
        "sharpness": ABOVE_0,
        "ridge": ([1e-6, 1e9], [9e-7, 0.0, math.inf]),
        "landmarks": ([2], [1]),
        "seed": ([0, 2**63 - 1], [-1, 2**63]),
    },
    "aligner linear": {"ridge": FROM_0},
    "aligner linear-orthogonal": {"ridge": FROM_0},
    "aligner low-rank": {"rank": FROM_1, "ridge": FROM_0},
    "aligner cca": {"rank": FROM_1, "ridge": FROM_0},
    "aligner relative": {
        "power": ([1.0, 16.0], [0.99, 16.01]),
        "ridge": FROM_0,
        "keep": FROM_1,
        "delta": ([0.0, 1.0], [-0.01, 1.01]),
        "subspaces": FROM_1,
    },
    "aggregator generalized-procrustes": {"iterations": FROM_1, "tolerance": ([0.0, 0.999], [-0.1, 1.0])},
    "aggregator corrected-procrustes": {"steps": FROM_1, "iterations": FROM_1},
    "aggregator generalized-cca": {"rank": FROM_1, "ridge": FROM_0},
    "aggregator whitened-concat": {
        "shrink": ([1e-9, 1.0], [0.0, 1.01]),
        "temperature": ABOVE_0,
        "neighbours": ([1, 999], [0, 1000]),
        "references": ([6], [5]),
    },
    "sampler k-means": {"iterations": ([0], [-1]), "trials": ([1, 100], [0, 101])},
    "encoder pixels": {"size": FROM_1},
    "encoder tfidf-svd": {
        "dim": FROM_1,
        "ngram_min": ([1], [0, 2]),
        "ngram_max": ([1, 2], [0]),
        "min_df": FROM_1,
        "max_terms": FROM_1,
    },
    "head linear": {"penalty": ABOVE_0},
    "head network": {"hidden": FROM_1, "epochs": FROM_1, "lr": ABOVE_0, "batch_size": FROM_1},
    "head kernel": {"landmarks": FROM_1, "gamma": ABOVE_0, "penalty": ABOVE_0},
    "head knn": {"k": FROM_1},
}
CASES = [(name, option, *values) for name, options in BOUNDS.items() for option, values in options.items()]


def make(name: str, **options):
    kind, name = name.split()
    return create_head(name, options) if kind == "head" else atlas.create(KINDS[kind], name, options)


@pytest.mark.parametrize(("name", "option", "taken", "refused"), CASES, ids=[" ".join(case[:2]) for case in CASES])
def test_an_option_is_taken_up_to_its_bounds(name, option, taken, refused):
    for value in taken:
        assert getattr(make(name, **{option: value}), option) == value
    for value in refused:
        with pytest.raises(AtlasError, match=str(value).replace("+", r"\+")):
            make(name, **{option: value})


def test_options_that_go_together_and_those_that_do_not():
    make("aligner relative", similarity="inner", power=1.0, centre=True, keep=3, delta=0.5)
    make("aligner relative", similarity="whitened", ridge=0.0)
    for options in (
        {"similarity": "inner", "power": 2.0},
        {"similarity": "whitened", "keep": 3},
        {"similarity": "whitened", "delta": 0.5},
        {"similarity": "euclidean", "centre": True},
    ):
        with pytest.raises(AtlasError, match=f"with similarity '{options['similarity']}'"):
            make("aligner relative", **options)
    make("aligner procrustes", standardise=True)
    with pytest.raises(AtlasError, match="standardises about the mean - leave centre on"):
        make("aligner procrustes", standardise=True, centre=False)
    for name in ("ridge", "ridge_back"):
        assert getattr(make("aligner two-way", **{name: 0.0}), name) == 0
        with pytest.raises(AtlasError, match=r"needs a ridge of 0 or more, got -0\.5"):
            make("aligner two-way", **{name: -0.5})
