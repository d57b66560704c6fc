"""The small network: planted truths that bend, the linear map it starts from, and its training against torch's own."""

from __future__ import annotations

import itertools

import pytest
import torch
from planted import centred, close, normal

import atlas
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError
from atlas.testing.promises import paired_data
from atlas_builtin import mlp


def create(**options):
    return atlas.create(Aligner, "mlp", options)


def unexplained(aligner, X, Y):
    """Return the part of the variance of Y that the map misses."""
    return float((aligner.transform(X) - Y).square().sum() / centred(Y).square().sum())


def bent(n, noise=0.05, seed=0):
    """Return pairs of which a linear map misses a good part: half of what makes Y is folded over."""
    X = normal(n, 6, seed=seed)
    straight, folded = normal(6, 8, seed=8), normal(6, 8, seed=9)
    return X, X @ straight + (X @ folded).abs() + noise * normal(n, 8, seed=seed + 1)


@pytest.mark.parametrize("options", [{}, {"depth": 2}, {"residual": False, "depth": 2, "width": 4}])
def test_what_bends_is_learned(options):
    pairs, test = bent(400), bent(400, seed=5)
    linear = atlas.create(Aligner, "linear").fit(*pairs)
    assert unexplained(create(**options).fit(*pairs), *test) < 0.3 * unexplained(linear, *test)


def test_more_pairs_give_a_better_map():
    test = bent(400, seed=5)
    missed = [unexplained(create().fit(*bent(n)), *test) for n in (25, 50, 100)]
    assert missed[0] > 2 * missed[1] > 8 * missed[2]


@pytest.mark.parametrize("n", [2, 3, 12, 20])
def test_with_too_few_pairs_to_tell_it_is_the_linear_map(n):
    X, Y = bent(n)
    state = create().fit(X, Y).state_dict()
    linear = atlas.create(Aligner, "linear").fit(X, Y)
    assert not state["weight1"].any()
    close(state["linear"], linear.state_dict()["weight"])
    close(create().fit(X, Y).transform(X), linear.transform(X), 1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_the_truth_is_linear_it_is_no_worse(seed):
    X, Y = paired_data(9, 12, n=900, noise=1, seed=seed)
    aligner, linear = (atlas.create(Aligner, name).fit(X[::2], Y[::2]) for name in ("mlp", "linear"))
    assert unexplained(aligner, X[1::2], Y[1::2]) < 1.01 * unexplained(linear, X[1::2], Y[1::2])


def test_an_exact_linear_map_is_kept():
    X = normal(200, 6)
    Y = X @ normal(6, 4, seed=1) + 3
    aligner = create().fit(X, Y)
    assert float(aligner.state_dict()["weight1"].abs().max()) < 1e-6
    close(aligner.transform(X), Y, 1e-5)


def test_a_target_that_does_not_vary_is_mapped_to():
    X = normal(50, 6)
    close(create(held_out=0.0, steps=20).fit(X, torch.full((50, 3), 7.0)).transform(X), torch.full((50, 3), 7.0))


def test_units_and_origin_of_either_space_do_not_matter():
    X, Y = bent(300)
    expected = create().fit(X, Y).transform(X)
    moved = create().fit(40 * X - 90, 0.01 * Y + 5).transform(40 * X - 90)
    close((moved - 5) / 0.01, expected, 1e-3)


def test_the_tensors_are_the_map():
    X, Y = bent(300)
    aligner = create(depth=2).fit(X, Y)
    state = {name: tensor.double() for name, tensor in aligner.state_dict().items()}
    hidden = (X @ state["weight0"] + state["bias0"]).relu()
    hidden = (hidden @ state["weight1"] + state["bias1"]).relu()
    close(aligner.transform(X), X @ state["linear"] + hidden @ state["weight2"] + state["bias2"], 1e-6)
    assert state["weight1"].shape == (16, 16)


def test_without_residual_there_is_no_linear_map():
    state = create(residual=False, width=3).fit(*bent(50)).state_dict()
    assert set(state) == {"weight0", "bias0", "weight1", "bias1"}
    assert state["weight0"].shape == (6, 24)


@pytest.mark.parametrize("held_out", [0.0, 0.2])
def test_seeds_give_different_networks(held_out):
    X, Y = bent(100)
    a, b = (create(seed=seed, held_out=held_out, steps=300).fit(X, Y).transform(X) for seed in (0, 1))
    assert not torch.equal(a, b)
    close(a, b, 0.5)


def test_weight_decay_keeps_the_network_small():
    X, Y = bent(300)
    free, decayed = (create(held_out=0.0, weight_decay=w).fit(X, Y).state_dict()["weight1"] for w in (0.0, 20.0))
    assert decayed.norm() < 0.7 * free.norm()


def test_without_pairs_held_out_all_steps_are_done():
    X, Y = bent(100)
    start = mlp.Start.of(X, Y, True)
    *_, layers = create()._training(*start.task(X, Y), 150)
    expected = {name: tensor.float() for name, tensor in start.state(layers, True).items()}
    made = create(held_out=0.0, steps=150).fit(X, Y).state_dict()
    assert all(torch.equal(made[name], tensor) for name, tensor in expected.items())


def test_gradients_are_those_of_autograd():
    X, Y, widths = normal(20, 5), normal(20, 4, seed=1), [5, 7, 6, 4]
    parameters = mlp.first(widths, False, torch.Generator().manual_seed(0)).requires_grad_()
    loss = (mlp.activations(mlp.views(parameters, widths), X)[-1] - Y).square().sum(1).mean()
    (expected,) = torch.autograd.grad(loss, parameters)
    found = torch.zeros_like(expected)
    mlp.differentiate(mlp.views(parameters.detach(), widths), X, Y, mlp.views(found, widths))
    close(found, expected, 1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_steps_are_those_of_torch(weight_decay):
    ours, theirs = normal(30), normal(30).requires_grad_()
    adam = mlp.Adam(ours, 0.01, weight_decay)
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=weight_decay)
    for step in range(50):
        adam.slope.copy_(normal(30, seed=step))
        theirs.grad = normal(30, seed=step)
        adam.step(), reference.step()
    close(ours, theirs.detach(), 1e-12)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200, 20_000])
def test_a_pass_sees_every_pair_once(n):
    steps = mlp.passes(n)
    parts = list(mlp.batches(n, 2 * steps, torch.Generator().manual_seed(0)))
    first, second = torch.cat(parts[:steps]), torch.cat(parts[steps:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(n))
    assert n == 1 or not torch.equal(first, second)
    assert max(map(len, parts)) <= max(mlp.ROWS, -(-n // mlp.MOST_IN_A_PASS))


def test_layers_of_any_depth_begin_with_the_linear_map():
    X, Y = bent(60)
    made = create(depth=3, held_out=0.0, steps=1, lr=1e-12).fit(X, Y)
    close(made.transform(X), atlas.create(Aligner, "linear").fit(X, Y).transform(X), 1e-5)
    assert [made.state[f"weight{i}"].shape[1] for i in range(4)] == [2 * max(X.shape[1], Y.shape[1])] * 3 + [Y.shape[1]]


def test_a_pass_takes_64_pairs_a_step_and_256_steps_at_most():
    assert [mlp.passes(n) for n in (1, 64, 65, 255 * 64, 255 * 64 + 1, 10**6)] == [1, 1, 2, 255, 256, 256]


def test_a_gain_on_pairs_held_out_is_certain_beyond_its_standard_error_and_from_five_on():
    spread = torch.tensor([-1.0, 1.0, -1.0, 1.0, 0.0]).double()
    error = float(spread.std()) / 5**0.5
    assert mlp.certain(spread + 1.001 * error) and not mlp.certain(spread + 0.999 * error)
    assert not mlp.certain(torch.full((4,), 9.0) + spread[:4]) and not mlp.certain(spread[:0])


def test_a_network_begins_with_weights_of_its_fan_in_and_a_residual_with_nothing():
    for residual in (False, True):
        layers = mlp.views(mlp.first([5, 400, 3], residual, torch.Generator().manual_seed(0)), [5, 400, 3])
        (inner, bias), (outer, last) = layers
        assert not bias.any() and not last.any() and [tuple(t.shape) for t in (inner, outer)] == [(5, 400), (400, 3)]
        assert 0.99 * (6 / 5) ** 0.5 < float(inner.abs().max()) <= (6 / 5) ** 0.5
        assert not outer.any() if residual else 0.99 * (6 / 400) ** 0.5 < float(outer.abs().max()) <= (6 / 400) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "needs a width of at least 1, got 0"),
        ({"depth": 0}, "needs a depth of at least 1, got 0"),
        ({"steps": 0}, "needs a number of steps of at least 1, got 0"),
        ({"lr": 0.0}, "needs an lr greater than 0, got 0.0"),
        ({"held_out": 0.6}, "needs a held_out from 0 to 0.5, got 0.6"),
        ({"weight_decay": -1.0}, "needs a weight_decay from 0 to less than 1 / lr, got -1.0"),
        ({"weight_decay": 500.0}, "needs a weight_decay from 0 to less than 1 / lr, got 500.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(AtlasError, match=f"Aligner 'mlp' {message}"):
        create(**options)


def test_a_training_that_diverges_says_so():
    with pytest.raises(AtlasError, match="diverged in training - lower the option 'lr', now 1e\\+200"):
        create(held_out=0.0, lr=1e200, steps=20).fit(*bent(100))


def test_a_training_that_diverges_is_not_used_where_pairs_held_out_tell():
    X, Y = bent(100)
    close(create(lr=1e3).fit(X, Y).transform(X), atlas.create(Aligner, "linear").fit(X, Y).transform(X), 1e-5)


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


def test_tensors_that_are_no_map_are_refused():
    state = create().fit(*bent(50)).state_dict()
    names = "weight0, bias0, weight1, bias1, linear"
    for missing in state:
        with pytest.raises(AtlasError, match=f"needs the tensors {names}, got "):
            create().load_state_dict(without(state, missing))
    with pytest.raises(AtlasError, match="needs the tensors weight0, bias0, weight1, bias1, got "):
        create(residual=False).load_state_dict(state)
    wrong = list(itertools.product(state, (torch.ones(3), torch.ones(3, 3), torch.ones(2, 2, 2))))
    for name, bad in [*wrong, ("weight1", torch.ones(3, 8))]:
        with pytest.raises(AtlasError, match="needs layers whose sizes meet, got "):
            create().load_state_dict({**state, name: bad})


@pytest.mark.parametrize("seed", range(3))
def test_no_copy_of_a_row_that_is_held_out_is_trained_on(seed):
    X, _ = bent(100)
    copied = torch.cat([X, X[:60], X[:60].float().double()])
    held, rest = mlp.split(copied, 0.2, seed)
    assert len(held) == 20 and len({*(held % 160 % 100).tolist()}) == 20
    alike = torch.arange(220).remainder(160).remainder(100)
    assert sorted([*alike[rest].tolist(), *(i for i in alike.tolist() if i in alike[held])]) == sorted(alike.tolist())
    assert not {*alike[rest].tolist()} & {*alike[held].tolist()}
    held, rest = mlp.split(X, 0.2, seed)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(torch.cat([held, rest]), order) and len(held) == 20


def test_rows_that_are_alike_but_for_rounding_are_split_nevertheless():
    X = torch.ones(10, 3, dtype=torch.float64) + 1e-15 * torch.arange(10)[:, None]
    held, rest = mlp.split(X, 0.2, 0)
    assert sorted([*held.tolist(), *rest.tolist()]) == list(range(10)) and len(held) == 2
    held, rest = mlp.split(torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]), 0.5, 0)
    assert len(held) == 1 and len(rest) in (1, 2)


def test_copies_do_not_let_a_network_look_better_than_it_is():
    X, Y = paired_data(n=60, noise=3.0)
    T, U = paired_data(n=400, noise=0.0)
    alone = create().fit(X, Y).transform(T)
    copied = create().fit(X.repeat(4, 1), Y.repeat(4, 1)).transform(T)
    assert float((copied - U).square().mean()) < 1.1 * float((alone - U).square().mean())
