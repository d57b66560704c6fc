"""What the built-in components and heads do unless they are told otherwise, and what they claim of themselves."""

from __future__ import annotations

import dataclasses

from atlas.components.kinds import KINDS
from atlas.models.heads import HEADS
from atlas.plugins.catalogue import components

CHARTS = {"similarity": "cosine", "centre": False}
ROTATIONS = {"scale": True, "standardise": False, "iterations": 100, "tolerance": 1e-7}
PROCRUSTES = {"scale": True, "centre": True, "standardise": False}
# Options of another default would give other results for the same call.
DEFAULTS = {
    "encoder network": {"weights": "", "input_shape": []},
    "encoder pixels": {"size": None, "grayscale": False},
    "encoder precomputed": {"revision": ""},
    "encoder tfidf-svd": {
        **{"dim": 256, "analyzer": "word", "ngram_min": 1, "ngram_max": 1, "lowercase": True, "sublinear": False},
        **{"min_df": 2, "max_terms": 20000, "seed": 0},
    },
    "sampler farthest-point": {"metric": "cosine"},
    "sampler k-means": {"iterations": 10, "centre": True, "trials": 1},
    "aligner auto": {"role": "index"},
    "aligner cca": {"rank": None, "ridge": 0.3},
    "aligner kernel": {"sharpness": 2.0, "ridge": 0.1, "landmarks": 2000, "spread": False, "seed": 0},
    "aligner linear": {"bias": True, "ridge": None},
    "aligner linear-orthogonal": {**PROCRUSTES, "ridge": None},
    "aligner low-rank": {"rank": 64, "ridge": None},
    "aligner mlp": {
        **{"residual": True, "width": 2, "depth": 1, "steps": 3000, "held_out": 0.2, "lr": 2e-3},
        **{"weight_decay": 0.0, "seed": 0},
    },
    "aligner procrustes": PROCRUSTES,
    "aligner relative": {
        **CHARTS,
        **{"power": 1.0, "ridge": None, "keep": None, "delta": None, "subspaces": 8, "seed": 0},
    },
    "aligner two-way": {"ridge": None, "ridge_back": None},
    "aggregator corrected-procrustes": {**ROTATIONS, "steps": 400, "seed": 0},
    "aggregator generalized-cca": {"rank": None, "ridge": 0.3},
    "aggregator generalized-procrustes": ROTATIONS,
    "aggregator relative-concat": CHARTS,
    "aggregator relative-mean": CHARTS,
    "aggregator whitened-concat": {
        "shrink": 0.1,
        "temperature": None,
        "neighbours": 5,
        "references": 1000,
        "seed": 0,
    },
    "store parquet": {"id": "", "vector": "", "labels": ""},
    "engine processes": {"workers": None},
    "head linear": {"loss": "logistic", "penalty": 1e-3},
    "head network": {"layers": [], "hidden": 256, "epochs": 20, "lr": 1e-3, "batch_size": 128},
    "head kernel": {"landmarks": 1000, "gamma": 0.3, "penalty": 1e-4},
    "head nearest-mean": {"metric": "cosine"},
    "head knn": {"k": 5, "metric": "cosine"},
}


def built_in() -> dict[str, type]:
    found = {
        f"{kind} {cls.name}": cls
        for kind, base in KINDS.items()
        for classes in components(base).values()
        for cls in classes
        if cls.__module__.startswith("atlas_builtin.")
    }
    return found | {f"head {name}": cls for name, cls in HEADS.items()}


def test_every_option_has_its_default():
    given = {
        name: {o.name: o.default for o in cls.options() if o.default is not dataclasses.MISSING}
        for name, cls in built_in().items()
    }
    assert {name: options for name, options in given.items() if options} == DEFAULTS


def test_components_claim_what_they_can_do():
    def those(claim: str, value: object = True) -> set[str]:
        return {name for name, cls in built_in().items() if getattr(cls, claim, None) == value}

    affine = {"auto", "cca", "identity", "linear", "linear-orthogonal", "low-rank", "procrustes"}
    assert those("affine") == {f"aligner {name}" for name in affine}
    assert those("streaming") == {f"aligner {name}" for name in affine - {"auto"}}
    assert those("invertible") == {f"aligner {name}" for name in affine | {"two-way"}}
    assert those("fits_on", "source") == {"aligner relative"}
    assert those("fits") == {f"encoder {name}" for name in ("pixels", "precomputed", "tfidf-svd")}
    assert those("partial") == {
        f"aggregator {name}"
        for name in ("concat", "mean", "corrected-procrustes", "generalized-cca", "generalized-procrustes")
    } | {"aggregator whitened-concat"}
    assert those("alone") == {"aggregator whitened-concat"}
    assert those("moves") == {"aggregator corrected-procrustes"}
    assert those("regresses") == {"head linear", "head network", "head kernel"}
    assert not those("stitched") and not those("prunes")
