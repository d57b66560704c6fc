"""What the bases of components say where a subclass leaves a method out, or gets something it cannot take."""

from __future__ import annotations

import inspect
import pickle
import warnings

import pytest
import torch

import atlas
from atlas import metrics
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.engine import each
from atlas.components.head import HeadModel
from atlas.components.kinds import KINDS
from atlas.components.linear import LinearAligner
from atlas.components.sampler import Sampler
from atlas.errors import AtlasError, AtlasWarning
from atlas.items.batches import Items
from atlas.models.heads import create_head

LEFT_TO_SUBCLASSES = {
    "aligner": ("_fit", "_fit_seeds", "_transform", "_inverse_transform"),
    "aggregator": ("chart_aligner", "_fit", "_combine"),
    "encoder": ("dim", "_fit", "_encode"),
    "engine": ("map",),
    "exporter": ("_export",),
    "sampler": ("_sample",),
    "store": ("dim", "count", "read", "fetch", "begin", "put", "notes", "note", "switch", "drop"),
    "head": ("_fit", "_scores"),
    "linear": ("solve",),
    "items": ("_is_bad", "_keep", "_batch"),
}
BASES = {**KINDS, "head": HeadModel, "linear": LinearAligner, "items": Items}


LARGE = torch.full((4, 3), 2.0**260, dtype=torch.float64) * torch.arange(1, 5)[:, None]
SMALL = 1 / LARGE


USES = {
    "sampler": lambda X: atlas.create(Sampler, "uniform").sample(X, 2),
    "head": lambda X: create_head("nearest-mean").fit(X, [0, 1, 0, 1]),
    "relative": lambda X: atlas.create(Aligner, "relative").fit(X),
    "kernel": lambda X: atlas.create(Aligner, "kernel").fit(X / X, X),
    "aggregator": lambda X: atlas.create(Aggregator, "mean").fit({"a": X / X, "b": X}),
    "added": lambda X: atlas.create(Aggregator, "mean").fit({"a": X / X, "b": X / X}).add("c", X),
    "r2": lambda X: metrics.r2(X / X, X),
    "r2-of": lambda X: metrics.r2(X, torch.arange(12.0).view(4, 3)),
    "separability": lambda X: metrics.separability(X, [0, 0, 1, 1]),
    "cca": lambda X: metrics.cca(X, X),
    "unbiased-cka": lambda X: metrics.unbiased_cka(X, X),
    "rbf-cka": lambda X: metrics.rbf_cka(X, X),
}


@pytest.mark.parametrize("X", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_vectors_whose_squares_float64_cannot_hold_are_refused(use, X):
    with pytest.raises(
        AtlasError, match="Float64 cannot hold the squares of these vectors - bring them to another unit"
    ):
        use(X)


def test_work_on_shards_is_counted_batch_by_batch_or_shard_by_shard():
    seen: list[tuple[int, ...]] = []

    def progress(batches, total, what):
        given = []
        try:
            for one in batches:
                given.append(one)
                yield one
        finally:
            seen.append((len(given), total, what))

    class Here:
        def map(self, function, items):
            return map(function, items)

    def work(item, counted=iter):
        return [item, *counted(range(item))]

    wanted = [[2, 0, 1], [3, 0, 1, 2]]
    assert list(each(work, [2, 3], [2, 3], None, progress, "here")) == wanted
    assert list(each(work, [2, 3], [2, 3], Here(), progress, "there")) == wanted
    assert list(each(work, [], [], Here(), progress, "nothing")) == []
    # More batches than were foretold are worked on, too.
    assert list(each(work, [2, 3], [1, 1], None, progress, "more")) == wanted
    assert seen == [(5, 5, "here"), (5, 5, "there"), (0, 0, "nothing"), (2, 2, "more")]


def test_an_encoder_is_loaded_as_its_own_kind_or_any(tmp_path):
    encoder = atlas.create(Encoder, "precomputed", model="m")
    list(encoder.encode(torch.ones(3, 2)))
    atlas.save(encoder, tmp_path / "m")
    for kind in (Encoder, type(encoder)):
        assert kind.from_pretrained(tmp_path / "m").identity() == encoder.identity()
    with pytest.raises(AtlasError, match=r"is the space of encoder 'precomputed' - load it with Encoder\.from_p"):
        type(atlas.create(Encoder, "pixels")).from_pretrained(tmp_path / "m")


def test_an_encoder_that_another_process_gets_is_the_same_without_what_can_be_made_again():
    encoder = atlas.create(Encoder, "network", layers=[{"type": "linear", "in_features": 2, "out_features": 3}])
    encoder.load_state_dict({"0.weight": torch.arange(6.0).view(3, 2), "0.bias": torch.ones(3)})
    encoder.stored_id = "mine"
    [X] = encoder.encode(torch.eye(2))
    there = pickle.loads(pickle.dumps(encoder))
    assert there.stored_id == "mine" and there == encoder and "_built" in vars(encoder).keys() - vars(there).keys()
    assert torch.equal(next(there.encode(torch.eye(2))), X)


def test_linear_aligners_are_fitted_on_paired_rows():
    with pytest.raises(AtlasError, match="Aligner 'linear' needs paired rows, got 4 in X and 3 in Y"):
        atlas.create(Aligner, "linear").fit(torch.rand(4, 2), torch.rand(3, 2))
    with pytest.raises(AtlasError, match="Aligner 'linear' needs the vectors of both spaces, got X alone"):
        atlas.create(Aligner, "linear").fit(torch.rand(4, 2))


@pytest.mark.parametrize(("deviations", "share"), [(130_000, None), (190_000, "1%")])
def test_what_rows_of_float32_lose_where_they_are_mapped_is_half_a_rounding_of_each_product(deviations, share):
    X = (torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) + deviations).float()
    told = pytest.warns(AtlasWarning, match=f"loses {share}") if share else warnings.catch_warnings()
    with told:
        warnings.simplefilter("always" if share else "error")
        atlas.create(Aligner, "procrustes", scale=False).fit(X, X)


@pytest.mark.parametrize(("kind", "name"), [(k, name) for k, names in LEFT_TO_SUBCLASSES.items() for name in names])
def test_a_method_that_a_subclass_leaves_out_does_nothing_silently(kind, name):
    base = BASES[kind]
    method = inspect.getattr_static(base, name)
    function = method.fget if isinstance(method, property) else method
    with pytest.raises(NotImplementedError):
        function(object.__new__(base), *[None] * (len(inspect.signature(function).parameters) - 1))
