from __future__ import annotations

import dataclasses

import pytest

from atlas.cards.folder import dump_card
from atlas.cards.kinds import (
    AlignmentCard,
    AnchorsCard,
    AtlasCard,
    Card,
    HeadCard,
    Metric,
    SpaceCard,
    TensorInfo,
    VectorsCard,
    best,
    rank,
)
from atlas.cards.names import canonical, check_id, sha256_of, slug
from atlas.cards.space import Space
from atlas.cards.yaml import parse_yaml
from atlas.errors import CardError, SpaceMismatchError
from atlas.hub.model_card import paper

A = Space("clip", 512, "open-clip", {"model": "vit-b32", "revision": "a" * 64})
B = Space("dino", 384, "dino", {"model": "small"})
STORED = {"sha256": "0" * 64, "tensors": {"weight": TensorInfo("F32", (512, 384))}}
CARDS = [
    SpaceCard("clip", space=A, config={"model": "vit-b32"}, license="mit", plugin="latent-atlas 0.1.0"),
    AnchorsCard("few", n=3, items="1" * 64, spaces=(A, B), sampler="uniform", seed=3, drawn_in="clip"),
    VectorsCard("vectors", space=A, n=10, classes=("no", "yes", "1:30"), dataset="cifar10", **STORED),
    AlignmentCard(
        "clip__dino__procrustes",
        source=A,
        target=B,
        aligner="procrustes",
        config={"scale": False, "ridge": 1e-3, "tol": None, "parts": [{"a": 1}]},
        n_pairs=100,
        metrics=(Metric("cosine", 0.61, low=0.6, high=0.62, n=10000), Metric("r2", -1.5e-9)),
        **STORED,
    ),
    HeadCard("clip__linear", space=A, head="linear", classes=("a", "b"), hub="owner/name@" + "0" * 40),
    AtlasCard("both", space=B, charts=(A, B), aggregator="relative-mean"),
]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.kind)
def test_a_card_survives_its_file(card):
    assert Card.from_dict(parse_yaml(dump_card(card), "card")) == card


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.kind)
def test_an_unknown_field_is_refused_and_the_nearest_named(card):
    with pytest.raises(CardError, match="Unknown field 'licence' - did you mean 'license'"):
        Card.from_dict({**card.to_dict(), "licence": "mit"})


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.kind)
def test_every_required_field_is_missed(card):
    required = [f.name for f in dataclasses.fields(card) if f.default is f.default_factory is dataclasses.MISSING]
    for name in required:
        data = card.to_dict()
        del data[name]
        with pytest.raises(CardError, match=f"Field '{name}' is missing"):
            Card.from_dict(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"Format 2 is newer than this Atlas reads \(1\) - upgrade latent-atlas"),
        ({"format": 0}, "Field 'format' must be a whole number from 1 to 1, got 0"),
        ({"format": True}, "Field 'format' must be a whole number"),
        ({"format": "1"}, "got '1'"),
        ({"kind": "alinment"}, "Unknown kind 'alinment' - did you mean 'alignment'"),
        ({"id": "A B"}, "id 'A B' must be at most 96 lower-case letters.* - for example 'a-b'"),
        ({"id": "a--b"}, "id 'a--b' must be"),
        ({"id": "a" * 97}, "must be at most 96"),
        ({"id": "../x"}, "must be at most 96"),
        ({"id": 3}, "Field 'id' must be str, got 3"),
        ({"aligner": True}, r"Field 'aligner' must be str, got True \(bool\)"),
        ({"n_pairs": 1.5}, r"Field 'n_pairs' must be int, got 1.5 \(float\)"),
        ({"n_pairs": True}, "must be int, got True"),
        ({"n_pairs": -1}, r"Field 'n_pairs' must be from 0 to 2\*\*63 - 1, got -1"),
        ({"n_pairs": 2**63}, "must be from 0"),
        ({"config": [1]}, "Field 'config' must be a mapping with text keys"),
        ({"config": {1: 2}}, "Field 'config' must be a mapping with text keys"),
        ({"source": {"id": "x"}}, r"Field 'source\.dim' is missing"),
        ({"source": {"id": "x", "dim": 0}}, "Space 'x' must have at least 1 dimension, got 0"),
        ({"source": {"id": "x", "dim": 2, "size": 1}}, r"Unknown field 'source\.size'"),
        ({"source": "clip"}, r"^Field 'source' must be a mapping, got 'clip' \(str\)$"),
        (
            {"source": {"id": "x", "dim": 2, "encoder": "e", "identity": {"scale": float("inf")}}},
            "Space 'x' must have an identity of plain, finite data: Out of range",
        ),
        ({"metrics": {}}, "Field 'metrics' must be a list"),
        ({"metrics": [{"name": "r2", "value": "1"}]}, r"Field 'metrics\.0\.value' must be float, got '1'"),
        ({"metrics": [{"name": "r2", "value": float("nan")}]}, r"Field 'metrics\.0\.value' must be finite, got nan"),
        ({"sha256": "abc"}, "sha256 must be 64 lower-case hexadecimal digits, got 'abc'"),
        ({"sha256": ""}, "Tensors are listed but sha256 is missing"),
        ({"hub": "owner/name@main"}, "hub must be owner/name@commit"),
        ({"tensors": {"weight": {"dtype": "F32", "shape": [2, -1]}}}, r"tensors\.weight\.shape\.1' must be from 0"),
    ],
)
def test_a_malformed_card_is_refused(change, message):
    with pytest.raises(CardError, match=message):
        Card.from_dict({**CARDS[3].to_dict(), **change})


@pytest.mark.parametrize("data", [None, [], "card", 3])
def test_a_card_is_a_mapping(data):
    with pytest.raises(CardError, match="A card must be a mapping, got"):
        Card.from_dict(data)


def test_a_float_written_as_text_is_explained():
    with pytest.raises(CardError, match=r"must be float, got '1e-3' \(str\) - write it without quotes"):
        Card.from_dict({**CARDS[3].to_dict(), "metrics": [{"name": "r2", "value": "1e-3"}]})


def test_a_whole_number_will_do_for_a_float():
    card = Card.from_dict({**CARDS[3].to_dict(), "metrics": [{"name": "r2", "value": 1}]})
    assert type(card.metrics[0].value) is float


def test_the_fingerprint_tells_encoders_options_and_dimensions_apart():
    others = [
        dataclasses.replace(A, dim=256),
        dataclasses.replace(A, encoder="clip"),
        dataclasses.replace(A, identity={**A.identity, "model": "vit-l14"}),
        dataclasses.replace(A, identity={**A.identity, "normalise": True}),
    ]
    assert len({space.fingerprint for space in [A, *others]}) == 5


def test_the_fingerprint_is_that_of_the_contents_whatever_their_order_and_name():
    same = Space("other-name", 512, "open-clip", dict(reversed(A.identity.items())))
    assert same.fingerprint == A.fingerprint
    assert A.matches(same)


def test_the_fingerprint_never_changes():
    # Cards in the world hold what depends on it.
    space = Space("x", 3, "pixels", {"size": 8, "grey": True, "mean": [0.5], "note": "é"})
    assert space.fingerprint == sha256_of({"dim": 3, "encoder": "pixels", "identity": space.identity})
    assert space.fingerprint == "a43a60c45b5ec37175633f9f0c4ecbf0e37aedc84aa4e403ddfa7fe4f25e73b8"


def test_a_bare_space_is_compared_by_dimension():
    bare = Space("file", 512)
    assert bare.fingerprint == ""
    assert bare.matches(A) and A.matches(bare) and not bare.matches(B)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (B, "dimension is 512 there, 384 here"),
        (Space("clip", 512, "clip"), "encoder is 'open-clip' there, 'clip' here"),
        (
            dataclasses.replace(A, identity={"model": "x"}),
            "model is vit-b32 there, x here; revision is aaaaaaaaaaaa... ",
        ),
    ],
)
def test_a_mismatch_names_what_differs(other, reason):
    with pytest.raises(SpaceMismatchError) as caught:
        A.require(other, "Alignment 'm' maps from", "the vectors")
    assert str(caught.value).startswith(
        f"Alignment 'm' maps from 'clip', but the vectors are of '{other.id}': {reason}"
    )


@pytest.mark.parametrize("name", ["a", "a" * 96, "a1", "clip-vit-b32__dinov2-small__ridge", "0"])
def test_good_ids(name):
    assert check_id(name) == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "a--b", "-a", "a-", "a__", "__a", "a.b", "a/b", "a b", "é", None, 3])
def test_bad_ids(name):
    with pytest.raises(CardError, match="must be at most 96 lower-case letters"):
        check_id(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Clip ViT-B/32", "clip-vit-b-32"), ("a__B", "a__b"), ("__x__", "x"), ("", "unnamed"), ("--", "unnamed")],
)
def test_slug(text, expected):
    assert slug(text) == expected
    assert check_id(slug(text))


def test_canonical_text_is_the_same_for_equal_values():
    assert canonical({"b": 1, "a": [1.0, "é"]}) == '{"a":[1.0,"\\u00e9"],"b":1}'


def test_figures_of_one_name_are_ranked_best_first_those_of_fitted_items_behind_and_none_last():
    good, fair = Metric("cosine", 0.9, n=100), Metric("cosine", 0.5, n=100)
    flattered = Metric("cosine", 0.99, n=100, overlap=60)
    assert sorted([None, flattered, fair, good], key=rank) == [good, fair, flattered, None]
    assert best([fair, flattered, good, Metric("r2", 1.0)], "cosine") == good
    assert best([flattered], "cosine") == flattered
    assert best([good], "r2") is None
    # Of a distance, the target's own vectors have less than no alignment at all.
    near, far = (Metric("mse", value, native=0.0, floor=2.0, n=100) for value in (0.1, 1.5))
    assert best([far, near], "mse") == near


def test_items_are_held_out_if_at_most_one_in_a_hundred_was_fitted_on():
    shares = {None: True, 0: True, 1: True, 2: True, 3: False}
    assert {overlap: Metric("cosine", 0.5, n=200, overlap=overlap).held_out for overlap in shares} == shares


def test_a_card_of_anchors_that_names_no_seed_was_drawn_with_0():
    assert AnchorsCard("few", n=3, items="1" * 64).seed == 0


def test_a_paper_is_that_of_the_aligner_or_aggregator_and_of_no_head_of_the_same_name():
    names = [paper(card) for card in CARDS if card.kind in ("alignment", "atlas", "head", "space")]
    assert names == ["", "2311.00664", "", "2311.06547"]
