from __future__ import annotations

import collections
import itertools

import pytest
import torch

from atlas import AtlasError
from atlas_builtin import clusters
from atlas_builtin.rows import Directions
from atlas_builtin.samplers import DOptimal, FarthestPoint, KMeans, Stratified, Uniform


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def clustered(n, d, k, spread, seed=0):
    """Rows around k centres, with the number of the centre of each."""
    label = torch.arange(n) % k
    return normal(k, d, seed=seed)[label] + spread * normal(n, d, seed=seed + 1), label


DATA = {
    "gauss": lambda: normal(2600, 24),
    "clusters": lambda: clustered(2600, 24, 7, 0.1)[0],
    "curve": lambda: torch.stack([torch.linspace(-3, 3, 2600).double() ** p for p in range(4)], 1) + 1,
    "one group far away": lambda: torch.cat([normal(2500, 8) + 5, normal(100, 8, seed=3) - 5]),
}


def naive_farthest(X, n, first, similarity):
    unit = X / X.norm(dim=1, keepdim=True)
    taken = [first]
    while len(taken) < n:
        distance = (1 - similarity(unit @ unit[taken].T)).amin(1)
        distance[taken] = -1
        taken.append(int(distance.argmax()))
    return taken


def naive_d_optimal(X, n, first):
    centred = X - X.mean(0)
    rows = torch.cat([centred / centred.square().mean().sqrt(), torch.ones(len(X), 1)], 1)
    taken = [first]
    while len(taken) < n:
        A = rows[taken]
        inverse = torch.linalg.inv(A.T @ A + 0.01 * torch.eye(rows.shape[1]))
        gain = ((rows @ inverse) * rows).sum(1)
        gain[taken] = -1
        taken.append(int(gain.argmax()))
    return taken


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("metric", ["cosine", "abs-cosine"])
def test_farthest_point_takes_exactly_what_naive_greedy_takes(name, metric):
    X = DATA[name]()
    taken = FarthestPoint(metric=metric)._sample(X, 150, seeded(1), None).tolist()
    similarity = torch.abs if metric == "abs-cosine" else torch.positive
    assert taken == naive_farthest(X, 150, taken[0], similarity)


@pytest.mark.parametrize("name", ["gauss", "clusters", "one group far away"])
def test_d_optimal_takes_exactly_what_naive_greedy_takes(name):
    X = DATA[name]()
    taken = DOptimal()._sample(X, 80, seeded(1), None).tolist()
    assert taken == naive_d_optimal(X, 80, taken[0])


def test_farthest_point_covers_every_direction_before_it_repeats_one():
    X = torch.eye(6).double().repeat_interleave(400, 0) * (1 + torch.arange(2400.0)[:, None])
    rows = FarthestPoint()._sample(X, 9, seeded(0), None)
    assert sorted((rows[:6] // 400).tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(set(rows.tolist())) == 9


def test_opposite_vectors_are_far_apart_by_cosine_and_the_same_by_its_absolute_value():
    X = torch.tensor([[1.0, 0.0], [-1.0, 0.01], [0.5, 0.5]])
    generators = [g for g in map(seeded, range(20)) if int(Directions(X).draw(g)) == 0]
    seed = generators[0].initial_seed()
    assert FarthestPoint()._sample(X, 2, seeded(seed), None).tolist() == [0, 1]
    assert FarthestPoint(metric="abs-cosine")._sample(X, 2, seeded(seed), None).tolist() == [0, 2]


@pytest.mark.parametrize("sampler", [FarthestPoint(), FarthestPoint(metric="abs-cosine"), KMeans(centre=False)])
def test_rows_of_zeros_are_taken_last(sampler):
    X = normal(30, 5)
    X[10:20] = 0
    assert not set(range(10, 20)) & set(sampler.sample(X, 20).tolist())
    assert len(set(sampler.sample(X, 25).tolist())) == 25


def test_a_centred_k_means_takes_rows_at_the_mean_last():
    X = normal(30, 5) + 1e4
    X[10:20] = X[torch.arange(30) // 10 != 1].mean(0)
    assert not set(range(10, 20)) & set(KMeans().sample(X, 20).tolist())


@pytest.mark.parametrize("sampler", [FarthestPoint(), DOptimal(), KMeans()])
def test_the_start_depends_on_the_seed(sampler):
    X = normal(200, 5)
    assert len({tuple(sampler.sample(X, 5, seed=seed).tolist()) for seed in range(5)}) == 5


@pytest.mark.parametrize("sampler", [FarthestPoint(), DOptimal(), KMeans()])
def test_float16_and_float32_rows_are_compared_exactly(sampler):
    X = normal(1500, 12).half()
    rows = [sampler.sample(X.to(dtype), 60).tolist() for dtype in (torch.float16, torch.float32, torch.float64)]
    assert rows[0] == rows[1] == rows[2]


def test_stratified_takes_the_same_number_of_every_class():
    labels = torch.tensor([5] * 900 + [2] * 60 + [9] * 40)
    counts = collections.Counter(labels[Stratified().sample(normal(1000, 2), 60, labels=labels)].tolist())
    assert counts == {5: 20, 2: 20, 9: 20}


def test_stratified_goes_on_with_the_others_when_a_class_is_used_up():
    labels = torch.tensor([0] * 900 + [1] * 60 + [2] * 4)
    counts = collections.Counter(labels[Stratified().sample(normal(964, 2), 104, labels=labels)].tolist())
    assert counts == {0: 50, 1: 50, 2: 4}


def test_stratified_gives_no_class_the_rest_every_time():
    labels = torch.arange(30) % 3
    rest = [
        collections.Counter(labels[Stratified().sample(normal(30, 2), 4, seed=seed, labels=labels)].tolist())
        for seed in range(30)
    ]
    assert {counts.most_common(1)[0][0] for counts in rest} == {0, 1, 2}


def test_stratified_draws_at_random_within_a_class():
    drawn = [Stratified().sample(normal(40, 2), 10, seed=seed, labels=torch.arange(40) % 2) for seed in range(60)]
    assert len(torch.cat(drawn).unique()) == 40


def test_stratified_takes_items_of_unknown_class_last():
    labels = torch.tensor([-1] * 50 + [0] * 5 + [1] * 5)
    drawn = [labels[Stratified().sample(normal(60, 2), n, labels=labels)].tolist() for n in (10, 12)]
    assert drawn[0].count(-1) == 0 and drawn[1].count(-1) == 2


def test_stratified_needs_labels():
    with pytest.raises(AtlasError, match=r"Sampler 'stratified' needs the class of each vector - give labels, or use"):
        Stratified().sample(normal(10, 2), 4)


def test_uniform_draws_every_row_as_often():
    drawn = torch.cat([Uniform().sample(normal(20, 2), 5, seed=seed) for seed in range(400)])
    counts = torch.bincount(drawn, minlength=20)
    # 100 expected; the standard deviation is 8.7.
    assert counts.min() > 65 and counts.max() < 135


@pytest.mark.parametrize("centre", [True, False])
def test_k_means_takes_one_typical_item_of_each_planted_group(centre):
    X, label = clustered(1200, 20, 12, 0.02)
    rows = KMeans(centre=centre).sample(X, 12)
    assert sorted(label[rows].tolist()) == list(range(12))
    unit = torch.nn.functional.normalize(X - X.mean(0) if centre else X)
    for row in rows.tolist():
        members = (label == label[row]).nonzero().flatten()
        cosine = torch.nn.functional.normalize(unit[members]) @ unit[members].mean(0)
        assert row == int(members[cosine.argmax()])


def test_rounds_of_k_means_bring_the_centres_nearer():
    X = normal(900, 6)
    rows = Directions(X)
    centres = rows[clusters.starting_rows(rows, 30, seeded(0))]
    losses = []
    for _ in range(5):
        group = clusters.nearest_centres(rows, centres)
        apart = clusters.scores(rows, group, centres)[1]
        torch.testing.assert_close(apart, torch.cdist(rows[:], centres).square().amin(1))
        losses.append(float(apart.sum()))
        centres = clusters.move_centres(rows, group, centres)
    assert losses == sorted(losses, reverse=True) and losses[0] > 1.05 * losses[-1]


def test_rows_go_to_the_centre_that_is_nearest_in_float64():
    rows = Directions(normal(3000, 40))
    centres = normal(20, 40, seed=1)
    centres = torch.cat([centres + 1e-9 * normal(20, 40, seed=s) for s in (2, 3)])
    group = clusters.nearest_centres(rows, centres)
    expected = (rows[:] @ centres.T - centres.square().sum(1) / 2).argmax(1)
    assert torch.equal(group, expected)
    in_float32 = (rows[:].float() @ centres.float().T - centres.float().square().sum(1) / 2).argmax(1)
    assert not torch.equal(in_float32, expected)


def test_the_k_means_start_has_the_distribution_of_k_means_plus_plus():
    X = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.2], [-0.3, -1.0]])
    rows = Directions(X)
    distance = 1 - rows[:] @ rows[:].T
    expected: collections.Counter = collections.Counter()
    for first, second, third in itertools.permutations(range(5), 3):
        two = distance[first]
        three = torch.minimum(two, distance[second])
        chance = two[second] / two.sum() * three[third] / three.sum() / 5
        expected[frozenset((first, second, third))] += float(chance)
    generator = seeded(0)
    draws = 3000
    found = collections.Counter(frozenset(clusters.starting_rows(rows, 3, generator).tolist()) for _ in range(draws))
    assert sum(abs(found[key] / draws - expected[key]) for key in set(found) | set(expected)) < 0.06


def test_a_greedy_start_costs_less_than_a_plain_one_and_so_do_the_groups_that_grow_from_it():
    rows = Directions(clustered(2000, 24, 40, 0.3)[0], centre=True)

    def cost(start, rounds):
        centres = rows[start]
        for _ in range(rounds):
            centres = clusters.move_centres(rows, clusters.nearest_centres(rows, centres), centres)
        return float(clusters.scores(rows, clusters.nearest_centres(rows, centres), centres)[1].sum())

    for rounds, less in ((0, 0.9), (10, 0.99)):
        plain = sum(cost(clusters.starting_rows(rows, 40, seeded(s)), rounds) for s in range(5))
        greedy = sum(cost(clusters.greedy_starting_rows(rows, 40, 8, seeded(s)), rounds) for s in range(5))
        assert greedy < less * plain


def test_a_greedy_start_takes_distinct_rows_also_where_directions_run_out():
    X = torch.eye(3).repeat_interleave(20, 0)
    rows = KMeans(trials=8).sample(X, 10)
    assert len(set(rows.tolist())) == 10
    assert set((rows // 20).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("trials", [0, 101])
def test_k_means_refuses_numbers_of_trials_that_make_no_sense(trials):
    with pytest.raises(AtlasError, match=rf"needs 1 to 100 trials, got {trials}"):
        KMeans(trials=trials)


def test_of_two_items_that_are_as_typical_the_first_is_taken():
    far_apart = 10 * torch.eye(40).double().repeat_interleave(2, 0)
    X = far_apart + 0.1 * normal(80, 40)
    rows = KMeans(centre=False).sample(X, 40)
    assert rows.tolist() == list(range(0, 80, 2))


def test_k_means_survives_fewer_directions_than_anchors():
    X = torch.eye(3).repeat_interleave(20, 0)
    rows = KMeans().sample(X, 10)
    assert len(set(rows.tolist())) == 10
    assert set((rows // 20).tolist()) == {0, 1, 2}


def test_k_means_refuses_negative_iterations():
    with pytest.raises(AtlasError, match=r"Sampler 'k-means' needs 0 or more iterations, got -1"):
        KMeans(iterations=-1)


def test_d_optimal_anchors_serve_least_squares_better_than_random_ones():
    scales = torch.logspace(0, -1, 20).double()
    X, W = normal(2000, 20) * scales, normal(20, 20, seed=1)
    Y = X @ W + 0.3 * normal(2000, 20, seed=2)

    def error(rows):
        mean_x, mean_y = X[rows].mean(0), Y[rows].mean(0)
        weight = torch.linalg.lstsq(X[rows] - mean_x, Y[rows] - mean_y).solution
        return float(((X - mean_x) @ weight + mean_y - X @ W).square().mean())

    best = [error(DOptimal().sample(X, 40, seed=seed)) for seed in range(5)]
    plain = [error(Uniform().sample(X, 40, seed=seed)) for seed in range(5)]
    assert max(best) < 0.7 * min(plain)
