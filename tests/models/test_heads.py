import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from atlas.components.options import Component
from atlas.errors import AtlasError, AtlasWarning
from atlas.models.heads import HEADS, create_head, similarity
from atlas.plugins.loading import check_class

MLP = [
    {"type": "linear", "in_features": 6, "out_features": 32},
    {"type": "tanh"},
    {"type": "linear", "in_features": 32, "out_features": 8},
    {"type": "unflatten", "shape": [2, 4]},
]
CLASSIFIERS = [
    ("linear", {}),
    ("linear", {"loss": "ridge"}),
    ("network", {}),
    ("kernel", {}),
    ("kernel", {"landmarks": 40, "penalty": 1e-3}),
    ("nearest-mean", {}),
    ("nearest-mean", {"metric": "euclidean"}),
    ("knn", {}),
    ("knn", {"metric": "euclidean", "k": 3}),
]
REGRESSORS = [("linear", {"loss": "ridge"}), ("kernel", {}), ("network", {"layers": MLP, "epochs": 60, "lr": 0.01})]
IDS = "{0[0]} {0[1]}".format


@pytest.fixture(params=CLASSIFIERS, ids=IDS)
def head(request):
    return create_head(*request.param)


def blobs(n=400, d=6, classes=4, noise=0.7, seed=0):
    """Return vectors around one centre for each class, off the origin and of unequal scales, with their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) * 3
    y = torch.randint(classes, (n,), generator=generator)
    y[:classes] = torch.arange(classes)
    X = centres[y] + noise * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return X * torch.linspace(0.5, 2, d, dtype=torch.float64) + 1, y


def accuracy(head, X, y):
    return float((head.predict(X) == y).double().mean())


# Every head


@pytest.mark.parametrize("cls", HEADS.values(), ids=lambda cls: cls.name)
def test_head_is_a_well_formed_component(cls):
    check_class(cls, Component)
    assert HEADS[cls.name] is cls and cls.kind == "head"


def test_head_recovers_planted_classes(head):
    X, y = blobs()
    assert head.fit(X, y) is head
    assert accuracy(head, *blobs(seed=1)) > 0.95
    assert head.scores(X).shape == (400, 4) and head.outputs(6) == 4
    assert head.predict(X).dtype == torch.int64


def test_state_survives_a_file_bit_for_bit(head):
    X, y = blobs()
    state = head.fit(X, y).state_dict()
    assert all(t.dtype in (torch.float32, torch.int64) and t.is_contiguous() for t in state.values())
    again = type(head).from_config(head.config()).load_state_dict(load(save(state)))
    assert torch.equal(again.scores(X), head.scores(X))
    assert again.config() == head.config() and again.outputs(6) == 4


def test_fit_changes_nothing_but_the_head_and_is_repeatable(head):
    X, y = blobs()
    given = X.clone(), y.clone()
    before = torch.random.get_rng_state()
    again = copy.deepcopy(head).fit(X.flip(0)[:50], y.flip(0)[:50])
    first = {name: t.clone() for name, t in head.fit(X, y, seed=3).state_dict().items()}
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(X, given[0]) and torch.equal(y, given[1])
    again.fit(X, y, seed=3)
    assert all(torch.equal(again.state[name], t) for name, t in first.items())


def test_arrays_tensors_and_lists_of_labels_are_read_alike(head):
    X, y = blobs()
    tensor = head.fit(X, y).scores(X)
    array = copy.deepcopy(head).fit(X.numpy(), y.numpy().astype(np.int32)).scores(X.numpy())
    listed = copy.deepcopy(head).fit(X, y.tolist(), classes=4).scores(X)
    assert torch.equal(tensor, array) and torch.equal(tensor, listed)


def test_scores_keep_the_dtype(head):
    X, y = blobs()
    head.fit(X, y)
    double, single, half = head.scores(X), head.scores(X.float()), head.scores(X.half())
    assert (double.dtype, single.dtype, half.dtype) == (torch.float64, torch.float32, torch.float32)
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


def test_scores_of_a_row_do_not_depend_on_the_other_rows(head):
    X, y = blobs()
    head.fit(X, y)
    together = head.scores(X)[:5]
    alone = torch.cat([head.scores(X[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "knn"])
def test_scores_are_differentiable(name):
    X, y = blobs(50)
    head = create_head(name).fit(X, y)
    X.requires_grad_()
    assert torch.autograd.gradcheck(head.scores, X[:3])


def test_head_fits_where_gradients_are_off(head):
    X, y = blobs()
    with torch.no_grad():
        head.fit(X, y)
    assert accuracy(head, X, y) > 0.95


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (None, None, r"^Head '.*' needs labels that are whole numbers, got NoneType$"),
        (["cat"] * 10, None, r"^Head '.*' needs labels that are whole numbers, got list$"),
        ([0, 1] * 4, None, r"^Head '.*' needs a label for each vector, got shape \(8,\) for 10 vectors$"),
        (7, None, r"^Head '.*' needs a label for each vector, got shape \(\) for 10 vectors$"),
        ([0] * 10, None, r"^Head '.*' needs at least 2 classes, got 1$"),
        ([0, -1] * 5, None, r"^Head '.*' needs labels from 0, got -1$"),
        ([0, 2] * 5, 2, r"^Head '.*' needs labels from 0 to 1, got 2$"),
        ([0, 2] * 5, None, r"^Head '.*' needs rows of all 3 classes, got none of class 1$"),
        ([0, 1] * 5, 3, r"^Head '.*' needs rows of all 3 classes, got none of class 2$"),
        ([0, 2**60] * 5, None, r"^Head '.*' needs rows of all 1152921504606846977 classes, got none of class 1$"),
        (
            [[0], [1]] * 5,
            None,
            r"needs labels that are whole numbers \(n,\), got torch.int64 of shape \(10, 1\)$",
        ),
        (
            [True, False] * 5,
            None,
            r"needs labels that are whole numbers \(n,\), got torch.bool of shape \(10,\)$",
        ),
        (
            [0.0, 1.0] * 5,
            None,
            r"needs labels that are whole numbers.*, got torch.float32 of shape \(10,\)$",
        ),
    ],
    ids=range(13),
)
def test_labels_that_cannot_be_learned_are_refused(head, y, classes, message):
    with pytest.raises(AtlasError, match=message):
        head.fit(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), y, classes=classes)


def test_vectors_that_cannot_be_learned_are_refused(head):
    X, y = blobs(10)
    with pytest.raises(AtlasError, match=r"^X must have two dimensions"):
        head.fit(X[0], y)
    X[3, 2] = math.nan
    with pytest.raises(AtlasError, match=r"^X has 1 value that is NaN or infinite, the first in row 3"):
        head.fit(X, y)
    with pytest.raises(AtlasError, match=r"^Head '.*' is not fitted - call fit\(\) first$"):
        head.predict(X[:3])


def test_vectors_of_another_width_or_with_nan_are_refused(head):
    X, y = blobs()
    head.fit(X, y)
    wrong = (
        r"^Head '.*' reads vectors of 6 dimensions, got 5$|^Layer 0 \(layer-norm\) does not take items of shape \(5,\)"
    )
    with pytest.raises(AtlasError, match=wrong):
        head.scores(X[:, :5])
    with pytest.raises(AtlasError, match=r"^X has 1 value"):
        head.predict(torch.full((1, 6), 1.0).index_fill_(1, torch.tensor([2]), math.inf))


def test_states_that_do_not_fit_are_refused(head):
    X, y = blobs()
    state = head.fit(X, y).state_dict()
    first = next(iter(state))
    fresh = type(head).from_config(head.config())
    for bad, message in (
        ({**state, "extra": X}, r"needs the tensors .*, got .*extra|do not fit the layers: not expected 'extra'$"),
        (
            {k: v for k, v in state.items() if k != first},
            r"needs the tensors|do not fit the layers: missing '0.weight'$",
        ),
        (
            {**state, first: state[first][None]},
            r"needs '\w+' of shape \(.*\), got \(1, |^Tensor '0.weight' must have s",
        ),
        ({**state, first: state[first] * math.nan}, r"has NaN or infinity in '\w+'$|^Tensor '0.weight' holds NaN"),
    ):
        with pytest.raises(AtlasError, match=message):
            fresh.load_state_dict(bad)
        with pytest.raises(AtlasError, match="is not fitted"):
            fresh.scores(X)


def test_tensors_of_a_state_must_fit_each_other():
    with pytest.raises(AtlasError, match=r"^Head 'linear' needs 'bias' of shape \(C\), got \(4,\)$"):
        create_head("linear").load_state_dict({"weight": torch.ones(6, 3), "bias": torch.ones(4)})


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (
            "liner",
            {},
            r"^Unknown head 'liner' - did you mean 'linear'\? known: kernel, knn, linear, nearest-mean, network$",
        ),
        ("linear", {"penalty": 0}, r"^Option 'penalty' of head 'linear' must be greater than 0, got 0.0$"),
        ("linear", {"penalty": math.inf}, r"^Option 'penalty' of head 'linear' must be greater than 0, got inf$"),
        ("linear", {"loss": "hinge"}, r"^Option 'loss' of head 'linear' must be one of logistic, ridge, got 'hinge'$"),
        ("knn", {"k": 0}, r"^Option 'k' of head 'knn' must be greater than 0, got 0$"),
        ("network", {"layers": [{"type": "os"}]}, r"^Layer 0: Unknown type 'os' - "),
    ],
)
def test_bad_options_are_refused(name, config, message):
    with pytest.raises(AtlasError, match=message):
        create_head(name, config)
    if name in HEADS:
        with pytest.raises(AtlasError, match=message):
            HEADS[name](**{key: float(value) if key == "penalty" else value for key, value in config.items()})


# Regression


@pytest.mark.parametrize(("name", "config"), REGRESSORS, ids=["linear", "kernel", "network"])
def test_regressor_recovers_a_planted_map(name, config):
    X, _ = blobs(800)
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    Y = (X / 3).tanh() @ weight if name == "network" else X @ weight + 2
    head = create_head(name, config).fit(X[:700], Y[:700])
    residual = (head.scores(X[700:]) - Y[700:]).square().sum() / (Y[700:] - Y[:700].mean(0)).square().sum()
    assert residual < 0.01 and head.outputs(6) == 8
    again = create_head(name, head.config()).load_state_dict(head.state_dict())
    assert torch.equal(again.scores(X), head.scores(X))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("linear", {}, r"^Head 'linear' with loss 'logistic' needs labels .* - for targets use loss 'ridge'$"),
        ("network", {}, r"^Head 'network' needs the option 'layers' to be trained on targets$"),
        ("network", {"layers": MLP}, r"^Head 'network' needs layers with 3 outputs, got 8$"),
        ("knn", {}, r"^Head 'knn' needs labels that are whole numbers, got torch.float64 of shape \(400, 3\)$"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(name, config, message):
    X, _ = blobs()
    with pytest.raises(AtlasError, match=message):
        create_head(name, config).fit(X, X[:, :3])


def test_targets_must_be_finite():
    X, _ = blobs()
    with pytest.raises(AtlasError, match=r"^y has 400 values that are NaN or infinite, the first in row 0"):
        create_head("linear", loss="ridge").fit(X, X[:, :1] / 0)


# Linear


@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_logistic_head_is_that_of_scikit_learn(penalty):
    from sklearn.linear_model import LogisticRegression

    X, y = blobs(noise=4)
    head = create_head("linear", penalty=penalty).fit(X, y)
    C = 1 / (len(X) * penalty * float(X.var(0, correction=0).mean()))
    reference = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(X.numpy(), y.numpy())
    # Both are determined up to one number for all classes, which the penalty fixes for weights alone.
    weight, bias = torch.from_numpy(reference.coef_.T), torch.from_numpy(reference.intercept_)
    size = float(weight.abs().max())
    torch.testing.assert_close(head.state["weight"].double(), weight, rtol=0, atol=1e-3 * size)
    mine, theirs = (b - b.mean() for b in (head.state["bias"].double(), bias))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3 * max(1, float(theirs.abs().max())))


def test_ridge_head_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    X, _ = blobs()
    Y = X[:, :2] ** 2
    head = create_head("linear", loss="ridge", penalty=0.1).fit(X, Y)
    alpha = len(X) * 0.1 * float(X.var(0, correction=0).mean())
    reference = Ridge(alpha=alpha).fit(X.numpy(), Y.numpy())
    torch.testing.assert_close(head.state["weight"].double(), torch.from_numpy(reference.coef_.T), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        head.state["bias"].double(), torch.from_numpy(reference.intercept_), rtol=1e-5, atol=1e-5
    )


def test_linear_head_can_be_used_without_atlas():
    X, y = blobs()
    head = create_head("linear").fit(X, y)
    torch.testing.assert_close(X.float() @ head.state["weight"] + head.state["bias"], head.scores(X.float()))


@pytest.mark.parametrize("loss", ["logistic", "ridge"])
def test_linear_head_does_not_depend_on_scale_offset_or_rotation(loss):
    X, y = blobs(noise=2)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    moved = 1000 * (X @ turn) + 500
    scores = [create_head("linear", loss=loss).fit(vectors, y).scores(vectors) for vectors in (X, moved)]
    centred = [s - s.mean(1, keepdim=True) for s in scores]
    torch.testing.assert_close(*centred, rtol=0, atol=1e-2)


@pytest.mark.parametrize("loss", ["logistic", "ridge"])
def test_linear_head_refuses_vectors_that_are_all_the_same(loss):
    with pytest.raises(AtlasError, match=r"^Head 'linear' cannot be fitted on vectors that are all the same$"):
        create_head("linear", loss=loss).fit(torch.ones(4, 3), [0, 1, 0, 1])


def test_ridge_refuses_a_penalty_without_effect():
    X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(AtlasError, match=r"^Ridge regression with a penalty of 1e-30 has no stable solution - raise"):
        create_head("linear", loss="ridge", penalty=1e-30).fit(torch.cat([X, X]), [0, 1, 0, 1, 0, 1])


# Network


def test_network_head_learns_what_no_linear_head_can():
    X = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).long()
    layers = [
        {"type": "linear", "in_features": 2, "out_features": 32},
        {"type": "batch-norm", "features": 32},
        {"type": "relu"},
        {"type": "linear", "in_features": 32, "out_features": 2},
    ]
    head = create_head("network", layers=layers, lr=0.01).fit(X[:500], y[:500])
    assert accuracy(head, X[500:], y[500:]) > 0.9 > 0.7 > accuracy(create_head("linear").fit(X, y), X, y)
    # Statistics are those of training, so that one row alone is read as it is among others.
    assert torch.equal(head.predict(X[:1]), head.predict(X)[:1])


def test_network_head_depends_on_the_seed_alone():
    X, y = blobs()
    a, b = (create_head("network", epochs=2).fit(X, y, seed=seed) for seed in (0, 1))
    assert not torch.equal(a.state["1.weight"], b.state["1.weight"])
    assert set(a.state) == {f"{i}.{name}" for i in (0, 1, 3) for name in ("weight", "bias")}


def test_network_head_sees_every_row_in_an_epoch():
    # One outlying row in 5; were the last, smaller batch dropped, a class would never be seen.
    X, y = torch.eye(5), torch.arange(5)
    head = create_head("network", batch_size=2, epochs=200, lr=0.01).fit(X, y)
    assert head.predict(X).tolist() == y.tolist()


def test_network_head_keeps_its_options():
    layers = [{"type": "linear", "in_features": 6, "out_features": 4, "bias": True}]
    head = create_head("network", layers=layers, epochs=1)
    assert head.config()["layers"] == [{"type": "linear", "in_features": 6, "out_features": 4}]
    assert create_head("network", hidden=7).fit(*blobs()).config()["layers"] == []


def test_network_head_that_diverges_says_so():
    X, _ = blobs()
    layers = [{"type": "linear", "in_features": 6, "out_features": 6}]
    with pytest.raises(AtlasError, match=r"^Head 'network' diverged in training - lower the option 'lr', now 1e\+30$"):
        create_head("network", layers=layers, lr=1e30).fit(X, X)


# Nearest mean and nearest neighbours


def test_similarity_is_cosine_or_minus_squared_distance():
    X, Y = (torch.randn(5, 4, generator=torch.Generator().manual_seed(s)) + 1000 for s in (0, 1))
    torch.testing.assert_close(similarity(X, Y, "euclidean"), -(X[:, None] - Y).square().sum(2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(similarity(X, Y, "cosine"), torch.cosine_similarity(X[:, None], Y, dim=2))


def test_nearest_mean_of_either_metric():
    X = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 10.0], [0.0, 30.0]])
    euclidean = create_head("nearest-mean", metric="euclidean").fit(X, [0, 0, 1, 1])
    assert euclidean.state["means"].tolist() == [[2.0, 0.0], [0.0, 20.0]]
    cosine = create_head("nearest-mean").fit(X, [0, 0, 1, 1])
    assert cosine.state["means"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    query = torch.tensor([[1.0, 2.0]])
    assert (int(euclidean.predict(query)), int(cosine.predict(query))) == (0, 1)


def test_kernel_with_all_landmarks_is_kernel_ridge_regression():
    from sklearn.kernel_ridge import KernelRidge

    X, y = blobs(120, noise=4)
    Z, _ = blobs(50, noise=4, seed=1)
    gamma = 0.3 / float((X - X.mean(0)).square().sum(1).mean())
    Y = torch.nn.functional.one_hot(y).double()
    reference = KernelRidge(alpha=1e-3 * len(X), kernel="rbf", gamma=gamma).fit(X.numpy(), (Y - Y.mean(0)).numpy())
    expected = torch.from_numpy(reference.predict(Z.numpy())) + Y.mean(0)
    found = create_head("kernel", penalty=1e-3).fit(X, y).scores(Z)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_kernel_reads_what_no_plane_divides():
    X = torch.randn(600, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (X.norm(dim=1) > 1.5).long()
    linear, kernel = (
        create_head("linear").fit(X[:400], y[:400]),
        create_head("kernel", landmarks=100).fit(X[:400], y[:400]),
    )
    assert accuracy(linear, X[400:], y[400:]) < 0.75
    assert accuracy(kernel, X[400:], y[400:]) > 0.93
    assert kernel.state["landmarks"].shape == (100, 3)


def test_kernel_scores_in_blocks_are_those_of_one(monkeypatch):
    X, y = blobs(100)
    head = create_head("kernel").fit(X, y)
    whole = head.scores(X)
    monkeypatch.setattr("atlas.models.heads._CHUNK", 100 * 7)
    torch.testing.assert_close(head.scores(X), whole, rtol=0, atol=1e-12)


def test_kernel_refuses_vectors_that_are_all_the_same():
    with pytest.raises(AtlasError, match=r"^Head 'kernel' cannot be fitted on vectors that are all the same$"):
        create_head("kernel").fit(torch.ones(8, 3), [0, 1] * 4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_knn_votes_as_scikit_learn_does(metric, monkeypatch):
    from sklearn.neighbors import KNeighborsClassifier

    X, y = blobs(300, noise=4)
    Z, _ = blobs(100, noise=4, seed=1)
    head = create_head("knn", metric=metric, k=7).fit(X, y)
    reference = KNeighborsClassifier(7, metric=metric).fit(head.state["vectors"].double().numpy(), y.numpy())
    votes = torch.from_numpy(reference.predict_proba(Z.numpy()) * 7)
    whole = head.scores(Z)
    assert torch.equal(whole.floor(), votes.round())
    monkeypatch.setattr("atlas.models.heads._CHUNK", 300 * 7)
    torch.testing.assert_close(head.scores(Z), whole, rtol=0, atol=1e-12)


def test_knn_breaks_ties_by_the_nearest():
    X = torch.tensor([[1.0], [2.0], [3.0], [4.5]])
    head = create_head("knn", k=4, metric="euclidean").fit(X, [0, 1, 1, 0])
    assert head.predict([[0.9], [2.1], [3.1], [4.4]]).tolist() == [0, 1, 1, 0]


def test_knn_refuses_more_neighbours_than_vectors_and_labels_out_of_range():
    X, y = blobs(4)
    with pytest.raises(AtlasError, match=r"^Head 'knn' cannot find 5 neighbours among 4 vectors - lower the option"):
        create_head("knn").fit(X, y)
    for labels in torch.tensor([0, 2**60, 0, 0]), torch.tensor([0, -1, 0, 0]), torch.tensor([0.0, 1.0, 0.0, 0.0]):
        with pytest.raises(AtlasError, match=r"^Head 'knn' needs 'labels' of int64, from 0 to less than the number of"):
            create_head("knn", k=1).load_state_dict({"vectors": torch.ones(4, 2), "labels": labels})


@pytest.mark.parametrize("name", HEADS)
def test_what_a_head_keeps_between_calls_goes_when_it_learns_anew(name):
    X, y = blobs(60)
    head = create_head(name).fit(X, y)
    before = head.scores(X.float())
    head.fit(-X.flip(0), y.flip(0))
    assert not torch.equal(head.scores(X.float()), before)
    torch.testing.assert_close(head.scores(X.float()), create_head(name).fit(-X.flip(0), y.flip(0)).scores(X.float()))


@pytest.mark.parametrize("name", HEADS)
def test_scores_in_inference_mode_do_not_stop_gradients_later(name):
    X, y = blobs(60)
    head = create_head(name).fit(X, y)
    with torch.inference_mode():
        head.scores(X)
    if name != "knn":
        given = X.clone().requires_grad_()
        head.scores(given).sum().backward()
        assert bool(torch.isfinite(given.grad).all())


def test_logistic_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    from atlas.models.regression import logistic

    X, y = blobs(300, noise=6)
    X = torch.cat([X, 30 * X[:, :1] + torch.randn(300, 1, generator=torch.Generator().manual_seed(1))], 1).double()
    X = (X - X.mean(0)) / (X - X.mean(0)).square().mean().sqrt()
    weight, bias = logistic(X, y, 4, 1e-3)
    reference = LogisticRegression(C=1 / (1e-3 * 300), tol=1e-10, max_iter=10_000).fit(X.numpy(), y.numpy())
    torch.testing.assert_close(weight.T, torch.from_numpy(reference.coef_), rtol=1e-3, atol=1e-4)
    scores = torch.softmax(X @ weight + bias, 1)
    torch.testing.assert_close(scores, torch.from_numpy(reference.predict_proba(X.numpy())), rtol=0, atol=1e-4)


def test_where_rounding_hides_the_gradient_the_exact_one_takes_over():
    from atlas.models.regression import minimised

    wanted = torch.arange(1, 7, dtype=torch.float64).view(2, 3) / 7

    def exact(at):
        return float((at - wanted).square().sum()), 2 * (at - wanted)

    def rounded(at):
        value, gradient = exact(at)
        return value, (gradient * 100).round() / 100 + 0.01

    same = lambda: lambda gradient: gradient / 2  # noqa: E731
    found = minimised([rounded, exact], torch.zeros_like(wanted), [same, same], 3, tolerance=1e-9)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_the_first_linear_head_in_a_process_imports_no_compiler():
    code = (
        "import sys, torch; from atlas.models.heads import create_head\n"
        "create_head('linear').fit(torch.randn(20, 3), [0, 1] * 10)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_that_are_no_finite_distance_away_have_no_vote(metric):
    X = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    head = create_head("knn", {"metric": metric}).fit(X, torch.arange(40) % 2)
    assert head.scores(torch.full((1, 8), torch.nan)).isnan().all()
    assert head.scores(X).isfinite().all()
    if metric == "euclidean":
        with pytest.raises(AtlasError, match="Head 'knn' has no finite scores for these vectors"):
            head.predict(1e25 * X)


@pytest.mark.parametrize("name", ["knn", "nearest-mean"])
def test_cosines_of_vectors_far_from_zero_are_warned_of(name):
    X, y = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    with pytest.warns(
        AtlasWarning, match=rf"^Head '{name}' compares cosines, and vectors lie .* times as far from zero"
    ):
        create_head(name).fit(X + 1e4, y)
    create_head(name).fit(X + 100, y)
    create_head(name).fit((X + 1e4).double(), y)
    create_head(name, {"metric": "euclidean"}).fit(X + 1e4, y)
