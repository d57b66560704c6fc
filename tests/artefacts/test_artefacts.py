from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Planted, orthogonal, space_of

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.anchors import Anchors
from atlas.artefacts.atlas import Atlas
from atlas.artefacts.head import Head
from atlas.artefacts.loading import load, read_vectors, save
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import CARD, MODEL
from atlas.cards.yaml import dump_yaml, read_yaml
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, CardError, NotFoundError, SpaceMismatchError
from atlas.plugins.catalogue import create
from atlas.storage.files import sha256_file
from atlas.storage.tensors import load_tensors, save_tensors
from atlas.verbs.aggregate import aggregate, extend
from atlas.verbs.compose import compose
from atlas.verbs.encode import encode
from atlas.verbs.fit import fit
from atlas.verbs.moments import moments
from atlas.verbs.sample import sample
from atlas.verbs.train import train


def alignment(pair: Planted) -> Alignment:
    return fit("procrustes", source=pair.source, target=pair.target)


MAKERS: dict[str, Callable[[Planted], Any]] = {
    "space": lambda pair: create(Encoder, "pixels"),
    "anchors": lambda pair: sample("uniform", pair.source, 20, seed=1).encoded_in(pair.target),
    "vectors": lambda pair: pair.source,
    "moments": lambda pair: moments(source=pair.source, target=pair.target),
    "alignment": alignment,
    "map with a domain": lambda pair: fit("linear", source=pair.source, target=pair.target),
    "relative": lambda pair: fit("relative", source=pair.source, anchors=pair.source.ids[:20]),
    "head": lambda pair: train("nearest-mean", pair.source),
    "atlas": lambda pair: aggregate("generalized-procrustes", pair.source, pair.target),
}


def stored(kind: str, pair: Planted, folder: Path) -> Path:
    made = MAKERS[kind](pair)
    if kind == "space":
        for _ in made.encode(torch.rand(3, 4)):
            pass
    save(made, folder)
    return folder


@pytest.mark.parametrize("kind", MAKERS)
def test_saving_twice_makes_the_same_bytes(kind, pair, tmp_path):
    for name in ("x", "y"):
        stored(kind, pair, tmp_path / name / "z")
    for file in (CARD, MODEL):
        first, second = tmp_path / "x" / "z" / file, tmp_path / "y" / "z" / file
        assert first.exists() == second.exists()
        assert not first.exists() or first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", MAKERS)
def test_loading_and_saving_again_makes_the_same_bytes(kind, pair, tmp_path):
    folder = stored(kind, pair, tmp_path / "x" / "z")
    save(load(folder), tmp_path / "y" / "z")
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "y" / "z" / file.name).read_bytes()


def test_an_alignment_maps_the_same_bits_after_loading(pair, tmp_path):
    made = alignment(pair)
    made.save_pretrained(tmp_path / "map")
    again = Alignment.from_pretrained(tmp_path / "map")
    assert torch.equal(again(pair.source.data), made(pair.source.data))
    assert torch.equal(again.inverse()(pair.target.data), made.inverse()(pair.target.data))


def test_an_alignment_maps_vectors_to_vectors_of_its_target(pair):
    mapped = alignment(pair)(pair.source)
    assert mapped.space == pair.target.space and mapped.ids == pair.source.ids
    assert mapped.labels is pair.source.labels
    expected = pair.source.data.double() @ pair.rotation + pair.shift
    assert float((mapped.data - expected).norm() / expected.norm()) < 0.05


def test_an_alignment_refuses_vectors_of_another_space(pair):
    made = alignment(pair)
    with pytest.raises(
        SpaceMismatchError, match="Alignment 'a__b__procrustes' maps from 'a', but the vectors are of 'b'"
    ):
        made(pair.target)
    other = Vectors.of(pair.source.data, space_of("a", 8, revision="2"))
    with pytest.raises(SpaceMismatchError, match="revision is not set there, 2 here"):
        made(other)
    with pytest.raises(AtlasError, match=r"maps 8 to 8 dimensions, got X with shape \(2, 3\)"):
        made(torch.zeros(2, 3))


def test_an_alignment_takes_vectors_of_which_only_the_dimension_is_known(pair):
    bare = Vectors.of(pair.source.data)
    assert alignment(pair)(bare).space == pair.target.space


def test_the_inverse_brings_vectors_back(pair):
    made = alignment(pair)
    back = made.inverse()
    assert (back.source, back.target) == (made.target, made.source)
    assert torch.allclose(back(made(pair.source)).data, pair.source.data, atol=1e-4)
    assert back.inverse()(pair.source).space == pair.target.space


@pytest.mark.parametrize("made", ["alignment", "inverse", "relative", "composed"])
def test_a_compiled_map_is_the_map(made, pair):
    relative, other = (
        fit("relative", source=side, anchors=pair.source.ids[:20]) for side in (pair.source, pair.target)
    )
    maps = {
        "alignment": alignment(pair),
        "inverse": alignment(pair).inverse(),
        "relative": relative,
        "composed": compose(relative, other, inverse=[other]),
    }
    chosen = maps[made]
    X = (pair.target if made == "inverse" else pair.source).data.float().numpy()
    mapped, whole = chosen.compiled(), chosen(X)
    np.testing.assert_allclose(mapped(X), whole, rtol=1e-4, atol=1e-4)
    for one in (X[3], X[3].tolist()):
        np.testing.assert_allclose(mapped(one), whole[3], rtol=1e-4, atol=1e-4)
    assert mapped(X[3]).dtype == np.float32


def test_a_head_refuses_vectors_of_another_space(pair):
    head = train("linear", pair.source)
    with pytest.raises(SpaceMismatchError, match="Head 'a__linear' reads 'a', but the vectors are of 'b'"):
        head(pair.target)
    assert float((head.predict(pair.source) == pair.source.labels).double().mean()) > 0.95


def test_an_atlas_combines_views_by_item(pair):
    made = aggregate("generalized-procrustes", pair.source, pair.target)
    few = pair.source.take(torch.tensor([5, 3]))
    together = made(few, pair.target)
    assert together.ids[:2] == ["item-5", "item-3"] and sorted(together.ids) == sorted(pair.source.ids)
    assert together.classes == pair.source.classes and together.labels is not None
    alone = made(pair.target)
    row = {item: i for i, item in enumerate(alone.ids)}
    order = torch.tensor([row[item] for item in together.ids])
    assert float((together.data - alone.data[order]).norm() / alone.data.norm()) < 0.1
    assert torch.equal(together.data[2:], alone.data[order][2:])


def test_a_chart_of_an_atlas_can_be_used_alone(pair, tmp_path):
    made = aggregate("generalized-procrustes", pair.source, pair.target)
    save(made, tmp_path / "atlas")
    chart = load(tmp_path / "atlas", "atlas").chart("b")
    assert chart.n_pairs == 120 and made.with_card(n_items=()).chart("b").n_pairs == 0
    assert torch.allclose(chart(pair.target).data, made(pair.target).data, atol=1e-6)
    save(chart, tmp_path / "chart")
    assert load(tmp_path / "chart", "alignment").source == pair.target.space


def test_an_atlas_refuses_a_space_it_has_no_chart_for(pair):
    made = aggregate("generalized-procrustes", pair.source, pair.target)
    with pytest.raises(AtlasError, match=r"Atlas '.*' has no chart for space 'c' - known: a, b"):
        made(Vectors.of(pair.source.data, space_of("c", 8)))
    other = Vectors.of(pair.source.data, space_of("a", 8, revision="2"))
    with pytest.raises(
        SpaceMismatchError, match="has a chart for 'a', but the vectors are of 'a': revision is not set"
    ):
        made(other)


def test_an_atlas_takes_one_set_of_vectors_of_each_space(pair):
    made = aggregate("generalized-procrustes", pair.source, pair.target)
    with pytest.raises(AtlasError, match="was given vectors of 'a' twice - join them first"):
        made(pair.source, pair.source)
    with pytest.raises(AtlasError, match="needs at least one set of vectors, got none"):
        made()


@pytest.mark.parametrize("aggregator", ["generalized-procrustes", "relative-mean"])
def test_an_atlas_grows_after_loading_and_what_it_had_stays_the_same(aggregator, pair, tmp_path):
    anchors = sample("uniform", pair.source, 40)
    made = aggregate(aggregator, pair.source, pair.target, anchors=anchors)
    save(made, tmp_path / "atlas")
    third = Vectors.of(pair.source.data @ orthogonal(8, 9).float(), space_of("c", 8), ids=pair.source.ids)
    seen = third.of_items(anchors.ids) if aggregator == "relative-mean" else third
    grown = extend(load(tmp_path / "atlas", "atlas"), seen, id="three")
    assert [chart.id for chart in grown.charts] == ["a", "b", "c"] and (grown.id, grown.space) == ("three", made.space)
    assert [chart.id for chart in made.charts] == ["a", "b"]
    assert torch.equal(grown(pair.target).data, made(pair.target).data)
    gap = (grown(third).data - made(pair.source).data).norm() / made(pair.source).data.norm()
    assert float(gap) < 0.1
    save(grown, tmp_path / "three")
    assert torch.equal(load(tmp_path / "three")(third).data, grown(third).data)


def test_an_atlas_grows_by_new_spaces_on_its_own_items(pair):
    made = aggregate("generalized-procrustes", pair.source, pair.target)
    with pytest.raises(AtlasError, match="already has a chart for 'b'"):
        made.add(pair.target)
    others = Vectors.of(pair.source.data, space_of("c", 8))
    with pytest.raises(
        AtlasError, match=r"Vectors of 'c' hold none of the 120 items atlas '.*' was fitted on - encode"
    ):
        made.add(others)


def test_a_loaded_encoder_makes_the_space_it_was_stored_as(tmp_path):
    encoder = create(Encoder, "tfidf-svd", dim=2, min_df=1)
    texts = ["a cat sat", "a dog sat", "the cat and the dog", "sat sat"]
    made = encode(encoder, texts, id="words")
    save(encoder, tmp_path / "words")
    again = load(tmp_path / "words", "space")
    vectors = encode(again, texts)
    assert vectors.space == made.space and torch.equal(vectors.data, made.data)


def test_load_refuses_another_kind(pair, tmp_path):
    alignment(pair).save_pretrained(tmp_path / "map")
    with pytest.raises(AtlasError, match=r"'.*map' is of kind alignment - expected head"):
        Head.from_pretrained(tmp_path / "map")
    with pytest.raises(AtlasError, match=r"is of kind alignment - expected anchors or atlas"):
        load(tmp_path / "map", ("anchors", "atlas"))
    with pytest.raises(AtlasError, match=r"is of kind alignment - expected vectors"):
        read_vectors(tmp_path / "map")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"There is no folder '.*/none'"):
        load(tmp_path / "none")
    with pytest.raises(NotFoundError, match="There is no folder 'none-such', and no head of that id"):
        Head.from_pretrained("none-such")
    for ending in (".npy", ".safetensors", ".parquet"):
        with pytest.raises(NotFoundError, match=rf"There is no file '.*none\{ending}'"):
            read_vectors(tmp_path / f"none{ending}")


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "space"])
def test_tensors_that_are_not_those_of_the_card_are_refused(kind, pair, tmp_path):
    folder = stored(kind, pair, tmp_path / "x")
    raw = bytearray((folder / MODEL).read_bytes())
    raw[-1] ^= 1
    (folder / MODEL).write_bytes(raw)
    with pytest.raises(CardError, match="does not match its card: sha256 is"):
        load(folder)
    (folder / MODEL).write_bytes(raw[:-1])
    with pytest.raises(CardError, match="truncated or damaged"):
        load(folder)
    (folder / MODEL).unlink()
    with pytest.raises(CardError, match="the file is missing - the card lists"):
        load(folder)


ODD: list[Any] = [None, -1, 3, 2.5, True, "no-such", [], ["x"], {"x": 1}, [{"x": 1}], 10**9]


def replaced(data: Any, path: list[Any], value: Any) -> Any:
    """Return data with what lies at a path replaced."""
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


def paths(data: Any) -> list[list[Any]]:
    """Return the paths to everything in plain data."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else []
    return [[], *([key, *rest] for key, value in inner for rest in paths(value))]


@pytest.mark.filterwarnings("ignore::atlas.AtlasWarning")
@pytest.mark.parametrize("kind", MAKERS)
def test_a_card_with_anything_in_it_is_loaded_or_refused_in_words(kind, pair, tmp_path):
    folder = stored(kind, pair, tmp_path / "x")
    whole = read_yaml(folder / CARD)
    refused = 0
    for path in paths(whole):
        if path[:1] == ["sha256"] or (path[:1] == ["classes"] and len(path) > 1):
            continue
        for value in ODD:
            (folder / CARD).write_text(dump_yaml(replaced(whole, path, value)), encoding="utf-8")
            try:
                load(folder)
            except AtlasError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("kind", ["anchors", "moments", "alignment", "map with a domain", "relative", "head", "atlas"])
@pytest.mark.parametrize("change", ["drop", "rename", "cut", "flat", "deep", "nan", "whole"])
def test_other_tensors_under_a_true_card_are_loaded_or_refused_in_words(kind, change, pair, tmp_path):
    folder = stored(kind, pair, tmp_path / "x")
    tensors = load_tensors(folder / MODEL)
    whole = read_yaml(folder / CARD)
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "cut": lambda t: t[:-1] if t.ndim else t[None],
        "flat": lambda t: t.flatten() if t.ndim > 1 else t[None],
        "deep": lambda t: t[None, None],
        "nan": lambda t: t * torch.nan if t.is_floating_point() else -t,
        "whole": lambda t: t.to(torch.int64),
    }
    for name in tensors:
        other = dict(tensors)
        value = other.pop(name)
        if change != "drop":
            other[name + "x" if change == "rename" else name] = changes.get(change, torch.clone)(value)
        infos = save_tensors(folder / MODEL, other)
        listed = {key: {"dtype": info.dtype, "shape": list(info.shape)} for key, info in infos.items()}
        card = {**whole, "sha256": sha256_file(folder / MODEL), "tensors": listed}
        (folder / CARD).write_text(dump_yaml(card), encoding="utf-8")
        try:
            load(folder)
        except AtlasError as error:
            assert "\n" not in str(error)


def test_not_a_number_in_a_stored_map_is_refused(pair, tmp_path):
    made = alignment(pair)
    state = made.aligner.state_dict()
    state["weight"][2, 3] = torch.nan
    made.aligner.load_state_dict(state)
    save(made, tmp_path / "x")
    with pytest.raises(AtlasError, match=r"tensor 'weight' has 1 value that is NaN or infinite, the first in row 2"):
        load(tmp_path / "x")


def test_an_existing_artefact_is_replaced_only_if_asked(pair, tmp_path):
    folder = stored("alignment", pair, tmp_path / "x")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(AtlasError, match="exists - choose another name, or pass --overwrite"):
        save(MAKERS["head"](pair), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    save(MAKERS["head"](pair), folder, overwrite=True)
    assert isinstance(load(folder), Head)


def test_ids_are_made_of_spaces_and_method_and_cut_to_what_an_id_may_be(pair):
    assert alignment(pair).id == "a__b__procrustes"
    long = pair.source.with_card(space=space_of("a" * 90, 8))
    made = fit("procrustes", source=long, target=pair.target)
    assert len(made.id) <= 96 and made.card


def test_licence_and_description_are_kept(pair, tmp_path):
    save(alignment(pair), tmp_path / "x", license="mit", description="Rotates a onto b")
    again = load(tmp_path / "x")
    assert (again.license, again.description) == ("mit", "Rotates a onto b")


def test_anchors_are_what_was_drawn(pair, tmp_path):
    folder = stored("anchors", pair, tmp_path / "x")
    again = load(folder, "anchors")
    assert isinstance(again, Anchors) and len(again) == 20
    assert again.vectors("b").ids == again.vectors("a").ids == again.ids
    assert torch.equal(again.vectors("b").data, pair.target.of_items(again.ids).data)


def test_kinds_are_classes(pair):
    assert isinstance(MAKERS["atlas"](pair), Atlas)


def test_load_takes_owner_and_name_as_from_pretrained_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AtlasError, match="'hf://owner/name' has not been pulled to this computer"):
        load("owner/name")
    with pytest.raises(
        NotFoundError, match="There is no folder 'owner/name' - a repository of the Hub is hf://owner/name"
    ):
        fit("linear", source="owner/name", target="owner/name")
    folder = tmp_path / "owner" / "name"
    Vectors.of(torch.eye(3)).save_pretrained(folder)
    assert len(load("owner/name")) == 3
