"""What more pairs would bring, against what they bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import normal
from worlds import N

from atlas import Aligner, create
from atlas.authors import unit
from atlas.migration.judgements import neighbours
from atlas.migration.learning import Curve, sizes_of
from atlas.migration.learning import curve as curve_of
from atlas.migration.scoring import scorer
from atlas.migration.trial import Maps, Pairs, Trial
from atlas.storage.rows import Rows

DATA = Path(__file__).parents[3] / "shared" / "data" / "vectors"

SIZES = [25, 50, 100, 200, 400]


def curve(power=0.6, top=0.8, noise=0.1):
    """Return a curve that rises to a limit, of 300 queries and two choices of pairs."""
    means = torch.tensor([top - 2 * size**-power for size in SIZES]).double()
    return Curve(SIZES, means[:, None, None] + noise * normal(len(SIZES), 2, 300), torch.full((300,), top).double())


@pytest.mark.parametrize("power", [0.3, 0.6, 1.0])
def test_a_power_law_is_carried_on(power):
    expected = 0.8 - 2 * 1600**-power
    figure = curve(power).at([1600])[0]
    assert figure.value == pytest.approx(expected, abs=0.04)
    assert figure.low < expected < figure.high


def test_what_is_expected_is_of_the_mean_over_all_queries_and_choices():
    noise = normal(len(SIZES), 2, 300)
    means = torch.tensor([0.8 - 2 * size**-0.5 for size in SIZES]).double()[:, None, None]
    one = Curve(SIZES, means + noise - noise.mean((1, 2), keepdim=True), torch.full((300,), 10.0).double())
    assert one.at([1600])[0].value == pytest.approx(0.8 - 2 * 1600**-0.5, abs=1e-6)


def test_the_interval_grows_with_the_distance():
    near, far = curve(0.3).at([400, 6400])
    assert far.high - far.low > 1.2 * (near.high - near.low)


def test_nothing_exceeds_the_ceiling():
    one = curve(top=0.8)
    low = Curve(one.sizes, one.values, torch.full((300,), 0.6, dtype=torch.float64))
    assert low.at([10**6])[0].value <= 0.6


def test_a_fall_is_not_carried_on():
    values = torch.tensor([0.5, 0.48, 0.46, 0.44, 0.42]).double()[:, None, None].expand(-1, 2, 50)
    assert Curve(SIZES, values, torch.ones(50).double()).at([10_000])[0].value == pytest.approx(0.46)


def test_how_many_pairs_a_figure_needs():
    one = curve(power=0.6, noise=0.0)
    reached = one.needed(0.8 - 2 * 3000**-0.6, 400, most=100_000)
    assert reached == 3200
    assert one.needed(0.1, 400, most=100_000) == 400
    assert one.needed(0.9, 400, most=100_000) is None


def test_sizes_are_parts_of_what_is_there():
    assert sizes_of(1600) == [200, 400, 800, 1600]
    assert sizes_of(100) == [25, 50, 100]
    assert sizes_of(N)[-1] == N


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("old", ["wordllama", "use"])
def test_on_real_encoders_four_times_the_pairs_bring_what_was_expected(old):
    def vectors(name, encoder):
        return unit(torch.tensor(np.load(DATA / f"{name}.{encoder}.npy")).float())

    X, Y, queries = vectors("cran-docs", old), vectors("cran-docs", "minilm"), vectors("cran-queries", "minilm")
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(1))[:1000]
    ids = [str(i) for i in range(1400)]
    here = order[:250]

    def trial(n):
        at = torch.full((n,), -1)
        at[:250] = torch.arange(250)
        pairs = Pairs(X[order[:n]], Y[order[:n]], at)
        known = torch.arange(250)
        return Trial(ids[:250], Rows(X[here]), known, Y[here], ids[: len(queries)], None, queries, pairs)

    def find(one, folds=4):
        return one.convert(Maps.of(create(Aligner, "kernel"), one.pairs, "convert", folds))

    small, large = trial(250), trial(1000)
    pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
    near = neighbours(small.queries, small.documents, small.re_embed())
    score = scorer(near)

    def figure(found):
        return score(small.queries, small.documents, found)["ndcg@10"]

    expected = curve_of(small, find, figure, figure(small.re_embed())).at([750])[0]
    # All documents are pairs, and of four folds each map sees three.
    assert expected.low < float(figure(find(large)).mean()) < expected.high
    assert expected.value == pytest.approx(float(figure(find(large)).mean()), abs=0.05)
