from __future__ import annotations

import copy
import inspect
import math

import numpy as np
import pytest
import scipy.stats
import torch

from atlas import AtlasError, metrics
from atlas.cards.kinds import Metric

PAIRS = [name for name, measure in metrics.METRICS.items() if measure.takes in ("spaces", "vectors")]
SPACES = [name for name, measure in metrics.METRICS.items() if measure.takes == "spaces"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def pair():
    """Noisy paired vectors of one space, with a mean that is not zero: (200, 6) twice."""
    X = normal(200, 6) + torch.arange(6)
    return X, X + 0.5 * normal(200, 6, seed=1)


def test_accuracy_is_the_share_that_is_right():
    assert metrics.accuracy([0, 1, 2, 2], [0, 1, 1, 2]) == 0.75


def test_accuracy_leaves_rows_of_unknown_class_out():
    assert metrics.accuracy([0, 1, 2, -1], [0, 0, -1, -1]) == 0.5
    assert metrics.correct([0, 1, 2, -1], [0, 0, -1, -1]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([0, 1], [0], "Accuracy needs one label per prediction, got 2 predictions and 1 labels"),
        ([0, 1], [-1, -1], "Accuracy needs labels, and no row has a known class"),
        ([0.5, 1.0], [0, 1], r"predicted must hold one whole number per row, got torch.float32 of shape \(2,\)"),
        ([0, 1], [[0], [1]], r"labels must hold one whole number per row, got torch.int64 of shape \(2, 1\)"),
        (["cat"], [0], "predicted must hold one whole number per row, got list"),
    ],
)
def test_accuracy_says_what_is_wrong_with_classes(predicted, labels, message):
    with pytest.raises(AtlasError, match=message):
        metrics.accuracy(predicted, labels)


def test_mse_and_cosine_are_means_over_rows(pair):
    X, Y = pair
    torch.testing.assert_close(metrics.mse(X, Y), float((X - Y).square().mean()))
    torch.testing.assert_close(metrics.cosine(X, Y), float(torch.nn.functional.cosine_similarity(X, Y).mean()))
    torch.testing.assert_close(metrics.squared_errors(X, Y), (X - Y).square().mean(1))


def test_the_cosine_with_a_row_of_zeros_is_zero():
    X = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert metrics.cosines(X, torch.ones(2, 2)).tolist() == pytest.approx([0, 1])


def test_r2_weighs_columns_by_their_variance():
    Y = normal(5000, 2) * torch.tensor([10.0, 0.1]) + 3
    X = Y.clone()
    X[:, 1] = Y[:, 1].mean() + 10 * (Y[:, 1].mean() - Y[:, 1])
    sklearn_value = 1 - float((X - Y).square().sum() / (Y - Y.mean(0)).square().sum())
    assert metrics.r2(X, Y) == pytest.approx(sklearn_value, abs=1e-12)
    assert 0.98 < metrics.r2(X, Y) < 0.99


def test_r2_is_one_for_the_target_itself_and_zero_for_its_mean(pair):
    Y = pair[1]
    assert metrics.r2(Y, Y) == 1
    assert metrics.r2(Y.mean(0).expand_as(Y), Y) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("x", "y"), [(1e300, 1.0), (1.0, 1e300), (1.0, 1e-300)])
def test_r2_of_vectors_whose_squares_are_no_numbers_is_refused(x, y):
    with pytest.raises(
        AtlasError, match="Float64 cannot hold the squares of these vectors - bring them to another unit"
    ):
        metrics.r2(normal(10, 2) * x, normal(10, 2, seed=1) * y)


def test_r2_of_rows_that_differ_by_next_to_nothing_is_refused():
    Y = torch.tensor([[1, 1e-200], [1, 2e-200]], dtype=torch.float64)
    with pytest.raises(AtlasError, match="Float64 cannot hold the squares of these vectors"):
        metrics.r2(Y, Y)


def test_r2_of_two_rows_is_told_and_of_one_refused():
    assert metrics.r2([[0.0], [1.0]], [[0.0], [2.0]]) == 0.5
    with pytest.raises(AtlasError, match="The metric needs at least 2 rows, got 1"):
        metrics.r2([[0.0]], [[1.0]])


def test_r2_of_a_constant_target_is_refused():
    with pytest.raises(AtlasError, match="R2 is undefined: the rows of Y are all equal"):
        metrics.r2(normal(10, 2), torch.full((10, 2), 0.1))


def test_separability_is_the_distance_of_means_over_the_width_of_classes():
    # Classes of two rows each: means 0, 10 and 40 on a line, widths 1, 2 and 3.
    X = torch.tensor([-1.0, 1, 8, 12, 37, 43])[:, None]
    labels = [7, 7, 8, 8, 9, 9]
    pairs = {(7, 8): 10 / 1.5, (7, 9): 40 / 2, (8, 9): 30 / 2.5}
    assert metrics.separability(X, labels) == pytest.approx(sum(pairs.values()) / 3)
    assert metrics.separability(X, labels, among=[7]) == pytest.approx((pairs[7, 8] + pairs[7, 9]) / 2)


def test_separability_leaves_rows_of_unknown_class_out():
    X = normal(30, 3)
    labels = torch.arange(30) % 2
    more = torch.cat([X, 100 * normal(5, 3, seed=1)])
    expected = metrics.separability(X, labels)
    assert metrics.separability(more, [*labels.tolist(), -1, -1, -1, -1, -1]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 0], "Separability needs at least 2 classes, got 1"),
        ([0, 1, 2, 2], "Separability is undefined for classes without width - give more than one item of each"),
        ([0, 1], "Separability needs one label per row, got 2 labels for 4 rows"),
    ],
)
def test_separability_says_what_is_missing(labels, message):
    with pytest.raises(AtlasError, match=message):
        metrics.separability(normal(4, 2), labels)


def test_an_interval_covers_the_true_mean_as_often_as_it_says():
    draws = (normal(300, 80) > 0.5).double()
    truth = 0.5 * math.erfc(0.5 / math.sqrt(2))
    covered = sum(low <= truth <= high for low, high in (metrics.bootstrap(values, n=400) for values in draws))
    # 285 of 300 expected; the standard deviation is 3.8.
    assert 268 <= covered <= 298


def covered(draw, truth, n, draws=400):
    """Return how often the interval of n rows holds the truth, of rows that are drawn."""
    found = [metrics.interval(draw(n, torch.Generator().manual_seed(s)), shares=True) for s in range(draws)]
    return sum(low <= truth <= high for low, high in found) / draws


@pytest.mark.parametrize("n", [10, 40, 300])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_the_interval_of_a_share_covers_it_however_few_the_rows_and_however_high_it_is(p, n):
    # The standard deviation is 0.011; Wilson's own coverage goes up and down about 0.95 with p and n.
    assert covered(lambda n, g: (torch.rand(n, generator=g) < p).double(), p, n) > 0.91


def test_the_bootstrap_of_a_high_share_of_few_rows_covers_it_half_of_the_time():
    draws = [(torch.rand(20, generator=torch.Generator().manual_seed(s)) < 0.95).double() for s in range(200)]
    assert sum(low <= 0.95 <= high for low, high in (metrics.bootstrap(v, n=200) for v in draws)) < 150


def test_the_interval_of_reciprocal_ranks_covers_their_mean():
    def draw(n, g):
        return 1 / torch.multinomial(torch.tensor([0.9, 0.05, 0.03, 0.02]), n, True, generator=g).add(1).double()

    truth = 0.9 + 0.05 / 2 + 0.03 / 3 + 0.02 / 4
    assert covered(draw, truth, 40) > 0.91
    # As wide as a normal interval where there are many, not as wide as that of a share.
    values = 0.5 + 0.1 * torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert metrics.wilson(values) == pytest.approx(metrics.bootstrap(values), abs=2e-4)


def test_the_interval_of_a_share_is_wilsons():
    values = torch.tensor([1.0] * 34 + [0.0] * 6)
    expected = scipy.stats.binomtest(34, 40).proportion_ci(method="wilson")
    assert metrics.wilson(values) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert metrics.wilson(torch.ones(40)) == pytest.approx((0.9124, 1.0), abs=1e-4)
    assert metrics.wilson(torch.zeros(40)) == pytest.approx((0.0, 0.0876), abs=1e-4)


def test_too_few_rows_have_an_interval_only_if_they_are_right_or_wrong():
    assert metrics.interval(normal(29)) == (None, None)
    assert metrics.interval(normal(29).sigmoid(), shares=True) == (None, None)
    assert metrics.interval(normal(30)) == metrics.bootstrap(normal(30))
    assert metrics.interval(torch.ones(5), shares=True) == metrics.wilson(torch.ones(5))


def test_an_interval_is_the_same_for_the_same_seed_and_leaves_the_global_random_state_alone():
    values = normal(50)
    state = torch.get_rng_state()
    assert metrics.bootstrap(values) == metrics.bootstrap(values) != metrics.bootstrap(values, seed=1)
    assert torch.equal(state, torch.get_rng_state())


def test_resampling_in_parts_and_the_normal_limit_agree(monkeypatch):
    values = normal(3000) + 2
    whole = metrics.bootstrap(values)
    monkeypatch.setattr("atlas.metrics.intervals._HELD", 10_000)
    assert metrics.bootstrap(values) == pytest.approx(whole, abs=0.004)
    monkeypatch.setattr("atlas.metrics.intervals._MANY", 10)
    assert metrics.bootstrap(values) == pytest.approx(whole, abs=0.004)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_an_interval_of_nothing_is_refused(values):
    with pytest.raises(
        AtlasError, match=rf"An interval needs finite values, got {len(values)}, {len(values) // 2} not"
    ):
        metrics.bootstrap(values)


@pytest.mark.parametrize("name", PAIRS)
def test_every_metric_of_pairs_refuses_bad_rows_with_the_reason(name, pair):
    X, Y = pair
    bad = Y.clone()
    bad[150, 3] = math.inf
    bad[199, 0] = math.nan
    with pytest.raises(AtlasError, match="Y has 2 values that are NaN or infinite, the first in row 150"):
        metrics.find(name)(X, bad)
    with pytest.raises(AtlasError, match="Metrics compare the same items row by row, got 200 rows in X and 199 in Y"):
        metrics.find(name)(X, Y[1:])
    with pytest.raises(AtlasError, match=r"Y must have two dimensions \(rows, features\), got shape \(200,\)"):
        metrics.find(name)(X, Y[:, 0])


@pytest.mark.parametrize("name", SPACES)
def test_every_similarity_refuses_too_few_rows(name, pair):
    with pytest.raises(AtlasError, match=r"The metric needs at least [24] rows, got 1"):
        metrics.find(name)(pair[0][:1], pair[1][:1])


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in SPACES])
def test_every_agreement_refuses_vectors_of_two_spaces(name, pair):
    with pytest.raises(
        AtlasError, match="The metric compares vectors of one space, got 6 and 5 dimensions - to compare"
    ):
        metrics.find(name)(pair[0], pair[1][:, 1:])


@pytest.mark.parametrize("name", PAIRS)
def test_every_metric_takes_arrays_and_any_type_and_leaves_them_alone(name, pair):
    measure = metrics.find(name)
    X, Y = (t.half() for t in pair)
    expected = measure(X.double(), Y.double())
    for convert in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.numpy, lambda t: t.float().numpy()):
        given = convert(X), convert(Y)
        before = copy.deepcopy(given)
        assert measure(*given) == pytest.approx(expected, abs=2e-5)
        assert all(np.array_equal(np.asarray(a), b) for a, b in zip(given, before, strict=True))
    assert measure(X.float(), Y.double()) == pytest.approx(expected, abs=2e-5)
    assert measure(X.double().T.contiguous().T, Y.double()) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_every_metric_prefers_true_pairs_to_shuffled_ones(name, pair):
    measure = metrics.find(name)
    X, Y = pair
    shuffled = Y[torch.randperm(200, generator=torch.Generator().manual_seed(2))]
    true, false = measure(X, Y), measure(X, shuffled)
    assert true > false if measure.higher_is_better else true < false


@pytest.mark.parametrize("name", [name for name, measure in metrics.METRICS.items() if measure.values])
def test_values_per_row_have_the_metric_as_their_mean(name, pair):
    measure = metrics.find(name)
    given = pair if measure.takes != "classes" else tuple((t[:, 0] > 0.5).int() for t in pair)
    values = measure.per_row(*given)
    assert values.dtype == torch.float64 and values.shape == (200,)
    assert float(values.mean()) == pytest.approx(measure(*given), abs=1e-12)
    function = {"self-recall": "recall_at_k"}.get(name, name.replace("-", "_"))
    assert measure(*given) == getattr(metrics, function)(*given)


@pytest.mark.parametrize("name", ["self-recall@3", "mrr", "mutual-knn@7"])
def test_unrelated_vectors_reach_the_chance_that_is_stated(name):
    measure = metrics.find(name)
    found = sum(measure(normal(60, 20, seed=s), normal(60, 20, seed=100 + s)) for s in range(40)) / 40
    assert found == pytest.approx(measure.by_chance(60), abs=0.012)


def test_chance_is_what_counting_gives():
    assert metrics.find("self-recall@5").by_chance(10) == 0.5
    assert metrics.find("mutual-knn@5").by_chance(11) == 0.5
    assert metrics.find("mrr").by_chance(2) == 0.75
    # Of no more rows than neighbours, all are found.
    assert metrics.find("self-recall@5").by_chance(4) == metrics.find("mutual-knn@5").by_chance(5) == 1


def test_metrics_are_found_by_name_with_k_after_an_at_sign(pair):
    assert metrics.find("self-recall@10")(*pair) == metrics.recall_at_k(*pair, k=10)
    assert metrics.find("self-recall@10").name == "self-recall@10"
    assert metrics.find("self-recall").name == "self-recall@1"
    assert metrics.find("mutual-knn").options == {"k": 10, "similarity": "cosine"}
    assert metrics.find("cosine") is metrics.METRICS["cosine"]
    assert metrics.find("cosine").by_chance(10) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kca", "Unknown metric 'kca' - did you mean 'cka'"),
        ("cosine@3", "Metric 'cosine' has no k - write 'cosine'"),
        ("jaccard@", "Metric 'jaccard@' must end in a whole number from 1 - for example 'jaccard@10'"),
        ("jaccard@0", "Metric 'jaccard@0' must end in a whole number from 1"),
        ("recall@1.5", "Metric 'recall@1.5' must end in a whole number from 1 - for example 'self-recall@10'"),
    ],
)
def test_a_name_that_is_no_metric_is_refused(name, message):
    with pytest.raises(AtlasError, match=message):
        metrics.find(name)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_metric_is_described_in_one_line(name):
    measure = metrics.METRICS[name]
    assert measure.name == name
    assert 20 < len(measure.summary) < 110 and not measure.summary.endswith(".")


@pytest.mark.parametrize("name", [name for name, measure in metrics.METRICS.items() if measure.values])
def test_a_metric_says_whether_its_values_are_shares_and_made_of_ranks(name):
    measure, Y = metrics.METRICS[name], normal(60, 4, seed=1)
    given = (Y[:, 0] > 0, Y[:, 1] > 0) if measure.takes == "classes" else (-3 * normal(60, 4) - Y, Y)
    values = measure.per_row(*(t.int() for t in given) if measure.takes == "classes" else given)
    assert measure.shares == bool(((values >= 0) & (values <= 1)).all())
    assert measure.ranked == ("found" in inspect.signature(measure.values).parameters)


@pytest.mark.parametrize("name", SPACES)
def test_what_needs_ten_rows_for_each_dimension_says_so(name):
    measure = metrics.METRICS[name]
    assert measure.caution(n=10 * 7, d=7) == ""
    assert bool(measure.caution(n=10 * 7 - 1, d=7)) == (name not in ("unbiased-cka", "minibatch-cka", "mutual-knn"))


def test_a_caution_is_given_where_rows_are_few():
    assert "'unbiased-cka' is not" in metrics.find("cka").caution(n=500, d=64)
    assert metrics.find("cka").caution(n=640, d=64) == ""
    assert metrics.find("unbiased-cka").caution(n=5, d=64) == ""


def test_what_self_recall_was_called_is_still_read(pair):
    assert metrics.find("recall@3").name == "self-recall@3"
    assert Metric("recall@3", 0.5).name == "self-recall@3"


def test_figures_without_further_words_are_of_these_options():
    assert {name: dict(measure.options) for name, measure in metrics.METRICS.items() if measure.options} == {
        "self-recall": {"k": 1},
        "jaccard": {"k": 10},
        "mutual-knn": {"k": 10, "similarity": "cosine"},
        "minibatch-cka": {"batch": 256, "seed": 0},
        "rbf-cka": {"width": 1.0},
        "svcca": {"variance": 0.99},
    }
    for name in ("self-recall", "jaccard", "mutual-knn"):
        function = metrics.METRICS[name].values
        assert inspect.signature(function).parameters["k"].default == metrics.METRICS[name].options["k"]
    assert inspect.signature(metrics.svcca_from_moments).parameters["variance"].default == 0.99
    assert inspect.signature(metrics.neighbours_kept).parameters["k"].default == 10


def test_less_is_better_of_errors_and_distances_alone():
    less = {name for name, measure in metrics.METRICS.items() if not measure.higher_is_better}
    assert less == {"mse", "procrustes-distance", "angular-distance"}
