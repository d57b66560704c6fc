"""The checks for authors pass what is well made, notice every broken promise, and say what is wrong."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import atlas
import atlas.testing.exporters
from atlas.components.aggregator import Aggregator
from atlas.components.encoder import Encoder
from atlas.components.sampler import Sampler
from atlas.plugins.scaffold import contents
from atlas.testing import CHECKS, check_aggregator, check_aligner, check_encoder, check_exporter, check_sampler

ALL = {
    "aligner": check_aligner,
    "encoder": check_encoder,
    "sampler": check_sampler,
    "aggregator": check_aggregator,
    "exporter": check_exporter,
}


def honest(kind):
    """Return the class that a new plugin of a kind comes with."""
    name = f"atlas_honest_{kind}"
    if name not in sys.modules:
        module = type(sys)(name)
        sys.modules[name] = module
        exec(contents(f"honest-{kind}", kind)[f"{name}.py"], vars(module))
    return getattr(sys.modules[name], f"Honest{kind.capitalize()}")


@pytest.mark.parametrize("kind", ALL)
def test_what_a_new_plugin_comes_with_keeps_every_promise(kind):
    ALL[kind](honest(kind)())


@pytest.mark.parametrize("name", ["relative-mean", "mean", "generalized-procrustes"])
def test_built_in_aggregators_keep_every_promise(name):
    check_aggregator(atlas.create(Aggregator, name))


@pytest.mark.parametrize("name", ["uniform", "stratified", "k-means"])
def test_built_in_samplers_keep_every_promise(name):
    check_sampler(atlas.create(Sampler, name))


def test_built_in_encoders_keep_every_promise():
    check_encoder(atlas.create(Encoder, "pixels"), torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    check_encoder(
        atlas.create(Encoder, "tfidf-svd", dim=4, min_df=1), [f"text number {i} of {i % 5}" for i in range(20)]
    )


Words, Rings, Median, Npz = honest("encoder"), honest("sampler"), honest("aggregator"), honest("exporter")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Wait for nothing: that the time shows is tested where that fault is planted."""
    monkeypatch.setattr(atlas.testing.exporters, "LATER", 0)


class _Forgets(Words):
    def config(self):
        return {"columns": self.columns + 1}


class _TakesAnything(Words):
    takes = "anything"

    def ready(self, items):
        return items


class _Wide(Words):
    def _batches(self, items, batch_size, device):
        return (torch.cat([X, X], 1) for X in super()._batches(items, batch_size, device))


class _Drifts(Words):
    seen = 0

    def _encode(self, batch, device):
        self.seen += 1
        return super()._encode(batch, device) + self.seen


class _NormalisesTheBatch(Words):
    def _encode(self, batch, device):
        X = super()._encode(batch, device)
        return X - X.mean(0)


class _ReversesItems(Words):
    def ready(self, items):
        items[:] = items[::-1]
        return super().ready(items)


class _MovesItsSpace(Words):
    def identity(self):
        self.asked = getattr(self, "asked", 0) + 1
        return {**super().identity(), "asked": self.asked}


class _Hides(Words):
    scale = 1.0

    def __post_init__(self):
        type(self).scale += 1
        self.mine = type(self).scale

    def _encode(self, batch, device):
        return super()._encode(batch, device) * self.mine


class _Learns(Words):
    fits = True

    def _fit(self, items):
        return {"mean": super()._encode(items[:], "cpu").mean(0)}

    def _encode(self, batch, device):
        return super()._encode(batch, device) - self.state["mean"]


class _LearnsInSecret(_Learns):
    def identity(self):
        return self.config()


class _DividesByLength(Words):
    def _encode(self, batch, device):
        return super()._encode(batch, device) / torch.tensor([[1 / len(text.split())] for text in batch])


class _Shuffles(Words):
    def _encode(self, batch, device):
        random.random()
        return super()._encode(batch, device)


class _Noisy(Words):
    def _encode(self, batch, device):
        return super()._encode(batch, device) + torch.initial_seed() % 7


class _TooFew(Rings):
    def sample(self, vectors, n, *, seed=0, labels=None):
        return super().sample(vectors, n, seed=seed, labels=labels)[: max(1, n - 1)]


class _Repeats(Rings):
    def _sample(self, X, n, generator, labels):
        return torch.randint(len(X), (n,), generator=generator)


class _Beyond(Rings):
    def _sample(self, X, n, generator, labels):
        return super()._sample(X, n, generator, labels) + 1


class _OwnChance(Rings):
    def _sample(self, X, n, generator, labels):
        return torch.randperm(len(X))[:n]


class _System(Rings):
    def _sample(self, X, n, generator, labels):
        return torch.tensor(random.SystemRandom().sample(range(len(X)), n))


class _Scales(Rings):
    def _sample(self, X, n, generator, labels):
        return super()._sample(X.mul_(2), n, generator, labels)


class _SeesArrays(Rings):
    def sample(self, vectors, n, *, seed=0, labels=None):
        return super().sample(vectors, n, seed=seed + isinstance(vectors, np.ndarray), labels=labels)


class _Unique(Rings):
    def _sample(self, X, n, generator, labels):
        return torch.arange(len(X.unique(dim=0)))[:n]


class _TakesNaN(Rings):
    def sample(self, vectors, n, *, seed=0, labels=None):
        return super().sample(torch.as_tensor(vectors).nan_to_num(), n, seed=seed, labels=labels)


class _Copies(Median):
    def fit(self, views, items=None):
        return super().fit(views, items) and type(self)()


class _Reorders(Median):
    def _fit(self, views, items):
        return dict(reversed(super()._fit(views, items).items()))


class _OtherCharts(Median):
    def chart_aligner(self):
        return atlas.create(atlas.Aligner, self.aligner if getattr(self, "charts", None) else "linear")


class _Doubles(Median):
    def _combine(self, rows, present):
        return torch.cat([super()._combine(rows, present)] * 2, 1)


class _Divides(Median):
    def _combine(self, rows, present):
        return rows.sum(1) / (present.sum(1, keepdim=True) - 1)


class _Centres(Median):
    def _combine(self, rows, present):
        combined = super()._combine(rows, present)
        return combined - combined.mean(0)


class _CountsAbsent(Median):
    def combine(self, rows, present):
        return self._combine(rows, present)

    def _combine(self, rows, present):
        return rows.mean(1)


class _ByPosition(Median):
    def _fit(self, views, items):
        return super()._fit(views, {space: torch.arange(len(X)) for space, X in views.items()})


class _SaysPartial(Median):
    partial = True


class _Zeroes(Median):
    def _view(self, space, vectors):
        vectors[0] = 0
        return super()._view(space, vectors)


class _Piles(Median):
    seen = 0

    def _fit(self, views, items):
        self.seen += 1
        return super()._fit({space: X + self.seen for space, X in views.items()}, items)


class _Keeps(Median):
    def _fit(self, views, items):
        charts = super()._fit(views, items)
        self.kept = 1.0
        return charts

    def _combine(self, rows, present):
        return super()._combine(rows, present) + getattr(self, "kept", 0)


class _Double(Median):
    def state_dict(self):
        return {name: t.double() for name, t in super().state_dict().items()}


class _RefitsAll(Median):
    def _add(self, space, X, items):
        for name, chart in self.charts.items():
            self.charts[name] = type(chart)().load_state_dict({k: t + 1 for k, t in chart.state_dict().items()})
        return super()._add(space, X, items)


class _TakesOne(Median):
    def fit(self, views, items=None):
        return super().fit(views if len(views) > 1 else {**views, "again": next(iter(views.values()))}, items)


class _Reseeds(Median):
    def _fit(self, views, items):
        torch.manual_seed(0)
        return super()._fit(views, items)


class _WritesBeside(Npz):
    def _export(self, model, path):
        super()._export(model, path)
        (path.parent / "map.log").write_text("written")


class _WritesElsewhere(Npz):
    def export(self, model, out, *, overwrite=False):
        return super().export(model, out, overwrite=overwrite).with_suffix("")


class _WritesNothing(Npz):
    def _export(self, model, path):
        path.touch()


class _WritesAnEmptyFolder(Npz):
    writes = ()

    def _export(self, model, path):
        pass


class _Replaces(Npz):
    def target(self, path, overwrite):
        return super().target(path, True)


class _TakesAnyModel(Npz):
    def _check(self, model):
        pass

    def _export(self, model, path):
        path.write_text(str(model))


class _TakesAnyMap(Npz):
    def _check(self, model):
        if isinstance(model, str):
            super()._check(model)


class _ChangesTheMap(Npz):
    def _export(self, model, path):
        super()._export(model, path)
        model.tensors()["bias"].add_(1)


class _ReseedsAll(Npz):
    def _export(self, model, path):
        torch.manual_seed(0)
        super()._export(model, path)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (_Forgets, "must come back from its config with the same options"),
        (_TakesAnything, "must take one of text, images, arrays, takes 'anything'"),
        (_Wide, r"must make vectors of shape (12, 256), made (12, 512)"),
        (_Drifts, "must make the same vectors of the same items - turn off dropout"),
        (_NormalisesTheBatch, "must make the same vectors in batches of 1 - padding or batch statistics"),
        (_ReversesItems, "must leave its items as they are"),
        (_MovesItsSpace, "must have the same space before and after encoding"),
        (_Hides, "must make the same vectors when it is made again"),
        (_LearnsInSecret, "must have another space when learning from"),
        (_DividesByLength, "must encode '' or refuse it with an AtlasError, raised ZeroDivisionError"),
        (_Shuffles, "must leave the global random state alone"),
        (_Noisy, "must make the same vectors whatever the global seed"),
        (_TooFew, "must return 2 rows, returned 1"),
        (_Repeats, "distinct rows of 120"),
        (_Beyond, "distinct rows of 120"),
        (_OwnChance, "must leave the global random state alone - take all chance from the generator"),
        (_System, "must draw the same rows for the same seed"),
        (_Scales, "must leave its inputs as they are"),
        (_SeesArrays, "must draw the same rows from an array as from a tensor"),
        (_Unique, "chose no 40 distinct rows"),
        (_TakesNaN, "must refuse NaN with an AtlasError"),
        (_Copies, "must return itself from fit()"),
        (_Reorders, "must have charts for ['one', 'two', 'three'], in this order, has ['three'"),
        (_OtherCharts, "must make charts as chart_aligner() does, Procrustes, made Linear"),
        (_Doubles, "must combine to (90, 6) from all spaces, got (90, 12)"),
        (_Divides, "must combine to finite numbers from 'one' alone"),
        (_Centres, "must combine an item alone as among others"),
        (_CountsAbsent, "must not count a chart in which an item is not present"),
        (_ByPosition, "must give the same chart of 'two' when rows come in another order - pair them by items"),
        (_Zeroes, "must leave the vectors it is fitted on as they are"),
        (_Piles, "must forget the first fit in the second"),
        (_Keeps, "must combine to the same bits after saving and loading"),
        (_Double, "must have float32, contiguous, CPU tensors, 'one.weight' is torch.float64"),
        (_RefitsAll, "must leave the other charts as they are when a space is added"),
        (_TakesOne, "must refuse a single space with an AtlasError"),
        (_Reseeds, "must leave the global random state alone"),
        (_WritesBeside, "must write exported.npz and nothing beside it, wrote ['exported.npz', 'map.log']"),
        (_WritesElsewhere, "must return where it wrote, exported.npz, returned"),
        (_WritesNothing, "must write a file that holds something"),
        (_WritesAnEmptyFolder, "must write a folder that holds something"),
        (_Replaces, "must refuse a place that holds something (overwrite=False) with an AtlasError"),
        (_TakesAnyModel, "must refuse a text with an AtlasError"),
        (_TakesAnyMap, "must refuse a map that is not affine with an AtlasError"),
        (_ChangesTheMap, "must leave the alignment as it is"),
        (_ReseedsAll, "must leave the global random state alone"),
    ],
)
def test_checks_notice_a_broken_promise(broken, sentence):
    said = [words for check in CHECKS[broken.kind] if (words := complaint(check, broken()))]
    assert any(sentence in words for words in said), said


def test_one_that_learns_is_passed_if_it_says_so():
    check_encoder(_Learns())


def test_one_that_says_it_is_partial_must_be():
    with pytest.raises(AssertionError, match=r"raised AtlasError: .* needs paired rows, got 60 in X and 90 in Y"):
        check_aggregator(_SaysPartial())


def test_items_of_the_authors_are_used():
    @dataclass
    class Picky(Words):
        """Take texts that begin with 'x'."""

        name = "picky"

        def _encode(self, batch, device):
            if not all(text.startswith("x") for text in batch if text.strip() and "space" not in text):
                raise self.fail("takes texts that begin with x")
            return super()._encode(batch, device)

    with pytest.raises(AssertionError, match=r"raised AtlasError: .* takes texts that begin with x"):
        check_encoder(Picky())
    check_encoder(Picky(), ["x one", "x two two", "xylophone", "x three"])


def complaint(check, component):
    """Return what a check says of a component, '' if nothing."""
    try:
        check(component)
    except AssertionError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
