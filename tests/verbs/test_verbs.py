from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import planted, space_of
from torch.testing import assert_close

from atlas.artefacts.loading import read_vectors
from atlas.artefacts.vectors import Vectors
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, AtlasWarning, SpaceMismatchError
from atlas.plugins.catalogue import create
from atlas.storage.rows import Rows
from atlas.verbs.aggregate import aggregate, chart, extend
from atlas.verbs.apply import apply
from atlas.verbs.compare import compare
from atlas.verbs.compose import compose
from atlas.verbs.encode import encode
from atlas.verbs.evaluate import evaluate
from atlas.verbs.fit import fit
from atlas.verbs.parameters.arguments import encoder_of
from atlas.verbs.sample import sample
from atlas.verbs.train import train


def counted(batches, total, what):  # type: ignore[no-untyped-def]
    """A progress that checks what it is told."""
    done = 0
    for batch in batches:
        done += 1
        yield batch
    counted.seen.append((what, done, total))  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def nothing_seen():
    counted.seen = []  # type: ignore[attr-defined]


def small_batches(monkeypatch, size=50):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(Rows, "batch_rows", lambda self: size)


# encode


def test_encoding_keeps_ids_labels_and_order(tmp_path):
    (tmp_path / "x.csv").write_text("id,text,label\nb,two words here,y\na,one word here,n\nc,two words there,y\n")
    made = encode("tfidf-svd", tmp_path / "x.csv", dim=2, min_df=1)
    assert list(made.ids) == ["b", "a", "c"] and made.classes == ("n", "y") and made.dataset == "x"
    assert made.labels is not None and made.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("out", ["v", "v.npy", "v.safetensors"])
def test_encoding_to_a_file_is_what_it_is_in_memory(tmp_path, out):
    X = torch.rand(103, 4, 5, generator=torch.Generator().manual_seed(0))
    kept = encode("pixels", X, batch_size=10, progress=counted)
    made = encode("pixels", X, batch_size=7, out=tmp_path / out, progress=counted)
    assert torch.equal(made.data, kept.data) and made.ids == kept.ids
    assert counted.seen == [("Encoding", 11, 11), ("Encoding", 15, 15)]  # type: ignore[attr-defined]


def test_vectors_can_be_encoded_again(pair):
    made = encode("pixels", pair.source)
    assert made.ids == pair.source.ids and made.classes == pair.source.classes and made.dataset == "toy"
    assert made.labels is not None and torch.equal(made.labels, pair.source.labels)


def test_the_id_of_a_space_can_be_chosen():
    X = torch.rand(5, 4)
    named, plain = encode("pixels", X, id="mine"), encode("pixels", X)
    assert named.space.id == "mine" and plain.space.id.startswith("pixels-")
    assert named.space.matches(plain.space)


def test_an_encoder_is_found_by_name_folder_or_not_at_all(tmp_path):
    encoder = create(Encoder, "pixels")
    assert encoder_of(encoder) is encoder
    assert encoder_of("tfidf-svd", {"dim": 3}).config()["dim"] == 3
    with pytest.raises(AtlasError, match="Unknown encoder or space 'pixles' - did you mean 'pixels'"):
        encoder_of("pixles")
    with pytest.raises(AtlasError, match=r"There is no folder './none'|There is no folder 'none'"):
        encoder_of("./none")


def test_an_existing_target_is_told_before_the_work(tmp_path):
    (tmp_path / "v.npy").write_text("")

    class Never:
        def __len__(self) -> int:
            raise AssertionError("work was begun")

    with pytest.raises(AtlasError, match="exists - choose another name"):
        encode("pixels", Never(), out=tmp_path / "v.npy")


# sample


def test_anchors_say_how_they_were_drawn(pair):
    anchors = sample("farthest-point", pair.source, 10, seed=3)
    assert anchors.id == "toy-farthest-point-10-s3" and anchors.dataset == "toy" and anchors.drawn_in == "a"
    assert len(anchors) == 10 and set(anchors.ids) <= set(pair.source.ids)
    assert torch.equal(anchors.vectors("a").data, pair.source.of_items(anchors.ids).data)
    assert sample("uniform", pair.source, 10, id="few").id == "few"


def test_a_stratified_sample_uses_the_labels(pair):
    anchors = sample("stratified", pair.source, 9)
    labels = pair.source.of_items(anchors.ids).labels
    assert labels is not None and torch.bincount(labels).tolist() == [3, 3, 3]


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_card_can_hold_is_refused(pair, seed):
    for verb in (
        lambda: sample("uniform", pair.source, 3, seed=seed),
        lambda: train("knn", pair.source, seed=seed),
    ):
        with pytest.raises(AtlasError, match=rf"A seed must be from 0 to 2\*\*63 - 1, got {seed}"):
            verb()


# fit


def test_fitting_pairs_by_id(pair):
    made = fit("procrustes", source=pair.source, target=pair.target)
    assert made.n_pairs == 120 and (made.source.id, made.target.id, made.dataset) == ("a", "b", "toy")
    assert_close(made.aligner.state["weight"].double(), pair.rotation, atol=0.02, rtol=0)
    by_position = create(Aligner, "procrustes").fit(pair.source.data, pair.target.data)
    assert float((by_position.state["weight"].double() - pair.rotation).abs().max()) > 0.3


def test_only_what_both_have_is_fitted_on(pair):
    made = fit("linear", source=pair.source.take(torch.arange(80)), target=pair.target.take(torch.arange(100)))
    common = {f"item-{i}" for i in range(80)} & set(pair.target.ids[:100])
    assert made.n_pairs == len(common)


@pytest.mark.parametrize("aligner", ["procrustes", "linear", "low-rank", "cca", "linear-orthogonal", "identity"])
def test_anchors_restrict_a_fit(pair, aligner):
    anchors = sample("uniform", pair.source, 40)
    made = fit(aligner, source=pair.source, target=pair.target, anchors=anchors)
    few = fit(aligner, source=pair.source.of_items(anchors.ids), target=pair.target)
    assert made.n_pairs == 40 and made.anchors == anchors.id
    assert torch.equal(made(pair.source.data), few(pair.source.data))
    listed = fit(aligner, source=pair.source, target=pair.target, anchors=anchors.ids)
    assert torch.equal(listed(pair.source.data), made(pair.source.data)) and listed.anchors == ""


def test_anchors_that_are_missing_are_told(pair):
    anchors = sample("uniform", pair.source, 40)
    others = Vectors.of(torch.rand(40, 3), space_of("b", 3), ids=range(40))
    with pytest.raises(AtlasError, match="Vectors of 'b' hold 0 of the 40 items of the anchors, the first missing is"):
        fit("linear", source=pair.source, target=others, anchors=anchors)


def test_batches_give_the_same_map(monkeypatch):
    pair = planted(900)
    whole = fit("linear", source=pair.source, target=pair.target)
    small_batches(monkeypatch)
    parts = fit("linear", source=pair.source, target=pair.target, progress=counted)
    assert counted.seen == [("Fitting", 18, 18)]  # type: ignore[attr-defined]
    assert_close(parts.aligner.state["weight"], whole.aligner.state["weight"], rtol=1e-4, atol=1e-5)


def test_an_aligner_that_was_fitted_forgets_what_it_knew(pair):
    aligner = create(Aligner, "linear")
    fit(aligner, source=pair.target, target=pair.source)
    again = fit(aligner, source=pair.source, target=pair.target)
    fresh = fit("linear", source=pair.source, target=pair.target)
    assert torch.equal(again.aligner.state["weight"], fresh.aligner.state["weight"])


def test_not_a_number_is_counted_over_all_batches(monkeypatch):
    pair = planted(900)
    bad = pair.target.data.clone()
    bad[[612, 801], [2, 3]] = torch.nan
    target = Vectors.of(bad, pair.target.space, ids=pair.target.ids)
    source = Vectors.of(pair.source.of_items(pair.target.ids).data, pair.source.space, ids=pair.target.ids)
    small_batches(monkeypatch)
    message = "The {} has 2 values that are NaN or infinite, the first in row 612"
    with pytest.raises(AtlasError, match=message.format("target")):
        fit("linear", source=source, target=target)
    with pytest.raises(AtlasError, match=message.format("source")):
        fit("linear", source=target, target=source)


def test_a_half_is_fitted_on_the_source_alone(pair):
    anchors = sample("uniform", pair.source, 20)
    here = fit("relative", source=pair.source, anchors=anchors)
    there = fit("relative", source=pair.target, anchors=anchors)
    assert here.target.matches(there.target) and here.target.dim == 20 and here.n_pairs == 20
    other = fit("relative", source=pair.source, anchors=sample("uniform", pair.source, 20, seed=1))
    assert not here.target.matches(other.target)
    with pytest.raises(AtlasError, match="fits on the source alone - leave out the target"):
        fit("relative", source=pair.source, target=pair.target)
    with pytest.raises(AtlasError, match="needs the vectors of both spaces - give a target"):
        fit("linear", source=pair.source)


# apply


@pytest.mark.parametrize("out", ["v", "v.npy", "v.safetensors", "v.parquet"])
@pytest.mark.parametrize("inverse", [False, True])
def test_applying_to_a_file_is_what_it_is_in_memory(tmp_path, monkeypatch, out, inverse):
    pair = planted(600)
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow")
    made = fit("procrustes", source=pair.source, target=pair.target)
    given = pair.target if inverse else pair.source
    small_batches(monkeypatch)
    written = apply(made, given, out=tmp_path / out, inverse=inverse, progress=counted)
    kept = apply(made, given, inverse=inverse)
    assert_close(written.data, kept.data, rtol=1e-5, atol=1e-5)
    assert list(written.ids) == list(kept.ids) and written.space == kept.space
    assert out != "v" or written.space == (made.source if inverse else made.target)
    assert counted.seen == [("Applying", 3, 3)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("known", [True, False])
def test_vectors_are_not_mapped_twice(pair, tmp_path, known):
    source, target = pair.source, pair.target
    if not known:
        source, target = source.in_space(Space("a", 8), source.data), target.in_space(Space("b", 8), target.data)
    alignment = fit("procrustes", source=source, target=target)
    apply(alignment, source, out=tmp_path / "mapped.safetensors")
    for given in (target, tmp_path / "mapped.safetensors"):
        for out in (None, tmp_path / "again"):
            with pytest.raises(
                SpaceMismatchError, match="maps from 'a'.* are of " + ("'b'" if known else "its target 'b'")
            ):
                apply(alignment, given, out=out)
    assert apply(alignment, tmp_path / "mapped.safetensors", inverse=True).space.id == "a"
    # An array carries nothing.
    apply(alignment, Vectors.of(target.data))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_vectors_keep_their_dtype(pair, tmp_path, dtype):
    made = fit("procrustes", source=pair.source, target=pair.target)
    given = Vectors.of(pair.source.data.to(dtype), pair.source.space, ids=pair.source.ids)
    for mapped in (apply(made, given), apply(made, given, out=tmp_path / "v")):
        assert mapped.data.dtype == dtype
        assert_close(mapped.data.float(), made(pair.source.data), rtol=2e-2, atol=5e-2)


def test_arrays_in_arrays_out(pair):
    made = fit("procrustes", source=pair.source, target=pair.target)
    result = made(pair.source.data.numpy().astype(np.float64))
    assert isinstance(result, np.ndarray) and result.dtype == np.float64


@pytest.mark.parametrize("out", [None, "v", "v.npy"])
def test_vectors_that_are_not_finite_are_not_mapped(tmp_path, monkeypatch, out):
    pair = planted(600)
    made = fit("procrustes", source=pair.source, target=pair.target)
    X = pair.source.data.clone()
    X[[260, 590], 3] = torch.inf
    small_batches(monkeypatch)
    given = Vectors.of(X, pair.source.space)
    with pytest.raises(AtlasError, match="Vectors has 2 values that are NaN or infinite, the first in row 260"):
        apply(made, given, out=None if out is None else tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_large_numbers_are_no_infinity(pair):
    made = fit("identity", source=pair.source, target=pair.target)
    large = Vectors.of(torch.full((4, 8), 3e38), pair.source.space)
    assert torch.equal(apply(made, large).data, large.data)


def test_an_alignment_maps_one_set_and_an_atlas_is_not_inverted(pair):
    made = fit("procrustes", source=pair.source, target=pair.target)
    with pytest.raises(AtlasError, match="Alignment 'a__b__procrustes' maps one set of vectors, got 2"):
        apply(made, pair.source, pair.source)
    atlas = aggregate("generalized-procrustes", pair.source, pair.target)
    with pytest.raises(AtlasError, match=r"Atlas '.*' cannot be run backwards - invert one of its charts"):
        apply(atlas, pair.source, inverse=True)
    bad = Vectors.of(torch.full((3, 8), torch.nan), pair.source.space)
    with pytest.raises(AtlasError, match="Vectors of 'a' has 24 values that are NaN or infinite"):
        apply(atlas, bad)


def test_applying_an_atlas_writes_its_vectors(pair, tmp_path):
    atlas = aggregate("generalized-procrustes", pair.source, pair.target)
    written = apply(atlas, pair.source, pair.target, out=tmp_path / "v")
    assert written.space == atlas.space and torch.equal(written.data, atlas(pair.source, pair.target).data)


# compose


def test_a_composition_is_one_after_another(pair):
    there = fit("procrustes", source=pair.source, target=pair.target)
    back = fit("linear", source=pair.target, target=pair.source)
    made = compose(there, back)
    assert (made.source, made.target) == (there.source, back.target) and made.n_pairs == 120
    assert_close(made(pair.source.data), back(there(pair.source.data)), rtol=1e-4, atol=1e-4)


def test_halves_compose_to_an_inverse_relative_projection(pair):
    anchors = sample("uniform", pair.source, 60)
    here, there = (fit("relative", source=v, anchors=anchors) for v in (pair.source, pair.target))
    made = compose(here, there.inverse())
    assert (made.source, made.target, made.anchors) == (pair.source.space, pair.target.space, anchors.id)
    mapped = apply(made, pair.source).of_items(pair.target.ids)
    similarity = torch.cosine_similarity(mapped.data, pair.target.data)
    assert float(similarity.mean()) > 0.9


def test_what_does_not_meet_is_not_composed(pair):
    made = fit("procrustes", source=pair.source, target=pair.target)
    with pytest.raises(
        SpaceMismatchError, match="Alignment 'a__b__procrustes' maps from 'a', but the vectors 'a__b__procrustes'"
    ):
        compose(made, made)
    with pytest.raises(AtlasError, match="Composing needs at least one alignment, got none"):
        compose()
    few, other = (
        fit("relative", source=v, anchors=sample("uniform", v, 20, seed=s))
        for v, s in ((pair.source, 0), (pair.target, 5))
    )
    with pytest.raises(SpaceMismatchError, match=r"anchors is [0-9a-f]{12}... there, [0-9a-f]{12}... here"):
        compose(few, other.inverse())


def test_parts_of_a_composition_are_run_backwards(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    anchors = sample("uniform", pair.source, 60)
    here, there = (fit("relative", source=v, anchors=anchors) for v in (pair.source, pair.target))
    here.save_pretrained("here")
    there.save_pretrained("there")
    expected = compose(here, there.inverse())(pair.source.data)
    assert torch.equal(compose(here, there, inverse=[there])(pair.source.data), expected)
    assert torch.equal(compose("./here", "./there", inverse=["./there"])(pair.source.data), expected)
    with pytest.raises(AtlasError, match=r"Unknown alignment to run backwards 'b__.*' - known: \./here"):
        compose("./here", inverse=[there])


# references


def test_what_is_stored_is_taken_by_where_it_is(stored, pair):
    anchors = sample("uniform", "a", 60, also=["b"])
    assert [space.id for space in anchors.spaces] == ["a", "b"]
    anchors.save_pretrained("anchors")
    made = fit("procrustes", source="a", target=Path("b"), anchors="anchors")
    assert made.n_pairs == 60 and made.anchors == anchors.id
    made.save_pretrained("map")
    assert torch.equal(apply("map", "a").data, apply(made, pair.source).data)
    train("nearest-mean", "b").save_pretrained("head")
    assert evaluate("map", source="a", target="b", head="head") == evaluate(
        made, source=pair.source, target=pair.target, head=train("nearest-mean", pair.target)
    )
    aggregate("generalized-procrustes", "a", "b", id="both").save_pretrained("both")
    assert chart("both", "a").id == "both__a" and chart("both", "a", id="mine").id == "mine"
    renamed = Vectors.of(pair.source.data, "c", ids=pair.source.ids)
    assert [space.id for space in extend("both", renamed).charts] == ["a", "b", "c"]
    assert compare("a", "b") == compare(pair.source, pair.target)


def test_anything_else_in_place_of_an_artefact_is_refused(pair):
    with pytest.raises(
        AtlasError, match="Expected vectors, got Alignment - give it, its folder, its id or a reference"
    ):
        fit("procrustes", source=fit("identity", source=pair.source, target=pair.target), target=pair.target)
    for given in ({"a": 1}, object(), 5):
        with pytest.raises(AtlasError, match=r"^The source: vectors must .* got"):
            fit("procrustes", source=given, target=pair.target)
    with pytest.raises(AtlasError, match="Expected alignment or atlas, got Vectors"):
        apply(pair.source, pair.source)


def test_an_encoder_is_stored_with_what_it_makes(tmp_path, pair):
    made = encode("pixels", pair.source, save_space=tmp_path / "mine", out=tmp_path / "v")
    assert made.space.id == "mine" and encode(tmp_path / "mine", pair.source).space == made.space
    with pytest.raises(AtlasError, match="exists - choose another name"):
        encode("pixels", pair.source, save_space=tmp_path / "mine")


# aggregate


def test_aggregating_uses_the_items_of_two_spaces(pair):
    third = Vectors.of(pair.source.data @ pair.rotation.float(), space_of("c", 8), ids=pair.source.ids)
    made = aggregate(
        "generalized-procrustes", pair.source.take(torch.arange(80)), pair.target, third.take(torch.arange(40, 120))
    )
    assert [chart.id for chart in made.charts] == ["a", "b", "c"] and made.dataset == "toy"
    views = [
        made.chart(v.space.id)(v).of_items([f"item-{i}" for i in range(50, 70)])
        for v in (pair.source, pair.target, third)
    ]
    assert_close(views[0].data, views[2].data, rtol=0, atol=0.5)


def test_aggregating_on_anchors(pair):
    anchors = sample("uniform", pair.source, 30)
    made = aggregate("relative-mean", pair.source, pair.target, anchors=anchors)
    assert made.anchors == anchors.id and made.space.dim == 30


def test_what_cannot_be_aggregated_is_told(pair):
    with pytest.raises(AtlasError, match="needs vectors of different spaces, got a, a"):
        aggregate("generalized-procrustes", pair.source, pair.source)
    apart = Vectors.of(pair.target.data, pair.target.space, ids=range(120))
    with pytest.raises(AtlasError, match="found no item that is in two of the spaces - give anchors encoded in all"):
        aggregate("generalized-procrustes", pair.source, apart)


# train


def test_rows_without_a_label_are_left_out(pair):
    labels = pair.source.labels.clone()
    labels[::2] = -1
    vectors = Vectors.of(pair.source.data, pair.source.space, labels=labels, classes=pair.source.classes)
    with pytest.warns(
        AtlasWarning, match=r"^60 of 120 vectors have no label, which is missing or -1, and are left out$"
    ):
        head = train("nearest-mean", vectors)
    known = Vectors.of(pair.source.data[1::2], pair.source.space, labels=labels[1::2], classes=pair.source.classes)
    assert torch.equal(head(pair.source), train("nearest-mean", known)(pair.source))
    assert head.classes == ("ant", "bee", "cat") and head.id == "a__nearest-mean"


def test_what_cannot_be_trained_is_told(pair):
    with pytest.raises(AtlasError, match="Vectors of 'c' have no labels - encode items with classes, or give labels"):
        train("linear", Vectors.of(torch.rand(4, 3), "c"))
    with pytest.raises(AtlasError, match="Unknown head 'linaer' - did you mean 'linear'"):
        train("linaer", pair.source)


def test_an_atlas_of_relative_spaces_takes_a_head(pair, tmp_path):
    anchors = sample("uniform", pair.source, 30)
    atlas = aggregate("relative-mean", pair.source, pair.target, anchors=anchors)
    together = apply(atlas, pair.source, pair.target, out=tmp_path / "v")
    head = train("nearest-mean", together)
    right = head.predict(atlas(pair.target)) == atlas(pair.target).labels
    assert float(right.double().mean()) > 0.9
    assert read_vectors(Path(tmp_path / "v")).space.matches(head.space)


def test_a_head_knows_the_classes_that_have_vectors():
    """Labels that count from 1 have no class 0, and a part of a data set may lack a class."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3 + 1
    X = torch.randn(60, 4, generator=g) + 5 * torch.nn.functional.one_hot(labels, 4)
    head = train("linear", Vectors.of(X, "a", labels=labels))
    assert head.classes == ("1", "2", "3") and [head.classes[i] for i in head.predict(X[:3])] == ["1", "2", "3"]
    named = Vectors.of(X, "a", labels=[["cat", "dog", "owl"][i] for i in (labels - 1).tolist()])
    part = named.take((labels != 2).nonzero().flatten())
    with pytest.warns(AtlasWarning, match="^No vector is of class 'dog', which the head will not know$"):
        head = train("nearest-mean", part)
    assert head.classes == ("cat", "owl")
    found = {figure.name: figure.value for figure in evaluate(head, vectors=named)}
    assert found["accuracy"] == pytest.approx(2 / 3, abs=0.05)
