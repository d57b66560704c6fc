from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from atlas import AtlasError, metrics


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=[150, 6], ids=["one block", "many blocks"])
def pair(request, monkeypatch):
    """Noisy copies (150, 8), with similarities held all at once or for six rows at a time."""
    monkeypatch.setattr("atlas.metrics.retrieval._HELD", 0)
    monkeypatch.setattr("atlas.metrics.retrieval._ROWS", request.param)
    X = normal(150, 8)
    return X, X + 0.8 * normal(150, 8, seed=1)


def naive_ranks(X, Y):
    similarity = normalize(X) @ normalize(Y).T
    return [1 + int((row > row[i]).sum()) for i, row in enumerate(similarity)]


def naive_neighbours(X, k):
    similarity = X @ X.T
    similarity.fill_diagonal_(-torch.inf)
    return [set(row.argsort(descending=True)[:k].tolist()) for row in similarity]


def test_ranks_are_those_of_a_full_sort(pair):
    assert metrics.ranks(*pair).tolist() == naive_ranks(*pair)
    assert metrics.ranks(*(t.float() for t in pair)).tolist() == naive_ranks(*pair)
    assert max(naive_ranks(*pair)) > 20


@pytest.mark.parametrize("k", [1, 5, 150])
def test_recall_and_mrr_follow_from_the_ranks(pair, k):
    ranks = naive_ranks(*pair)
    assert metrics.recall_at_k(*pair, k=k) == pytest.approx(sum(r <= k for r in ranks) / 150)
    assert metrics.mrr(*pair) == pytest.approx(sum(1 / r for r in ranks) / 150)


def test_recall_does_not_depend_on_lengths(pair):
    X, Y = pair
    lengths = 1 + torch.arange(150.0)[:, None]
    assert metrics.ranks(X * lengths, Y / lengths).tolist() == metrics.ranks(X, Y).tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_vectors_that_are_all_the_same_find_nothing(dtype):
    same = normal(1, 300).to(dtype).expand(90, 300)
    assert metrics.recall_at_k(same, same, k=89) == 0
    assert metrics.recall_at_k(torch.zeros_like(same), same, k=89) == 0
    assert metrics.ranks(normal(90, 300).to(dtype), same).tolist() == [90] * 90


def test_a_copy_of_the_true_match_counts_against_it():
    Y = normal(5, 3)
    Y[3] = Y[1]
    assert metrics.ranks(Y, Y).tolist() == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("k", [1, 10, 149])
def test_mutual_neighbours_are_those_of_a_full_sort(pair, similarity, k):
    X, Y = pair[0] + 1, pair[1][:, :5]
    near = [naive_neighbours(normalize(t) if similarity == "cosine" else t, k) for t in (X, Y)]
    expected = [len(a & b) / k for a, b in zip(*near, strict=True)]
    assert metrics.mutual_knns(X, Y, k, similarity).tolist() == pytest.approx(expected)
    assert metrics.mutual_knn(X, Y, k, similarity) == pytest.approx(sum(expected) / 150)


def test_mutual_neighbours_of_a_rotated_space_are_all_shared(pair):
    rotation = torch.linalg.qr(normal(8, 8, seed=5)).Q
    assert metrics.mutual_knn(pair[0], 3 * pair[0] @ rotation) == 1


def test_the_jaccard_index_compares_what_a_vector_and_its_match_find(pair):
    X, Y = pair
    index = normalize(Y)
    found = [[set((row @ index.T).topk(7).indices.tolist()) for row in normalize(t)] for t in (X, Y)]
    expected = [len(a & b) / len(a | b) for a, b in zip(*found, strict=True)]
    assert metrics.jaccards(X, Y, 7).tolist() == pytest.approx(expected)
    assert metrics.jaccard(Y, Y) == 1


@pytest.mark.parametrize(
    ("name", "most"), [("recall_at_k", 20), ("hits", 20), ("mutual_knn", 19), ("mutual_knns", 19), ("jaccard", 20)]
)
def test_more_neighbours_than_there_are_is_refused(name, most):
    X = normal(20, 3)
    function = getattr(metrics, name)
    function(X, X, k=most)
    for k in (0, most + 1):
        with pytest.raises(AtlasError, match=f"k must be from 1 to {most} for this many rows, got {k}"):
            function(X, X, k=k)


def test_an_unknown_similarity_is_refused():
    with pytest.raises(AtlasError, match="similarity must be cosine or dot, got 'euclid'"):
        metrics.mutual_knn(normal(20, 3), normal(20, 3), similarity="euclid")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mutual_knn", "jaccard", "recall_at_k", "mrr"])
def test_the_order_of_rows_does_not_count_where_several_are_equally_near(name, dtype):
    # Five distinct rows, twenty times each.
    X, Y = (normal(5, 64, seed=s).repeat_interleave(20, 0).to(dtype) for s in (0, 1))
    X = X + Y if name != "mutual_knn" else X
    options = {} if name == "mrr" else {"k": 10}
    expected = getattr(metrics, name)(X, Y, **options)
    for seed in range(5):
        order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
        assert getattr(metrics, name)(X[order], Y[order], **options) == pytest.approx(expected, abs=1e-9)


def test_of_equally_near_rows_the_share_to_expect_of_a_draw_counts():
    # Ten of a row's nineteen copies in one space, ten in the other: each copy is shared with 10/19 x 10/19.
    X = normal(5, 8).repeat_interleave(20, 0)
    assert metrics.mutual_knns(X, X, 10).tolist() == pytest.approx([10 / 19] * 100)
    assert metrics.mutual_knn(X, X, 19) == 1


def test_neighbours_kept_are_those_that_both_find():
    generator = torch.Generator().manual_seed(0)
    queries, index, other = (torch.randn(60, 5, generator=generator, dtype=torch.float64) for _ in range(3))

    def near(Q, T):
        S = torch.nn.functional.normalize(Q) @ torch.nn.functional.normalize(T).T
        return S.fill_diagonal_(-2).topk(4).indices.tolist()

    expected = [len({*a} & {*b}) / 4 for a, b in zip(near(queries, other), near(queries, index), strict=True)]
    assert metrics.neighbours_kept((queries, other), (queries, index), 4).tolist() == expected


def test_neighbours_kept_of_oneself_are_mutual_neighbours():
    X = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    Y = torch.randn(50, 7, generator=torch.Generator().manual_seed(2))
    assert torch.equal(metrics.neighbours_kept((X, X), (Y, Y), 5), metrics.mutual_knns(X, Y, 5))
