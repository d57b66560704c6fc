from __future__ import annotations

import pytest
import torch

import atlas
from atlas.cards.space import Space
from atlas.verbs.compare import compare
from atlas.verbs.evaluate import class_numbers, cut_or_padded, evaluate

CLASSES = ("cat", "dog", "eel")


def views(n=300, noise=0.0, seed=0):
    """Return labelled vectors of a space, the same rotated and moved in a wider one, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = 4 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    X = centres[labels] + torch.randn(n, 4, generator=generator, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q[:4]
    Y = X @ Q + 3 + noise * torch.randn(n, 6, generator=generator, dtype=torch.float64)
    about = {"labels": labels, "classes": CLASSES, "dataset": "planted"}
    return atlas.Vectors.of(X, Space("narrow", 4), **about), atlas.Vectors.of(Y, Space("wide", 6), **about)


def figures(*args, **kwargs):
    return {metric.name: metric for metric in evaluate(*args, **kwargs)}


def test_a_planted_map_reaches_the_ceiling_and_no_alignment_does_not():
    X, Y = views()
    head = atlas.train("linear", Y)
    found = figures(atlas.fit("procrustes", source=X, target=Y), source=X, target=Y, head=head)
    assert list(found) == ["accuracy", "cosine", "r2", "self-recall@1", "self-recall@10", "mrr", "jaccard@10"]
    for metric in found.values():
        assert metric.value == pytest.approx(metric.native, abs=1e-5)
        assert metric.floor < metric.value - 0.2
        assert (metric.n, metric.dataset) == (300, "planted")


def test_metrics_measured_together_are_those_measured_alone():
    X, Y = views(noise=2.0)
    made = atlas.fit("procrustes", source=X, target=Y)
    for name, metric in figures(made, source=X, target=Y).items():
        assert metric == figures(made, source=X, target=Y, metrics=[name])[name]


def test_the_interval_holds_the_figure_and_narrows_with_more_rows():
    wide, narrow = (
        figures(atlas.fit("procrustes", source=X, target=Y), source=X, target=Y, metrics=["self-recall@1"])[
            "self-recall@1"
        ]
        for X, Y in (views(60, noise=0.5), views(900, noise=0.5))
    )
    for metric in (wide, narrow):
        assert metric.low < metric.value < metric.high
    assert narrow.high - narrow.low < wide.high - wide.low


def test_permuted_pairs_fall_to_the_floor():
    X, Y = views()
    order = torch.randperm(len(Y), generator=torch.Generator().manual_seed(1))
    wrong = atlas.Vectors.of(Y.data[order], Y.space)
    found = figures(atlas.fit("linear", source=X, target=wrong), source=X, target=Y)
    assert found["r2"].value < 0.1
    assert found["self-recall@1"].value < 0.05


def test_rows_are_paired_by_id_not_by_position():
    X, Y = views()
    fitted = atlas.fit("procrustes", source=X, target=Y)
    shuffled = Y.take(torch.randperm(len(Y), generator=torch.Generator().manual_seed(2)))
    assert figures(fitted, source=X, target=shuffled)["r2"].value > 0.999


def test_recall_at_more_than_there_is_is_left_out():
    X, Y = views(6)
    assert "self-recall@10" not in figures(atlas.fit("procrustes", source=X, target=Y), source=X, target=Y)


def test_classes_are_matched_by_name():
    X, _ = views()
    head = atlas.train("nearest-mean", X)
    other = atlas.Vectors.of(X.data[:3], X.space, labels=["dog", "eel", "newt"])
    assert class_numbers(head, other).tolist() == [1, 2, 3]


@pytest.mark.parametrize(("d", "expected"), [(2, [[1.0, 2.0]]), (4, [[1.0, 2.0, 3.0, 0.0]])])
def test_the_floor_cuts_or_pads(d, expected):
    assert cut_or_padded(torch.tensor([[1.0, 2.0, 3.0]]), d).tolist() == expected


def test_what_does_not_fit_is_refused():
    X, Y = views()
    fitted = atlas.fit("procrustes", source=X, target=Y)
    with pytest.raises(atlas.AtlasError, match="maps from 'narrow', but the source vectors are of 'wide': dimension"):
        evaluate(fitted, source=Y, target=X)
    with pytest.raises(atlas.AtlasError, match=r"reads 'narrow', but the vectors alignment .* makes are of 'wide'"):
        evaluate(fitted, source=X, target=Y, head=atlas.train("linear", X))
    with pytest.raises(atlas.AtlasError, match="'accuracy' needs a head of the target - give one"):
        evaluate(fitted, source=X, target=Y, metrics=["accuracy"])
    with pytest.raises(atlas.AtlasError, match="Unknown metric 'cosin' - did you mean 'cosine'"):
        evaluate(fitted, source=X, target=Y, metrics=["cosin"])
    bare = [atlas.Vectors.of(view.data, view.space) for view in (X, Y)]
    with pytest.raises(atlas.AtlasError, match="'accuracy' needs labels, and the vectors have none"):
        evaluate(fitted, source=bare[0], target=bare[1], head=atlas.train("linear", Y))


def test_every_two_spaces_are_compared():
    X, Y = views()
    Z = atlas.Vectors.of(torch.randn(300, 5, generator=torch.Generator().manual_seed(3)), Space("other", 5))
    found = compare(X, Y, Z, metrics=["cka", "mutual-knn"])
    assert [(c.metric, c.a, c.b) for c in found] == [
        (metric, a, b)
        for metric in ("cka", "mutual-knn@10")
        for a, b in (("narrow", "wide"), ("narrow", "other"), ("wide", "other"))
    ]
    by_pair = {(c.metric, c.a, c.b): c for c in found}
    assert by_pair["cka", "narrow", "wide"].value == pytest.approx(1)
    assert by_pair["cka", "narrow", "other"].value < 0.1
    assert by_pair["mutual-knn@10", "narrow", "other"].chance == pytest.approx(10 / 299)


def test_a_biased_figure_of_few_rows_says_so():
    X, Y = views(30)
    [few], [many] = compare(X, Y), compare(*views(300))
    assert "biased towards 1 with few rows" in few.note
    assert many.note == ""


def test_a_metric_of_one_space_takes_one():
    X, _ = views()
    [found] = compare(X, metrics=["separability"])
    assert (found.a, found.b) == ("narrow", "")
    with pytest.raises(atlas.AtlasError, match="'cka' compares spaces - give the vectors of two or more"):
        compare(X)
    with pytest.raises(atlas.AtlasError, match="'accuracy' reads predictions - measure it with evaluate and a head"):
        compare(X, X, metrics=["accuracy"])


def test_an_atlas_is_measured_with_a_head_of_its_space():
    X, Y = views()
    joint = atlas.aggregate("generalized-procrustes", X, Y)
    head = atlas.train("nearest-mean", atlas.apply(joint, X, Y))
    [found] = evaluate(joint, vectors=[X, Y], head=head, split="test")
    [alone] = evaluate(head, vectors=atlas.apply(joint, X, Y), split="test")
    assert found == alone and found.value > 0.9 > found.floor
    assert evaluate(joint, vectors=Y, head=head)[0].n == 300


def test_what_an_artefact_is_not_measured_on_is_told():
    X, Y = views()
    fitted, head = atlas.fit("procrustes", source=X, target=Y), atlas.train("nearest-mean", X)
    for given in ({"source": X}, {"vectors": X}, {"source": X, "target": Y, "vectors": X}, {}):
        with pytest.raises(atlas.AtlasError, match="is measured on vectors of its source and of its target, and per"):
            evaluate(fitted, **given)
    for given in ({"vectors": [X, X]}, {"source": X, "target": Y}, {"vectors": X, "head": head}, {}):
        with pytest.raises(atlas.AtlasError, match=r"Head '.*' is measured on vectors of its space - give --vectors"):
            evaluate(head, **given)
    with pytest.raises(atlas.AtlasError, match=r"Head '.*' is measured by its accuracy alone, got cosine, r2"):
        evaluate(head, vectors=X, metrics=["cosine", "r2"])
    joint = atlas.aggregate("generalized-procrustes", X, Y)
    with pytest.raises(atlas.AtlasError, match=r"Atlas '.*' is measured on .*, and a head of the shared one - give"):
        evaluate(joint, vectors=[X, Y])
