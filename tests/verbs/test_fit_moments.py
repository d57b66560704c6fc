"""Fits from moments, and maps that know the domain they were fitted on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from conftest import space_of

from atlas import Aligner, Alignment, LinearAligner, Vectors, apply, create, evaluate, fit, load, moments
from atlas.cards.folder import MODEL
from atlas.errors import AtlasError, AtlasWarning, CardError
from atlas.numerics.domain import Domain
from atlas.plugins.catalogue import component, components
from atlas.storage.tensors import load_tensors
from atlas.testing.promises import paired_data

CLASSES = {name: component(Aligner, name) for name in components(Aligner)}
LINEAR = [name for name, cls in CLASSES.items() if issubclass(cls, LinearAligner) and cls.streaming]


@pytest.fixture
def views():
    X, Y = paired_data(n=500, d_source=6, d_target=4)
    ids = [f"item {i}" for i in range(len(X))]
    return Vectors.of(X, space_of("a", 6), ids=ids), Vectors.of(Y, space_of("b", 4), ids=ids)


@pytest.fixture
def known(views):
    return moments(source=views[0], target=views[1])


def rows(view, start, stop):
    return view.take(torch.arange(start, stop))


def assert_same(a: Alignment, b: Alignment, tolerance=1e-6):
    for name, t in a.aligner.state.items():
        torch.testing.assert_close(t, b.aligner.state[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("aligner", LINEAR)
def test_every_linear_method_is_fitted_from_moments_in_both_directions(views, known, aligner):
    found = fit(aligner, moments=known)
    assert_same(found, fit(aligner, source=views[0], target=views[1]))
    assert (found.source, found.target, found.n_pairs) == (views[0].space, views[1].space, 500)
    back = fit(aligner, moments=known, reverse=True)
    assert_same(back, fit(aligner, source=views[1], target=views[0]))
    assert (back.source, back.target) == (views[1].space, views[0].space)


@pytest.mark.parametrize("public", [False, True])
def test_a_fit_with_further_pairs_is_that_on_all_pairs(views, public):
    theirs = moments(source=rows(views[0], 0, 400), target=rows(views[1], 0, 400))
    theirs = theirs.published() if public else theirs
    found = fit("linear", moments=theirs, source=rows(views[0], 400, 500), target=rows(views[1], 400, 500))
    assert_same(found, fit("linear", source=views[0], target=views[1]))
    assert found.n_pairs == 500


def test_parts_of_float32_rows_are_as_good_as_all_rows_in_float64(views):
    coarse = [Vectors.of(100 + view.data.float(), view.space) for view in views]
    fine = [Vectors.of(view.data.double(), view.space) for view in coarse]
    parts = [moments(source=rows(coarse[0], *p), target=rows(coarse[1], *p)) for p in ((0, 30), (30, 320), (320, 500))]
    assert_same(fit("linear", moments=sum(parts)), fit("linear", source=fine[0], target=fine[1]), 1e-6)


def test_moments_are_taken_by_where_they_are(views, known, tmp_path):
    known.save_pretrained(tmp_path / "m")
    assert_same(fit("linear", moments=tmp_path / "m"), fit("linear", moments=known), 0)
    with pytest.raises(AtlasError, match="is of kind vectors - expected moments"):
        views[0].save_pretrained(tmp_path / "v")
        fit("linear", moments=tmp_path / "v")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aligner": "mlp"}, "Aligner 'mlp' needs rows, not moments - give source and target, or take a linear method"),
        ({"aligner": "auto"}, "Aligner 'auto' needs rows, not moments - give source and target, or take a linear meth"),
        ({"source": True}, "Pairs that are added to moments need the vectors of both spaces - give source and target"),
        ({"moments": None}, "There is nothing to fit on - give source and target, or moments"),
        ({"moments": None, "reverse": True}, "Only moments can be reversed - give the target's vectors as source"),
        ({"aligner": "mlp", "moments": None, "source": True, "target": True, "confidence": True}, "leave out confid"),
        ({"aligner": "auto", "moments": None, "source": True, "target": True, "confidence": True}, "leave out confid"),
    ],
)
def test_what_cannot_be_fitted_from_moments_is_said(views, known, given, message):
    given = {"aligner": "linear", "moments": known, **given}
    sides = {name: view for name, view in zip(("source", "target"), views, strict=True) if given.pop(name, False)}
    with pytest.raises(AtlasError, match=message):
        fit(given.pop("aligner"), **given, **sides)


def test_a_map_keeps_its_domain_where_that_costs_nothing_and_gives_nothing_away(views):
    assert fit("linear", source=views[0], target=views[1]).domain is not None
    assert fit("linear", source=views[0], target=views[1], confidence=False).domain is None
    # It would take another matrix product.
    assert fit("procrustes", source=views[1], target=views[0]).domain is None
    assert fit("procrustes", source=views[1], target=views[0], confidence=True).domain is not None
    few = [rows(view, 0, 59) for view in views]
    assert fit("linear", source=few[0], target=few[1]).domain is None
    assert fit("linear", source=few[0], target=few[1], confidence=True).domain is not None


def test_a_refit_with_few_pairs_of_ones_own_gives_none_of_them_away(views):
    public = moments(source=rows(views[0], 0, 480), target=rows(views[1], 0, 480)).published()
    mine = {"source": rows(views[0], 480, 500), "target": rows(views[1], 480, 500)}
    assert fit("linear", moments=public, **mine).domain is None
    assert fit("linear", moments=public).domain is not None
    with pytest.raises(AtlasError, match="The domain of alignment 'a__b__linear' would give away the 20 distinct rows"):
        fit("linear", moments=public, confidence=True, **mine).published()


@pytest.mark.parametrize("aligner", ["linear", "procrustes", "cca"])
def test_the_predicted_error_is_that_of_the_fit(views, aligner):
    made = fit(aligner, source=views[0], target=views[1], confidence=True)
    errors = (made(views[0]).data - views[1].data).double().square().sum(1)
    assert made.domain.error == pytest.approx(float(errors.mean().sqrt()), rel=1e-4)
    assert float(made.confidence(views[0]).square().mean().sqrt()) == pytest.approx(made.domain.error, rel=1e-4)


def test_errors_are_predicted_of_whatever_vectors_come_in(views):
    made = fit("linear", source=views[0], target=views[1])
    found = made.confidence(views[0])
    assert found.shape == (500,) and torch.equal(found, made.confidence(views[0].data))
    array = made.confidence(views[0].data.numpy().astype(np.float32))
    assert isinstance(array, np.ndarray) and array.dtype == np.float32
    np.testing.assert_allclose(array, found.numpy(), rtol=1e-4)
    with pytest.raises(AtlasError, match="maps from 'a', but the vectors are of 'b'"):
        made.confidence(views[1])
    with pytest.raises(AtlasError, match="does not know the domain it was fitted on - fit it with --confidence"):
        made.inverse().confidence(views[1])


def test_a_domain_is_kept_bit_for_bit(views, tmp_path):
    made = fit("linear", source=views[0], target=views[1])
    made.save_pretrained(tmp_path / "map")
    again = load(tmp_path / "map")
    assert torch.equal(again.confidence(views[0]), made.confidence(views[0]))
    assert torch.equal(again(views[0]).data, made(views[0]).data)
    tensors = load_tensors(tmp_path / "map" / MODEL)
    assert {*tensors} == {"weight", "bias", "domain.mean", "domain.root", "domain.scale"}
    assert {t.dtype for t in tensors.values()} == {torch.float32}


def test_a_map_without_a_domain_is_read_as_before(views, tmp_path):
    fit("linear", source=views[0], target=views[1], confidence=False).save_pretrained(tmp_path / "map")
    assert {*load_tensors(tmp_path / "map" / MODEL)} == {"weight", "bias"}
    assert load(tmp_path / "map").domain is None


def test_a_map_whose_plugin_is_missing_keeps_its_domain(views, tmp_path):
    made = fit("linear", source=views[0], target=views[1])
    made.with_card(aligner="not-here", plugin="latent-atlas-not-here 1.0").save_pretrained(tmp_path / "map")
    again = load(tmp_path / "map")
    assert again.aligner.name == "affine" and torch.equal(again.confidence(views[0]), made.confidence(views[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": torch.tensor([-1.0, 1, 1])}, "must have a level above 0 and no negative scale"),
        ({"mean": torch.zeros(5)}, "must be mean, root and scale of 6 dimensions in float32"),
        ({"more": torch.zeros(5)}, "must be mean, root and scale of 6 dimensions in float32"),
        ({"root": torch.zeros(6, 6, dtype=torch.float64)}, "must be mean, root and scale of 6 dimensions in float32"),
    ],
)
def test_a_domain_that_is_none_is_refused(views, change, message, tmp_path):
    class Other(Domain):
        def tensors(self):
            return {**super().tensors(), **change}

    made = fit("linear", source=views[0], target=views[1])
    other = Alignment(made.card, made.aligner, Other(made.domain.mean, made.domain.root, made.domain.scale))
    other.save_pretrained(tmp_path / "map")
    with pytest.raises(CardError, match=f"{MODEL}: The domain {message}"):
        load(tmp_path / "map")


@pytest.mark.parametrize("out", [None, "o", "o.safetensors", "o.parquet"])
def test_apply_writes_the_predicted_error_of_each_row(views, out, tmp_path):
    if out == "o.parquet":
        pytest.importorskip("pyarrow")
    made = fit("linear", source=views[0], target=views[1])
    source = Vectors.of(views[0].data.float().repeat(3, 1), views[0].space)
    found = apply(made, source, out=out and tmp_path / out, confidence=True)
    expected = made.confidence(source)
    assert torch.equal(found.predicted_error, expected)
    if out == "o":
        assert torch.equal(load(tmp_path / out).predicted_error, expected)
        assert torch.equal(load(tmp_path / out).take(torch.tensor([7])).predicted_error, expected[7:8])
    elif out == "o.safetensors":
        assert torch.equal(load_tensors(tmp_path / out)["predicted_error"], expected)
    elif out == "o.parquet":
        from pyarrow import parquet

        table = parquet.read_table(tmp_path / out)
        assert table.column_names == ["vector", "predicted_error"]
        assert torch.equal(torch.tensor(table["predicted_error"].to_pylist()), expected)
    # Mapped on by another map, they are none of its errors.
    assert apply(made.inverse(), found).predicted_error is None


def test_predicted_errors_stand_beside_all_other_columns_of_a_table(views, tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    made = fit("linear", source=views[0], target=views[1])
    other = fit("procrustes", source=views[1], target=views[0], confidence=True)
    views[0].save_pretrained(tmp_path / "a.parquet")
    apply(made, tmp_path / "a.parquet", out=tmp_path / "b.parquet", confidence=True)
    mapped = apply(other, tmp_path / "b.parquet", out=tmp_path / "c.parquet", confidence=True)
    table = parquet.read_table(tmp_path / "c.parquet")
    assert table.column_names == ["id", "vector", "predicted_error"]
    assert table["id"].to_pylist() == list(views[0].ids)
    assert torch.equal(torch.tensor(table["predicted_error"].to_pylist()), mapped.predicted_error)


def test_shards_are_written_with_their_predicted_errors(views, tmp_path):
    pytest.importorskip("pyarrow")
    made = fit("linear", source=views[0], target=views[1])
    for name, ids in (("a.parquet", slice(0, 90)), ("b.parquet", slice(90, 180))):
        rows(views[0], ids.start, ids.stop).save_pretrained(tmp_path / "in" / name)
    apply(made, tmp_path / "in", out=tmp_path / "out", confidence=True)
    from pyarrow import parquet

    found = [
        parquet.read_table(tmp_path / "out" / name)["predicted_error"].to_pylist()
        for name in ("a.parquet", "b.parquet")
    ]
    torch.testing.assert_close(
        torch.tensor([error for part in found for error in part]), made.confidence(rows(views[0], 0, 180)).float()
    )


def test_apply_says_where_errors_cannot_be_told(views, tmp_path):
    made = fit("linear", source=views[0], target=views[1])
    with pytest.raises(AtlasError, match=r"cannot hold predicted errors - write .parquet, .safetensors or a folder"):
        apply(made, views[0], out=tmp_path / "o.npy", confidence=True)
    plain = fit("linear", source=views[0], target=views[1], confidence=False)
    with pytest.raises(AtlasError, match="does not know the domain it was fitted on"):
        apply(plain, views[0], out=tmp_path / "o.safetensors", confidence=True)
    assert not list(tmp_path.iterdir())
    from atlas import aggregate

    merged = aggregate("generalized-procrustes", *views)
    with pytest.raises(AtlasError, match="cannot predict errors - apply one of its charts"):
        apply(merged, *views, confidence=True)
    for name, view in zip(("x1.npy", "x2.npy"), (rows(views[0], 0, 90), rows(views[0], 90, 180)), strict=True):
        view.save_pretrained(tmp_path / name)
    with pytest.raises(AtlasError, match=r"Shards of .npy cannot hold predicted errors - write one .parquet or .safet"):
        apply(made, tmp_path / "x1.npy", tmp_path / "x2.npy", out=tmp_path / "shards", confidence=True)
    with pytest.raises(
        AtlasError, match=r"Arrays and tables have no place for predicted errors - call confidence\(\), or"
    ):
        apply(made, views[0].data, confidence=True)


def test_damaged_errors_are_refused(views, tmp_path):
    made = fit("linear", source=views[0], target=views[1])
    found = apply(made, views[0], confidence=True)
    Vectors(found.card, found.rows, found.ids, None, found.predicted_error[:-1]).save_pretrained(tmp_path / "o")
    with pytest.raises(
        CardError, match=r"'predicted_error' must be 500 float32 numbers, is F64 \[499\]|is F32 \[499\]"
    ):
        load(tmp_path / "o")


def test_vectors_of_another_kind_are_warned_of_when_applied_or_measured(views, tmp_path):
    made = fit("linear", source=views[0], target=views[1])
    far = views[0].in_space(views[0].space, views[0].data.mean(0) + 6 * (views[0].data - views[0].data.mean(0)))
    message = r"\d+% of the vectors lie outside the domain that alignment 'a__b__linear' was fitted on"
    for act in (
        lambda: apply(made, far),
        lambda: apply(made, far.data.numpy()),
        lambda: apply(made, far, out=tmp_path / "o"),
        lambda: evaluate(made, source=far, target=views[1], metrics=["cosine"]),
    ):
        with pytest.warns(AtlasWarning, match=message):
            act()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply(made, views[0])
        evaluate(made, source=views[0], target=views[1], metrics=["cosine"])


def test_fits_for_plugin_authors_go_on_taking_sums(views, known):
    model = create(Aligner, "linear").fit_moments(known.sums)
    assert model.moments is known.sums and model.n_pairs == 500
    assert_same(Alignment.of(model, *(view.space for view in views)), fit("linear", moments=known), 0)


def test_a_map_that_knows_its_domain_takes_one_vector_and_none(views):
    made = fit("linear", source=views[0], target=views[1])
    assert made.domain is not None
    X = views[0].data.float().numpy()
    assert apply(made, X[0]).shape == (4,) and apply(made, X[:0]).shape == (0, 4)
    assert apply(made, X[:2].tolist()).shape == (2, 4)
