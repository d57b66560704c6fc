"""The unit of vectors does not matter, nor where they lie: what cannot be right is refused, or told."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch
from planted import close, normal, turn

import atlas
from atlas import AtlasError, AtlasWarning, Sampler, metrics
from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.metrics.running import running
from atlas.models.heads import create_head
from atlas.plugins.catalogue import component, components
from atlas.testing.aligners import fitted_on

POWERS = [-80, -40, 40, 80]
DTYPES = [torch.float32, torch.float64]
# Training to the end proves no more.
OPTIONS: dict[str, dict] = {"mlp": {"steps": 100}}
FITTED = [name for name in components(Aligner) if name != "identity"]
SPACES = [name for name, measure in metrics.METRICS.items() if measure.takes == "spaces"]
VECTORS = [name for name, measure in metrics.METRICS.items() if measure.takes == "vectors"]
every_power = pytest.mark.parametrize("k", POWERS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def aligner(name):
    return atlas.create(Aligner, name, OPTIONS.get(name, {}))


def pair(dtype, n=150, d=6):
    X = normal(n, d) + 0.5
    return X.to(dtype), (X @ turn(d, d, seed=2) + 0.3 * normal(n, d, seed=1)).to(dtype)


@every_power
@every_dtype
@pytest.mark.parametrize("name", SPACES)
def test_no_similarity_depends_on_the_unit_of_either_space(name, dtype, k):
    measure, (X, Y) = metrics.find(name), pair(dtype)
    expected = measure(X, Y)
    for a, b in ((X * 2.0**k, Y), (X, Y * 2.0**k), (X * 2.0**k, Y * 2.0**k)):
        assert measure(a, b) == pytest.approx(expected, abs=1e-5)


@every_power
@every_dtype
@pytest.mark.parametrize("name", VECTORS)
def test_no_agreement_depends_on_the_unit(name, dtype, k):
    measure, (X, Y) = metrics.find(name), pair(dtype)
    factor = 4.0**k if name == "mse" else 1.0
    assert measure(X * 2.0**k, Y * 2.0**k) == pytest.approx(factor * measure(X, Y), rel=1e-6)


@every_power
@every_dtype
def test_separability_does_not_depend_on_the_unit(dtype, k):
    X, _ = pair(dtype)
    labels = torch.arange(150) % 3
    assert metrics.separability(X * 2.0**k, labels) == pytest.approx(metrics.separability(X, labels), rel=1e-9)


@every_power
@every_dtype
@pytest.mark.parametrize("name", list(components(Sampler)))
def test_no_sampler_depends_on_the_unit(name, dtype, k):
    (X, _), labels = pair(dtype), torch.arange(150) % 3
    sampler = component(Sampler, name)()
    assert torch.equal(sampler.sample(X * 2.0**k, 20, labels=labels), sampler.sample(X, 20, labels=labels))


@every_power
@every_dtype
@pytest.mark.parametrize("name", FITTED)
def test_no_aligner_depends_on_the_unit_of_either_space(name, dtype, k):
    X, Y = pair(dtype)
    expected = fitted_on(aligner(name), X, Y).transform(X)
    by_source = fitted_on(aligner(name), X * 2.0**k, Y)
    close(by_source.transform(X * 2.0**k), expected, 1e-4)
    assert by_source.fits_on == "source" or bool(torch.isfinite(by_source.state_dict().popitem()[1]).all())
    if by_source.fits_on != "source":
        by_target = fitted_on(aligner(name), X, Y * 2.0**k)
        close(by_target.transform(X) * 2.0**-k, expected, 1e-4)


@every_power
@every_dtype
@pytest.mark.parametrize("similarity", ["cosine", "whitened", "euclidean", "l1", "linf"])
def test_no_relative_representation_depends_on_the_unit(similarity, dtype, k):
    X, Y = pair(dtype)
    expected = atlas.create(Aligner, "relative", similarity=similarity).fit(X).transform(Y)
    close(atlas.create(Aligner, "relative", similarity=similarity).fit(X * 2.0**k).transform(Y * 2.0**k), expected)


@pytest.mark.parametrize("similarity", ["cosine", "whitened"])
def test_the_way_back_has_the_unit_of_the_anchors(similarity):
    X, _ = pair(torch.float64)
    there = atlas.create(Aligner, "relative", similarity=similarity).fit(X * 2.0**-60)
    back = there.inverse_transform(there.transform(X * 2.0**-60)) * 2.0**60
    whole = atlas.create(Aligner, "relative", similarity=similarity).fit(X)
    close(back, whole.inverse_transform(whole.transform(X)))


@every_power
@every_dtype
@pytest.mark.parametrize("name", ["relative-mean", "relative-concat", "whitened-concat", "generalized-procrustes"])
def test_no_aggregator_depends_on_the_unit_of_a_space(name, dtype, k):
    def merged(X, Y):
        made = atlas.create(Aggregator, name).fit({"a": X, "b": Y})
        rows = torch.stack([made.chart(s).transform(V.double()) for s, V in (("a", X), ("b", Y))], 1)
        return made.combine(rows, torch.ones(len(X), 2, dtype=torch.bool))

    X, Y = pair(dtype)
    expected, found = merged(X, Y), merged(X * 2.0**k, Y)
    # The size of the whole is that of the two together, halfway.
    size = found.norm() / expected.norm() if name == "generalized-procrustes" else 1.0
    close(found / size, expected, 1e-5)


HEADS = [
    ("linear", {}),
    ("linear", {"loss": "ridge"}),
    ("nearest-mean", {}),
    ("nearest-mean", {"metric": "euclidean"}),
    ("knn", {}),
    ("knn", {"metric": "euclidean"}),
    ("kernel", {}),
    ("network", {"epochs": 5}),
]


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1e100, 1e200])
def test_a_unit_whose_squares_float64_cannot_hold_is_refused_by_all(size):
    X, Y = pair(torch.float64, n=40)
    wrong, y = X * size, (X[:, 0] > 0.5).long()
    fits = [functools.partial(fitted_on, aligner(name), wrong, Y) for name in FITTED]
    fits += [functools.partial(fitted_on, a, X, wrong) for a in map(aligner, FITTED) if a.fits_on != "source"]
    fits += [functools.partial(create_head(name, **options).fit, wrong, y) for name, options in HEADS]
    fits += [functools.partial(component(Sampler, s)().sample, wrong, 5, labels=y) for s in components(Sampler)]
    made = [atlas.create(Aggregator, name) for name in components(Aggregator)]
    fits += [functools.partial(one.fit, {"a": X, "b": wrong}) for one in made]
    fits += [functools.partial(metrics.separability, wrong, y), lambda: running(metrics.find("r2")).add(X, wrong)]
    for fit in fits:
        with pytest.raises(AtlasError, match="Float64 cannot hold the squares of these vectors - bring them to"):
            fit()


def test_rows_of_zeros_have_no_unit():
    X, Y = pair(torch.float64, n=40)
    X[:20], Y[:20] = 0, 0
    whole = aligner("linear").fit(X, Y)
    parts = aligner("linear").partial_fit(X[:20], Y[:20]).partial_fit(X[20:], Y[20:])
    close(parts.transform(X), whole.transform(X))


@pytest.mark.parametrize("k", [*POWERS, -60, 60])
@every_dtype
@pytest.mark.parametrize(("name", "options"), HEADS, ids=str)
def test_no_head_depends_on_the_unit_or_says_that_it_does(name, options, dtype, k):
    X, _ = pair(dtype)
    y = (X[:, 0] > 0.5).long() + (X[:, 1] > 0.5).long()
    if (name == "network" and k != 40) or (name == "kernel" and abs(k) == 80):
        with pytest.raises(AtlasError, match="scale them"):
            create_head(name, **options).fit(X * 2.0**k, y)
        return
    expected = create_head(name, **options).fit(X, y).predict(X)
    assert float((expected == y).double().mean()) > 0.6
    found = create_head(name, **options).fit(X * 2.0**k, y).predict(X * 2.0**k)
    assert float((found == expected).double().mean()) > 0.99


def test_a_head_refuses_vectors_that_it_has_no_finite_scores_for():
    X, _ = pair(torch.float32)
    head = create_head("nearest-mean", metric="euclidean").fit(X, torch.arange(150) % 2)
    with pytest.raises(
        AtlasError, match=r"Head 'nearest-mean' has no finite scores for these vectors in torch.float32"
    ):
        head.predict(X * 1e30)


def test_only_a_row_of_zeros_has_no_direction():
    X = normal(4, 3)
    X[1] = 0
    for size in (1e-300, 1e-20, 1e20, 1e300):
        assert metrics.cosines(X * size, X).tolist() == pytest.approx([1, 0, 1, 1])
        assert metrics.cosine((X * min(size, 1e38)).float(), X) == pytest.approx(0.75 if size > 1e-44 else 0)


# Where vectors lie


def planted(n=60, d=6):
    X = normal(n, d)
    return X, X @ turn(d, d, seed=3)


def far(offset, dtype):
    X, Y = planted()
    return (X + offset).to(dtype), (Y - offset).to(dtype)


def constant_column(value, dtype):
    X, _ = planted(d=7)
    X[:, 0] = value
    return X.to(dtype), (X @ turn(7, 7, seed=3)).to(dtype)


def wide_column(ratio, dtype):
    X, _ = planted(n=400, d=16)
    A = X.clone()
    A[:, 0] *= ratio
    return A.to(dtype), X[:, 1:].to(dtype)


def wide_direction(ratio, dtype):
    A, Y = wide_column(ratio, torch.float64)
    return (A @ turn(16, 16, seed=5)).to(dtype), Y.to(dtype)


def other_units(size, dtype):
    X, Y = planted()
    return (X * size).to(dtype), Y.to(dtype)


def whole_numbers(offset, dtype):
    X, Y = (np.round(1000 * t.numpy()).astype(np.int64) + int(offset) for t in planted())
    return X.astype(np.uint64), Y.astype(np.uint64)


OFFSETS = [10.0**e for e in (2, 4, 5, 5.5, 6, 6.5, 7, 8, 9, 12, 15)]
CASES = [
    *[(far, offset) for offset in OFFSETS],
    *[(constant_column, value) for value in OFFSETS],
    *[(wide_column, ratio) for ratio in (1e2, 725.0, 3e3, 1e5, 1e8, 1e12)],
    *[(wide_direction, ratio) for ratio in (1e2, 725.0, 3e3, 1e5)],
    *[(other_units, size) for size in (1e-30, 1e-20, 1e-10, 1e10, 1e20, 1e30)],
    *[(whole_numbers, 2.0**e) for e in (13, 20, 41, 50, 60)],
]
EXACT = ["procrustes", "linear-orthogonal", "linear", "low-rank", "cca", "mlp"]


def missed(made, Y):
    rounding = 2 * torch.finfo(Y.dtype).eps if isinstance(Y, torch.Tensor) else 0.0
    made, Y = (np.asarray(t, dtype=np.float64) for t in (made, Y))
    if np.all(Y.std(0) <= rounding * np.abs(Y.mean(0))):
        # Rows that are equal but for their rounding.
        return float(np.abs(made - Y).max() / np.abs(Y).max())
    return float(np.sqrt(np.square(made - Y).sum() / np.square(Y - Y.mean(0)).sum()))


def least_squares(X, Y):
    """Return what is left by least squares with an intercept, on float64 columns of one size, without Atlas."""
    X, Y = (np.asarray(t, dtype=np.float64) for t in (X, Y))
    Xc = X - X.mean(0)
    Xc = Xc / np.where(np.abs(Xc).max(0) > 1e-12 * np.abs(X).max(0), np.abs(Xc).max(0), np.inf)
    return missed(Xc @ np.linalg.lstsq(Xc, Y - Y.mean(0), rcond=None)[0] + Y.mean(0), torch.from_numpy(Y))


def outcome(name, X, Y):
    """Return 'right', 'told' (a warning), 'refused' or 'silent and wrong': 5 % of the spread more than need be."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            made = aligner(name).fit(X, Y).transform(X)
        except AtlasError:
            return "refused"
    if any(issubclass(w.category, AtlasWarning) for w in said):
        return "told"
    # What is noise alone, once float32 has rounded the data, is rightly mapped to its mean.
    return "right" if missed(made, Y) < 1.2 * least_squares(X, Y) + 0.05 else "silent and wrong"


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}-{case[1]:.3g}")
@every_dtype
def test_no_map_is_silently_wrong_wherever_vectors_lie(name, case, dtype):
    make, number = case
    if make in (wide_column, wide_direction) and name in ("procrustes", "cca"):
        pytest.skip("these weigh directions by their variance")
    assert outcome(name, *make(number, dtype)) in ("right", "told", "refused")


@pytest.mark.parametrize("name", ["linear", "low-rank", "linear-orthogonal"])
@pytest.mark.parametrize("make", [wide_column, wide_direction])
@every_dtype
def test_a_wide_direction_hides_no_other(name, make, dtype):
    for ratio in (725.0, 3000.0, 1e5):
        X, Y = make(ratio, dtype)
        assert missed(aligner(name).fit(X, Y).transform(X), Y) < 0.02


@pytest.mark.parametrize("name", ["linear", "low-rank", "linear-orthogonal", "procrustes"])
@every_dtype
def test_columns_that_an_encoder_leaves_dead_take_nothing_from_a_map(name, dtype):
    X, Y = (t.to(dtype) for t in pair(torch.float64, n=300, d=8))
    dead = (normal(300, 3, seed=5) * torch.tensor([1e-33, 1e-33, 1e-9])).to(dtype)
    expected = aligner(name).fit(X, Y).transform(X)
    close(aligner(name).fit(torch.cat([X, dead], 1), Y).transform(torch.cat([X, dead], 1)), expected, 0.02)


@every_dtype
def test_without_a_ridge_canonical_correlations_do_not_depend_on_the_units_of_columns(dtype):
    X, Y = wide_column(3000.0, dtype)
    assert missed(atlas.create(Aligner, "cca", ridge=0.0).fit(X, Y).transform(X), Y) < 0.02


def test_a_rotation_of_a_wide_direction_turns_the_others_too():
    A, _ = wide_column(3000.0, torch.float64)
    X, Y = (A @ turn(16, 16, seed=s) for s in (1, 2))
    made = atlas.create(Aligner, "procrustes").fit(X.float(), Y.float()).transform(X)
    assert float((made - Y).abs().max()) < 0.01


@pytest.mark.parametrize("name", EXACT)
def test_a_map_that_float32_cannot_hold_says_so_with_the_figure(name):
    with pytest.raises(AtlasError, match=r"loses \d+% of the spread of these vectors when it is rounded to float32"):
        aligner(name).fit(*far(1e9, torch.float64))
    with pytest.warns(AtlasWarning, match=r"loses \d+% of the spread .* - subtract the mean of each space first"):
        aligner(name).fit(*far(4e6, torch.float64))


@pytest.mark.parametrize("name", ["procrustes", "linear-orthogonal", "linear", "low-rank", "cca"])
def test_rows_of_float32_are_mapped_in_float32_whatever_the_target_is(name):
    X, Y = planted()
    with pytest.warns(AtlasWarning, match=r"loses \d+% of the spread"):
        aligner(name).fit(X.float(), Y - 2.0**20.9)


@pytest.mark.parametrize("name", EXACT)
def test_a_map_with_weights_too_large_or_too_small_for_float32_is_refused_at_once(name):
    X, Y = planted()
    with pytest.raises(AtlasError, match=r"no finite map for these vectors - scale them|too large for float32"):
        aligner(name).fit(X * 1e-20, Y * 1e20)
    with pytest.raises(AtlasError, match=r"loses (9\d|100)% of the spread"):
        aligner(name).fit(X * 1e25, Y * 1e-25)


def test_a_result_that_its_type_cannot_hold_is_refused_and_no_row_is_blamed():
    X = normal(50, 6).half()
    small = atlas.create(Aligner, "linear").fit(X, X.float() * 1e6)
    with pytest.raises(AtlasError, match=r"numbers too large for torch.float16 - give them in a wider type, such as"):
        small.transform(X)
    assert bool(torch.isfinite(small.transform(X.float())).all())
    large = atlas.create(Aligner, "linear").fit(X.float(), X.float() * 1e30)
    with pytest.raises(AtlasError, match=r"Aligner 'linear' maps these vectors to numbers too large for torch.float32"):
        large.transform(X.float() * 1e20)


@pytest.mark.parametrize("name", ["knn", "linear", "kernel", "nearest-mean"])
def test_a_head_of_vectors_far_from_zero_says_what_float32_loses(name):
    X, y = normal(60, 4), torch.arange(60) % 2
    with pytest.raises(AtlasError, match=f"Head '{name}' loses .*% of the spread"):
        create_head(name).fit(X + 1e9, y)
    with pytest.warns(AtlasWarning, match=f"Head '{name}' loses .*% of the spread"):
        create_head(name).fit(X + 4e6, y)


@pytest.mark.parametrize("name", ["whitened-concat", "generalized-procrustes"])
def test_charts_of_vectors_far_from_zero_say_what_float32_loses(name):
    X, Y = planted()
    with pytest.raises(AtlasError, match=r"loses .*% of the spread"):
        atlas.create(Aggregator, name).fit({"a": X + 3e8, "b": Y})
